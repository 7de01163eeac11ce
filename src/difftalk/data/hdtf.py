"""The data layout of the published system: written from prepared samples, read for training.

    images/C_F.jpg          square pictures at 25 frames/s; C is the number of a class (a clip), F of a frame, from 1
    landmarks/C_F.lms       68 lines `x y`, pixels of the stored picture
    audio_smooth/C_F.npy    (8, 16, 29) float32, windows of speech around the frame
    data.txt                a line a class: its name and its number of frames
    data_train.txt          lines `C_F`, one a frame; data_test.txt likewise
    speech.txt              what speech features the arrays hold; not in the published layout

A user's own folder in this layout is read as well: pictures of any square size, arrays of DeepSpeech. Knows nothing of
masks, batches or nets.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.sample import JPEG_QUALITY, Sample
from difftalk.errors import DataError, InputError, OutputError
from difftalk.graphs import WINDOW_STEPS, WINDOWS
from difftalk.render.published import CHARACTERS, LANDMARKS_68, characters_of, landmarks_68, rows_around, windows_of
from difftalk.speech.features import FEATURE_RATE
from difftalk.speech.motion import MOTION_RATE

REFERENCE_GAP: Final = 60  # frames between a frame and its reference
SLACK: Final = 1e-3  # s: how exactly frames' times are known
AUDIO_SHAPE: Final = (WINDOWS, WINDOW_STEPS, CHARACTERS)
LANDMARK_SHAPE: Final = (len(LANDMARKS_68), 2)
PARTS: Final = {"images": ".jpg", "landmarks": ".lms", "audio_smooth": ".npy"}
SPEECH: Final = (
    "29 principal components of difftalk's speech encoder; for those of the published system replace audio_smooth by"
    " DeepSpeech arrays of the same shape, (8, 16, 29)\n"
)


@dataclass(frozen=True)
class HdtfReport:
    """What was written. counts: class -> frames; train, test: frames listed.

    left_out: moments of the clips, at 25/s, that are beyond a hole or in one.
    """

    counts: dict[int, int]
    train: int
    test: int
    left_out: int


@dataclass(frozen=True)
class Hdtf:
    """One split of a folder. frames: (class, frame) as listed; counts: class -> its number of frames. All from 1."""

    folder: Path
    frames: list[tuple[int, int]]
    counts: dict[int, int]

    def path(self, part: str, c: int, f: int) -> Path:
        """A frame's file; part: images, landmarks or audio_smooth."""
        return self.folder / part / f"{c}_{f}{PARTS[part]}"

    def picture(self, c: int, f: int) -> Image:
        """RGB (s, s, 3)."""
        import cv2

        path = self.path("images", c, f)
        data = np.frombuffer(_bytes(path), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
        if image is None:
            raise DataError(f"{path} is not a picture; a square JPEG is expected")
        if image.shape[0] != image.shape[1]:
            raise DataError(f"{path} is {image.shape[1]} x {image.shape[0]}; a square picture is expected")
        return np.asarray(image, np.uint8)

    def landmarks(self, c: int, f: int) -> Array:
        """(68, 2) pixels of the stored picture."""
        path = self.path("landmarks", c, f)
        rows = [line.split() for line in _lines(path)]
        if len(rows) != LANDMARK_SHAPE[0]:
            raise DataError(f"{path} has {len(rows)} lines; {LANDMARK_SHAPE[0]} lines `x y` are expected")
        try:
            points = np.array(rows, np.float32)
        except ValueError:
            points = np.zeros(0, np.float32)
        if points.shape != LANDMARK_SHAPE or not np.isfinite(points).all():
            raise DataError(f"{path} holds something else than two numbers a line; lines `x y` are expected")
        return points

    def audio(self, c: int, f: int) -> Array:
        """(8, 16, 29)."""
        path = self.path("audio_smooth", c, f)
        try:
            array: NDArray[Any] = np.lib.format.read_array(BytesIO(_bytes(path)), allow_pickle=False)
        except ValueError:
            raise DataError(f"{path} is not a .npy file; an array of shape {AUDIO_SHAPE} is expected") from None
        if array.shape != AUDIO_SHAPE:
            raise DataError(f"{path} has shape {array.shape}; {AUDIO_SHAPE} is expected")
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise DataError(f"{path} holds something else than finite numbers ({array.dtype}); floats are expected")
        return array.astype(np.float32)

    def far_frames(self, c: int, f: int) -> NDArray[np.int64]:
        """Frames of the class at least 60 away from `f`, or the farthest there are."""
        distance = np.abs(np.arange(1, self.counts[c] + 1) - f)
        return np.flatnonzero(distance >= min(REFERENCE_GAP, distance.max())) + 1


# --- writing ----------------------------------------------------------------------------------------------------------


def check_new(out: Path) -> None:
    """Refuses what is there already, unless it is an empty folder."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; give a new folder")


def write_hdtf(samples: Sequence[Sample], out: Path) -> HdtfReport:
    """Writes samples in the published layout, a class each in their order; `out` must be new or empty.

    Frames of a class are consecutive in time, for a frame's neighbours and its progressive reference are found by their
    numbers. Each moment k / 25 s is shown by the sample's frame nearest to it, 1/25 s off at most, so that a single
    missing frame is bridged. Where frames are missing for longer the clip has a hole, and only its longest stretch
    without one is written. Test are the samples of any split but `train`; if there is none, the last of at least two.
    """
    if not samples:
        raise InputError("there is no sample to write; give kept samples of difftalk prepare")
    check_new(out)
    out = out.resolve()
    half = out.with_name(f".{out.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    try:
        report = _write_all(samples, half)
        if out.is_dir():
            out.rmdir()
        half.rename(out)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written ({error}); see that the samples are whole and the disk has room"
        ) from None
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return report


def _write_all(samples: Sequence[Sample], folder: Path) -> HdtfReport:
    for part in PARTS:
        (folder / part).mkdir(parents=True)
    counts: dict[int, int] = {}
    names, left_out = [], 0
    for number, sample in enumerate(samples, 1):
        nearest = _nearest_frames(sample.seconds)
        frames = _longest_stretch(nearest)
        if not len(frames):
            raise DataError(f"{sample.folder} has no frame near any k / 25 s; leave it out")
        _write_class(Hdtf(folder, [], counts), number, sample, frames)
        counts[number] = len(frames)
        left_out += len(nearest) - len(frames)
        names.append("_".join(sample.record.name.split()))
    lists = {False: "", True: ""}
    for number, test in enumerate(_tested(samples), 1):
        lists[test] += "".join(f"{number}_{f}\n" for f in range(1, counts[number] + 1))
    lines = (f"{name} {count}\n" for name, count in zip(names, counts.values(), strict=True))
    (folder / "data.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "data_train.txt").write_text(lists[False])
    (folder / "data_test.txt").write_text(lists[True])
    (folder / "speech.txt").write_text(SPEECH)
    return HdtfReport(counts, lists[False].count("\n"), lists[True].count("\n"), left_out)


def _write_class(data: Hdtf, c: int, sample: Sample, frames: NDArray[np.int64]) -> None:
    """A frame's audio is that of its own time, not of the moment that it shows, the lip/audio offset repaired."""
    characters = characters_of(sample.speech)
    positions = (sample.seconds + sample.record.offset / MOTION_RATE) * FEATURE_RATE
    for f, index in enumerate(frames.tolist(), 1):
        _write_picture(sample.frame(index), data.path("images", c, f))
        points = landmarks_68(sample.aligned_mesh(index))
        data.path("landmarks", c, f).write_text("".join(f"{x:.3f} {y:.3f}\n" for x, y in points.tolist()))
        rows = np.clip(rows_around(float(positions[index])), 0, len(characters) - 1)
        np.save(data.path("audio_smooth", c, f), windows_of(characters[rows]))


def _write_picture(picture: Image, path: Path) -> None:
    import cv2

    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *sampling]
    path.write_bytes(cv2.imencode(".jpg", picture[:, :, ::-1], options)[1].tobytes())


