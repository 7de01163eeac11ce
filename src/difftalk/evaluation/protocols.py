"""Protocols: what a model is given of a clip, and which figures are read off its output.

*strict*: one still and the clip's audio; no frame with its true mouth enters. Also from the widest frame and `linear`.
*silence*: the same still under digital silence, noise at -55 dBFS, and a pause inside speech.
*teacher*: the true mesh; a nearly closed reference at least 60 frames away, or the farthest. No motion enters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk import video
from difftalk.align import Alignment, align, region_mask
from difftalk.audio import SAMPLE_RATE
from difftalk.composite import Reference
from difftalk.evaluation.metrics import gradient_energy, inner_mouth_box, opening_correlation, opening_spread, region_of
from difftalk.face import Tracker
from difftalk.identity import Identity
from difftalk.model import Model
from difftalk.motion import MOTION_RATE
from difftalk.mouth import opening
from difftalk.renderer import Conditions, Renderer
from difftalk.sample import Sample
from difftalk.talker import Talker, TalkingFrame
from difftalk.training.render_data import Clip

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float32]
Figures = dict[str, float]
Distance = Callable[[list[Array], list[Array]], NDArray[np.float64]]  # pictures (h, w, 3) in [-1, 1] -> LPIPS

RATE: Final = Fraction(MOTION_RATE)
TEACHER_STRIDE: Final = 5  # frames
SHARP_EYES: Final = 100.0  # px between the eyes from which skin sharpness is measured
PAUSE_SECONDS: Final = 1.2
PAUSE_SETTLE: Final = 0.2  # seconds after the pause begins in which the mouth may close
SILENCE_SECONDS: Final = 2.4
PORTRAIT_SIDE: Final = 4.0  # eye distances from the face's middle that a portrait shows


@dataclass(frozen=True)
class Subject:
    """A clip as a still and its audio. truth: (t,) opening at 25/s."""

    sample: Sample
    identity: Identity
    waveform: Array
    truth: NDArray[np.float64]


def variant(model: Model, *, motion: str | None = None, renderer: str | None = None) -> Model:
    """The same folder with another motion or renderer."""
    settings = replace(
        model.settings, motion=motion or model.settings.motion, renderer=renderer or model.settings.renderer
    )
    return replace(model, settings=settings)


def subject_of(clip: Clip, model: Model, index: int, seconds: float) -> Subject:
    """The clip's frame `index` as a portrait, at the source's resolution, with at most `seconds` of its audio."""
    sample = clip.sample
    image = _source_frame(sample, index)
    points = sample.meshes[index]
    middle = points[:, :2].mean(0)
    reach = PORTRAIT_SIDE * sample.record.eye_distance
    x0, y0 = np.maximum(np.floor(middle - reach).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(middle + reach).astype(int), [image.shape[1], image.shape[0]])
    image, points = np.ascontiguousarray(image[y0:y1, x0:x1]), points - np.array([x0, y0, 0], np.float32)
    geometry = model.geometry
    pose = geometry.pose(points)
    neutral = geometry.neutral_of_still(pose.remove(points), sample.blendshapes[index])
    reference = Reference.of(image, align(pose), points)
    identity = Identity(sample.folder, neutral, [reference], [pose.yaw], reference, image, points, pose)
    waveform = sample.waveform[: round(seconds * SAMPLE_RATE)].astype(np.float32) / np.float32(32767)
    times = np.arange(0, min(seconds, sample.seconds[-1]), 1 / MOTION_RATE)
    truth = np.interp(times, sample.seconds, clip.openings).astype(np.float64)
    return Subject(sample, identity, waveform, truth)


def _source_frame(sample: Sample, index: int) -> NDArray[np.uint8]:
    """The picture of the source at the time of the sample's frame."""
    wanted = float(sample.seconds[index])
    for frame in video.read(sample.record.source):
        if frame.seconds >= wanted - 1e-3:
            return frame.image
    raise AssertionError("a sample's frame lies beyond its source")


