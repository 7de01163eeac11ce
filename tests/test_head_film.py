"""The head of a film: its own motion, at the still's rate, and one line where there is none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.errors import FaceError, InputError, MediaError
from difftalk.face.finder import Face
from difftalk.face.head import HeadPose
from difftalk.model import Model
from difftalk.render.head_field import HeadField
from difftalk.talk.head_film import heads_of
from drawn import SETTINGS, draw_clip, without_face


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(50)])
def test_moves_as_the_film_does(model: Model, clip: Path, face: Face, rate: Fraction) -> None:
    """The drawn clip: a pixel to the right every frame of 25/s."""
    heads = heads_of(clip, model, rate)
    assert abs(len(heads) - 28 * rate / 25) <= 2
    x = np.array([head.x for head in heads]) * face.eye_distance
    assert abs(np.median(x)) < 1.5
    np.testing.assert_allclose(np.polyfit(np.arange(len(x)), x, 1)[0], 25 / float(rate), rtol=0.15)
    assert max(abs(head.yaw) for head in heads) < 3


def test_a_turn_is_told(model: Model, portrait: Image, face: Face, tmp_path: Path) -> None:
    field = HeadField.of(portrait, face.points, model.geometry.pose(face.points), SETTINGS)
    frames = []
    for yaw in (*np.zeros(6), *np.linspace(0, 8, 12)):
        change = field.moved(HeadPose.about_neck(float(yaw), 0, 0))
        frames.append(portrait if change is None else change(portrait))
    heads = heads_of(draw_clip(tmp_path / "turn.mp4", frames), model, Fraction(25))
    assert heads[-1].yaw - heads[0].yaw > 2.5


def test_frames_without_a_face_are_passed_over(model: Model, portrait: Image, tmp_path: Path) -> None:
    frames = [portrait] * 5 + [without_face(portrait)] * 5 + [portrait] * 5
    assert len(heads_of(draw_clip(tmp_path / "gap.mp4", frames), model, Fraction(25))) in (14, 15)


def test_what_has_no_head(model: Model, portrait: Image, still: Path, voice: Path, tmp_path: Path) -> None:
    empty = draw_clip(tmp_path / "empty.mp4", [without_face(portrait)] * 3)
    with pytest.raises(FaceError, match="no face found in it; `head_from` needs a video"):
        heads_of(empty, model, Fraction(25))
    for path, kind in ((still, "picture"), (voice, "sound")):
        with pytest.raises(InputError, match=f"is a {kind}; `head_from` needs a video"):
            heads_of(path, model, Fraction(25))
    with pytest.raises(MediaError, match="no such file"):
        heads_of(tmp_path / "gone.mp4", model, Fraction(25))
