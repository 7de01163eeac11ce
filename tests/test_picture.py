"""Pictures in every form and of phones, moving ones with their own times, and files that are none."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from difftalk.errors import MediaError
from difftalk.media import picture, video
from test_video import draw, scene


def test_stills_in_every_form(tmp_path: Path) -> None:
    color = Image.fromarray(scene(5))
    forms: list[tuple[str, Image.Image, Image.Image, float]] = [
        ("a.png", color, color, 90), ("a.jpg", color, color, 35), ("a.webp", color, color, 30),
        ("a.gif", color, color, 20), ("gray.png", color.convert("L"), color.convert("L"), 90),
        ("palette.png", color.quantize(64), color, 25), ("cmyk.jpg", color.convert("CMYK"), color, 25),
    ]  # fmt: skip
    for name, image, truth, least in forms:
        image.save(tmp_path / name)
        assert picture.is_picture(tmp_path / name)
        back = picture.read(tmp_path / name)
        assert back.shape == (64, 96, 3)
        assert back.dtype == np.uint8
        assert np.square(back - np.array(truth.convert("RGB"), float)).mean() < 255**2 / 10 ** (least / 10), name


def test_stills_turned_clear_deep_or_of_several_frames(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(scene(1)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(picture.read(tmp_path / "turned.png"), np.rot90(scene(1), -1))
    clear = np.array([[[10, 20, 30, 255], [0, 0, 0, 128], [10, 20, 30, 0]]], np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert picture.read(tmp_path / "clear.png").tolist() == [[[10, 20, 30], [127] * 3, [255] * 3]]
    Image.fromarray(np.array([[0, 32_768, 65_535], [9, 120, 200]], np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(picture.read(tmp_path / "deep.png")[..., 1], [[0, 128, 255], [0, 0, 1]])
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (50, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert picture.read(tmp_path / "a.gif")[0, 0].tolist() == [50, 50, 50]


def test_stills_that_are_none(tmp_path: Path) -> None:
    Image.fromarray(scene(1, 300, 200)).save(tmp_path / "cut.jpg")
    cut = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    huge = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + huge)
    draw(tmp_path / "video.mp4")
    for name in ("cut.jpg", "text.png", "empty.png", "bomb.png", "video.mp4", "nowhere.png", "."):
        with pytest.raises(MediaError) as caught:
            picture.read(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not picture.is_picture(tmp_path / "video.mp4")
    assert not picture.is_picture(tmp_path / "text.png")


def test_pictures_of_phones(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    photo = Image.fromarray(scene(1, 160, 120))
    pillow_heif.from_pillow(photo).save(tmp_path / "a.heic", quality=95)
    pillow_heif.from_pillow(photo).save(tmp_path / "turned.heic", quality=95, exif=exif.tobytes())
    photo.save(tmp_path / "turned.avif", quality=95, exif=exif)
    clear = photo.convert("RGBA")
    clear.putalpha(0)
    pillow_heif.from_pillow(clear).save(tmp_path / "clear.heic", quality=95)
    upright = np.asarray(photo, float)
    expected = {
        "a.heic": upright,
        "turned.heic": np.rot90(upright, -1),
        "turned.avif": np.rot90(upright, -1),
        "clear.heic": np.full_like(upright, 255),
    }
    for name, truth in expected.items():
        assert picture.is_picture(tmp_path / name)
        assert not picture.moves(tmp_path / name)
        back = picture.read(tmp_path / name)
        assert back.shape == truth.shape, name
        assert np.abs(back - truth).mean() < 3, name


def test_the_chosen_one_of_several_in_a_file(tmp_path: Path) -> None:
    """A burst of a phone is no video, and the picture that it shows need not be the first."""
    several = pillow_heif.HeifFile()  # type: ignore[no-untyped-call]
    for brightness in (40, 200):
        several.add_from_pillow(Image.fromarray(np.full((64, 64, 3), brightness, np.uint8)))
    several.save(tmp_path / "burst.heic", primary_index=1)
    assert not picture.moves(tmp_path / "burst.heic")
    assert picture.read(tmp_path / "burst.heic").mean() == pytest.approx(200, abs=3)


@pytest.mark.parametrize("name", ["cut.heic", "cut.avif", "cut.jpg"])
def test_a_damaged_picture_is_no_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    photo = Image.fromarray(scene(1, 160, 120))
    (pillow_heif.from_pillow(photo) if path.suffix == ".heic" else photo).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    for use in (picture.read, video.probe):
        with pytest.raises(MediaError) as caught:
            use(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_moving_pictures_are_videos_with_times_of_their_own(tmp_path: Path, name: str) -> None:
    path, scenes = tmp_path / name, [scene(number, 96, 64) for number in (0, 6, 12, 18)]
    first, *others = [Image.fromarray(one) for one in scenes]
    first.save(path, save_all=True, append_images=others, duration=[80, 240, 80, 400], loop=0)
    assert picture.is_picture(path)
    assert picture.moves(path)
    assert np.abs(picture.read(path) - scenes[0].astype(float)).mean() < 8
    info = video.probe(path)
    assert (info.width, info.height, info.frame_count, info.has_audio, info.constant_rate) == (96, 64, 4, False, False)
    assert info.seconds == pytest.approx(0.8, abs=0.01)
    read = list(video.read(path))
    assert [frame.seconds for frame in read] == pytest.approx([0, 0.08, 0.32, 0.4], abs=0.005)
    for frame, one in zip(read, scenes, strict=True):
        assert np.abs(frame.image - one.astype(float)).mean() < 8
    assert [frame.seconds for frame in video.read(path, first=2)] == [frame.seconds for frame in read[2:]]


def test_even_times_are_a_constant_rate(tmp_path: Path) -> None:
    frames = [Image.fromarray(scene(number)) for number in range(8)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=80)
    info = video.probe(tmp_path / "a.gif")
    assert (info.frame_rate, info.constant_rate, info.frame_count) == (Fraction(25, 2), True, 8)


def test_frames_without_a_time_are_shown_as_browsers_do(tmp_path: Path) -> None:
    frames = [Image.fromarray(scene(number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=0)
    assert [seconds for _, seconds in picture.frames(tmp_path / "a.gif")] == [0.1] * 3


def test_a_picture_for_viewers_that_do_not_move_is_no_frame(tmp_path: Path) -> None:
    still, *frames = [Image.fromarray(scene(number)) for number in (19, 0, 6)]
    still.save(tmp_path / "a.png", save_all=True, default_image=True, append_images=frames, duration=40)
    np.testing.assert_array_equal([image for image, _ in picture.frames(tmp_path / "a.png")], [scene(0), scene(6)])


def test_a_moving_picture_that_ends_early(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=40)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-9000])
    with pytest.raises(MediaError, match="damaged"):
        list(video.read(tmp_path / "a.png"))


def swapped_profile() -> bytes:
    """sRGB's profile with red and green in each other's place."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    entry = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * count, 12)}
    red, green = entry[b"rXYZ"], entry[b"gXYZ"]
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_profile_holds_for_transparent_pictures_and_palettes_too(tmp_path: Path, mode: str) -> None:
    path, colour = tmp_path / "profiled.png", Image.new("RGB", (8, 6), (60, 160, 30))
    plain = colour.quantize(8) if mode == "P" else colour.convert(mode)
    plain.save(path, icc_profile=swapped_profile())
    np.testing.assert_allclose(picture.read(path)[2, 2], [160, 60, 30], atol=2)


