"""A speaker's own way: what is learnt, how little of it from a short film, and when nothing is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.errors import InputError
from difftalk.model import Model
from difftalk.speech.motion import SOUNDS, Heard
from difftalk.speech.own_way import OwnWay, at_rate, learn, learn_aligned
from difftalk.talk.footage import Footage
from difftalk.talk.identity import Identity
from difftalk.talk.talker import Talker
from drawn import SETTINGS

Array = NDArray[np.float32]
ROW = np.linspace(1, -0.5, 16).astype(np.float32)  # of the opening


def said(frames: int, seed: int = 0) -> Array:
    """(frames, 16) smooth random shapes."""
    noise = np.random.default_rng(seed).standard_normal((frames + 8, 16))
    return np.stack([np.convolve(column, np.ones(5) / 2.2, "valid") for column in noise.T], 1)[:frames].astype(
        np.float32
    )


def heard_as(shapes: Array) -> Heard:
    """Shapes of a sound that is heard as nothing else."""
    return Heard(shapes, np.zeros((len(shapes), SOUNDS), np.float32))


def as_this_person(heard: Array) -> Array:
    """Half as far, around another mean, components one and two exchanged in part."""
    mixed = heard.copy()
    mixed[:, 1] = 0.6 * heard[:, 1] + 0.8 * heard[:, 2]
    return (0.5 * mixed + 0.3).astype(np.float32)


def test_a_long_film_teaches_nearly_all_of_it() -> None:
    own = learn(heard_as(said(6000)), as_this_person(said(6000)), ROW, SETTINGS)
    unheard = said(400, seed=1)
    error = np.abs(own(heard_as(unheard), 1.0) - as_this_person(unheard)).mean()
    assert error < 0.1 * np.abs(unheard - as_this_person(unheard)).mean()


def test_a_short_film_changes_less() -> None:
    unheard = said(400, seed=1)
    changes = [
        np.abs(
            learn(heard_as(said(n)), as_this_person(said(n)), ROW, SETTINGS)(heard_as(unheard), 1.0) - unheard
        ).mean()
        for n in (5, 50, 5000)
    ]
    assert changes[0] < 0.4 * changes[2]
    assert changes[0] < changes[1] < changes[2]


def test_the_openings_spread_becomes_the_persons_and_its_course_stays() -> None:
    heard = said(3000)
    shown = 0.5 * heard + said(3000, seed=2)  # half of what the mouth does cannot be heard
    unheard = said(3000, seed=3)
    made = learn(heard_as(heard), shown, ROW, SETTINGS)(heard_as(unheard), 1.0) @ ROW
    assert made.std() == pytest.approx((shown @ ROW).std(), rel=0.1)
    assert np.corrcoef(made, unheard @ ROW)[0, 1] == pytest.approx(1, abs=1e-4)


def test_what_the_sounds_add_is_heard() -> None:
    """This person opens at one sound as nobody else does."""
    sounds = said(3000, seed=4)
    shown = said(3000) + sounds[:, :1] * ROW
    own = learn(Heard(said(3000), sounds), shown, ROW, SETTINGS)
    unheard, told = Heard(said(500, seed=5), said(500, seed=6)), said(500, seed=5) + said(500, seed=6)[:, :1] * ROW
    errors = [np.abs((made - told) @ ROW).mean() for made in (own(unheard, 1.0), unheard.shapes)]
    assert errors[0] < 0.6 * errors[1]


def test_share_is_how_far() -> None:
    shapes = said(10)
    own = OwnWay(np.ones(16, np.float32), np.zeros((16, 16), np.float32), np.zeros((SOUNDS, 16), np.float32))
    np.testing.assert_array_equal(own(heard_as(shapes), 0.0), shapes)
    np.testing.assert_allclose(own(heard_as(shapes), 1.0), np.ones_like(shapes), atol=1e-6)
    np.testing.assert_allclose(own(heard_as(shapes), 0.25), 0.75 * shapes + 0.25, atol=1e-6)


@pytest.mark.parametrize("late", [-3, 0, 4])
def test_lips_beside_their_sound_are_brought_together(model: Model, late: int) -> None:
    heard = said(600)
    shown = as_this_person(np.roll(heard, -late, 0))
    own = learn_aligned(heard_as(heard), shown, model.geometry)
    assert own is not None
    right = learn(heard_as(heard[10:-10]), as_this_person(heard)[10:-10], model.geometry.opening_row(), SETTINGS)
    np.testing.assert_allclose(own.turn, right.turn, atol=0.03)


def test_nothing_is_learnt_of_another_sound_or_of_a_moment(model: Model) -> None:
    geometry = model.geometry
    assert learn_aligned(heard_as(said(600)), said(600, seed=7), geometry) is None
    assert (
        learn_aligned(
            heard_as(said(SETTINGS.own_way.least_frames - 1)), said(SETTINGS.own_way.least_frames - 1), geometry
        )
        is None
    )


def test_shapes_of_any_rate_come_to_25() -> None:
    times = np.arange(0, 2, 1 / 30)
    shapes = np.repeat(times[:, None], 16, 1)
    np.testing.assert_allclose(at_rate(times, shapes)[:, 3], np.arange(0, times[-1], 1 / 25), atol=1e-6)


def test_dub_moves_the_mouth_the_speakers_way(talker: Talker, clip_identity: Footage, waveform: Array) -> None:
    wide = OwnWay(np.zeros(16, np.float32), 3 * np.eye(16, dtype=np.float32), np.zeros((SOUNDS, 16), np.float32))
    own = dataclasses.replace(
        clip_identity, stages=[dataclasses.replace(stage, own_way=wide) for stage in clip_identity.stages]
    )

    def pictures(identity: Identity, share: float) -> list[Image]:
        return [frame.image for frame in talker.stream(identity, [waveform[:8000]], own_way=share)]

    usual = pictures(clip_identity, 1.0)
    for without in (pictures(own, 0.0), pictures(clip_identity, 0.0)):
        np.testing.assert_array_equal(without, usual)
    assert any((a != b).any() for a, b in zip(pictures(own, 1.0), usual, strict=True))
    with pytest.raises(InputError, match="allowed are 0 to 1"):
        pictures(own, 1.5)


def test_a_clip_whose_sound_is_not_its_mouths_has_no_way(clip_identity: Footage) -> None:
    assert clip_identity.own_way is None
