"""Sessions: frames come as the sound does, and one that was kept goes on with the same frames, in another process."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from difftalk.arrays import SAMPLE_RATE, State
from difftalk.errors import InputError
from difftalk.face.head import HeadPose
from difftalk.model import Model
from difftalk.speech.own_way import OwnWay
from difftalk.talk.footage import Footage
from difftalk.talk.identity import Identity, Manner
from difftalk.talk.portrait import Portrait
from difftalk.talk.session import AT_ONCE, Session, TalkingFrame

Wave = NDArray[np.float32]
PIECE = 4000  # samples

# Goes on with a session that was kept, with the sound that is left, and prints a hash a frame.
GO_ON = """
import hashlib, sys
import numpy as np
from safetensors.numpy import load_file
from difftalk import Talker
from difftalk.model import Model
from difftalk.talk.session import Session
folder, source, kept, sound, piece = sys.argv[1:]
talker = Talker(Model.load(folder))  # with as many threads as before
person = talker.identity(source, size=None)
with Session.from_state(talker.model, person, load_file(kept)) as session:
    waveform = np.load(sound)
    for start in range(0, len(waveform), int(piece)):
        for frame in session.push(waveform[start : start + int(piece)]):
            print(hashlib.sha256(frame.image.tobytes()).hexdigest(), frame.seconds)
    for frame in session.finish():
        print(hashlib.sha256(frame.image.tobytes()).hexdigest(), frame.seconds)