def test_what_is_no_path_is_read_as_its_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene(1)).save(tmp_path / "turned.jpg", exif=exif)
    pillow_heif.from_pillow(Image.fromarray(scene(1))).save(tmp_path / "phone.heic")
    for name in ("turned.jpg", "phone.heic"):
        truth = picture.read(tmp_path / name)
        with (tmp_path / name).open("rb") as file:
            given = picture.of_file(file)
        for _ in range(2):  # what is given stays as it is
            np.testing.assert_array_equal(picture.read(given), truth)
        np.testing.assert_array_equal(picture.read(truth), truth)
    frames = [Image.fromarray(scene(number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=80)
    with Image.open(tmp_path / "a.gif") as given:
        assert picture.moves(given)
    assert not picture.moves(scene(1))


@pytest.mark.parametrize("content", [b"", b"words", "words"])
def test_file_objects_without_a_picture(content: bytes | str) -> None:
    file = io.StringIO(content) if isinstance(content, str) else io.BytesIO(content)
    with pytest.raises(
        MediaError, match=r"^the picture that was given: (cannot be read as an|is a file object of text)"
    ):
        picture.of_file(file)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 4), (0, 6, 3)])
def test_arrays_that_are_no_picture(shape: tuple[int, ...]) -> None:
    for given in (np.zeros(shape, np.uint8), np.zeros((8, 6, 3), np.float32)):
        with pytest.raises(MediaError, match=r"is an array of .*; give RGB, uint8 \(height, width, 3\)"):
            picture.read(given)  # type: ignore[arg-type]


def test_files_that_give_nothing(tmp_path: Path) -> None:
    closed = io.BytesIO(b"words")
    closed.close()
    with (tmp_path / "new").open("wb") as written:
        for file in (closed, written):
            with pytest.raises(MediaError, match=r"^the picture that was given: cannot be read \(.*(closed|read)"):
                picture.of_file(file)
