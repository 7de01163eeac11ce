"""Prepared samples -> a pack of at most so many megabytes (`pack`).

    difftalk pack DATA -o PACK --megabytes 55

Depends on the samples and options alone; the folder appears when it is whole. Knows nothing of training, nor of whose
pictures come first (`queue`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.codec import Components, Foretold, in_steps, squeeze
from difftalk.data.pack import (
    FILES,
    FORMAT,
    INDEX,
    MESH_STEP,
    NUMBERS,
    OPENING_STEP,
    SHAPE_STEP,
    TICKS,
    TOP,
    Pack,
    encode,
    encode_frame,
)
from difftalk.data.pairs import Telling
from difftalk.data.queue import held_out_people, people_of, queue_of
from difftalk.data.sample import PICTURES, Sample, load_samples
from difftalk.errors import InputError, OutputError
from difftalk.face.landmarks import POINTS
from difftalk.media.sheet import CAPTION_HEIGHT, sheet
from difftalk.model import Model
from difftalk.progress import Progress
from difftalk.speech.features import FEATURE_SIZE, silence_features

MEGABYTE: Final = 1_000_000
QUALITY: Final = 88  # of WebP, of close-ups: 43 dB
FRAME_QUALITY: Final = 75  # of aligned frames, which training looks at where they are half as large: 38 dB
SPEECH_COMPONENTS: Final = 256
MESH_COMPONENTS: Final = 128
HELD_OUT: Final = 0.04  # share of people
NUMBERS_A_FRAME: Final = 700  # bytes, a first guess
ROOM: Final = 4096  # bytes of names and headers
TRIES: Final = 5
SLACK: Final = 0.005  # of the room that may stay empty
THUMBNAIL: Final = (60, 40)  # px, width and height
THUMBNAILS: Final = 2  # a person
COLUMNS: Final = 28
COLOURS: Final = 256


@dataclass(frozen=True)
class Options:
    """megabytes: of the whole folder. held_out: share of people. quality: of close-ups. split: whose clips go in."""

    megabytes: float = 55.0
    held_out: float = HELD_OUT
    quality: int = QUALITY
    frame_quality: int = FRAME_QUALITY
    speech_components: int = SPEECH_COMPONENTS
    mesh_components: int = MESH_COMPONENTS
    split: str = "train"


@dataclass(frozen=True)
class Packed:
    """What `pack` wrote. bytes: of each file."""

    people: int
    held_out: int
    clips: int
    frames: int
    bytes: dict[str, int]


_Encoded = dict[str, bytes]  # a frame's pictures, by their names
_Pictures = dict[tuple[int, int], _Encoded]


@dataclass(frozen=True)
class _Choice:
    """Frames of each clip, in order, and their pictures."""

    frames: list[list[int]]
    pictures: _Pictures = field(repr=False)

    def __len__(self) -> int:
        return sum(map(len, self.frames))

    @property
    def size(self) -> int:
        """Bytes of the pictures."""
        return sum(_bytes(self.pictures[key]) for key in self.keys)

    @property
    def keys(self) -> list[tuple[int, int]]:
        """(clip, frame) of all, in order."""
        return [(clip, i) for clip, frames in enumerate(self.frames) for i in frames]


def pack(
    data: Path,
    out: Path,
    *,
    model: Model,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Packs a folder that `difftalk prepare` wrote. Nobody who is in another split as well goes in."""
    options, samples = options or Options(), load_samples(data)
    others = {s.record.person for s in samples if s.record.split != options.split}
    chosen = [s for s in samples if s.record.person not in others]
    if not chosen:
        raise InputError(f"{data} has no person of split {options.split} alone")
    return pack_samples(chosen, out, model=model, options=options, progress=progress)


def pack_samples(
    samples: Sequence[Sample],
    out: Path,
    *,
    model: Model,
    options: Options,
    progress: Progress | None = None,
) -> Packed:
    """Packs these samples, whatever their split."""
    half = out.with_name(f".{out.name}.part")
    if out.exists():
        raise OutputError(f"{out} exists; give a new folder")
    shutil.rmtree(half, ignore_errors=True)
    try:
        half.mkdir(parents=True)
        _fill(half, samples, model, options, progress or (lambda what, done, total: None))
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    half.rename(out)
    made = Pack.open(out)
    counts = made.index["counts"]
    return Packed(
        counts["people"],
        counts["held_out"],
        counts["clips"],
        counts["frames"],
        {path.name: path.stat().st_size for path in sorted(out.iterdir())},
    )