"""


def said(frame: TalkingFrame) -> str:
    return f"{hashlib.sha256(frame.image.tobytes()).hexdigest()} {frame.seconds}"


def run(session: Session, waveform: Wave, keep_at: set[int] | None = None) -> Iterator[tuple[str, State | None, int]]:
    """Every frame, with the state after it where that is asked for, and the samples pushed by then."""
    count = 0
    for start in range(0, len(waveform) + PIECE, PIECE):
        last = start >= len(waveform)
        for frame in session.finish() if last else session.push(waveform[start : start + PIECE]):
            count += 1
            state = session.state() if keep_at is not None and count in keep_at and not last else None
            yield said(frame), state, min(start + PIECE, len(waveform))


@pytest.fixture(params=["animate", "dub"])
def person(request: pytest.FixtureRequest, still_identity: Portrait, clip_identity: Footage) -> Identity:
    return {"animate": still_identity, "dub": clip_identity}[request.param]


@pytest.fixture
def sound(waveform: Wave) -> Wave:
    """Speech, a silence, speech: longer than the clip, so that it turns round."""
    return np.concatenate([waveform, np.zeros(SAMPLE_RATE // 2, np.float32), waveform[: SAMPLE_RATE // 2]])


def test_a_kept_session_goes_on_in_a_new_process(
    denoiser_model: Model, person: Identity, sound: Wave, tmp_path: Path
) -> None:
    denoiser_model.save(tmp_path / "model")
    at = {int(number) for number in np.random.default_rng(0).choice(np.arange(1, 36), 5, replace=False)}
    whole = list(run(Session(denoiser_model, person, Manner(seed=3)), sound, at))
    frames, kept = [frame for frame, _, _ in whole], {n: one for n, one in enumerate(whole, 1) if one[1] is not None}
    assert len(frames) == 50
    assert len(kept) == 5
    for number, (_, state, pushed) in kept.items():
        assert state is not None
        save_file(state, tmp_path / "kept.safetensors")
        np.save(tmp_path / "rest.npy", sound[pushed:])
        given = (tmp_path / "model", person.path, tmp_path / "kept.safetensors", tmp_path / "rest.npy", PIECE)
        done = subprocess.run(
            [sys.executable, "-c", GO_ON, *map(str, given)], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines() == frames[number:]


def test_frames_that_are_not_taken_come_later(denoiser_model: Model, person: Identity, sound: Wave) -> None:
    whole = [frame for frame, _, _ in run(Session(denoiser_model, person), sound)]
    with Session(denoiser_model, person) as session:
        first = said(next(session.push(sound)))
        assert [first, *map(said, session.finish())] == whole


def test_frames_under_way_come_with_the_next_piece(denoiser_model: Model, person: Identity, sound: Wave) -> None:
    """What is still being drawn when more sound is at hand is not waited for, and the frames are the same."""
    whole = [frame for frame, _, _ in run(Session(denoiser_model, person), sound)]
    with Session(denoiser_model, person) as session:
        counts, frames = list[int](), list[str]()
        for start in range(0, len(sound), PIECE):
            frames += map(said, session.push(sound[start : start + PIECE], more=True))
            counts.append(len(frames))
        rest = list(map(said, session.finish()))
    assert frames + rest == whole
    with Session(denoiser_model, person) as session:
        drained = sum(1 for start in range(0, len(sound), PIECE) for _ in session.push(sound[start : start + PIECE]))
    assert 0 < drained - counts[-1] < AT_ONCE


def test_only_a_few_frames_are_begun(denoiser_model: Model, person: Identity, sound: Wave) -> None:
    counted, drawn = dict(denoiser_model._loaded), list[int]()
    decoder = denoiser_model.graph("decoder")

    def counting(**inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        drawn.append(1)
        return decoder(**inputs)

    model = dataclasses.replace(denoiser_model, _loaded=counted | {"decoder": counting})
    with Session(model, person) as session:
        next(session.push(sound))
    assert 1 <= len(drawn) <= AT_ONCE


def test_what_fails_in_a_stage_comes_out_at_its_frame_and_may_be_tried_again(
    denoiser_model: Model, person: Identity, sound: Wave
) -> None:
    """The frames before it come, and those from it on once it works, as if nothing had been."""
    whole = [frame for frame, _, _ in run(Session(denoiser_model, person), sound)]
    decoder, calls = denoiser_model.graph("decoder"), list[int]()

    def failing(**inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("no more")
        return decoder(**inputs)

    model = dataclasses.replace(denoiser_model, _loaded=dict(denoiser_model._loaded) | {"decoder": failing})
    frames = list[str]()
    with Session(model, person) as session:
        coming = session.push(sound)
        frames += [said(next(coming)), said(next(coming))]
        with pytest.raises(MemoryError, match="no more") as caught:
            next(coming)
        assert any(entry.name == "failing" for entry in caught.traceback)  # the cause is seen
        frames += map(said, session.finish())
    assert frames == whole


def test_a_finished_session_takes_no_sound(denoiser_model: Model, person: Identity, sound: Wave) -> None:
    session = Session(denoiser_model, person)
    assert list(session.finish()) == []
    with pytest.raises(InputError, match="was finished; begin a new one"):
        session.push(sound)
    assert list(session.finish()) == []


def test_a_session_kept_while_it_finished_gives_the_rest(denoiser_model: Model, person: Identity, sound: Wave) -> None:
    session = Session(denoiser_model, person)
    list(session.push(sound))
    rest = session.finish()
    next(rest)
    other = Session.from_state(denoiser_model, person, session.state())
    left = list(map(said, rest))
    assert left
    assert list(map(said, other.finish())) == left


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (np.zeros((100, 2), np.float32), r"float32 \(100, 2\)"),
        (np.ones(100, np.int16), "int16"),
        ([0, 1], "int64"),
        (np.float32(0.5), r"float32 \(\)"),
        (np.array([0, np.nan]), "up to nan"),
        (np.array([0, np.inf], np.float32), "up to inf"),
        (np.array([0, 3000.0]), "up to 3000"),
        ([0.5, [1.0]], "object"),
        ("sound", "<U5"),
    ],
)
def test_what_is_no_sound_changes_nothing(
    denoiser_model: Model, still_identity: Portrait, waveform: Wave, piece: Any, words: str
) -> None:
    whole = [said(frame) for frame in Session(denoiser_model, still_identity).push(waveform)]
    with Session(denoiser_model, still_identity) as session:
        with pytest.raises(InputError, match=f"piece of sound: is an array of .*{words}.*; give float32"):
            session.push(piece)
        assert [said(frame) for frame in session.push(waveform.tolist())] == whole
        assert not list(session.push([]))


def test_a_state_is_the_sessions_own_whatever_became_of_it(
    denoiser_model: Model, person: Identity, sound: Wave
) -> None:
    """Read-only and of other types, as other stores give them; and kept once more before any frame."""
    session = Session(denoiser_model, person, Manner(articulation=np.float32(1), seed=np.int64(2)))  # type: ignore[arg-type]
    list(session.push(sound[: 2 * PIECE]))
    kept = {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in session.state().items()
    }
    for array in kept.values():
        array.flags.writeable = False
    other = Session.from_state(denoiser_model, person, kept)
    again = Session.from_state(denoiser_model, person, other.state())
    whole = [frame for frame, _, _ in run(session, sound[2 * PIECE :])]
    assert [frame for frame, _, _ in run(other, sound[2 * PIECE :])] == whole
    assert [frame for frame, _, _ in run(again, sound[2 * PIECE :])] == whole


def test_a_source_that_fails_may_be_asked_again(
    denoiser_model: Model, clip_identity: Footage, sound: Wave, tmp_path: Path
) -> None:
    here = tmp_path / "clip.mp4"
    one = dataclasses.replace(clip_identity, path=here)
    with Session(denoiser_model, one) as session:
        with pytest.raises(InputError, match=r"clip\.mp4"):
            next(session.push(sound))
        with pytest.raises(InputError, match=r"clip\.mp4"):
            next(session.push(sound[:0]))
        shutil.copy(clip_identity.path, here)
        assert len(list(session.finish())) == 50


def test_what_a_state_does_not_fit(
    denoiser_model: Model, painter_model: Model, clip_identity: Footage, still_identity: Portrait, sound: Wave
) -> None:
    with Session(denoiser_model, still_identity) as session:
        next(session.push(sound))
        state = session.state()
    with pytest.raises(InputError, match=r"kept with the model [0-9a-f]{12}, this one is [0-9a-f]{12}"):
        Session.from_state(painter_model, still_identity, state)
    with pytest.raises(InputError, match=r"kept with the identity [0-9a-f]{12}, this one is"):
        Session.from_state(denoiser_model, clip_identity, state)
    own = dataclasses.replace(
        clip_identity, stages=[dataclasses.replace(clip_identity.stages[0], own_way=OwnWay.usual())]
    )
    assert own.mark != clip_identity.mark
    lost: list[dict[str, Any]] = [{key: value for key, value in state.items() if key != name} for name in state]
    some = [part for part in lost if len(part) < len(state)]
    for broken in (
        {},
        {"session": np.zeros(3, np.uint8)},
        {"session": np.frombuffer(b"{}", np.uint8)},
        some[1],
        some[9],
    ):
        with pytest.raises(InputError, match="not the state of a session"):
            Session.from_state(denoiser_model, still_identity, dict(broken))


def test_a_film_that_a_head_follows_is_kept_with_the_session(
    denoiser_model: Model, still_identity: Portrait, sound: Wave
) -> None:
    manner = Manner(heads=tuple(HeadPose.about_neck(yaw / 3, 0.1, yaw / 7) for yaw in range(9)))
    with Session(denoiser_model, still_identity, manner) as session:
        first = [said(frame) for frame in session.push(sound[: len(sound) // 2])]
        state = session.state()
        rest = [said(frame) for frame in [*session.push(sound[len(sound) // 2 :]), *session.finish()]]
    with Session.from_state(denoiser_model, still_identity, state) as session:
        again = [said(frame) for frame in [*session.push(sound[len(sound) // 2 :]), *session.finish()]]
    assert again == rest
    assert len({one.split()[0] for one in first}) == len(first)


def test_manner_out_of_range() -> None:
    wrong: list[dict[str, Any]] = [
        {"head_motion": 3},
        {"blinks": -1},
        {"blinks": 2.5},
        {"fit": "stretch"},
        {"own_way": -1},
        {"articulation": 4},
        {"seed": -1},
        {"frame_rate": Fraction(0)},
        {"frame_rate": 1001},
        {"steps": 1001},
    ]
    for options in wrong:
        with pytest.raises(InputError, match="allowed are"):
            Manner(**options)
