"""Protocols that compare pictures with the true frames: the mesh is given, or predicted for the clip's own audio.

The reference is the frame nearest in turn, of the less open half of those at least 60 frames away (or the farthest);
the teeth's is the most open of them; surroundings are the frame's own, as in `dub`. Perceptual figures are taken on
every fifth frame, flicker on all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.clip import Clip, Follower, References, frame_indices
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import OPEN, Figures
from difftalk.evaluation.metrics.perception import early_distance, lpips_distance
from difftalk.evaluation.metrics.pictures import box_texture, inner_mouth_box, psnr, region_of, ssim
from difftalk.evaluation.metrics.take import Performance, flicker, pasted
from difftalk.evaluation.protocols.bench import Bench, Outcome, strips_of
from difftalk.evaluation.protocols.portraits import variant
from difftalk.face.space import EYE_DISTANCE, region_mask
from difftalk.model import Model
from difftalk.render.published_renderer import PublishedRenderer, renderer_of
from difftalk.render.references import Reference, Scene
from difftalk.render.renderer import Renderer
from difftalk.speech.listener import Conditions, Voice
from difftalk.speech.motion import MOTION_RATE

Target = tuple[Array, Conditions]

STRIDE: Final = 5  # frames
TURNED: Final = 20.0  # degrees
OTHER_FRAMES: Final = 25  # by which another frame's latent is away at least
SEQUENCES: Final = ("ours", "painter", "composite")  # systems that draw every frame, so that flicker is theirs


@dataclass
class _Shown:
    """What every system shows: pictures by system at the strided frames, aligned frames by system at all."""

    pictures: dict[str, list[Array]] = field(default_factory=dict)
    frames: dict[str, list[Image]] = field(default_factory=dict)
    truths: list[Array] = field(default_factory=list)
    meshes: list[Array] = field(default_factory=list)
    drawn: list[Array] = field(default_factory=list)  # the meshes that all systems but the truth show
    same: list[bool] = field(default_factory=list)  # whether a frame's reference is the one before it


class _Seen(NamedTuple):
    """What one frame is drawn from, in the order of a renderer's draw()."""

    reference: Reference
    mouth: Reference
    mesh: Array
    conditions: Conditions
    scene: Scene


def teacher(clip: Clip, bench: Bench) -> Outcome:
    """The true mesh: no motion enters."""
    return _compared(clip, bench, frame_indices(clip, bench.seconds), _true(clip, bench.model))


def turn(clip: Clip, bench: Bench) -> Outcome:
    """As teacher, on the frames where the head is turned by more than 20 degrees; nothing where there are none."""
    yaws = np.array([pose.yaw for pose in clip.poses])
    turned = np.flatnonzero(np.abs(yaws) > TURNED)
    indices = turned[: round(bench.seconds * MOTION_RATE)].astype(np.int64)
    return _compared(clip, bench, indices, _true(clip, bench.model)) if len(indices) else Outcome({})


def reconstruction(clip: Clip, bench: Bench) -> Outcome:
    """The clip's own audio, its mesh predicted from it: pose from the frame, mouth from the motion."""
    return _compared(clip, bench, frame_indices(clip, bench.seconds), predicted(clip, bench.model))


def _true(clip: Clip, model: Model) -> Callable[[int], Target]:
    kind = model.settings.renderer
    return lambda index: (clip.meshes[index], Conditions(clip.audio(index, kind), clip.shapes[index]))


def predicted(clip: Clip, model: Model) -> Callable[[int], Target]:
    """Asked for frames in order; the clip's lip/audio offset is repaired, the same for every model."""
    voice = Voice(model, articulation=1.0)
    voice.push(clip.sample.sound())
    voice.finish()
    late = clip.sample.record.offset / MOTION_RATE

    def target(index: int) -> Target:
        conditions = voice.at(max(0.0, float(clip.sample.seconds[index]) + late))
        mesh = clip.mesh(index, conditions.shape, model.geometry)
        return mesh, conditions

    return target


