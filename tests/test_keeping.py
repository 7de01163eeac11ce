"""Identities on disk: what is loaded draws the same frames, and what cannot be loaded is said in a line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from difftalk.arrays import Image
from difftalk.errors import InputError, OutputError
from difftalk.face.finder import Face
from difftalk.model import Model
from difftalk.speech.own_way import OwnWay
from difftalk.talk.footage import Footage
from difftalk.talk.identity import Identity
from difftalk.talk.keeping import HEADER
from difftalk.talk.knowledge import Known
from difftalk.talk.portrait import Portrait, of_still
from difftalk.talk.session import Session
from difftalk.talk.talker import Talker
from difftalk.talk.watching import of_video
from drawn import draw_clip, moving, with_microphone, without_face

Wave = NDArray[np.float32]


def same(one: object, other: object) -> bool:
    """Whether two records are alike in every bit and type; paths apart."""
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one) if field.name != "path"]
        return type(one) is type(other) and all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, list):
        assert isinstance(other, list)
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_a_portrait(talker: Talker, still_identity: Portrait, waveform: Wave, tmp_path: Path) -> None:
    still_identity.save(tmp_path / "her.identity")
    loaded = Identity.load(tmp_path / "her.identity")
    assert isinstance(loaded, Portrait)
    assert same(loaded, still_identity)
    assert loaded.people[0].references[0] is loaded.people[0].mouths[0]
    assert loaded.model == talker.model.hash
    for one, other in zip(
        talker.stream(still_identity, [waveform[:8000]]), talker.stream(loaded, [waveform[:8000]]), strict=True
    ):
        np.testing.assert_array_equal(one.image, other.image)


def test_footage(denoiser_model: Model, clip_identity: Footage, waveform: Wave, tmp_path: Path) -> None:
    """With a way of its own and a turn at its end, in the drawing that remembers most."""
    rng = np.random.default_rng(0)
    way = OwnWay(*(0.1 * rng.normal(size=size).astype(np.float32) for size in ((16,), (16, 16), (384, 16))))
    (stage,) = clip_identity.stages
    neutral = dataclasses.replace(stage.people[0], neutral=stage.people[0].neutral + np.float32(0.01))
    stages = [dataclasses.replace(stage, since=9, own_way=way), Known(9, [neutral, neutral]), stage]
    one = dataclasses.replace(clip_identity, stages=stages, notes=["said"])
    one.save(tmp_path / "clip.identity")
    loaded = Identity.load(tmp_path / "clip.identity")
    assert isinstance(loaded, Footage)
    assert same(loaded, one)
    assert same(loaded.people[0].references, one.people[0].references)
    assert loaded.stages[1].people[0] is loaded.stages[1].people[1]
    assert loaded.stages[0].people[0] is loaded.stages[2].people[0]
    plain = dataclasses.replace(loaded, stages=loaded.stages[2:]), clip_identity
    sound = np.concatenate([waveform, waveform[:8000]])
    drawn = [[frame.image for frame in Talker(denoiser_model).stream(each, [sound])] for each in plain]
    assert len(drawn[0]) == 38
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_frames_without_a_face_and_covers(
    model: Model, portrait: Image, face: Face, tmp_path: Path, still: Path
) -> None:
    held = with_microphone(portrait, face.points)
    frames = [*moving(portrait, 6), *[without_face(portrait)] * 2, *[held] * 12]
    one = of_video(draw_clip(tmp_path / "clip.mp4", frames), model)
    assert any(frame is None for frame in one.frames)
    assert any(frame is not None and frame.cover is not None for frame in one.frames)
    one.save(tmp_path / "one")
    assert same(Identity.load(tmp_path / "one"), one)
    covered = dataclasses.replace(
        of_still(still, model, size=None), cover=next(f.cover for f in one.frames if f and f.cover)
    )
    covered.save(tmp_path / "covered")
    assert same(Identity.load(tmp_path / "covered"), covered)


def test_a_session_goes_on_with_a_loaded_identity(
    denoiser_model: Model, clip_identity: Footage, waveform: Wave, tmp_path: Path
) -> None:
    session = Session(denoiser_model, clip_identity)
    list(session.push(waveform))
    clip_identity.save(tmp_path / "one")
    other = Session.from_state(denoiser_model, Identity.load(tmp_path / "one"), session.state())
    for frame, again in zip(session.finish(), other.finish(), strict=True):
        np.testing.assert_array_equal(frame.image, again.image)


def test_a_video_that_was_moved(clip_identity: Footage, tmp_path: Path) -> None:
    here, there = tmp_path / "here.mp4", tmp_path / "there.mp4"
    shutil.copy(clip_identity.path, here)
    dataclasses.replace(clip_identity, path=here).save(tmp_path / "one")
    here.rename(there)
    with pytest.raises(InputError, match=r"one: .*here.mp4: the identity's video cannot be read .*its path as `video`"):
        Identity.load(tmp_path / "one")
    loaded = Identity.load(tmp_path / "one", video=there)
    assert loaded.path == there
    assert same(loaded, clip_identity)
    there.touch()  # its content is the same
    assert Identity.load(tmp_path / "one", video=there).path == there
    content = bytearray(there.read_bytes())
    content[len(content) // 2] ^= 1
    there.write_bytes(content)
    with pytest.raises(InputError, match="is not the video that the identity was made of"):
        Identity.load(tmp_path / "one", video=there)


def test_a_video_that_is_gone_is_not_kept(clip_identity: Footage, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the identity's video cannot be read any more"):
        dataclasses.replace(clip_identity, path=tmp_path / "gone.mp4").save(tmp_path / "one")


def test_a_portrait_needs_no_video(still_identity: Portrait, clip: Path, tmp_path: Path) -> None:
    still_identity.save(tmp_path / "one")
    with pytest.raises(InputError, match="is a portrait's identity; it needs no `video`"):
        Identity.load(tmp_path / "one", video=clip)


def test_files_that_are_there_already(still_identity: Portrait, tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        still_identity.save(file)
    assert file.read_bytes() == b"mine"
    still_identity.save(str(file), overwrite=True)
    assert same(Identity.load(str(file)), still_identity)
    for place in (tmp_path / "nowhere" / "one", tmp_path / ("x" * 300), tmp_path / "\0"):
        with pytest.raises(OutputError, match="cannot be written"):
            still_identity.save(place)
    with pytest.raises(OutputError, match="cannot be written"):
        still_identity.save(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_files_that_are_none(still_identity: Portrait, still: Path, tmp_path: Path) -> None:
    whole, file = tmp_path / "whole", tmp_path / "file"
    still_identity.save(whole)
    content = whole.read_bytes()
    for wrong in (b"", b"hello", content[:100], content[:-7], still.read_bytes()):
        file.write_bytes(wrong)
        with pytest.raises(InputError, match="is no identity, or damaged"):
            Identity.load(file)
    flipped = bytearray(content)
    flipped[-9] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(InputError, match="is damaged; make the identity anew"):
        Identity.load(file)
    for told, other in ((b"portrait", b"footages"), (b"F64", b"I64")):  # what is said of the arrays counts as well
        assert told in content
        file.write_bytes(content.replace(told, other))
        with pytest.raises(InputError, match="is damaged; make the identity anew"):
            Identity.load(file)
    save_file({"a": np.zeros(2)}, file)
    with pytest.raises(InputError, match="is no identity"):
        Identity.load(file)
    save_file({"a": np.zeros(2)}, file, {HEADER: json.dumps({"format": 99})})
    with pytest.raises(InputError, match="has format 99, this version reads 4"):
        Identity.load(file)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            Identity.load(missing)
