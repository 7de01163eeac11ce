"""Trains the net that sees what lies before the lower face, and puts its graph and index entry into a model folder.

    python tools/cover.py DATA src/difftalk/weights [STEPS]

DATA: the OUT folder of `difftalk prepare`. Half of the faces get something drawn before them on the spot: masks, hands,
microphones, cups and phones, captions, pieces of other frames. The people that are kept aside are not looked at. About
seven minutes of one thread. face (1, 3, 96, 96), RGB in [0, 255], see `render.cover` -> cover (1, 72, 88) in [0, 1].
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from difftalk.arrays import Array, Image
from difftalk.data.sample import Sample, load_samples
from difftalk.face.landmarks import LIPS, OVAL
from difftalk.model import Model, entry_of, write_index
from difftalk.render.cover import SEEN_X, SEEN_Y, SIDE, WITHIN
from difftalk.training.people import parted

NAME: Final = "cover"
STEPS: Final = 3900
BATCH: Final = 32
SIZE: Final = 128  # px, the aligned face at half size
POOL: Final = 4000  # frames that are drawn on again and again
LEARNING_RATE: Final = 2e-3
PLAIN_WEIGHT: Final = 2.0  # that an error on a face with nothing before it counts more
COVERED_SHARE: Final = 0.55  # of the faces that get something before them
JAW: Final = np.concatenate([OVAL[8:29], [5]])  # ear to ear by the chin, and the tip of the nose
FONTS: Final = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX)

Rng = np.random.Generator
Layer = tuple[Array, Array]  # colours (128, 128, 3) in [0, 255] and where they lie, (128, 128) in [0, 1]


class Net(nn.Module):
    """A small U-Net on the face at 96 x 96; its answer has half of that."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _layer(12, 16)
        self.down = nn.ModuleList(
            [
                nn.Sequential(_layer(16, 32, 2), _layer(32, 32)),
                nn.Sequential(_layer(32, 48, 2), _layer(48, 48)),
                nn.Sequential(_layer(48, 64, 2), _layer(64, 64)),
            ]
        )
        self.up = nn.ModuleList([_layer(112, 32), _layer(64, 24)])
        self.last = nn.Conv2d(24, 4, 1)

    def forward(self, face: Tensor) -> Tensor:
        """(n, 3, 96, 96), RGB in [0, 255] -> (n, 48, 48) logits."""
        x = self.first(functional.pixel_unshuffle(face / 127.5 - 1, 2))
        kept = []
        for down in self.down:
            x = down(x)
            kept.append(x)
        for up, before in zip(self.up, reversed(kept[:-1]), strict=True):
            x = up(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), before], 1))
        return functional.pixel_shuffle(self.last(x), 2)[:, 0]