def _compared(clip: Clip, bench: Bench, indices: NDArray[np.int64], target: Callable[[int], Target]) -> Outcome:
    if bench.outputs is not None:
        raise InputError(
            "teacher, turn and reconstruction render by themselves; judge videos of other tools with strict"
        )
    shown, references, model = _Shown(), References(clip), bench.model
    renderers: dict[str, Renderer | PublishedRenderer] = {
        "ours": renderer_of(model, steps=model.settings.steps, seed=0)
    }
    if model.settings.renderer == "denoiser" and "painter" in model.graphs:
        renderers["painter"] = Renderer(variant(model, renderer="painter"), steps=1, seed=0)
    follower = Follower(clip)
    before: int | None = None
    for number, index in enumerate(map(int, indices)):
        mesh, conditions = target(index)
        chosen, mouth = follower.at(index, conditions.shape)
        seen = _Seen(references[chosen], references[mouth], mesh, conditions, clip.scene(index, chosen))
        pictures, composite = _draw(shown, renderers, seen)
        if number % STRIDE == 0:
            truth = region_of(seen.scene.aligned)
            pictures["held"] = region_of(seen.reference.aligned)
            if model.settings.renderer == "denoiser":
                other = clip.sample.frame((index + max(OTHER_FRAMES, len(clip) // 2)) % len(clip))
                pictures |= _decoded(model, truth, region_of(other), composite)
            _keep(shown, pictures, truth, clip.meshes[index])
        shown.same.append(chosen == before)
        before = chosen
    figures = _figures(shown, [clip.meshes[i] for i in indices])
    rows = {name: Performance(frames, clip.meshes[list(indices)]) for name, frames in shown.frames.items()}
    return Outcome(figures, strips=strips_of({name: rows[name] for name in ("truth", "composite", *renderers)}))


def _draw(
    shown: _Shown, renderers: Mapping[str, Renderer | PublishedRenderer], seen: _Seen
) -> tuple[dict[str, Array], Array]:
    """Every system's picture of one frame, and the composite (5, 144, 176); aligned frames are kept."""
    drawn = {name: renderer.draw(*seen) for name, renderer in renderers.items()}
    composite = drawn["ours"].composite
    pictures = {name: one.picture for name, one in drawn.items()} | {"composite": composite[:3].transpose(1, 2, 0)}
    for name, picture in pictures.items():
        shown.frames.setdefault(name, []).append(pasted(seen.scene.aligned, picture))
    shown.frames.setdefault("truth", []).append(seen.scene.aligned)
    shown.drawn.append(seen.mesh)
    return pictures, composite


def _keep(shown: _Shown, pictures: Mapping[str, Array], truth: Array, mesh: Array) -> None:
    """A frame's pictures, to be judged as such; its true region and aligned mesh."""
    for name, picture in pictures.items():
        shown.pictures.setdefault(name, []).append(np.ascontiguousarray(picture, np.float32))
    shown.truths.append(truth)
    shown.meshes.append(mesh)


def _figures(shown: _Shown, meshes: Sequence[Array]) -> dict[str, Figures]:
    true_flicker = _flicker(shown.frames["truth"], meshes, shown.same)
    out = {}
    for name, pictures in shown.pictures.items():
        out[name] = picture_figures(pictures, shown.truths, shown.meshes)
        if name in SEQUENCES:
            for area, value, of in zip(
                ("skin", "mouth"), _flicker(shown.frames[name], shown.drawn, shown.same), true_flicker, strict=True
            ):
                out[name][f"flicker_{area}"] = value / of if of > 0 else np.nan
    return out


def picture_figures(pictures: Sequence[Array], truths: Sequence[Array], meshes: Sequence[Array]) -> Figures:
    """Regions (144, 176, 3) in [-1, 1] against the true ones; meshes: (478, 3) aligned, of the truth."""
    lpips, early, mask = lpips_distance(), early_distance(), region_mask()
    mouths, boxes = (
        [inner_mouth_box(region, mesh) for region, mesh in zip(regions, meshes, strict=True)]
        for regions in (pictures, truths)
    )
    opened = [i for i, mesh in enumerate(meshes) if _is_open(mesh)]
    made, true = (sum(box_texture(found[i], meshes[i]) for i in opened) for found in (mouths, boxes))
    return {
        "psnr": float(np.mean([psnr(t, p, mask) for t, p in zip(truths, pictures, strict=True)])),
        "ssim": float(np.mean([ssim(t, p, mask) for t, p in zip(truths, pictures, strict=True)])),
        "lpips": float(lpips(pictures, truths).mean()),
        "mouth_lpips": float(lpips(mouths, boxes).mean()),
        "mouth_early": float(early(mouths, boxes).mean()),
        "mouth_psnr": float(np.mean([psnr(t, p) for t, p in zip(boxes, mouths, strict=True)])),
        "texture": made / true if true > 0 else np.nan,
    }


def _is_open(mesh: Array) -> bool:
    """By the aligned mesh alone: inner lips over the eye distance."""
    return bool(np.linalg.norm(mesh[13, :2] - mesh[14, :2]) > OPEN * EYE_DISTANCE)


def _flicker(frames: Sequence[Image], meshes: Sequence[Array], same: Sequence[bool]) -> tuple[float, float]:
    """Of consecutive frames that share their reference, by runs, weighted by length."""
    totals, weight, start = np.zeros(2), 0, 0
    for stop in range(1, len(frames) + 1):
        if stop == len(frames) or not same[stop]:
            if stop - start > 1:
                run = Performance(list(frames[start:stop]), np.stack(meshes[start:stop]))
                totals += (stop - start - 1) * np.array(flicker(run))
                weight += stop - start - 1
            start = stop
    skin, mouth = totals / max(weight, 1)
    return float(skin), float(mouth)


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
