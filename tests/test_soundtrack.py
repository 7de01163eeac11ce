"""The user's own sound carried into an mp4; every clip is made on the spot."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from difftalk.media import audio
from difftalk.media.soundtrack import Sound, Tail
from test_audio import Waveform, chirp, lag, likeness, save, without_packets

LOW, MAIN = b"\x05\x80\x80\x80\x05\x11\x90", b"\x05\x80\x80\x80\x05\x09\x90"  # AAC at 48 kHz, stereo


def tracks(path: Path) -> AudioStream:
    with av.open(path) as container:
        return container.streams.audio[0]


def carried(path: Path, target: Path, *, tail: Tail | None = None) -> bool:
    """`path`'s sound in an mp4 of its own; whether it was copied."""
    sound = Sound(path, tail=tail)
    with av.open(target, "w", format="mp4") as out:
        sound.attach(out)
        sound.mux_until(0.3)
        sound.mux_until(None)
    sound.close()
    return sound.copied


@pytest.mark.parametrize(
    ("name", "codec", "copied"),
    [
        ("a.m4a", "aac", True),
        ("a.ts", "aac", True),
        ("a.mkv", "aac", True),
        ("a.mp3", "libmp3lame", True),
        ("a.m4a", "alac", False),
        ("a.ac3", "ac3", False),
        ("a.eac3", "eac3", False),
        ("a.m4a", "ac3", False),
        ("a.wav", "pcm_s16le", False),
        ("a.opus", "libopus", False),
        ("a.flac", "flac", False),
    ],
)
def test_the_users_sound_is_kept(tmp_path: Path, name: str, codec: str, copied: bool) -> None:
    source, target = save(tmp_path / name, chirp(), 48_000, codec, "stereo"), tmp_path / "out.mp4"
    assert carried(source, target) == copied
    assert not copied or packets_of(target) == packets_of(source)
    kept, heard = audio.read(target), audio.read(source)
    assert abs(len(kept) - len(heard)) <= 0.03 * 16_000
    assert abs(lag(kept, heard)) <= 8  # 0.5 ms: Matroska's rounding
    assert tracks(target).channels == 2
    with av.open(target) as container:
        assert container.streams.audio[0].start_time in (0, None)


def test_aac_that_browsers_do_not_know_is_encoded_anew(tmp_path: Path) -> None:
    """The profile is the first five bits of what mp4 says of the track: low complexity, here called main."""
    source = save(tmp_path / "a.m4a", chirp(), 48_000, "aac", "stereo")
    assert source.read_bytes().count(LOW) == 1
    source.write_bytes(source.read_bytes().replace(LOW, MAIN))
    assert tracks(source).profile == "Main"
    assert not carried(source, tmp_path / "out.mp4")
    assert tracks(tmp_path / "out.mp4").profile == "LC"


def packets_of(path: Path) -> list[bytes]:
    """As they lie in mp4: without MPEG's headers around AAC."""
    with av.open(path) as container:
        size = 7 if path.suffix in (".ts", ".aac") else 0
        return [bytes(packet)[size:] for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "aac"), ("a.mkv", "flac"), ("a.ts", "aac")])
def test_sound_that_starts_late_starts_at_0(tmp_path: Path, name: str, codec: str) -> None:
    source = save(tmp_path / name, chirp(), 48_000, codec, start=0.5, video_at=0.0)
    carried(source, tmp_path / "out.mp4")
    kept = audio.read(tmp_path / "out.mp4")
    assert abs(len(kept) - 1.2 * 16_000) < 0.05 * 16_000
    assert abs(lag(kept, audio.read(source))) <= 8


@pytest.mark.parametrize(
    ("rate", "layout", "channels", "written"),
    [(8_000, "mono", 1, 8_000), (44_100, "5.1", 6, 44_100), (37_800, "stereo", 2, 44_100), (48_000, "7.1", 6, 48_000)],
)
def test_encoded_sound_keeps_rate_and_channels(
    tmp_path: Path, rate: int, layout: str, channels: int, written: int
) -> None:
    sound = chirp(rate=rate)
    assert not carried(save(tmp_path / "a.wav", sound, rate, "pcm_s16le", layout), tmp_path / "out.mp4")
    track = tracks(tmp_path / "out.mp4")
    assert (track.channels, track.sample_rate) == (channels, written)
    assert likeness(audio.read(tmp_path / "out.mp4"), sound, rate) > 0.97


def loudness(waveform: Waveform, first: float, last: float) -> float:
    """Between two moments, s."""
    return float(np.abs(waveform[round(first * 16_000) : round(last * 16_000)]).mean())


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.wav", "pcm_s16le")])
@pytest.mark.parametrize(("sound_at", "video_at"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.2)])
def test_a_videos_own_sound_follows_at_its_own_time(
    tmp_path: Path, name: str, codec: str, sound_at: float, video_at: float
) -> None:
    """Half a second of silence, then the chirp from where its video is by then."""
    spoken = save(tmp_path / name, np.zeros(8_000, np.float32), 16_000, codec)
    own = save(tmp_path / "own.mkv", chirp(2.0), 48_000, "flac", "stereo", start=sound_at, video_at=video_at)
    assert not carried(spoken, tmp_path / "out.mp4", tail=Tail(own, 0.5, 1.5))
    kept, heard = audio.read(tmp_path / "out.mp4"), audio.read(own, from_video_start=True)[:24_000]
    assert abs(len(kept) - 24_000) <= 1_024 / 3  # AAC comes in blocks
    assert abs(lag(kept, heard)) <= 16
    assert loudness(kept, 0.0, 0.48) < 0.01 * loudness(kept, 0.52, 1.45)
    assert (tracks(tmp_path / "out.mp4").channels, tracks(tmp_path / "out.mp4").sample_rate) == (2, 48_000)


def test_where_nothing_is_heard_of_a_video_it_is_silent(tmp_path: Path) -> None:
    """The spoken sound is shorter than the tail's start; the video's own begins late and ends early."""
    spoken = save(tmp_path / "a.wav", chirp(0.3), 48_000, "pcm_s16le")
    own = save(tmp_path / "own.mkv", chirp(0.3), 48_000, "flac", start=0.8, video_at=0.0)
    carried(spoken, tmp_path / "out.mp4", tail=Tail(own, 0.5, 2.0))
    kept = audio.read(tmp_path / "out.mp4")
    assert abs(len(kept) - 32_000) <= 1_024 / 3
    speaks = [loudness(kept, at, at + 0.15) > 0.01 for at in (0.1, 0.32, 0.6, 0.9, 1.15, 1.8)]
    assert speaks == [True, False, False, True, False, False]


def test_a_gap_stays_a_gap(tmp_path: Path) -> None:
    for name, codec, lost in (("a.mkv", "aac", range(20, 30)), ("b.mka", "flac", range(5, 8))):
        source = save(tmp_path / name, chirp(), 48_000, codec)
        hole = without_packets(source, tmp_path / f"hole_{name}", lost)
        carried(hole, tmp_path / "out.mp4")
        heard, kept = audio.read(hole), audio.read(tmp_path / "out.mp4")
        assert abs(len(kept) - len(heard)) < 0.03 * 16_000
        assert abs(lag(kept, heard)) <= 8
