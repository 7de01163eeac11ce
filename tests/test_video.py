"""Frames read and written, the mp4's tags, and what happens to damaged or impossible files."""

import logging
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from difftalk.arrays import Image
from difftalk.errors import DifftalkError, MediaError, OutputError
from difftalk.media import audio, mp4, video
from drawn import encode

SHARED = Path(__file__).parents[2] / "shared" / "data"
NTSC = Fraction(30_000, 1001)


def scene(number: int, width: int = 96, height: int = 64) -> Image:
    """Smooth, every frame of another brightness, every corner of another colour."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([40 + 150 * x, 30 + 150 * y, np.full_like(x, 20 + 10 * number % 200)], axis=2).astype(np.uint8)


def psnr(one: Image, other: Image) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def draw(path: Path, count: int = 12, rate: Fraction = Fraction(25), *, sound: Path | None = None) -> Path:
    with mp4.Writer(path, width=96, height=64, frame_rate=rate, sound=sound) as writer:
        for number in range(count):
            writer.write(scene(number))
    return path


def tone(path: Path, seconds: float = 1.0, rate: int = 44_100) -> Path:
    samples = (9_000 * np.sin(np.arange(round(seconds * rate)) * 0.06)).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setparams((2, 2, rate, 0, "NONE", ""))
        out.writeframes(np.repeat(samples, 2).tobytes())
    return path


def hidden(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.endswith(".part")]


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), NTSC, Fraction(50), Fraction(24_000, 1001)])
def test_round_trip(tmp_path: Path, rate: Fraction) -> None:
    path = draw(tmp_path / "a.mp4", 15, rate)
    info = video.probe(path)
    assert (info.width, info.height, info.frame_count) == (96, 64, 15)
    assert (info.frame_rate, info.constant_rate, info.has_audio) == (rate, True, False)
    assert info.seconds == pytest.approx(15 / rate)
    frames = list(video.read(path))
    assert [frame.seconds for frame in frames] == pytest.approx([float(i / rate) for i in range(15)])
    assert min(psnr(frame.image, scene(i)) for i, frame in enumerate(frames)) > 40
    assert not any(frame.damaged for frame in frames)
    assert not hidden(tmp_path)


def test_saturated_colours_and_brightness_survive(tmp_path: Path) -> None:
    colours = [(200, 20, 30), (20, 180, 40), (30, 40, 200), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
    image = np.repeat(np.repeat(np.array([colours], np.uint8), 32, axis=0), 32, axis=1)
    with mp4.Writer(tmp_path / "a.mp4", width=192, height=32) as writer:
        for _ in range(3):
            writer.write(image)
    back = next(video.read(tmp_path / "a.mp4")).image[16, 16::32].astype(int)
    assert np.abs(back - colours).max() <= 4  # 601 for 709 would be off by 15 and more
    assert abs((back - colours).mean()) < 1.0


def test_the_mp4_is_tagged_and_its_index_in_front(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with mp4.Writer(path, width=96, height=64, comment="AI-generated: x 1", pixel_aspect=Fraction(4, 3)) as writer:
        writer.write(scene(0))
        writer.close()  # twice does no harm
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert container.metadata["comment"] == "AI-generated: x 1"
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.colorspace, stream.color_primaries, stream.color_trc, stream.color_range) == (1, 1, 1, 1)
    assert video.probe(path).pixel_aspect == Fraction(4, 3)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("size", [(97, 64), (96, 65), (97, 65)])
def test_odd_sizes_are_padded_by_a_repeated_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    image = scene(3, *size)
    with mp4.Writer(tmp_path / "a.mp4", width=size[0], height=size[1], crf=1) as writer:
        writer.write(image)
    assert writer.padded
    assert writer.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    back = next(video.read(tmp_path / "a.mp4")).image
    assert back.shape == (writer.size[1], writer.size[0], 3)
    assert np.abs(back[-1, -1].astype(int) - image[-1, -1]).max() < 8
    odd = encode(tmp_path / "b.mkv", [image], "ffv1", "bgr0")  # and read as they are
    np.testing.assert_array_equal(next(video.read(odd)).image, image)


def test_variable_rate_is_found_and_its_time_stamps_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.05, 0.13, 0.17, 0.30, 0.31, 0.5]
    with mp4.Writer(tmp_path / "a.mp4", width=96, height=64) as writer:
        for number, seconds in enumerate(times):
            writer.write(scene(number), seconds=seconds)
    info = video.probe(tmp_path / "a.mp4")
    assert not info.constant_rate
    assert info.frame_count == len(times)
    assert [frame.seconds for frame in video.read(tmp_path / "a.mp4")] == pytest.approx(times, abs=2e-5)
    path = encode(tmp_path / "a.mkv", [scene(i) for i in range(6)], "ffv1", "bgr0", times=[0, 4, 8, 20, 24, 28])
    hole = video.probe(path)  # 25/s with two frames lost
    assert (hole.frame_rate, hole.constant_rate) == (Fraction(25), False)
    assert [frame.seconds for frame in video.read(path)] == pytest.approx([0, 0.04, 0.08, 0.20, 0.24, 0.28])


@pytest.mark.parametrize("times", [[*(np.arange(26) / 25), 4.0], [0, 0.04, 0.1, 0.5, 0.51, 2.0, 2.03], [0.0]])
def test_a_track_is_as_long_as_its_pictures_are_shown(tmp_path: Path, times: list[float]) -> None:
    with mp4.Writer(tmp_path / "a.mp4", width=96, height=64) as writer:
        for number, seconds in enumerate(times):
            writer.write(scene(number), seconds=seconds)
    with av.open(tmp_path / "a.mp4") as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(times[-1] + 0.04, abs=1e-3)
        assert (container.duration or 0) / av.time_base == pytest.approx(times[-1] + 0.04, abs=1e-3)


def test_matroskas_milliseconds_are_a_constant_rate(tmp_path: Path) -> None:
    with av.open(draw(tmp_path / "a.mp4", 40, NTSC)) as old, av.open(tmp_path / "a.mkv", "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    info = video.probe(tmp_path / "a.mkv")
    assert (info.frame_rate, info.constant_rate, info.frame_count) == (NTSC, True, 40)


@pytest.mark.parametrize(
    ("aspect", "size", "shown"),
    [
        (Fraction(64, 45), (96, 64), Fraction(64, 45)),
        (Fraction(2), (192, 64), Fraction(1)),
        (Fraction(1, 2), (96, 128), Fraction(1)),
        (Fraction(11, 24), (96, 140), Fraction(1)),
        (Fraction(20), (96, 64), Fraction(20)),
    ],
)
def test_very_oblong_pixels_are_made_square(
    tmp_path: Path, aspect: Fraction, size: tuple[int, int], shown: Fraction
) -> None:
    """So that faces have their form, as probed and as read, from the start or from within."""
    path = tmp_path / "video.mp4"
    with mp4.Writer(path, width=96, height=64, pixel_aspect=aspect) as writer:
        for _ in range(3):
            writer.write(np.full((64, 96, 3), 128, np.uint8))
    info = video.probe(path)
    assert ((info.width, info.height), info.pixel_aspect) == (size, shown)
    frames = list(video.read(path))
    later = next(video.read(path, first=2, marks=[frame.mark for frame in frames]))
    assert {frame.image.shape for frame in [*frames, later]} == {(size[1], size[0], 3)}


@pytest.mark.parametrize(("angle", "mirrored"), [(90, False), (-90, False), (180, False), (0, True), (90, True)])
def test_rotation_flag_is_applied(tmp_path: Path, angle: int, mirrored: bool) -> None:
    image = scene(0)
    path = encode(tmp_path / "a.mp4", [image] * 3, "libx264", "yuv420p", turn=(angle, mirrored))
    shown = np.rot90(image, angle // 90)[:, :: -1 if mirrored else 1]
    back = next(video.read(path)).image
    assert back.shape == shown.shape
    assert psnr(back, shown) > 35
    info = video.probe(path)
    assert (info.height, info.width) == shown.shape[:2]


@pytest.mark.parametrize(
    ("codec", "pixels", "name"),
    [
        ("mpeg4", "yuv420p", "a.avi"), ("mjpeg", "yuvj422p", "a.mov"), ("libvpx-vp9", "yuv420p", "a.webm"),
        ("mpeg1video", "yuv420p", "a.mpg"), ("mpeg2video", "yuv420p", "a.ts"), ("prores_ks", "yuv422p10le", "a.mov"),
        ("ffv1", "gray", "a.mkv"), ("flv", "yuv420p", "a.flv"), ("libx264", "yuv420p", "a.h264"),
    ],
)  # fmt: skip
def test_reads_every_codec(tmp_path: Path, codec: str, pixels: str, name: str) -> None:
    images = [scene(i) for i in range(10)]
    path = encode(tmp_path / name, images, codec, pixels)
    frames, info = list(video.read(path)), video.probe(path)
    assert len(frames) == info.frame_count == 10
    assert info.frame_rate == 25
    assert info.constant_rate
    assert np.diff([frame.seconds for frame in frames]) == pytest.approx(0.04, abs=2e-3)
    truth = images[4] if pixels != "gray" else np.array(Pillow.fromarray(images[4]).convert("L").convert("RGB"))
    assert psnr(frames[4].image, truth) > 28


@pytest.mark.parametrize("color", [(1, 1), (5, 1), (1, 2), (5, 2)])
def test_tagged_matrix_and_range_are_obeyed(tmp_path: Path, color: tuple[int, int]) -> None:
    image = np.full((64, 64, 3), (180, 60, 40), np.uint8)
    path = encode(tmp_path / "a.mkv", [image], "ffv1", "yuv420p", color=color)
    assert np.abs(next(video.read(path)).image[30, 30].astype(int) - image[0, 0]).max() <= 3


@pytest.mark.parametrize(("size", "matrix"), [((1280, 720), 1), ((320, 240), 5)])
def test_untagged_matrix_goes_by_size(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), (180, 60, 40), np.uint8), "rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=1)
    frame.colorspace, frame.color_range = 2, 0
    with av.open(tmp_path / "a.avi", "w") as out:
        stream = out.add_stream("mpeg4", rate=25, width=size[0], height=size[1], options={"qscale": "1"})
        out.mux([*stream.encode(frame), *stream.encode(None)])
    assert np.abs(next(video.read(tmp_path / "a.avi")).image[99, 99].astype(int) - (180, 60, 40)).max() <= 4


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    image = np.zeros((32, 48, 4), np.uint8)
    image[:, :16], image[:, 16:32] = (200, 40, 20, 255), (200, 40, 20, 0)
    image[:, 32:] = (0, 0, 0, 128)
    path = encode(tmp_path / "a.mov", [image], "png", "rgba")
    back = next(video.read(path)).image
    np.testing.assert_array_equal(back[5, [5, 20, 40]], [[200, 40, 20], [255, 255, 255], [127, 127, 127]])


def test_damaged_bytes_lose_only_themselves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = [scene(i) for i in range(20)]
    path = encode(tmp_path / "a.mov", images, "png", "rgb24")
    data = bytearray(path.read_bytes())
    start = [i for i in range(len(data)) if data.startswith(b"\x89PNG", i)][8]
    data[start : start + 40] = bytes(range(100, 140))
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        frames = list(video.read(path))
    assert [round(frame.seconds * 25) for frame in frames] == [i for i in range(20) if i != 8]
    np.testing.assert_array_equal(frames[8].image, images[9])
    assert "damaged video packets skipped: 1" in caplog.text


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ts", [scene(i) for i in range(25)], "mpeg2video", "yuv420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert 8 < len(list(video.read(path))) < 25
    assert 8 < video.probe(path).frame_count < 25


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_a_real_file_with_damaged_packets_reads() -> None:
    path = SHARED / "odd" / "broken_audio_packet.mpg"
    frames, info = list(video.read(path)), video.probe(path)
    assert len(frames) >= 70
    assert (info.frame_rate, info.constant_rate, info.has_audio) == (Fraction(25), False, True)
    assert frames[-1].seconds == pytest.approx(2.96)


def test_what_cannot_be_seen_says_so_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    (tmp_path / "notes.txt").write_text("FFmpeg would draw this\n" * 50)
    (tmp_path / "empty.mp4").touch()
    tone(tmp_path / "sound.wav")
    path = encode(tmp_path / "rubbish.mov", [scene(i) for i in range(4)], "png", "rgb24")
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"XXXX"))
    said = {
        "text.mp4": "is a text file", "notes.txt": "is a text file", "empty.mp4": "empty", ".": "folder",
        "sound.wav": "no video track", "rubbish.mov": "no frame", "nowhere.mp4": "no such file",
    }  # fmt: skip
    for name, reason in said.items():
        for look in (video.probe, lambda path: next(video.read(path))):
            with pytest.raises(MediaError, match=reason) as caught:
                look(tmp_path / name)
            assert "\n" not in str(caught.value)


def test_sound_goes_with_the_pictures(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.mp4", 30, sound=tone(tmp_path / "a.wav", 1.2))
    assert video.probe(path).has_audio
    assert len(audio.read(path, from_video_start=True)) / 16_000 == pytest.approx(1.2, abs=0.03)
    with av.open(path) as container:  # interleaved: neither waits long for the other
        order = [p.stream.type for p in container.demux() if p.size]
        assert container.streams.audio[0].sample_rate == 44_100
    assert "audio" in order[:4]
    assert "video" in order[-25:]
    for sound, copied in ((path, True), (tmp_path / "a.wav", False)):
        with mp4.Writer(tmp_path / f"{copied}.mp4", width=96, height=64, sound=sound) as writer:
            writer.write(scene(0))
        assert writer.sound_copied == copied


def interrupted(path: Path, error: type[BaseException], sound: Path | None = None) -> None:
    """Half a video, then an error."""
    with mp4.Writer(path, width=96, height=64, sound=sound, overwrite=True) as writer:
        for number in range(30):
            writer.write(scene(number))
        assert hidden(path.parent)
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    sound = tone(tmp_path / "a.wav")
    with pytest.raises(error):
        interrupted(tmp_path / "a.mp4", error, sound)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.wav"]


def test_an_existing_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        mp4.Writer(path, width=96, height=64)
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, KeyboardInterrupt)
    assert path.read_bytes() == before
    with mp4.Writer(path, width=96, height=64, overwrite=True) as writer:
        writer.write(scene(0))
    assert video.probe(path).frame_count == 1
    assert not hidden(tmp_path)


def test_impossible_outputs_are_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.mp4").mkdir()
    text = tmp_path / "text.wav"
    text.write_text("no sound\n" * 50)
    cases: list[tuple[str, Path | None, str]] = [
        ("nowhere/a.mp4", None, "does not exist"), ("folder.mp4", None, "folder"), ("a.avi", None, "mp4"),
        ("a.mp4", text, "is a text file"), ("a.mp4", draw(tmp_path / "mute.mp4"), "no audio track"),
    ]  # fmt: skip
    for name, sound, reason in cases:
        with pytest.raises(DifftalkError, match=reason) as caught:
            mp4.Writer(tmp_path / name, width=96, height=64, sound=sound)
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="no frames"), mp4.Writer(tmp_path / "a.mp4", width=96, height=64):
        pass
    with pytest.raises(OutputError, match="uint8"), mp4.Writer(tmp_path / "a.mp4", width=96, height=64) as writer:
        writer.write(scene(0, 98, 64))
    assert not (tmp_path / "a.mp4").exists()
    assert not hidden(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        mp4.Writer(tmp_path / "a.mp4", width=96, height=64)
