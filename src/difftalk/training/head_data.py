"""Training data of the head's motion: prepared samples -> batches, each a pure function of (seed, step).

A row is a stretch of a clip: what is heard, and the knots of the head's way. How far people move their heads differs
tenfold, and cannot be heard: every person's way is scaled to what most people do, and who hardly moves (drill
sentences, a head held still) counts little. In some rows a part is silence, where the head comes to rest. Knows nothing
of pictures or nets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from difftalk.arrays import Array, smoothstep
from difftalk.data.head_track import HeadTrack, head_tracks
from difftalk.data.sample import Sample
from difftalk.model import SHIPPED, Model
from difftalk.speech.features import BLOCK
from difftalk.speech.head_motion import (
    KNOT_FRAMES,
    NAMES,
    PAST_KNOTS,
    VOICE_FRAMES,
    voice_at,
)
from difftalk.speech.loudness import Loudness
from difftalk.speech.motion import FUTURE_FEATURES, MOTION_RATE, PAST_FEATURES
from difftalk.training.batches import HeadBatch
from difftalk.training.data_choice import DataChoice
from difftalk.training.motion_data import trust
from difftalk.training.recipes import Schedule
from difftalk.training.render_data import chances

STRETCH: Final = 8  # knots of a row that are learnt
SILENT_SHARE: Final = 0.3  # of rows that are silent in part
SILENCE_FRAMES: Final = (20, 120)  # of such a silence
STILLED: Final = 0.1  # of the motion is left in it
STILLING: Final = 20  # frames until then
STIRRING: Final = 15  # frames until all the motion is back
MIRRORED: Final = np.array([-1 if name in ("yaw", "roll", "x") else 1 for name in NAMES], np.float32)
FREE: Final = 5  # numbers, the first ones, that tell how much somebody moves
FIRST: Final = (PAST_KNOTS - 1) * KNOT_FRAMES + 1  # frame of the last knot before any that can be learnt
UNHEARD: Final = 0.05  # a voice that was fainter all along is none

Columns = tuple[Array, Array, Array, Array]  # a row of a HeadBatch


@dataclass(frozen=True)
class Way:
    """A part of a clip. features: of t frames and the window around. voice: (t, 2), see `voice_at`. poses: (t, 7).

    counts: (t,), 1 where a knot is learnt from; not where nobody has spoken for a while: of people who wait to speak we
    know nothing that a still should do.
    """

    features: NDArray[np.float16]
    voice: Array
    poses: Array
    counts: Array

    @property
    def knots(self) -> int:
        """How many knots can be learnt of it."""
        return max(0, len(self.poses) - 2 - FIRST) // KNOT_FRAMES


class HeadSource:
    """Batches for the head's motion: stretches of people's ways, half of them mirrored, some silent in part."""

    def __init__(
        self,
        samples: Sequence[Sample],
        model: Model,
        *,
        batch_size: int,
        seed: int = 0,
        validation: Sequence[Sample] = (),
    ) -> None:
        self._batch_size, self._seed = batch_size, seed
        ways = [ways_of(sample, model) for sample in samples]
        people = [sample.record.person for sample in samples]
        amounts = amounts_of(ways, people)
        every = list(amounts.values())
        usual, lively = float(np.exp(np.mean(np.log(every)))), float(np.median(every))
        rows = [
            (
                _scaled(way, usual / amounts[person]),
                person,
                trust(sample.record) * min(1, amounts[person] / lively) ** 2,
            )
            for sample, person, found in zip(samples, people, ways, strict=True)
            for way in found
        ]
        self._ways = [row[0] for row in rows]
        self._chance = chances([w.knots for w in self._ways], [row[1] for row in rows], np.array([r[2] for r in rows]))
        held_out = [ways_of(sample, model) for sample in validation]
        found = amounts_of(held_out, [sample.record.person for sample in validation])
        self._held_out = [
            _scaled(way, usual / found[sample.record.person])
            for sample, ways_ in zip(validation, held_out, strict=True)
            for way in ways_
        ]

    @classmethod
    def of(cls, choice: DataChoice, schedule: Schedule) -> Self:
        """Of chosen data; not of a pack, which has no sound."""
        samples, held_out = choice.parts()
        model = Model.load(SHIPPED, threads=1)
        return cls(samples, model, batch_size=schedule.batch, seed=schedule.seed, validation=held_out)

    def batch(self, step: int) -> HeadBatch:
        rng = np.random.default_rng((self._seed, step))
        return batched([self._row(rng) for _ in range(self._batch_size)])

    def validation(self) -> list[HeadBatch]:
        """Each held-out way, whole and as far as it went."""
        return [batched([cut(way, FIRST, way.knots)]) for way in self._held_out]

    def _row(self, rng: np.random.Generator) -> Columns:
        way = self._ways[int(rng.choice(len(self._ways), p=self._chance))]
        count = min(STRETCH, way.knots)
        start = FIRST
        start += int(rng.integers(len(way.poses) - 1 - start - count * KNOT_FRAMES + 1))
        if rng.random() < SILENT_SHARE:
            way = quietened(way, start + int(rng.integers(-60, 30)), int(rng.integers(*SILENCE_FRAMES)))
        if rng.random() < 0.5:
            way = replace(way, poses=way.poses * MIRRORED)
        return cut(way, start, STRETCH)


def ways_of(sample: Sample, model: Model) -> list[Way]:
    """The parts of a clip that are long enough to learn from, its lip/audio offset repaired."""
    loudness = Loudness(model)
    loudness.push(sample.sound())
    ways = [_way(sample, track, loudness) for track in head_tracks(sample, model.geometry)]
    return [way for way in ways if way.knots > 0]


def _way(sample: Sample, track: HeadTrack, loudness: Loudness) -> Way:
    first = sample.record.offset + track.first
    frames = first + np.arange(len(track))
    rows = BLOCK // KNOT_FRAMES * first + np.arange(-PAST_FEATURES, BLOCK // KNOT_FRAMES * len(track) + FUTURE_FEATURES)
    voice = np.array([voice_at(max(0.0, frame / MOTION_RATE), loudness) for frame in frames], np.float32)
    features = sample.speech[np.clip(rows, 0, len(sample.speech) - 1)]
    awake = np.pad(voice[:, 0], (VOICE_FRAMES + KNOT_FRAMES - 1, 0), mode="edge")
    spoken = np.lib.stride_tricks.sliding_window_view(awake, VOICE_FRAMES + KNOT_FRAMES).max(1)
    return Way(features, voice, track.poses, (spoken >= UNHEARD).astype(np.float32))


def amounts_of(ways: Sequence[Sequence[Way]], people: Sequence[str]) -> dict[str, float]:
    """How much each person turns and shifts their head: geometric mean of the spreads."""
    own: dict[str, list[Array]] = {}
    for person, found in zip(people, ways, strict=True):
        own.setdefault(person, []).extend(way.poses for way in found)
    spreads = {who: np.concatenate(found).std(0)[:FREE] for who, found in own.items() if found}
    return {who: float(np.exp(np.log(np.maximum(spread, 1e-6)).mean())) for who, spread in spreads.items()}


def _scaled(way: Way, gain: float) -> Way:
    return replace(way, poses=(way.poses * np.float32(gain)).astype(np.float32))


def quietened(way: Way, start: int, frames: int) -> Way:
    """The same, but from a frame on nobody is heard for a while, and the head comes to rest."""
    since = np.arange(len(way.poses)) - start
    rest = np.minimum(smoothstep(since / STILLING), 1 - smoothstep((since - frames) / STIRRING))
    silent = (since >= 0) & (since < frames)
    voice = np.where(silent[:, None], 0, way.voice).astype(np.float32)
    poses = (way.poses * (1 - (1 - STILLED) * rest[:, None])).astype(np.float32)
    return replace(way, voice=voice, poses=poses, counts=np.where(silent, 1, way.counts).astype(np.float32))


def knots_of(poses: Array, frames: NDArray[np.int64]) -> Array:
    """Poses (t, 7) -> (n, 14) knots at some frames; the ends go on as they are."""
    before, at, after = (poses[np.clip(frames + step, 0, len(poses) - 1)] for step in (-1, 0, 1))
    return np.concatenate([at, (after - before) * np.float32(MOTION_RATE / 2)], 1)


def cut(way: Way, start: int, count: int) -> Columns:
    """So many knots from the frame `start` on, and what comes before and around them; none counts past the end."""
    last, step = len(way.poses) - 1, BLOCK // KNOT_FRAMES
    frames = start + KNOT_FRAMES * np.arange(1 - PAST_KNOTS, count + 1)
    heard = start + np.arange(1 - VOICE_FRAMES, KNOT_FRAMES * (count - 1) + 1)
    rows = step * start + np.arange(BLOCK * count + PAST_FEATURES + FUTURE_FEATURES)
    features = way.features[np.clip(rows, 0, len(way.features) - 1)].astype(np.float32)
    learnt = frames[PAST_KNOTS:]
    mask = way.counts[np.clip(learnt, 0, last)] * (learnt < last)
    return features, way.voice[np.clip(heard, 0, last)], knots_of(way.poses, frames), mask.astype(np.float32)


def batched(rows: Sequence[Columns]) -> HeadBatch:
    """The rows as one batch."""
    return HeadBatch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))
