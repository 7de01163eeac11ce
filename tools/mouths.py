"""Mouths at full size, side by side: one PNG a person, to look at.

    python tools/mouths.py DATA OUT [--model MODEL] [--eyes 90] [--said]

DATA: the OUT folder of `difftalk prepare`; of its kept-aside people those whose eyes are far enough apart in the
source. Rows: truth, composite, painter, ours, each as pasted into the source's frame and cut out at 128 px an eye
distance; first 8 frames spread over the first seconds, then 8 one after the other about the widest mouth. The mesh is
the true one, or with --said predicted from the clip's own audio.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from difftalk.data.clip import Clip, frame_indices
from difftalk.data.sample import Sample, load_samples
from difftalk.errors import DifftalkError
from difftalk.evaluation.protocols.mouth import LEAST_EYES, STRIDE, mouth_patches
from difftalk.media.sheet import write_sheet
from difftalk.model import Model

ROWS: Final = ("truth", "composite", "painter", "ours")
COLUMNS: Final = 8
SECONDS: Final = 8.0  # of a clip from which frames are taken


def largest(data: Path, eyes: float) -> list[Sample]:
    """Of each val person the clip in which the eyes are farthest apart, where that is `eyes` px at least."""
    found = sorted(load_samples(data, split="val"), key=lambda sample: sample.record.eye_distance)
    return [s for s in {s.record.person: s for s in found}.values() if s.record.eye_distance >= eyes]


def widest(clip: Clip, count: int, seconds: float = SECONDS) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers of `count` frames 1/25 s apart, in which the mouth is open most."""
    indices = frame_indices(clip, seconds)
    opened = np.convolve(clip.openings[indices], np.ones(min(count, len(indices))), "valid")
    first = int(opened.argmax())
    return np.asarray(indices[first : first + count], np.int64)


def write_mouths(clip: Clip, model: Model, path: Path, *, said: bool) -> None:
    rows, captions = [], []
    spread = frame_indices(clip, SECONDS)[::STRIDE]
    spread = spread[np.linspace(0, len(spread) - 1, min(COLUMNS, len(spread))).astype(int)]
    for name, indices, apart in (("spread", spread, STRIDE), ("one after the other", widest(clip, COLUMNS), 1)):
        patches = mouth_patches(clip, model, indices, true_mouth=not said, apart=apart)
        for row in ROWS:
            if row in patches:
                rows.append([patch.picture for patch in patches[row]])
                captions.append(f"{row}, {name}")
    write_sheet(path, rows, captions)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--eyes", type=float, default=LEAST_EYES)
    parser.add_argument("--said", action="store_true")
    given = parser.parse_args(arguments)
    try:
        model = Model.load(given.model)
        for sample in largest(given.data, given.eyes):
            path = given.out / f"{sample.record.person}.png"
            write_mouths(Clip.of(sample, model.geometry), model, path, said=given.said)
            print(path, flush=True)
    except DifftalkError as error:
        print(f"mouths: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