def generated_opening(model: Model, frames: Iterator[TalkingFrame]) -> NDArray[np.float64]:
    """Opening of rendered frames, tracked again."""
    tracker, geometry, out = Tracker(model.face_finder), model.geometry, []
    for frame in frames:
        face = tracker(frame.image)
        out.append(np.nan if face is None else float(opening(geometry.pose(face.points).remove(face.points))))
    values = np.array(out)
    seen = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(len(values)), seen, values[seen]) if len(seen) else np.zeros(len(values))


def spoken(model: Model, subject: Subject, waveform: Array, *, head_motion: float = 0.0) -> NDArray[np.float64]:
    """Opening of the subject's still speaking `waveform`, rendered and tracked again."""
    return generated_opening(model, Talker(model).stream(subject.identity, [waveform], head_motion=head_motion))


def strict(clip: Clip, model: Model, seconds: float) -> Figures:
    """Correlation, correlation at shift 0 and spread: the model, the same from the widest frame, and `linear`."""
    offset = clip.sample.record.offset
    first = subject_of(clip, model, 0, seconds)
    widest = subject_of(clip, model, int(clip.openings.argmax()), seconds)
    figures = {}
    for name, system, subject in (
        ("ours", model, first),
        ("widest", model, widest),
        ("linear", variant(model, motion="linear"), first),
    ):
        values = spoken(system, subject, subject.waveform)
        figures[f"r_{name}"] = opening_correlation(subject.truth, values, offset)
        figures[f"r0_{name}"] = opening_correlation(subject.truth, values, 0)
        figures[f"spread_{name}"] = opening_spread(subject.truth, values)
    return figures | _sharpness(model, first)


