"""Clips and sounds that tests draw on the spot, and what they read off them."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.filter import Graph
from av.video.stream import VideoStream
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Image
from difftalk.face.space import REGION, Alignment, Grid
from difftalk.media import mp4, video
from difftalk.render.paste import _box
from difftalk.settings import Settings

DEMO = Path(__file__).parent / "demo"  # a portrait whose eyes are 42 px apart, a voice of three seconds
SHARED = Path(__file__).parents[2] / "shared" / "data"  # real clips; not in the repository
RATE = Fraction(25)
SETTINGS = Settings()


def write_wav(path: Path, waveform: NDArray[np.float32], *, rate: int = SAMPLE_RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, len(waveform), "NONE", "not compressed"))
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def moving(image: Image, count: int) -> list[Image]:
    """The picture, shifted right by a pixel a frame."""
    return [np.roll(image, number, axis=1) for number in range(count)]


def draw_clip(
    path: Path,
    frames: Sequence[Image],
    *,
    rate: Fraction = RATE,
    sound: Path | None = None,
    times: Sequence[float] | None = None,
) -> Path:
    height, width = frames[0].shape[:2]
    with mp4.Writer(path, width=width, height=height, frame_rate=rate, sound=sound, crf=10) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, times[number] if times is not None else None)
    return path


def encode(
    path: Path, images: Sequence[Image], codec: str, pixels: str = "yuv420p", *, times: list[int] | None = None,
    turn: tuple[float, bool] | None = None, color: tuple[int, int] | None = None, options: dict[str, str] | None = None,
    fields: str = "",
) -> Path:  # fmt: skip
    """A file that `Writer` does not make; `times` in 1/100 s; `color` = matrix and range, converted and tagged;
    `fields` = tff or bff, interlaced."""
    height, width = images[0].shape[:2]
    with av.open(path, "w") as out:
        options = {**(options or {}), **({"flags": "+ilme+ildct"} if fields else {})}
        stream = out.add_stream(codec, rate=25, width=width, height=height, pix_fmt=pixels, options=options)
        assert isinstance(stream, VideoStream)
        if turn:
            stream.set_display_rotation(turn[0], hflip=turn[1])
        if times:
            stream.codec_context.time_base = Fraction(1, 100)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgba" if image.shape[2] == 4 else "rgb24")
            if color:
                stream.codec_context.colorspace, stream.codec_context.color_range = color
                frame = frame.reformat(format=pixels, dst_colorspace=color[0], dst_color_range=color[1])
            if fields:
                frame = marked(frame.reformat(format=pixels, interpolation="POINT"), fields)
            frame.pts, frame.time_base = times[number] if times else 4 * number, Fraction(1, 100)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def marked(frame: av.VideoFrame, fields: str) -> av.VideoFrame:
    """The frame as an interlaced one; fields: tff or bff."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 100))
    graph.link_nodes(source, graph.add("setfield", fields), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def without_face(image: Image) -> Image:
    """A picture of the same size with no face in it: slanted stripes."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.repeat(((x + y) % 64 + 80).astype(np.uint8)[..., None], 3, axis=2)


def packets(path: Path) -> list[bytes]:
    """The sound's packets as they lie in the file."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def images(path: Path) -> NDArray[Any]:
    """(t, h, w, 3) of a whole clip."""
    return np.stack([frame.image for frame in video.read(path)])


def weight_in(frame: Image, alignment: Alignment, grid: Grid = REGION) -> NDArray[np.float32]:
    """The weight of a grid's mask at every pixel of a frame."""
    box, to_box = _box(frame, alignment, grid)
    assert box is not None
    x0, y0, x1, y1 = box
    out = np.zeros(frame.shape[:2], np.float32)
    out[y0:y1, x0:x1] = cv2.warpAffine(grid.mask, to_box, (x1 - x0, y1 - y0), borderValue=(0.0,))
    return out


def masked(image: Image, points: NDArray[np.floating]) -> Image:
    """The picture with a cloth before mouth, chin and cheeks; points: (478, 3), of the face in it."""
    out, outline = image.copy(), points[[5, 117, 132, 136, 152, 365, 361, 346], :2]
    cv2.fillPoly(out, [np.round(outline).astype(np.int32)], (150, 190, 215))
    return out


def with_microphone(image: Image, points: NDArray[np.floating]) -> Image:
    """The picture with a dark microphone before the chin, below the lips."""
    out, eye = image.copy(), float(np.linalg.norm(points[263, :2] - points[33, :2]))
    x, y = points[152, :2]
    cv2.ellipse(out, ((float(x), float(y)), (0.5 * eye, 0.55 * eye), 0), (25, 25, 25), -1)
    cv2.rectangle(out, (round(x - 0.1 * eye), round(y)), (round(x + 0.1 * eye), len(out)), (40, 40, 40), -1)
    return out
