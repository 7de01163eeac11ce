"""The queue before a pack: which pairs of frames go in first, while there is room, and who is held out.

Everybody is in it: people come before minutes, and small or blurred faces get fewer pictures. Knows nothing of bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from difftalk.data.pairs import Telling, ordered_pairs
from difftalk.data.sample import Sample

LEAST_WEIGHT: Final = 0.2  # how many pictures a face without texture is worth, for one of a face that has it all
TURN: Final = 6  # pairs of one clip before the person's next one has its turn, where both are worth as many
DENSE: Final = 4  # frames of a clip for each of the pairs that count once; further ones count double
HELD_OUT_FRAMES: Final = 120  # of a clip whose person may be held out


def held_out_people(samples: Sequence[Sample], share: float) -> list[str]:
    """A share of the people for validation, by a hash of their names; of those with a long clip and a sharp face."""
    people = people_of(samples)
    weights = {person: max(weight_of(samples[i]) for i in places) for person, places in people.items()}
    middle = float(np.median(list(weights.values())))
    fit = [
        person
        for person, places in people.items()
        if weights[person] >= middle and max(samples[i].record.frames for i in places) >= HELD_OUT_FRAMES
    ]
    fit.sort(key=lambda person: hashlib.sha256(person.encode()).hexdigest())
    return sorted(fit[: round(share * len(people))])


def people_of(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Places of each person's clips, the best first."""
    people: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        people.setdefault(sample.record.person, []).append(place)
    for places in people.values():
        places.sort(key=lambda i: (-min(samples[i].record.frames, 250) * weight_of(samples[i]), samples[i].record.name))
    return people


def weight_of(sample: Sample) -> float:
    """How many pictures a face is worth: all for a sharp and large one."""
    return LEAST_WEIGHT + (1 - LEAST_WEIGHT) * sample.record.texture**2


def queue_of(clips: Sequence[Telling]) -> list[tuple[int, int]]:
    """Pairs (clip, frame) in the order in which they go in while there is room: people in turn.

    Of a person those of sharp clips first: a clip worth a fifth of another has one turn where that has five.
    """
    samples, found = [clip.sample for clip in clips], []
    for person, places in people_of(samples).items():
        turns = [
            ((1 + j // TURN) / weight_of(samples[p]), rank, j, i)
            for rank, p in enumerate(places)
            for j, i in enumerate(ordered_pairs(clips[p]))
        ]
        cost = 0.0
        for _, rank, j, frame in sorted(turns):
            place = places[rank]
            cost += (1 if j < max(TURN, samples[place].record.frames // DENSE) else 2) / weight_of(samples[place])
            found.append((cost, person, place, frame))
    return [(place, frame) for _, _, place, frame in sorted(found)]