def _nearest_frames(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Times of a clip's frames -> for each moment k / 25 s within them the nearest frame; -1 where none is near."""
    first, last = (seconds[0] - SLACK) * MOTION_RATE, (seconds[-1] + SLACK) * MOTION_RATE
    moments = np.arange(np.ceil(first), np.floor(last) + 1) / MOTION_RATE
    nearest = np.searchsorted((seconds[1:] + seconds[:-1]) / 2, moments)
    return np.where(np.abs(seconds[nearest] - moments) <= 1 / MOTION_RATE + SLACK, nearest, -1)


def _longest_stretch(nearest: NDArray[np.int64]) -> NDArray[np.int64]:
    """The longest without a hole; the first of equals."""
    edges = np.concatenate([[-1], np.flatnonzero(nearest < 0), [len(nearest)]])
    longest = int(np.diff(edges).argmax())
    return nearest[edges[longest] + 1 : edges[longest + 1]]


def _tested(samples: Sequence[Sample]) -> list[bool]:
    """Which samples are the test's."""
    tested = [sample.record.split != "train" for sample in samples]
    if len(tested) > 1 and not any(tested):
        tested[-1] = True
    return tested


# --- reading ----------------------------------------------------------------------------------------------------------


def read_hdtf(folder: Path, split: Literal["train", "test"]) -> Hdtf:
    """A folder in the published layout. Lists are read and files are looked for here, what they hold when asked."""
    counts = _counts(folder / "data.txt")
    data = Hdtf(folder, _listed(folder / f"data_{split}.txt", counts), counts)
    _check_presence(data)
    return data


def _counts(path: Path) -> dict[int, int]:
    counts = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if len(words) < 2 or not words[1].isdecimal() or int(words[1]) == 0:
            raise DataError(f"{path}, line {number}: {line!r}; `name frame_count` is expected")
        counts[number] = int(words[1])
    return counts


def _listed(path: Path, counts: dict[int, int]) -> list[tuple[int, int]]:
    frames = []
    for number, line in enumerate(_lines(path), 1):
        match = re.fullmatch(r"(\d+)_(\d+)", line.strip())
        if match is None:
            raise DataError(f"{path}, line {number}: {line!r}; `class_frame` is expected")
        c, f = int(match[1]), int(match[2])
        if c not in counts:
            raise DataError(f"{path}, line {number}: {line!r}; data.txt has the classes 1 to {len(counts)}")
        if not 1 <= f <= counts[c]:
            raise DataError(f"{path}, line {number}: {line!r}; data.txt has the frames 1 to {counts[c]} of this class")
        frames.append((c, f))
    if not frames:
        raise DataError(f"{path} names no frame; lines `class_frame` are expected")
    return frames


def _check_presence(data: Hdtf) -> None:
    """Every listed frame has its files, and every frame of its class, for it may be a reference, a picture."""
    classes = sorted({c for c, _ in data.frames})
    shown = ((c, f) for c in classes for f in range(1, data.counts[c] + 1))
    wanted: dict[str, Iterable[tuple[int, int]]]
    wanted = {"images": shown, "landmarks": data.frames, "audio_smooth": data.frames}
    for part, frames in wanted.items():
        try:
            present = set(os.listdir(data.folder / part))
        except OSError:
            raise DataError(f"{data.folder / part} is missing; a folder of *{PARTS[part]} is expected") from None
        for c, f in frames:
            path = data.path(part, c, f)
            if path.name not in present:
                raise DataError(f"{path} is missing; {f} of class {c} is a frame by the lists and data.txt")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); it is part of the published data layout") from None


def _lines(path: Path) -> list[str]:
    """Of a text, those at its end that are empty left out."""
    try:
        return _bytes(path).decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a text; see the published data layout") from None
