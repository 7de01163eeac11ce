"""Pictures in: any image, a file, Pillow's or an array, to RGB, and the frames of one that moves.

What moves (GIF, animated WebP, PNG and AVIF) is read by `video` like a video. Knows no faces, features or models.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageCms, ImageOps, UnidentifiedImageError

from difftalk.arrays import Image
from difftalk.errors import MediaError
from difftalk.media.container import check_file

# Not every format that Pillow knows: EPS would start Ghostscript, and MPEG is video.
_FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "AVIF", "HEIF", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "PPM", "TGA", "ICO",
)  # fmt: skip
_MOVING = ("GIF", "WEBP", "PNG", "AVIF")
HEIF_BRANDS = frozenset({"heic", "heix", "heim", "heis", "mif1", "avif"})  # of files that are pictures, phones' too
GIVEN = "the picture that was given"  # what one without a name is called
Picture = Path | str | PIL.Image.Image | Image  # a file, Pillow's image, or (height, width, 3) uint8 RGB
_SHORTEST = 0.011  # s: what asks for less is shown for _USUAL, as browsers do
_USUAL = 0.1


def is_picture(path: Path | str) -> bool:
    """Whether the file's content is an image, a moving one too; MediaError if there is no file."""
    check_file(path)
    try:
        with _opened(path):
            return True
    except Exception:  # image parsers raise all sorts of things
        return False


def moves(source: Picture) -> bool:
    """Whether it is an image of several frames that follow one another; MediaError if there is no such file."""
    if isinstance(source, np.ndarray):
        return False
    if isinstance(source, PIL.Image.Image):
        return _moves(source)
    check_file(source)
    try:
        with _opened(source) as picture:
            return _moves(picture)
    except Exception:
        return False


def _moves(picture: PIL.Image.Image) -> bool:
    return picture.format in _MOVING and getattr(picture, "n_frames", 1) > 1


def is_still(path: Path | str) -> bool:
    """Whether the file is an image that does not move; MediaError if there is no file."""
    return is_picture(path) and not moves(path)


def read(source: Picture) -> Image:
    """An image as (height, width, 3) RGB: upright, in sRGB, transparent parts white, the first frame of several."""
    if isinstance(source, np.ndarray):
        return _checked(source)
    if not isinstance(source, PIL.Image.Image):
        check_file(source)
    try:
        if isinstance(source, PIL.Image.Image):
            return _upright_rgb(source.copy())
        with _opened(source) as picture:
            return _upright_rgb(picture)
    except Exception as error:
        raise _unreadable(name_of(source), error) from error


def of_file(file: BinaryIO) -> PIL.Image.Image:
    """The image in a binary file object, from where it stands to its end."""
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # closed, or open to be written
        raise MediaError(f"{GIVEN}: cannot be read ({error})") from error
    try:
        return _image_of(io.BytesIO(content))
    except TypeError:
        raise MediaError(f"{GIVEN}: is a file object of text; open it with 'rb'") from None
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{GIVEN}: cannot be read as an image (save it as JPEG or PNG; of a video give the path)"
        ) from error
    except Exception as error:
        raise _unreadable(GIVEN, error) from error


def name_of(source: Picture) -> str:
    """What it is called in messages."""
    return str(source) if isinstance(source, Path | str) else GIVEN


def _checked(image: Image) -> Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise MediaError(f"{GIVEN}: is an array of {image.dtype} {image.shape}; give RGB, uint8 (height, width, 3)")
    return np.array(image)  # what its owner does to it later is not seen


def frames(path: Path | str) -> Iterator[tuple[Image, float]]:
    """The frames of a moving image, as `read` gives them, and for how many seconds each is shown."""
    try:
        with _opened(path) as picture:
            # an animated PNG can begin with a picture for viewers that do not move
            for number in range(int(getattr(picture, "default_image", False)), getattr(picture, "n_frames", 1)):
                picture.seek(number)
                picture.load()
                seconds = float(picture.info.get("duration", 0)) / 1000
                yield _upright_rgb(picture.copy()), seconds if seconds >= _SHORTEST else _USUAL
    except Exception as error:
        raise _unreadable(path, error) from error


def over_white(image: NDArray[np.uint8]) -> Image:
    """(height, width, 4) RGBA -> RGB on white."""
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


@contextmanager
def _opened(path: Path | str) -> Iterator[PIL.Image.Image]:
    with Path(path).open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # 100-megapixel photos are real
        with _image_of(file) as picture:
            yield picture


def _image_of(file: BinaryIO) -> PIL.Image.Image:
    """The image in a file that can be sought and stays open."""
    PIL.Image.init()
    head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:12].decode("latin1") in HEIF_BRANDS:
        import pillow_heif

        pillow_heif.register_heif_opener()
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        return PIL.Image.open(file, formats=[name for name in _FORMATS if name in PIL.Image.OPEN])


def _unreadable(path: Path | str, error: Exception) -> MediaError:
    said = " ".join(str(error).split())
    reason = "save it as JPEG or PNG" if isinstance(error, UnidentifiedImageError) else f"damaged: {said}"
    return MediaError(f"{path}: cannot be read as an image ({reason})")


def _upright_rgb(picture: PIL.Image.Image) -> Image:
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I") or picture.mode == "F":  # Pillow would clip 16 bits to 8
        values = np.asarray(picture, np.float64)
        wide = picture.mode.startswith("I;") or values.max() > 255
        top = 65535 if wide else 1 if picture.mode == "F" and values.max() <= 1 else 255
        return np.repeat(np.clip(values * (255 / top) + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if picture.has_transparency_data:
        whole = picture.convert("RGBA")
        alpha = np.asarray(whole.getchannel("A"))
        return over_white(np.dstack([_in_srgb(whole.convert("RGB"), picture), alpha]))
    return _in_srgb(picture.convert("RGB") if picture.mode == "P" else picture, picture)


def _in_srgb(pixels: PIL.Image.Image, picture: PIL.Image.Image) -> Image:
    """Pixels without transparency as sRGB, by the profile of the picture that they are of: phones write Display P3."""
    profile = picture.info.get("icc_profile")
    if profile and pixels.mode in ("RGB", "CMYK", "L"):
        with suppress(ImageCms.PyCMSError, OSError):
            srgb = ImageCms.createProfile("sRGB")
            pixels = ImageCms.profileToProfile(pixels, io.BytesIO(profile), srgb, outputMode="RGB") or pixels
    return np.array(pixels.convert("RGB"))
