"""Threads: streams beside each other do not meet."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from difftalk.model import Model
from difftalk.talk.identity import Identity
from difftalk.talk.talker import Talker


def pictures(talker: Talker, person: Identity, sound: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.stack([frame.image for frame in talker.stream(person, [sound])])


def test_threads_share_a_talker(
    denoiser_model: Model, still_identity: Identity, clip_identity: Identity, waveform: NDArray[np.float32]
) -> None:
    """Eight streams at once, of one talker that has compiled nothing yet, have the frames of each alone."""
    people, short = [still_identity, clip_identity] * 4, waveform[:6400]
    alone = [pictures(Talker(denoiser_model), person, short) for person in people[:2]]
    shared = Talker(dataclasses.replace(denoiser_model, _loaded={}))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda person: pictures(shared, person, short), people))
    for number, frames in enumerate(found):
        np.testing.assert_array_equal(frames, alone[number % 2])
