"""Sound read, resampled and mended; every clip is made on the spot."""

import logging
import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soxr
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from difftalk.errors import MediaError
from difftalk.media import audio

SHARED = Path(__file__).parents[2] / "shared" / "data"
Waveform = NDArray[np.float32]


def chirp(seconds: float = 1.2, rate: int = 48_000) -> Waveform:
    """A sound whose every stretch is unlike the others."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (300 + 700 * t) * t)).astype(np.float32)


def save(
    path: Path,
    sound: Waveform,
    rate: int,
    codec: str,
    layout: str = "mono",
    *,
    start: float = 0.0,
    video_at: float = -1.0,
) -> Path:
    """`sound`: (samples,) for all channels, or (channels, samples). A grey picture is shown at `video_at`."""
    channels = av.AudioLayout(layout).nb_channels
    planes = np.tile(sound, (channels, 1)) if sound.ndim == 1 else sound
    with av.open(path, "w") as out:
        track = out.add_stream(codec, rate=rate)
        assert isinstance(track, AudioStream)
        track.codec_context.layout = layout
        track.codec_context.bit_rate = 128_000
        if video_at >= 0:
            picture = out.add_stream("mpeg4", rate=25, width=32, height=32)
            for i in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), "rgb24")
                frame.pts, frame.time_base = round(video_at * 25) + i, Fraction(1, 25)
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        for i in range(0, planes.shape[1], 1000):
            packed = np.ascontiguousarray(planes[:, i : i + 1000].T).reshape(1, -1)
            piece = av.AudioFrame.from_ndarray(packed, "flt", layout)
            piece.sample_rate, piece.pts, piece.time_base = rate, i + round(start * rate), Fraction(1, rate)
            out.mux(track.encode(piece))
        out.mux(track.encode(None))
    return path


def without_packets(source: Path, target: Path, lost: Sequence[int], *, garbage: bool = False) -> Path:
    """A copy of an audio file whose packets `lost` are missing, or are garbage."""
    with av.open(source) as old, av.open(target, "w") as new:
        track = new.add_stream_from_template(old.streams.audio[0])
        for i, packet in enumerate(p for p in old.demux(audio=0) if p.size):
            if i in lost and garbage:
                packet.update(b"\xff" * packet.size)
            if i not in lost or garbage:
                packet.stream = track
                new.mux(packet)
    return target


def likeness(waveform: Waveform, truth: Waveform, rate: int) -> float:
    """Correlation with the true sound, at no shift."""
    target = soxr.resample(truth, rate, 16_000)
    length = min(len(waveform), len(target))
    return float(np.corrcoef(waveform[:length], target[:length])[0, 1])


def lag(waveform: Waveform, truth: Waveform) -> int:
    """How many samples later `waveform` is; 100 at most are looked for, near the end."""
    found = np.correlate(truth[9_900:16_100], waveform[10_000:16_000], "valid")
    return 100 - int(np.argmax(found)) if found.max() > 0.9 * np.dot(*[waveform[10_000:16_000]] * 2) else 1_000


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.wav", "pcm_u8", 8_000, "mono"),
        ("a.wav", "pcm_s24le", 44_100, "5.1"),
        ("a.wav", "pcm_f32le", 16_000, "stereo"),
        ("a.flac", "flac", 22_050, "stereo"),
        ("a.m4a", "aac", 48_000, "stereo"),
        ("a.mkv", "aac", 44_100, "mono"),
        ("a.mka", "libopus", 48_000, "5.1"),
        ("a.mka", "flac", 48_000, "7.1"),
        ("a.mp3", "libmp3lame", 44_100, "stereo"),
        ("a.m4a", "alac", 32_000, "stereo"),
    ],
)
def test_reads_every_form(tmp_path: Path, name: str, codec: str, rate: int, layout: str) -> None:
    sound = chirp(rate=rate)
    waveform = audio.read(save(tmp_path / name, sound, rate, codec, layout))
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert abs(len(waveform) - 1.2 * 16_000) < 0.025 * 16_000  # AAC pads its last packet
    assert likeness(waveform, sound, rate) > 0.97
    assert 0.3 < np.abs(waveform).max() <= 1.0


def test_downmix_hears_the_centre_and_not_the_bass(tmp_path: Path) -> None:
    planes = np.zeros((6, 48_000), np.float32)  # FL FR FC LFE BL BR
    planes[2], planes[3] = chirp(1.0), 0.9
    waveform = audio.read(save(tmp_path / "a.wav", planes, 48_000, "pcm_s16le", "5.1"))
    assert likeness(waveform, chirp(1.0), 48_000) > 0.99
    assert abs(float(waveform.mean())) < 0.01


@pytest.mark.parametrize(
    ("layout", "gains"),
    [
        ("stereo", (1.0, -1.0)),
        ("stereo", (1.0, -0.6)),
        ("stereo", (0.0, 1.0)),
        ("5.1", (0.5, -0.5, 0.0, 0.0, 0.0, 0.0)),
        ("5.1", (0.0, 0.0, 0.0, 1.0, 0.0, 0.0)),  # a recorder's fourth track, called bass effects
    ],
)
def test_channels_that_cancel_or_stand_alone_are_heard(tmp_path: Path, layout: str, gains: tuple[float, ...]) -> None:
    planes = np.array(gains, np.float32)[:, None] * chirp(1.0)
    waveform = audio.read(save(tmp_path / "a.wav", planes, 48_000, "pcm_s16le", layout))
    assert likeness(waveform, chirp(1.0), 48_000) > 0.97
    assert waveform.std() > 0.1 * chirp(1.0).std()


def test_a_channel_that_turns_round_half_way(tmp_path: Path) -> None:
    planes = np.tile(np.random.default_rng(0).normal(0, 0.1, 96_000).astype(np.float32), (2, 1))
    planes[1, 48_000:] *= -1
    waveform = audio.read(save(tmp_path / "a.wav", planes, 48_000, "pcm_s16le", "stereo"))
    assert waveform[-8000:].std() == pytest.approx(waveform[:8000].std(), rel=0.1)


def test_ordinary_stereo_is_the_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    planes = (chirp(1.0) * 0.5 + rng.normal(0, 0.1, (2, 48_000))).astype(np.float32)
    stereo = audio.read(save(tmp_path / "a.wav", planes, 48_000, "pcm_f32le", "stereo"))
    mono = audio.read(save(tmp_path / "b.wav", planes.mean(0), 48_000, "pcm_f32le"))
    np.testing.assert_allclose(stereo, mono, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_resampling_in_pieces_equals_one_go(rate: int) -> None:
    sound = np.random.default_rng(0).normal(0, 0.2, rate + 77).astype(np.float32)
    whole = audio.Resampler(rate)
    pieces, cut = audio.Resampler(rate), rate // 50
    one = np.concatenate([whole.push(sound), whole.finish()])
    many = [pieces.push(sound[i : i + cut]) for i in range(0, len(sound), cut)]
    np.testing.assert_array_equal(np.concatenate([*many, pieces.finish()]), one)
    assert abs(len(one) - len(sound) * 16_000 / rate) <= 1


def test_frame_count_rounds() -> None:
    assert audio.frame_count(2.0, Fraction(25)) == 50
    assert audio.frame_count(2.019, Fraction(25)) == 50
    assert audio.frame_count(2.021, Fraction(25)) == 51
    assert audio.frame_count(10.0, Fraction(30_000, 1001)) == 300


@pytest.mark.parametrize(("sound_at", "video_at"), [(0.2, 0.0), (0.0, 0.2), (0.4, 0.4)])
def test_sample_0_can_be_the_first_frames(tmp_path: Path, sound_at: float, video_at: float) -> None:
    sound = chirp()
    path = save(tmp_path / "a.mkv", sound, 48_000, "flac", start=sound_at, video_at=video_at)
    lead = round((sound_at - video_at) * 16_000)
    plain, placed = audio.read(path), audio.read(path, from_video_start=True)
    assert abs(len(placed) - len(plain) - lead) <= 16  # Matroska keeps milliseconds
    truth = soxr.resample(sound, 48_000, 16_000)
    truth = np.pad(truth, (lead, 0)) if lead > 0 else truth[-lead:]
    assert abs(lag(placed, truth)) <= 16


@pytest.mark.parametrize("garbage", [False, True])
def test_a_lost_packet_becomes_silence_of_its_length(tmp_path: Path, garbage: bool) -> None:
    sound = chirp()
    source = save(tmp_path / "a.mka", sound, 48_000, "flac")
    lost = range(5, 8)  # of 4608 samples each
    waveform = audio.read(without_packets(source, tmp_path / "b.mka", lost, garbage=garbage))
    whole, (first, last) = audio.read(source), (round(n * 4608 / 3) for n in (5, 8))
    assert abs(len(waveform) - len(whole)) <= 16
    assert np.abs(waveform[first + 200 : last - 200]).max() < 1e-4
    np.testing.assert_allclose(waveform[: first - 200], whole[: first - 200], atol=1e-3)
    assert np.corrcoef(waveform[last + 200 : -16], whole[last + 200 :][: len(waveform) - last - 216])[0, 1] > 0.9


def test_a_beginning_that_is_lost_keeps_its_time(tmp_path: Path) -> None:
    source = save(tmp_path / "a.mka", chirp(), 48_000, "flac")
    waveform = audio.read(without_packets(source, tmp_path / "b.mka", range(2), garbage=True))
    assert abs(len(waveform) - 1.2 * 16_000) <= 16
    assert np.abs(waveform[:2800]).max() < 1e-4


def test_damage_is_counted_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = save(tmp_path / "a.mka", chirp(), 48_000, "flac")
    with caplog.at_level(logging.WARNING):
        audio.read(without_packets(source, tmp_path / "b.mka", (4, 6), garbage=True))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'b.mka'}: damaged audio packets skipped: 2"
    ]


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_a_real_file_with_damaged_packets_reads() -> None:
    waveform = audio.read(SHARED / "odd" / "broken_audio_packet.mpg", from_video_start=True)
    assert abs(len(waveform) / 16_000 - 2.98) < 0.05


def test_what_cannot_be_heard_says_so_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "notes.txt").write_text("FFmpeg would draw this\n" * 50)
    (tmp_path / "other.mp4").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "empty.wav").touch()
    with wave.open(str(tmp_path / "silent.wav"), "wb") as silent:
        silent.setparams((1, 2, 16_000, 0, "NONE", ""))
    with av.open(tmp_path / "mute.mp4", "w") as out:
        picture = out.add_stream("mpeg4", rate=25, width=32, height=32)
        out.mux([*picture.encode(av.VideoFrame(32, 32, "yuv420p")), *picture.encode(None)])
    said = {
        "text.mp4": "is a text file",
        "notes.txt": "is a text file",
        "other.mp4": "cannot be read",
        "empty.wav": "empty",
        "silent.wav": "no samples|cannot be read",
        "mute.mp4": "no audio track",
        "nowhere.wav": "no such file",
        ".": "folder",
    }
    for name, reason in said.items():
        with pytest.raises(MediaError, match=reason) as caught:
            audio.read(tmp_path / name)
        assert "\n" not in str(caught.value)
