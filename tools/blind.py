"""A blind look: pairs of films of the same person, one true and one made, in an order that only a key knows.

    python tools/blind.py make DATA OUT [--pairs 20] [--kind dub|still] [--seed 0] [--model MODEL] [--eyes 90]
    python tools/blind.py reveal OUT/notes.csv [--key OUT/key.json]

DATA: the OUT folder of `difftalk prepare`, whose kept-aside people are shown. Each film is two seconds at 512 px, cut
about the head out of the source's own frames. dub: the true film's frames with the mouth that the model hears, drawn
from moments far away, as in a dub: what hides best. still: another moment of the clip speaks as a portrait.

OUT/pair_NN_A.mp4 and _B.mp4 are the films; pair_NN.png shows of each the same 8 frames, one after the other, about the
widest true mouth, and pair_NN_mouths.png their mouths at about 200 px an eye distance. Write down what was
seen in notes.csv: pair,made,why, such as `3,B,teeth blurred; flicker`. Then open the key by `reveal`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array, Image
from difftalk.data.clip import Clip, References
from difftalk.data.sample import load_samples
from difftalk.errors import DifftalkError, InputError
from difftalk.evaluation.protocols.bench import predicted_conditions, shown
from difftalk.evaluation.protocols.mouth import BEYOND, LEAST_EYES
from difftalk.evaluation.protocols.portraits import source_frames, subject_of
from difftalk.evaluation.protocols.tasks import write_sound
from difftalk.evaluation.protocols.teacher_large import LargeFrame, looked_at
from difftalk.face.landmarks import LIP_BOTTOM, LIP_TOP
from difftalk.media.mp4 import Writer
from difftalk.media.sheet import write_sheet
from difftalk.model import Model
from difftalk.render.references import Reference
from difftalk.speech.motion import MOTION_RATE
from difftalk.talk.talker import Talker

SIDE: Final = 512  # px of a film
REACH: Final = 4.2  # eye distances that it shows
SECONDS: Final = 2.0
FRAMES: Final = round(SECONDS * MOTION_RATE)
LEAST_SECONDS: Final = 4.0  # of a clip, so that there are moments far away
SHOWN: Final = 8  # frames of a sheet
COLUMNS: Final = 4
MOUTH: Final = (256, 192)  # px, width and height of a mouth on its sheet
MOUTH_REACH: Final = 1.3  # eye distances that are as wide
MIDDLE: Final = [LIP_TOP, LIP_BOTTOM]
KINDS: Final = ("dub", "still")


@dataclass(frozen=True)
class Take:
    """Two seconds of a clip. indices: (50,) its frames, 1/25 s apart. start: seconds."""

    clip: Clip
    indices: NDArray[np.int64]
    start: float

    def sound(self) -> Array:
        first = round(self.start * SAMPLE_RATE)
        return self.clip.sample.sound()[first : first + round(SECONDS * SAMPLE_RATE)]


@dataclass(frozen=True)
class Film:
    """frames: (512, 512, 3) each. mouths: (192, 256, 3) each."""

    frames: list[Image]
    mouths: list[Image]


@dataclass(frozen=True)
class Framing:
    """Where a film looks in its source, px. side: of the square about `middle`. mouth: middle of the mean mouth."""

    middle: Array
    side: float
    mouth: Array

    @classmethod
    def of(cls, points: Array, eyes: float) -> Framing:
        """points: (478, 3) source pixels, of one frame or the mean of several. eyes: px."""
        return cls(points[:, :2].mean(0), REACH * eyes, points[MIDDLE, :2].mean(0))

    def cut(self, image: Image, points: Array | None = None) -> tuple[Image, Image]:
        """The film's frame, and its mouth; points: (478, 3) source pixels of this frame, where they are known."""
        mouth = self.mouth if points is None else points[MIDDLE, :2].mean(0)
        scale = MOUTH_REACH / REACH * self.side / MOUTH[0]
        return _cut(image, self.middle, self.side / SIDE, (SIDE, SIDE)), _cut(image, mouth, scale, MOUTH)


