"""What is given that is no path: file objects, Pillow's images, arrays. The same comes out as of files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from difftalk.arrays import Image
from difftalk.errors import FaceError
from difftalk.media import audio
from difftalk.media.picture import Picture
from difftalk.talk.portrait import Portrait
from difftalk.talk.talker import Result, Talker
from drawn import images

Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def animated(talker: Talker, still: Path, voice: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return talker.animate(still, voice, tmp_path_factory.mktemp("plain") / "animated.mp4")


@pytest.mark.parametrize("kind", ["file object", "PIL image", "array"])
def test_a_portrait_that_is_no_path(
    talker: Talker, animated: Result, still: Path, portrait: Image, voice: Path, tmp_path: Path, kind: str
) -> None:
    """With a waveform for a sound and a file object for an output: the same video."""
    waveform, out = audio.read(voice), io.BytesIO()
    with io.BytesIO(still.read_bytes()) as file, Pillow.open(still) as opened:
        given: dict[str, Picture | BinaryIO] = {"file object": file, "PIL image": opened, "array": portrait}
        result = talker.animate(given[kind], waveform, out)
    (tmp_path / "out.mp4").write_bytes(out.getvalue())
    assert result.path == Path("-")
    assert (result.frames, result.notes) == (animated.frames, [])
    np.testing.assert_array_equal(images(tmp_path / "out.mp4"), images(animated.path))
    heard = audio.read(tmp_path / "out.mp4")[: len(waveform)]
    assert np.corrcoef(heard, waveform)[0, 1] > 0.98
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [track.codec_context.name for track in container.streams.audio] == ["aac"]


def test_an_array_is_looked_at_when_it_is_given(talker: Talker, portrait: Image, still_identity: Portrait) -> None:
    given = portrait.copy()
    one = talker.identity(given)
    given[:] = 0
    assert isinstance(one, Portrait)
    np.testing.assert_array_equal(one.image, still_identity.image)
    assert one.path == Path("the picture that was given")
    with pytest.raises(FaceError, match=r"^the picture that was given: no face found"):
        talker.identity(given)


def test_a_video_and_a_sound_that_are_file_objects(talker: Talker, clip: Path, voice: Path, tmp_path: Path) -> None:
    with clip.open("rb") as footage, voice.open("rb") as sound, (tmp_path / "out.mp4").open("wb") as out:
        result = talker.dub(footage, sound, out)
    assert result.path == tmp_path / "out.mp4"
    plain = talker.dub(clip, voice, tmp_path / "plain.mp4")
    assert result.notes == plain.notes
    np.testing.assert_array_equal(images(result.path), images(plain.path))


def test_call_takes_what_is_no_path(talker: Talker, portrait: Image, waveform: Wave, tmp_path: Path) -> None:
    assert talker(portrait, waveform[:3200], tmp_path / "out.mp4").frames == 5