def _sharpness(model: Model, subject: Subject) -> Figures:
    """Gradient energy of the region outside the inner mouth over the still's; only for large faces."""
    image = subject.identity.image
    if image is None or subject.sample.record.eye_distance < SHARP_EYES:
        return {}
    alignment = subject.identity.references[0].alignment
    weight = _source_weight(alignment, image.shape[:2])
    frames = list(Talker(model).stream(subject.identity, [subject.waveform[: SAMPLE_RATE // 2]], head_motion=0))
    before = gradient_energy(image, weight)
    return {"sharpness": float(np.mean([gradient_energy(frame.image, weight) for frame in frames]) / max(before, 1e-9))}


def _source_weight(alignment: Alignment, size: tuple[int, int]) -> NDArray[np.float32]:
    import cv2

    weight = np.zeros((256, 256), np.float32)
    weight[96:240, 40:216] = region_mask()
    weight[128:178, 84:172] = 0  # the mouth at its widest
    height, width = size
    return np.asarray(cv2.warpAffine(weight, alignment.inverse, (width, height), flags=cv2.INTER_LINEAR), np.float32)


def silence(clip: Clip, model: Model, seconds: float) -> Figures:
    """Spread of the opening in silence over that in speech; mean opening above neutral in units of speech spread."""
    subject = subject_of(clip, model, 0, seconds)
    rng, count = np.random.default_rng(0), round(SILENCE_SECONDS * SAMPLE_RATE)
    speech = spoken(model, subject, subject.waveform)
    spread = max(float(speech.std()), 1e-9)
    noise = (10 ** (-55 / 20) * rng.standard_normal(count)).astype(np.float32)
    neutral = float(opening(subject.identity.neutral))
    quiet = {"zeros": np.zeros(count, np.float32), "noise": noise}
    figures = {}
    for name, waveform in quiet.items():
        values = spoken(model, subject, waveform)
        figures[f"{name}_spread"], figures[f"{name}_open"] = (
            float(values.std() / spread),
            float((values.mean() - neutral) / spread),
        )
    half = len(subject.waveform) // 2
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    values = spoken(model, subject, np.concatenate([subject.waveform[:half], pause, subject.waveform[half:]]))
    start = half / SAMPLE_RATE
    inside = values[round((start + PAUSE_SETTLE) * MOTION_RATE) : round((start + PAUSE_SECONDS - 0.1) * MOTION_RATE)]
    return figures | {
        "pause_spread": float(inside.std() / spread),
        "pause_open": float((inside.mean() - neutral) / spread),
    }


def teacher(clip: Clip, model: Model, seconds: float, distance: Distance) -> Figures:
    """LPIPS of region and inner-mouth box: ours, painter, bare composite, held, ceiling, and the latent's use."""
    pictures: dict[str, list[Array]] = {}
    truths, meshes = [], []
    last = int(np.searchsorted(clip.sample.seconds, seconds))
    systems = {"ours": Renderer(model, steps=model.settings.steps, seed=0)}
    if model.settings.renderer != "painter" and "painter" in model.graphs:
        systems["painter"] = Renderer(variant(model, renderer="painter"), steps=1, seed=0)
    for index in range(0, min(len(clip), last), TEACHER_STRIDE):
        chosen, mesh = clip.closed_reference(index), clip.meshes[index]
        reference, scene = clip.reference(chosen), clip.scene(index, chosen)
        truth = region_of(clip.sample.frame(index))
        conditions = Conditions(clip.audio(index), clip.shapes[index])
        shown = {"held": region_of(reference.aligned)}
        for name, renderer in systems.items():
            renderer.reset()
            drawn = renderer.draw(reference, reference, mesh, conditions, scene)
            shown[name] = drawn.picture
        shown["composite"] = drawn.composite[:3].transpose(1, 2, 0)
        if "decoder" in model.graphs:
            other = clip.sample.frame((index + max(25, len(clip) // 2)) % len(clip))
            shown |= _decoded(model, truth, region_of(other), drawn.composite)
        for name, picture in shown.items():
            pictures.setdefault(name, []).append(np.ascontiguousarray(picture, np.float32))
        truths.append(truth)
        meshes.append(mesh)
    figures = {}
    boxes = [inner_mouth_box(truth, mesh) for truth, mesh in zip(truths, meshes, strict=True)]
    for name, shown_pictures in pictures.items():
        figures[f"lpips_{name}"] = float(distance(shown_pictures, truths).mean())
        mouths = [inner_mouth_box(p, mesh) for p, mesh in zip(shown_pictures, meshes, strict=True)]
        figures[f"mouth_{name}"] = float(distance(mouths, boxes).mean())
    return figures


def _decoded(model: Model, truth: Array, other: Array, composite: Array) -> dict[str, Array]:
    """What the first stage makes of its own latent, of another frame's, and of zeros."""
    encode, decode, path = model.graph("encoder"), model.graph("decoder"), model.graph("composite_path")
    features = path(composite=composite[None])
    latents = {
        name: encode(region=p.transpose(2, 0, 1)[None])["latent"] for name, p in (("ceiling", truth), ("other", other))
    }
    latents["zeros"] = np.zeros_like(latents["ceiling"])
    shown = {}
    for name, latent in latents.items():
        picture = decode(latent=latent, composite=composite[None], **features)["picture"][0]
        shown[name] = np.clip(picture.transpose(1, 2, 0), -1, 1)
    return shown


def lpips_distance() -> Distance:
    """LPIPS (AlexNet) of lists of pictures (h, w, 3) in [-1, 1]."""
    import torch

    from difftalk.training.losses import LPIPS

    net = LPIPS.shipped().eval()

    @torch.no_grad()
    def distance(a: list[Array], b: list[Array]) -> NDArray[np.float64]:
        pairs = [net(_tensor(p), _tensor(q)) for p, q in zip(a, b, strict=True)]
        return torch.cat(pairs).double().numpy()

    return distance


def _tensor(picture: Array) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
