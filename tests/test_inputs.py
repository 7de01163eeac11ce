"""What is given, named for what it is; sounds that come through a pipe."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from difftalk.errors import FaceError, InputError, MediaError, OutputError
from difftalk.media import audio, inputs


def test_kinds(still: Path, clip: Path, voice: Path, tmp_path: Path) -> None:
    assert [inputs.kind_of(path) for path in (still, clip, voice)] == ["picture", "video", "sound"]
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
    for name, words in (("words.srt", "is a text file"), ("drawing.svg", "holds neither|is a text file")):
        with pytest.raises(MediaError, match=words):
            inputs.kind_of(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("http://example.org/a.wav", "http://example.org/a.wav: is an address; download it first"),
        ("RTSP://example.org/live", "is an address"),
        ("www.youtube.com/watch?v=1", "is an address"),
        ("youtu.be/1", "is an address"),
        ("m.wav", "m.wav: no such file"),
        ("C:/voice.wav", "no such file"),
        ("file:///voice.wav", "is an address; give the file's path: /voice.wav"),
    ],
)
def test_addresses_are_told_from_names(name: str, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        inputs.kind_of(Path(name))


@pytest.mark.parametrize(("default", "number"), [(None, 1), (1, 2)])
def test_several_sound_tracks(waveform: NDArray[np.float32], tmp_path: Path, default: int | None, number: int) -> None:
    """It is said which one is heard: the one marked for it, else the first."""
    with av.open(str(tmp_path / "film.mkv"), "w") as output:
        tracks = [output.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        tracks[1].metadata["language"] = "fre"
        if default is not None:
            tracks[default].disposition = Disposition.default
        for track in tracks:
            frame = av.AudioFrame.from_ndarray((waveform[None] * 30_000).astype(np.int16), "s16", "mono")
            frame.sample_rate = 16_000
            for packet in [*track.encode(frame), *track.encode(None)]:
                output.mux(packet)
    (note,) = inputs.track_notes(tmp_path / "film.mkv")
    assert note.startswith(f"sound track {number} of 2{' (fre)' if number == 2 else ''} is used")


def test_one_sound_track_needs_no_word(voice: Path) -> None:
    assert inputs.track_notes(voice) == []


def test_a_frame_needs_more_than_half_its_time() -> None:
    for seconds, rate in ((0.021, Fraction(25)), (0.51, Fraction(1)), (0.009, Fraction(60))):
        inputs.check_length(Path("voice.wav"), seconds, rate)
    for seconds, rate, words in (
        (0.01, Fraction(25), "10 ms of sound; at 25 frames/s more than 20 ms"),
        (0.5, Fraction(1), "500 ms of sound; at 1 frames/s more than 500 ms"),
    ):
        with pytest.raises(MediaError, match=words):
            inputs.check_length(Path("voice.wav"), seconds, rate)


def test_a_pipe_is_opened_once_and_read_again_and_again(
    voice: Path, waveform: NDArray[np.float32], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(pipe.write_bytes, voice.read_bytes())
        with inputs.heard(pipe) as heard:
            for _ in range(2):
                assert len(audio.read(heard)) == len(waveform)
            assert heard.stat().st_mode & 0o077 == 0
        assert not heard.exists()
        written.result()


def test_errors_name_the_pipe_and_keep_their_kind(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pipe.write_bytes, b"words\n" * 9)
        with pytest.raises(MediaError, match=f"^{pipe}: is a text file"), inputs.heard(pipe) as heard:
            audio.read(heard)
        pool.submit(pipe.write_bytes, b"sound")
        with pytest.raises(FaceError, match="no face"), inputs.heard(pipe):
            raise FaceError("no face")


def test_a_file_object_is_read_again_and_again(voice: Path, waveform: NDArray[np.float32]) -> None:
    with io.BytesIO(voice.read_bytes()) as file, inputs.heard(file) as heard:
        for _ in range(2):
            assert len(audio.read(heard)) == len(waveform)
        assert heard.stat().st_mode & 0o077 == 0
    assert not heard.exists()
    with (
        pytest.raises(MediaError, match=r"^the sound that was given: is a text file"),
        inputs.heard(io.BytesIO(b"words\n" * 9)) as heard,
    ):
        audio.read(heard)


def test_a_waveform_is_heard_as_it_is(waveform: NDArray[np.float32]) -> None:
    forms: list[Any] = [waveform, waveform.astype(np.float64), np.repeat(waveform, 2)[::2]]
    for given in forms:
        with inputs.heard(given) as heard:
            np.testing.assert_array_equal(audio.read(heard), waveform)
        assert not heard.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((2, 100), np.float32), r"is an array of float32 \(2, 100\); give float32 \(samples,\)"),
        (np.zeros(100, np.int16), "is an array of int16"),
        (np.full(100, np.nan, np.float32), "finite"),
        (np.full(100, 20000.0, np.float32), r"values up to 2e\+04; give .* in \[-1, 1\]"),
        (np.zeros(0, np.float32), "holds no samples"),
        (io.StringIO("words"), "is a file object of text; open it with 'rb'"),
        (3, "is of type int; give a path or a binary file object"),
    ],
)
def test_what_is_no_sound(given: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"^the sound that was given: .*{words}"), inputs.heard(given):
        pass


def test_what_is_no_picture() -> None:
    with pytest.raises(InputError, match="is of type float; allowed are a path, a binary file object, a PIL image"):
        inputs.picture_of(0.5)  # type: ignore[arg-type]


def test_an_output_that_is_a_file_object_gets_all_or_nothing(tmp_path: Path) -> None:
    file = io.BytesIO()
    with inputs.written(file) as place:
        place.write_bytes(b"whole")
    assert file.getvalue() == b"whole"
    assert not place.exists()
    with pytest.raises(KeyboardInterrupt), inputs.written(file):
        raise KeyboardInterrupt
    assert file.getvalue() == b"whole"
    file.close()
    (tmp_path / "read").touch()
    with (tmp_path / "read").open("rb") as read_only:
        for wrong in (io.StringIO(), file, read_only):
            with pytest.raises(OutputError, match="takes no bytes"), inputs.written(wrong):  # type: ignore[arg-type]
                raise AssertionError("said after the work")
    with pytest.raises(OutputError, match="is of type int; give a path or a binary file object"), inputs.written(3):  # type: ignore[arg-type]
        pass
    with (tmp_path / "named.mp4").open("wb") as named:
        assert inputs.place_of(named) == tmp_path / "named.mp4"
    assert inputs.place_of(file) == Path("-")


def test_a_file_stays_what_it_is(voice: Path) -> None:
    with inputs.heard(str(voice)) as heard:
        assert heard == voice
