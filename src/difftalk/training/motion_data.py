"""Training data of motion: prepared samples -> batches, each a pure function of (seed, step).

A motion sample is a stretch of speech features with the mouth shapes that go with it, the clip's lip/audio offset
repaired. Some samples are silence, where the mouth rests. Knows nothing of pictures or nets.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from difftalk.arrays import Array
from difftalk.data.clip import Clip
from difftalk.data.pack import pack_at
from difftalk.data.sample import Curve, Record, Sample
from difftalk.face.mouth import COMPONENTS, Geometry
from difftalk.model import SHIPPED
from difftalk.speech.features import silence_features
from difftalk.speech.motion import FUTURE_FEATURES, MOTION_RATE, PAST_FEATURES
from difftalk.training.batches import MotionBatch
from difftalk.training.data_choice import DataChoice
from difftalk.training.recipes import Schedule
from difftalk.training.render_data import chances
from difftalk.training.rooms import rooms_of

STRETCH: Final = 60  # frames of a motion sample
SILENCE_SHARE: Final = 0.05
LEAST_SPREAD: Final = 0.1  # of the clips' median, under which a clip's spread of a component is noise
SURE_EYES: Final = 45.0  # px between the eyes from which a clip's mesh is trusted fully
SURE_R: Final = (0.2, 0.7)  # correlation at its offset at which a clip is hardly trusted, and from which fully
LEAST_TRUST: Final = 0.1
SPEEDS: Final = (0.87, 1.15)  # between which clips are played
SPEED_SHARE: Final = 0.67  # of the draws, where speeds are asked for
ROOM_SHARE: Final = 0.4  # of the draws, where clips are heard in other rooms as well

Columns = tuple[Array, Array, Array, Array, Array, Array]  # a row of a MotionBatch


@dataclass(frozen=True)
class _Stretch:
    """One clip for the motion: features (n, 1152) with the past's and future's edges added, shapes (t, 16) at 25/s.

    mean, spread: (16,) of the shapes. rooms: its features in other rooms.
    """

    features: NDArray[np.float16]
    shapes: Array
    openings: Array
    mean: Array
    spread: Array
    rooms: Sequence[NDArray[np.float16]] = ()


class MotionSource:
    """Batches for the motion: stretches of people's speech, and of silence, where the mouth rests.

    silences: (k, n, 1152) features of silence and faint noise; their shape is the neutral. speeds: whether clips are
    played at other speeds as well. rooms: for each of some other rooms, the samples' features there.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        geometry: Geometry,
        *,
        batch_size: int,
        silences: Array,
        seed: int = 0,
        validation: Sequence[Sample] = (),
        speeds: bool = False,
        rooms: Sequence[Sequence[NDArray[np.float16]]] = (),
    ) -> None:
        self._batch_size, self._seed, self._silences, self._speeds = batch_size, seed, silences, speeds
        curves = [curve_of(sample, geometry) for sample in samples]
        heard = [[room[place] for room in rooms] for place in range(len(samples))]
        self._stretches = [_stretch(*of) for of in zip(samples, curves, heard, strict=True)]
        people = [sample.record.person for sample in samples]
        self._held_out = [_stretch(sample, curve_of(sample, geometry)) for sample in validation]
        trusts = np.array([trust(sample.record) for sample in samples])
        self._chance = chances([len(s.shapes) for s in self._stretches], people, trusts)
        floor = LEAST_SPREAD * np.median([s.spread for s in self._stretches], 0)
        self._stretches = [replace(s, spread=np.maximum(s.spread, floor)) for s in self._stretches]
        self._rest = np.mean([s.mean for s in self._stretches], 0)
        self._usual = np.exp(np.mean([np.log(s.spread) for s in self._stretches], 0))

    @classmethod
    def of(cls, choice: DataChoice, schedule: Schedule, *, speeds: bool, rooms: int = 0) -> Self:
        """Of chosen data, heard in so many other rooms; not of a pack, which has no sound."""
        (samples, held_out), geometry = choice.parts(), Geometry.load(SHIPPED)
        assert choice.folder is not None
        return cls(
            samples,
            geometry,
            batch_size=schedule.batch,
            silences=silences_of(choice.folder),
            speeds=speeds,
            rooms=rooms_of(samples, rooms) if pack_at(choice.folder) is None else [],
            seed=schedule.seed,
            validation=held_out,
        )

    def batch(self, step: int) -> MotionBatch:
        rng = np.random.default_rng((self._seed, step))
        rows = []
        for _ in range(self._batch_size):
            if len(self._silences) and rng.random() < SILENCE_SHARE:
                rows.append(self._silence(rng))
                continue
            stretch = self._stretches[int(rng.choice(len(self._stretches), p=self._chance))]
            speed = float(rng.uniform(*SPEEDS)) if self._speeds and rng.random() < SPEED_SHARE else 1.0
            start = int(rng.integers(max(1, len(stretch.shapes) - round(speed * STRETCH) + 1)))
            if stretch.rooms and rng.random() < ROOM_SHARE:
                stretch = replace(stretch, features=stretch.rooms[int(rng.integers(len(stretch.rooms)))])
            rows.append(_cut(stretch, start, STRETCH, speed))
        return MotionBatch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))

    def validation(self) -> list[MotionBatch]:
        longest = max(len(s.shapes) for s in self._held_out)
        rows = [_cut(stretch, 0, longest) for stretch in self._held_out]
        return [MotionBatch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))]

    def _silence(self, rng: np.random.Generator) -> Columns:
        features = self._silences[int(rng.integers(len(self._silences)))]
        length = 2 * STRETCH + PAST_FEATURES + FUTURE_FEATURES
        start = int(rng.integers(len(features) - length + 1))
        still = np.zeros((STRETCH, COMPONENTS), np.float32)
        mask = np.ones(STRETCH, np.float32)
        return features[start : start + length], still, still[:, 0], mask, self._rest, self._usual


