"""People: who of the training people are kept aside for choosing numbers: none is chosen on those who judge.

Knows nothing of nets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from difftalk.data.sample import Sample

ASIDE_SHARE: Final = 6  # one in so many training people
ASIDE_SECONDS: Final = 60.0  # of film from which a person is too much of the data to be kept aside


def aside(samples: Sequence[Sample]) -> set[str]:
    """The people that are kept aside, always the same of the same people: by a hash of their names."""
    seconds: dict[str, float] = {}
    for sample in samples:
        seconds[sample.record.person] = seconds.get(sample.record.person, 0.0) + sample.record.seconds
    few = [person for person, length in seconds.items() if length < ASIDE_SECONDS]
    ordered = sorted(few, key=lambda person: hashlib.sha256(person.encode()).hexdigest())
    return set(ordered[: len(seconds) // ASIDE_SHARE])


def parted(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on, and those of the people kept aside."""
    kept = aside(samples)
    return (
        [sample for sample in samples if sample.record.person not in kept],
        [sample for sample in samples if sample.record.person in kept],
    )