def _fill(
    folder: Path,
    samples: Sequence[Sample],
    model: Model,
    options: Options,
    progress: Progress,
) -> None:
    clips = []
    for sample in samples:
        clips.append(Telling.of(sample, model.geometry))
        progress("looking", len(clips), len(samples))
    silences = silence_features(model.graph("speech_encoder"), model.settings)
    fixed = _clip_numbers(clips, silences, options.speech_components)
    queue = queue_of(clips)
    index: dict[str, Any] = {
        "format": FORMAT,
        "quality": options.quality,
        "top": TOP,
        "silences": len(silences),
        "held_out": held_out_people(samples, options.held_out),
        "records": [_record(sample, []) for sample in samples],
    }
    room = round(options.megabytes * MEGABYTE) - _size(fixed) - len(json.dumps(index)) - _sheet_bound(samples) - ROOM
    choice, numbers = _chosen(clips, queue, room, options, progress)
    people = {sample.record.person for sample in samples}
    seen = {sample.record.person for sample, frames in zip(samples, choice.frames, strict=True) if frames}
    if seen != people:
        raise InputError(f"{options.megabytes:g} megabytes hold {len(seen)} of {len(people)} people; give more")
    index["records"] = [_record(sample, frames) for sample, frames in zip(samples, choice.frames, strict=True)]
    index["counts"] = {
        "people": len(people),
        "held_out": len(index["held_out"]),
        "clips": len(clips),
        "frames": len(choice),
        "curve_frames": sum(len(clip.curve.seconds) for clip in clips),
        "speech_features": sum(len(clip.sample.speech) for clip in clips),
    }
    _write(folder, index, fixed | numbers, choice)
    progress("drawing", 0, 1)
    _write_sheet(folder)
    progress("drawing", 1, 1)


def _record(sample: Sample, frames: Sequence[int]) -> dict[str, Any]:
    return asdict(replace(sample.record, source=Path(sample.record.source).name, frames=len(frames)))


def _write(folder: Path, index: dict[str, Any], numbers: dict[str, NDArray[Any]], choice: _Choice) -> None:
    from safetensors.numpy import save_file

    for name, path in FILES.items():
        with (folder / path).open("wb") as file:
            file.writelines(choice.pictures[key][name] for key in choice.keys)
    save_file(dict(sorted(numbers.items())), folder / NUMBERS)
    (folder / INDEX).write_text(json.dumps(index))


def _chosen(
    clips: Sequence[Telling],
    queue: Sequence[tuple[int, int]],
    room: int,
    options: Options,
    progress: Progress,
) -> tuple[_Choice, dict[str, NDArray[Any]]]:
    """As many pairs as there is room for, and what is kept of their frames in numbers."""
    pictures: _Pictures = {}
    each, shared, found = float(NUMBERS_A_FRAME), options.mesh_components * POINTS * 3 * 2, None
    for _ in range(TRIES):
        choice = _filled(clips, queue, room - shared, each, options, pictures, progress)
        if not len(choice):
            break
        numbers = _frame_numbers(clips, choice, options.mesh_components)
        shared = numbers["mesh_basis"].nbytes
        left = room - _size(numbers) - choice.size
        if left >= 0:
            found = choice, numbers
            if left < SLACK * room or len(choice) == _most(queue):
                break
        each = (_size(numbers) - shared) / len(choice) * (1.003 if left >= 0 else 1.02)
    if found is None:
        raise InputError(f"{options.megabytes:g} megabytes are too few for {len(clips)} clips; give more")
    return found


def _most(queue: Sequence[tuple[int, int]]) -> int:
    return len({(place, frame - back) for place, frame in queue for back in (0, 1)})


def _filled(
    clips: Sequence[Telling],
    queue: Sequence[tuple[int, int]],
    room: int,
    each: float,
    options: Options,
    pictures: _Pictures,
    progress: Progress,
) -> _Choice:
    """Pairs until the room is used up, a frame's numbers taken for `each` bytes. pictures: those encoded so far."""
    chosen: set[tuple[int, int]] = set()
    used = 0.0
    for place, frame in queue:
        new = [(place, i) for i in (frame - 1, frame) if (place, i) not in chosen]
        for key in new:
            if key not in pictures:
                pictures[key] = _encoded(clips[place].sample, key[1], options)
        used += sum(_bytes(pictures[key]) + each for key in new)
        if used > room:
            break
        chosen.update(new)
        progress("packing", min(round(used), room), room)
    return _Choice([sorted(i for p, i in chosen if p == place) for place in range(len(clips))], pictures)


def _encoded(sample: Sample, frame: int, options: Options) -> _Encoded:
    closes = encode(sample.close_up(frame), options.quality)
    return {"frames": encode_frame(sample.frame(frame), options.frame_quality), "closes": closes}