def curve_of(sample: Sample, geometry: Geometry) -> Curve:
    """The mouth at every frame of the clip, of a pack's clips too."""
    if sample.curve is not None:
        return sample.curve
    clip = Clip.of(sample, geometry)
    return Curve(sample.seconds, clip.shapes, clip.openings)


def _stretch(sample: Sample, curve: Curve, rooms: Sequence[NDArray[np.float16]] = ()) -> _Stretch:
    first = np.ceil(curve.seconds[0] * MOTION_RATE - 1e-6)
    times = np.arange(first / MOTION_RATE, curve.seconds[-1] + 1e-6, 1 / MOTION_RATE)
    shapes = np.stack([np.interp(times, curve.seconds, column) for column in curve.shapes.T], 1).astype(np.float32)
    openings = np.interp(times, curve.seconds, curve.openings).astype(np.float32)
    rows = np.arange(-PAST_FEATURES, 2 * len(times) + FUTURE_FEATURES) + round(2 * (sample.record.offset + first))
    own, *others = (speech[np.clip(rows, 0, len(speech) - 1)] for speech in (sample.speech, *rooms))
    return _Stretch(own, shapes, openings, shapes.mean(0), shapes.std(0), others)


def _cut(stretch: _Stretch, start: int, frames: int, speed: float = 1.0) -> Columns:
    """`frames` frames from `start`, played `speed` times as fast; past the end nothing counts.

    Another speed is that of the features, not of the sound: as if the same voice spoke faster or slower.
    """
    places = start + speed * np.arange(frames)
    rows = PAST_FEATURES + 2 * start + speed * np.arange(-PAST_FEATURES, 2 * frames + FUTURE_FEATURES)
    mask = (places <= len(stretch.shapes) - 1).astype(np.float32)
    opening = np.interp(places, np.arange(len(stretch.openings)), stretch.openings).astype(np.float32)
    features, shapes = _between(stretch.features, rows), _between(stretch.shapes, places)
    return features, shapes, opening, mask, stretch.mean, stretch.spread


def _between(values: Array | NDArray[np.float16], places: NDArray[np.floating]) -> Array:
    """(n, k) rows of values (t, k) at places between them; beyond the ends the last ones."""
    places = np.clip(places, 0, len(values) - 1)
    low = np.minimum(places.astype(np.int64), len(values) - 2)
    share = (places - low).astype(np.float32)[:, None]
    before = values[low].astype(np.float32)
    return np.asarray(before + share * (values[low + 1] - before), np.float32) if share.any() else before


def trust(record: Record) -> float:
    """How much a clip's mesh and its lip/audio offset count, in (0, 1]: small faces and doubtful fits less."""
    low, high = SURE_R
    fits = np.clip((record.offset_r - low) / (high - low), LEAST_TRUST, 1)
    return float(min(1.0, record.eye_distance / SURE_EYES) * fits)


def silences_of(data: Path) -> Array:
    """`silence_features`; made once and kept in the data's folder, so that training there needs no encoder."""
    from difftalk.model import Model

    packed = pack_at(data)
    if packed is not None:
        return packed.silences
    kept = data / "silence.npy"
    if not kept.is_file():
        model = Model.load(threads=1)
        _keep(silence_features(model.graph("speech_encoder"), model.settings), kept)
    return np.asarray(np.load(kept), np.float32)


def _keep(features: Array, path: Path) -> None:
    half = path.with_suffix(f".{os.getpid()}.part")
    with half.open("wb") as file:
        np.save(file, features.astype(np.float16))
    half.replace(path)