def _cut(image: Image, middle: Array, scale: float, size: tuple[int, int]) -> Image:
    """scale: source px for one of the picture; by an area filter where it shrinks."""
    import cv2

    width, height = size
    finer = max(1, math.ceil(scale))  # samples a pixel, either way
    step = scale / finer
    corner = middle - step * (np.array([width, height]) * finer - 1) / 2
    matrix = np.array([[step, 0, corner[0]], [0, step, corner[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    many = cv2.warpAffine(image, matrix, (width * finer, height * finer), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(many, size, interpolation=cv2.INTER_AREA), np.uint8)


# --- what is shown ----------------------------------------------------------------------------------------------------


def takes_of(clips: Sequence[Clip], count: int, rng: np.random.Generator) -> list[Take]:
    """As many takes, no two of the same moment, of all people alike. Raises InputError where there are fewer."""
    waiting: dict[str, list[Take]] = {}
    for clip in clips:
        starts = np.arange(0, clip.sample.seconds[-1] - SECONDS + 0.5 / MOTION_RATE, SECONDS)
        waiting.setdefault(clip.sample.record.person, []).extend(_take(clip, float(start)) for start in starts)
    for takes in waiting.values():
        rng.shuffle(takes)
    found: list[Take] = []
    while len(found) < count and any(waiting.values()):
        found += [takes.pop() for takes in waiting.values() if takes]
    if len(found) < count:
        raise InputError(f"{count} pairs were asked for; these clips have {len(found)}; give fewer, or smaller --eyes")
    return found[:count]


def _take(clip: Clip, start: float) -> Take:
    times = start + np.arange(FRAMES) / MOTION_RATE
    return Take(clip, np.abs(clip.sample.seconds[None] - times[:, None]).argmin(1).astype(np.int64), start)


def films(take: Take, model: Model, kind: str) -> tuple[Film, Film]:
    """The true film and the made one."""
    return _dubbed(take, model) if kind == "dub" else _spoken(take, model)


def _dubbed(take: Take, model: Model) -> tuple[Film, Film]:
    clip, framing = take.clip, _framing(take)
    said = predicted_conditions(clip, model, take.start + SECONDS + BEYOND)
    heard = [said(int(index)) for index in take.indices]
    sources = source_frames(clip.sample, looked_at(clip, model.geometry, take.indices, [one.shape for one in heard]))
    pictures, held = References(clip), dict[int, Reference]()
    frames = [LargeFrame(pictures, int(i), model.geometry, False, False, sources, held=held) for i in take.indices]
    true, made = [], []
    for frame, one in zip(frames, shown(frames, heard, model), strict=True):
        image, alignment = frame.picture(frame.index)
        points = clip.sample.meshes[frame.index]
        true.append(framing.cut(image, points))
        made.append(framing.cut(one.drawn.onto(image, alignment, one.reference), points))
    return _film(true), _film(made)


def _spoken(take: Take, model: Model) -> tuple[Film, Film]:
    clip, framing = take.clip, _framing(take)
    sources = source_frames(clip.sample, set(map(int, take.indices)))
    true = [framing.cut(sources[int(index)], clip.sample.meshes[index]) for index in take.indices]
    far = clip.far_frames(int(take.indices[FRAMES // 2]))
    subject = subject_of(clip, model, int(far[clip.openings[far].argmin()]), SECONDS)
    portrait = subject.identity
    reference = portrait.people[0].references[0]
    inverse = reference.alignment.inverse
    points = reference.points[:, :2] @ inverse[:, :2].T + inverse[:, 2]
    there = Framing.of(points.astype(np.float32), subject.eye_distance)
    made = [there.cut(frame.image) for frame in Talker(model).stream(portrait, [take.sound()])]
    return _film(true), _film(made[:FRAMES])


def _framing(take: Take) -> Framing:
    return Framing.of(take.clip.sample.meshes[take.indices].mean(0), take.clip.sample.record.eye_distance)


def _film(cuts: Sequence[tuple[Image, Image]]) -> Film:
    return Film([frame for frame, _ in cuts], [mouth for _, mouth in cuts])


# --- pairs and their key ----------------------------------------------------------------------------------------------


def write_pairs(takes: Sequence[Take], model: Model, out: Path, *, kind: str, seed: int) -> Iterator[Path]:
    """Writes each pair's films and sheets, then the key; yields the sheets."""
    out.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng([seed, 1]).random(len(takes)) < 0.5  # whether A is the made one
    key = {}
    for number, (take, made_first) in enumerate(zip(takes, order, strict=True)):
        true, made = films(take, model, kind)
        pair = {"A": made, "B": true} if made_first else {"A": true, "B": made}
        opened = np.convolve(take.clip.openings[take.indices], np.ones(SHOWN), "valid")
        yield _write_pair(out / f"pair_{number:02d}", pair, take.sound(), int(opened.argmax()))
        record = take.clip.sample.record
        key[str(number)] = {"made": "A" if made_first else "B", "clip": record.name, "start": take.start, "kind": kind}
    (out / "key.json").write_text(json.dumps(key, indent=1) + "\n")


def _write_pair(path: Path, pair: dict[str, Film], waveform: Array, first: int) -> Path:
    with TemporaryDirectory() as folder:
        sound = write_sound(Path(folder) / "sound.wav", waveform)
        for name, film in pair.items():
            target = path.with_name(f"{path.name}_{name}.mp4")
            with Writer(target, width=SIDE, height=SIDE, sound=sound, overwrite=True) as writer:
                for frame in film.frames:
                    writer.write(frame)
    part = slice(first, first + SHOWN)
    write_sheet(path.with_suffix(".png"), *_rows({name: film.frames[part] for name, film in pair.items()}))
    mouths = path.with_name(f"{path.name}_mouths.png")
    write_sheet(mouths, *_rows({name: film.mouths[part] for name, film in pair.items()}))
    return mouths


def _rows(shown: dict[str, list[Image]]) -> tuple[list[list[Image]], list[str]]:
    rows = {
        f"{name}, from frame {i} of these": images[i : i + COLUMNS]
        for name, images in shown.items()
        for i in range(0, len(images), COLUMNS)
    }
    return list(rows.values()), list(rows)


def reveal(notes: Path, key: Path) -> str:
    """How many were named rightly, how likely luck is to do as well, and what gave them away. Raises InputError."""
    known = json.loads(key.read_text())
    with notes.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right, why = 0, Counter[str]()
    for row in rows:
        pair = str(int(row["pair"]))
        if pair not in known or row["made"] not in ("A", "B"):
            raise InputError(
                f"{notes}: pair {row['pair']!r}, made {row['made']!r}; allowed are the key's pairs, A and B"
            )
        if row["made"] == known[pair]["made"]:
            right += 1
            why.update(reason.strip() for reason in row["why"].split(";") if reason.strip())
    wrong = [row["pair"] for row in rows if row["made"] != known[str(int(row["pair"]))]["made"]]
    lines = [f"{right} of {len(rows)} named rightly; by luck as many or more: {luck(right, len(rows)):.3g}"]
    lines += [f"wrongly: {', '.join(wrong)}"] if wrong else []
    return "\n".join(lines + [f"{count:3d}  {reason}" for reason, count in why.most_common()])


def luck(right: int, of: int) -> float:
    """The chance that a coin names as many or more."""
    return float(sum(math.comb(of, k) for k in range(right, of + 1)) / 2**of)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("data", type=Path)
    make.add_argument("out", type=Path)
    make.add_argument("--pairs", type=int, default=20)
    make.add_argument("--kind", choices=KINDS, default="dub")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--model")
    make.add_argument("--eyes", type=float, default=LEAST_EYES, help="px between the eyes in the source, at least")
    told = commands.add_parser("reveal")
    told.add_argument("notes", type=Path)
    told.add_argument("--key", type=Path, help="key.json beside the notes unless told")
    given = parser.parse_args(arguments)
    try:
        if given.command == "reveal":
            print(reveal(given.notes, given.key or given.notes.with_name("key.json")))
            return 0
        model = Model.load(given.model)
        samples = [s for s in load_samples(given.data, split="val") if s.record.eye_distance >= given.eyes]
        clips = [Clip.of(s, model.geometry) for s in samples if s.record.seconds >= LEAST_SECONDS]
        takes = takes_of(clips, given.pairs, np.random.default_rng([given.seed, 0]))
        for path in write_pairs(takes, model, given.out, kind=given.kind, seed=given.seed):
            print(path, flush=True)
    except (DifftalkError, OSError) as error:
        print(f"blind: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