def _bytes(encoded: _Encoded) -> int:
    return sum(map(len, encoded.values()))


def _size(numbers: dict[str, NDArray[Any]]) -> int:
    return sum(value.nbytes for value in numbers.values())


def _ends(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.cumsum(np.array(counts, np.int64), dtype=np.int64)


def _clip_numbers(clips: Sequence[Telling], silences: Array, components: int) -> dict[str, NDArray[Any]]:
    """What is kept of whole clips: mouths over time, neutrals, speech."""
    curves, speech = [clip.curve for clip in clips], [clip.sample.speech for clip in clips]
    quiet = silences.reshape(-1, FEATURE_SIZE)
    voice = Components.fit([*speech, quiet], components)
    return {
        "curves_ends": _ends([len(curve.seconds) for curve in curves]),
        "curve_times": squeeze(in_steps(np.concatenate([c.seconds for c in curves]), 1 / TICKS, np.int64)),
        "curve_shapes": squeeze(in_steps(np.concatenate([c.shapes for c in curves]), SHAPE_STEP)),
        "curve_openings": squeeze(in_steps(np.concatenate([c.openings for c in curves]), OPENING_STEP)),
        "neutrals": squeeze(in_steps(np.stack([clip.neutral for clip in clips]), OPENING_STEP)),
        "speech_mean": voice.mean,
        "speech_basis": voice.basis,
        "speech_spread": voice.spread,
        "speech_ends": _ends([len(part) for part in speech]),
        "speech": squeeze(np.concatenate([voice.of(part) for part in speech])),
        "silences": squeeze(voice.of(quiet)),
    }


def _frame_numbers(clips: Sequence[Telling], choice: _Choice, components: int) -> dict[str, NDArray[Any]]:
    """What is kept of the chosen frames besides their pictures."""
    keys = choice.keys
    meshes = np.stack([clips[place].sample.aligned_mesh(frame) for place, frame in keys]).reshape(len(keys), -1)
    foretold = Foretold.of(in_steps(meshes, MESH_STEP).astype(np.int16), components)
    alignments = np.stack([clips[place].sample.alignments[frame] for place, frame in keys])
    corners = np.stack([clips[place].sample.close_corner(frame) for place, frame in keys])
    offsets = {
        f"{name}_offsets": squeeze(np.concatenate([[0], _ends([len(choice.pictures[key][name]) for key in keys])]))
        for name in PICTURES
    }
    return {
        **offsets,
        "frames_ends": _ends([len(frames) for frames in choice.frames]),
        "frame_numbers": squeeze(np.array([frame for _, frame in keys], np.int64)),
        "close_corners": squeeze(corners),
        "alignments": alignments.astype(np.float32),
        "mesh_mean": foretold.mean,
        "mesh_basis": foretold.basis,
        "mesh_coefficients": squeeze(foretold.coefficients),
        "mesh_rest": squeeze(foretold.rest, alike=False),
    }


def _sheet_bound(samples: Sequence[Sample]) -> int:
    """Bytes that the sheet cannot exceed: one a pixel, and a little."""
    rows = -(-len(people_of(samples)) * THUMBNAILS // COLUMNS)
    width, height = COLUMNS * THUMBNAIL[0], rows * (THUMBNAIL[1] + CAPTION_HEIGHT)
    return round(1.02 * width * height) + ROOM


def _write_sheet(folder: Path) -> None:
    """sheet.png, drawn from the pack alone: of everybody a mouth that is nearly closed and one that is wide open."""
    from PIL import Image as Pillow

    clips, shown = [sample for sample in Pack.open(folder).samples if len(sample.numbers)], []
    for person, places in people_of(clips).items():
        clip = clips[places[0]]
        order = np.argsort(clip.curve.openings[clip.numbers], kind="stable")
        shown.append((person, [_thumbnail(clip.frame(int(order[round(k * (len(order) - 1))]))) for k in (0.1, 0.95)]))
    each = COLUMNS // THUMBNAILS
    groups = [shown[i : i + each] for i in range(0, len(shown), each)]
    rows = [[picture for _, pair in group for picture in pair] for group in groups]
    drawn = sheet(rows, [f"{group[0][0]} to {group[-1][0]}" for group in groups])
    picture = Pillow.fromarray(drawn)
    palette = picture.quantize(COLOURS)
    picture.quantize(palette=palette, dither=Pillow.Dither.FLOYDSTEINBERG).save(folder / "sheet.png")


def _thumbnail(frame: Image) -> Image:
    import cv2

    return np.asarray(cv2.resize(frame[TOP:], THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