def _layer(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Shown(nn.Module):
    """What the graph does: the probabilities of the region."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, face: Tensor) -> Tensor:
        return torch.sigmoid(self.net(face)[:, WITHIN[0], WITHIN[1]])


class Faces:
    """A pool of frames with their meshes, read once."""

    def __init__(self, samples: list[Sample], rng: Rng) -> None:
        self.rng = rng
        self.frames: list[tuple[Image, Array]] = []
        for number in range(POOL):
            sample = samples[number % len(samples)]
            index = int(rng.integers(sample.record.frames))
            half = cv2.resize(sample.frame(index), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            self.frames.append((np.asarray(half, np.uint8), np.float32(0.5) * sample.aligned_mesh(index)[:, :2]))

    def any(self) -> tuple[Image, Array]:
        return self.frames[int(self.rng.integers(len(self.frames)))]

    def batch(self) -> tuple[Tensor, Tensor]:
        """Faces (n, 3, 96, 96) in [0, 255] and what lies before them, (n, 48, 48) in [0, 1]."""
        pairs = [self._pair() for _ in range(BATCH)]
        faces, covers = (np.stack(part) for part in zip(*pairs, strict=True))
        return torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()), torch.from_numpy(covers)

    def _pair(self) -> tuple[Array, Array]:
        rng = self.rng
        frame, mesh = self.any()
        face, cover = _lit(_alone(frame, mesh, rng), rng).astype(np.float32), np.zeros(frame.shape[:2], np.float32)
        if rng.random() < COVERED_SHARE:
            for _ in range(1 + (rng.random() < 0.2)):
                colours, share = KINDS[int(rng.integers(len(KINDS)))](self, face, mesh)
                if rng.random() < 0.4:  # its shadow is no part of it
                    dark = cv2.GaussianBlur(np.roll(share, int(rng.integers(1, 6)), int(rng.integers(2))), (0, 0), 2)
                    face = face * (1 - np.float32(rng.uniform(0.1, 0.5)) * np.asarray(dark, np.float32)[..., None])
                face = face + share[..., None] * (colours - face)
                cover = np.maximum(cover, share)
        matrix = _movement(rng)
        face, cover = _moved(face, matrix), _moved(cover, matrix)
        if rng.random() < 0.5:
            face, cover = face[:, ::-1], cover[:, ::-1]
        halved = cv2.resize(_seen(cover), (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
        return _filmed(_seen(face), rng), np.asarray(halved, np.float32)


def _seen(picture: Array) -> Array:
    """What the net sees of a face at half size."""
    return picture[SEEN_Y[0] // 2 : SEEN_Y[1] // 2, SEEN_X[0] // 2 : SEEN_X[1] // 2]


def _alone(frame: Image, mesh: Array, rng: Rng) -> Image:
    """Now and then with nothing but one colour, mostly dark, around the face."""
    if rng.random() >= 0.12:
        return frame
    shape, grown = _blank(), mesh.mean(0) + (mesh - mesh.mean(0)) * rng.uniform(1.0, 1.2)
    cv2.fillPoly(shape, [cv2.convexHull(np.round(grown).astype(np.int32))], 255)
    share = cv2.GaussianBlur(shape.astype(np.float32) / 255, (0, 0), rng.uniform(0.5, 3))[..., None]
    around = rng.uniform(0, 30) + rng.normal(0, 4, 3) if rng.random() < 0.6 else rng.uniform(0, 255, 3)
    return np.asarray(np.clip(around + share * (frame - around), 0, 255), np.uint8)


def _lit(frame: Image, rng: Rng) -> Image:
    """Now and then smoothed like a painting, and the light from one side."""
    if rng.random() < 0.08:
        smooth = cv2.bilateralFilter(frame, 5, 60, 3) if rng.random() < 0.5 else cv2.medianBlur(frame, 5)
        frame = np.asarray(smooth, np.uint8)
    if rng.random() < 0.25:
        y, x = np.mgrid[-1:1:128j, -1:1:128j].astype(np.float32)
        angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.0)
        ramp = 1 + depth * np.clip((x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(0.2, 1), -1, 1)
        frame = np.clip(frame * ramp[..., None], 0, 255).astype(np.uint8)
    return frame


def _movement(rng: Rng) -> NDArray[np.float64]:
    """(2, 3): turned, shifted and scaled a little about the middle."""
    matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), rng.normal(0, 4), float(np.exp(rng.normal(0, 0.07))))
    return np.asarray(matrix + np.pad(rng.normal(0, 2.5, (2, 1)), ((0, 0), (2, 0))))


def _moved(picture: Array, matrix: NDArray[np.float64]) -> Array:
    return np.asarray(cv2.warpAffine(picture, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE), np.float32)


def _filmed(face: Array, rng: Rng) -> Array:
    """As cameras, screens and files change a picture."""
    shown = face.astype(np.float64)
    if rng.random() < 0.15:
        shown = shown.mean(2, keepdims=True) * rng.uniform(0.85, 1.15, 3)
    shown = 255 * np.clip(shown / 255, 0, 1) ** np.exp(rng.normal(0, 0.35))
    shown = (shown - 128) * np.exp(rng.normal(0, 0.2)) + 128 + rng.normal(0, 15)
    shown = shown * np.exp(rng.normal(0, 0.08, 3))
    if rng.random() < 0.3:
        shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), rng.uniform(0.3, 1.8)), np.float64)
    if rng.random() < 0.3:
        shown = shown + rng.normal(0, rng.uniform(2, 12), shown.shape)
    whole = np.clip(shown, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        coded = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))])[1]
        whole = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return whole.astype(np.float32)


def _blank() -> NDArray[np.uint8]:
    return np.zeros((SIZE, SIZE), np.uint8)


def _soft(shape: NDArray[np.uint8], rng: Rng) -> Array:
    return np.asarray(cv2.GaussianBlur(shape.astype(np.float32) / 255, (0, 0), rng.uniform(0.3, 0.9)), np.float32)


def _colour(rng: Rng) -> Array:
    """Any, or a common one: white, black, the blue of masks, skin."""
    grey = float(rng.choice([12, 30, 60, 200, 235]))
    kinds = [
        rng.uniform(0, 255, 3),
        np.full(3, grey) + rng.normal(0, 8, 3),
        np.array([150, 190, 215]),
        rng.uniform([90, 50, 30], [240, 200, 180]),
    ]
    return np.asarray(kinds[int(rng.integers(4))] + rng.normal(0, 6, 3), np.float32)


def _shaded(colour: NDArray[np.floating], shape: NDArray[np.uint8], rng: Rng) -> Array:
    """(128, 128, 3): plain, with a ramp of light, and now and then round towards its edges, folded or grained."""
    y, x = np.mgrid[-1:1:128j, -1:1:128j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.4) * (x * np.cos(angle) + y * np.sin(angle))
    if rng.random() < 0.5:
        depth = cv2.distanceTransform(shape, cv2.DIST_L2, 3)
        light = light * (1 - rng.uniform(0.1, 0.6) * np.exp(-depth / rng.uniform(1, 6)))
    if rng.random() < 0.4:
        tilt, pitch = rng.normal(0, 0.3), rng.uniform(8, 30)
        light = light + rng.uniform(0.03, 0.15) * np.sin((y + tilt * x) * pitch + rng.uniform(0, 6))
    grain = cv2.resize(rng.normal(0, 1, (int(rng.integers(4, 90)),) * 2), (128, 128))
    light = light + (rng.random() < 0.5) * rng.uniform(0, 0.12) * grain
    return np.asarray(np.clip(colour * light[..., None], 0, 255), np.float32)


def _near(mesh: Array, rng: Rng, spread: float) -> Array:
    """(2,): a place about the mouth."""
    return np.asarray(mesh[LIPS].mean(0) + rng.normal(0, spread, 2) + [0, rng.uniform(0, 12)], np.float32)


def mask(faces: Faces, face: Array, mesh: Array) -> Layer:
    """A cloth from the nose or below it to the chin, ear to ear; or a scarf that reaches further down."""
    rng, shape = faces.rng, _blank()
    outline = mesh[JAW].copy()
    top = rng.choice([5, 4, 2, 197])
    outline = (
        np.concatenate([outline, mesh[[int(top)]]])[:-2]
        if rng.random() < 0.2
        else np.concatenate([outline[:-1], mesh[[int(top)]]])
    )
    middle = outline.mean(0)
    outline = middle + (outline - middle) * rng.uniform([0.8, 0.9], [1.08, 1.15]) + rng.normal(0, 1, outline.shape)
    if rng.random() < 0.2:
        outline = np.concatenate([outline, [[125, 127], [3, 127]]])
    cv2.fillPoly(shape, [cv2.convexHull(np.round(outline).astype(np.int32))], 255)
    colours = _shaded(_colour(rng), shape, rng)
    if rng.random() < 0.25:
        other, _ = faces.any()
        colours = cv2.resize(other[rng.integers(30) :, rng.integers(30) :][:75, :75], (128, 128)).astype(np.float32)
    return colours, _soft(shape, rng)


def hand(faces: Faces, face: Array, mesh: Array) -> Layer:
    """Fingers side by side and a palm, of the person's own skin or another's."""
    rng, shape, lines = faces.rng, _blank(), _blank()
    at, angle = _near(mesh, rng, 10), rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    wide = rng.uniform(6, 15)
    for finger in range(int(rng.integers(1, 5))):
        tip = at + across * wide * 1.02 * (finger - 1.0) + along * rng.normal(0, 4)
        base = tip - along * rng.uniform(20, 45) + across * rng.normal(0, 3)
        ends = [tuple(int(v) for v in p) for p in (tip, base)]
        cv2.line(lines, *ends, 255, round(wide) + 1)  # type: ignore[call-overload]
        cv2.line(lines, *ends, 0, round(wide) - 1)  # type: ignore[call-overload]
        cv2.line(shape, *ends, 255, round(wide))  # type: ignore[call-overload]
    if rng.random() < 0.7:
        palm = at - along * rng.uniform(35, 55) + across * wide * rng.uniform(0, 1)
        cv2.ellipse(shape, (palm.tolist(), (wide * 3.6, wide * 3.2), float(np.degrees(angle))), 255, -1)
    skin = face if rng.random() < 0.6 else faces.any()[0].astype(np.float32)
    x, y = (int(v) for v in mesh[int(rng.choice([50, 280, 151, 205, 425]))])
    patch = skin[max(0, y - 5) : y + 5, max(0, x - 5) : x + 5]
    tone = np.median(patch.reshape(-1, 3), 0) if patch.size else _colour(rng)
    colours = _shaded(tone * rng.uniform(0.7, 1.15), shape, rng)
    edges = cv2.GaussianBlur(lines.astype(np.float32) / 255, (0, 0), 0.8)[..., None]
    return colours * (1 - np.float32(rng.uniform(0.2, 0.7)) * np.asarray(edges, np.float32)), _soft(shape, rng)


def microphone(faces: Faces, face: Array, mesh: Array) -> Layer:
    """A round or long head, dark or coloured, on a stick; or a thin arm with a small head beside the mouth."""
    rng, shape = faces.rng, _blank()
    at, size = _near(mesh, rng, 11), rng.uniform(4, 30)
    angle = rng.normal(90, 40)
    end = at + 130 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    cv2.ellipse(shape, (at.tolist(), (size, size * rng.uniform(0.8, 2)), angle - 90), 255, -1)
    ends = [tuple(int(v) for v in p) for p in (at, end)]
    if rng.random() < 0.85:
        cv2.line(shape, *ends, 255, max(2, round(size * rng.uniform(0.15, 0.8))))  # type: ignore[call-overload]
    colour = _colour(rng) if rng.random() < 0.4 else rng.uniform(5, 70) + rng.normal(0, 4, 3)
    return _shaded(colour, shape, rng), _soft(shape, rng)


def thing(faces: Faces, face: Array, mesh: Array) -> Layer:
    """A cup, a phone, a card: a turned box, one colour or a piece of another frame, perhaps with a rim."""
    rng, shape = faces.rng, _blank()
    box = (_near(mesh, rng, 15).tolist(), rng.uniform(10, 55, 2).tolist(), rng.normal(0, 30))
    corners = np.round(cv2.boxPoints(box)).astype(np.int32)
    cv2.fillPoly(shape, [corners], 255)
    colours = _shaded(_colour(rng), shape, rng)
    if rng.random() < 0.3:
        colours = np.roll(faces.any()[0], rng.integers(0, 128, 2), (0, 1)).astype(np.float32)
    if rng.random() < 0.4:
        cv2.polylines(colours, [corners], True, _colour(rng).tolist(), int(rng.integers(1, 4)))
    return colours, _soft(shape, rng)


def piece(faces: Faces, face: Array, mesh: Array) -> Layer:
    """A round blob of another frame, or of noise."""
    rng, shape = faces.rng, _blank()
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = rng.uniform(5, 28) * np.exp(cv2.GaussianBlur(rng.normal(0, 1, (1, 72)), (0, 0), 2)[0, 24:48])
    outline = _near(mesh, rng, 14) + reach[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
    cv2.fillPoly(shape, [np.round(outline).astype(np.int32)], 255)
    if rng.random() < 0.75:
        other = np.roll(faces.any()[0], rng.integers(0, 128, 2), (0, 1)).astype(np.float32)
        return other, _soft(shape, rng)
    grain = cv2.resize(rng.uniform(0, 255, (int(rng.integers(8, 100)),) * 2 + (3,)), (128, 128))
    return grain.astype(np.float32), _soft(shape, rng)


def caption(faces: Faces, face: Array, mesh: Array) -> Layer:
    """A bar with letters on it, or letters alone with their outline."""
    rng, shape, letters = faces.rng, _blank(), _blank()
    x, y = _near(mesh, rng, 12)
    scale = rng.uniform(0.25, 1.0)
    text = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVWaeiounrst  0123456789"), 16))
    start = (int(x - rng.uniform(30, 100)), int(y))
    font, thick = int(rng.choice(FONTS)), int(rng.integers(1, 3))
    cv2.putText(letters, text, start, font, scale, 255, thick, cv2.LINE_AA)
    cv2.putText(shape, text, start, font, scale, 255, thick + int(rng.integers(1, 4)), cv2.LINE_AA)
    ground = _colour(rng)
    if rng.random() < 0.6:
        left = -3 if rng.random() < 0.7 else int(rng.integers(10, 60))
        high, low = rng.uniform(1.1, 1.8), rng.uniform(0.3, 0.8)
        cv2.rectangle(shape, (left, int(y - 22 * scale * high)), (130, int(y + 22 * scale * low)), 255, -1)
    ink = letters.astype(np.float32)[..., None] / np.float32(255)
    return ground + ink * (_colour(rng) - ground), _soft(shape, rng)


KINDS: Final[tuple[Callable[[Faces, Array, Array], Layer], ...]] = (
    mask, hand, hand, microphone, thing, piece, caption,
)  # fmt: skip


def trained(faces: Faces, steps: int) -> Net:
    net, part = Net(), (slice(None), *WITHIN)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for step in range(steps):
        picture, cover = faces.batch()
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(picture.to(memory_format=torch.channels_last)).float()
        weight = 1 + PLAIN_WEIGHT * (cover.amax((1, 2), keepdim=True) == 0)
        loss = functional.binary_cross_entropy_with_logits(logits[part], cover[part], weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {steps}: loss {loss.item():.4f}", flush=True)
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return net.eval()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    samples = parted(load_samples(data, split="train"))[0]
    net = trained(Faces(samples, np.random.default_rng(0)), int(sys.argv[3]) if len(sys.argv) > 3 else STEPS)
    file = folder / f"{NAME}.onnx"
    face = torch.zeros(1, 3, SIDE, SIDE)
    torch.onnx.export(
        Shown(net), (face,), file, input_names=["face"], output_names=[NAME], opset_version=17, dynamo=False
    )
    model = Model.load(folder)
    write_index(folder, {**model.graphs, NAME: entry_of(file, "f32")}, model.settings)
