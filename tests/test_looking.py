"""Looks that run ahead: what a frame is drawn from depends on its number alone."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.errors import FaceError, InputError
from difftalk.face.finder import Face
from difftalk.model import Model
from difftalk.talk.footage import Footage
from difftalk.talk.identity import Identity, Manner, Shot
from difftalk.talk.knowledge import first_look, known_at, look_at
from difftalk.talk.looking import begun, going_on
from difftalk.talk.session import Session
from difftalk.talk.watching import of_video
from drawn import draw_clip, moving, with_microphone, without_face

Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def early(painter_model: Model) -> Model:
    """Looks at the least before its first frame."""
    return painter_model.changed(["watching.first_seconds=0.5", "watching.pace=1"])


@pytest.fixture(scope="module")
def long(media: Path, portrait: Image, face: Face) -> Path:
    """Five seconds: one person, nobody, a microphone, somebody else, the first again."""
    other = np.ascontiguousarray(portrait[..., ::-1])
    frames = [
        *moving(portrait, 60),
        *[without_face(portrait)] * 3,
        *[with_microphone(portrait, face.points)] * 12,
        *moving(other, 25),
        *moving(portrait, 25),
    ]
    return draw_clip(media / "long.mp4", frames)


def taken(one: Footage, model: Model, count: int, first: int = 0) -> list[Shot]:
    shots = one.shots(Manner(), None, model.settings, first)
    found = list(itertools.islice(shots, count))
    shots.close()
    return found


def alike(one: Shot, other: Shot) -> None:
    assert (one.image == other.image).all()
    assert one.own_way is other.own_way is None
    assert (one.seconds, one.cut, one.mouth_hidden) == (other.seconds, other.cut, other.mouth_hidden)
    assert (one.sitter is None) == (other.sitter is None)
    if one.sitter is not None and other.sitter is not None:
        assert one.sitter.person == other.sitter.person
        np.testing.assert_array_equal(one.sitter.alignment.matrix, other.sitter.alignment.matrix)
        mine, theirs = one.sitter.who, other.sitter.who
        np.testing.assert_array_equal(mine.neutral, theirs.neutral)
        np.testing.assert_array_equal(mine.turns, theirs.turns)
        np.testing.assert_array_equal(mine.mouth_shapes, theirs.mouth_shapes)


def test_frames_are_those_of_a_whole_look(early: Model, long: Path) -> None:
    """Asked for in order, from the middle on, and after others have asked; beyond the end as well."""
    whole = of_video(long, early)
    expected = taken(whole, early, 180)
    assert len({shot.sitter.person for shot in expected if shot.sitter is not None}) == 2
    assert any(shot.sitter is not None and shot.sitter.cover is not None for shot in expected)
    for first in (0, 50):
        one = begun(long, early)
        assert one.look is not None
        assert one.look.taken == first_look(one.info, early.settings)
        for shot, again in zip(taken(one, early, 180 - first, first), expected[first:], strict=True):
            alike(shot, again)
        assert one.look.ended
        for shot, again in zip(taken(one, early, 20), expected, strict=False):
            alike(shot, again)
    assert one.notes == whole.notes
    assert one.mark == whole.mark


def test_no_more_is_looked_at_than_is_asked_for(early: Model, long: Path) -> None:
    one = begun(long, early)
    assert one.look is not None
    taken(one, early, 10)
    assert look_at(9, one.info, early.settings) <= one.look.taken <= look_at(14, one.info, early.settings)
    assert not one.look.ended


def test_what_was_kept_goes_on(early: Model, long: Path, tmp_path: Path) -> None:
    """Of a look that was broken off; saved, it is whole."""
    whole, one = of_video(long, early), begun(long, early)
    taken(one, early, 10)
    kept = one.kept(whole=False)
    assert not kept.facts["whole"]
    again = going_on(Footage.of_kept(kept, None), early, kept.facts["looked"])
    assert again.look is not None
    taken(again, early, 3)
    assert not again.look.found_more
    for shot, other in zip(taken(again, early, 130), taken(whole, early, 130), strict=True):
        alike(shot, other)
    begun(long, early).save(tmp_path / "saved")
    loaded = Identity.load(tmp_path / "saved")
    assert isinstance(loaded, Footage)
    assert len(loaded.frames) == len(whole.frames)
    for shot, other in zip(taken(loaded, early, 130), taken(whole, early, 130), strict=True):
        alike(shot, other)


def test_a_session_goes_on_with_an_identity_that_is_begun_anew(early: Model, long: Path, waveform: Wave) -> None:
    sound = np.concatenate([waveform] * 3)
    with Session(early, begun(long, early)) as session:
        first = [frame.image for frame in session.push(sound[:32000])]
        state = session.state()
        rest = [frame.image for frame in [*session.push(sound[32000:]), *session.finish()]]
    assert len(first) + len(rest) == 75
    with Session.from_state(early, begun(long, early), state) as session:
        again = [frame.image for frame in [*session.push(sound[32000:]), *session.finish()]]
    np.testing.assert_array_equal(again, rest)


def test_a_look_that_failed_begins_anew(early: Model, long: Path, tmp_path: Path) -> None:
    here = tmp_path / "here.mp4"
    shutil.copy(long, here)
    kept = begun(long, early).kept(whole=False)
    one = going_on(dataclasses.replace(Footage.of_kept(kept, None), path=here), early, kept.facts["looked"])
    here.unlink()
    with pytest.raises(InputError):
        taken(one, early, 30)
    shutil.copy(long, here)
    assert len(taken(one, early, 30)) == 30


def test_a_face_that_comes_late_is_waited_for(early: Model, portrait: Image, tmp_path: Path) -> None:
    frames = [*[without_face(portrait)] * 70, *moving(portrait, 20)]
    one = begun(draw_clip(tmp_path / "late.mp4", frames), early)
    assert one.look is not None
    assert one.look.taken > 70
    found = taken(one, early, 90)
    assert [shot.sitter is None for shot in found] == [number < 70 for number in range(90)]


def test_nobody_in_a_whole_video(early: Model, portrait: Image, tmp_path: Path) -> None:
    with pytest.raises(FaceError, match="no usable face in any of its 80 frames"):
        begun(draw_clip(tmp_path / "none.mp4", [without_face(portrait)] * 80), early)


def test_what_was_learnt_anew_takes_over_little_by_little(early: Model, long: Path) -> None:
    one = of_video(long, early)
    assert len(one.stages) > 1
    first, second = one.stages[:2]
    moved = dataclasses.replace(second.people[0], neutral=first.people[0].neutral + np.float32(1))
    stages = [first, dataclasses.replace(second, people=[moved])]
    began = second.since - first_look(one.info, early.settings)
    eased, start = early.settings.watching.eased, first.people[0].neutral

    def gone(number: int | None) -> float:
        neutral = known_at(stages, 0, number, one.info, early.settings).people[0].neutral
        return float((neutral - start).mean())

    steps = [gone(began + n) for n in range(-1, eased + 2)]
    np.testing.assert_allclose(steps, np.clip(np.arange(len(steps)) / eased, 0, 1), atol=1e-3)
    assert gone(None) == pytest.approx(1, abs=1e-3)
