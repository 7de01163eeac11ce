"""Protocols that compare pictures with the true frames: the mesh is given, or predicted for the clip's own audio.

The reference is the frame nearest in turn, of the less open half of those at least 60 frames away (or the farthest);
the teeth's is the most open of them; surroundings are the frame's own, as in `dub`. Perceptual figures are taken on
every fifth frame, flicker on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.clip import Clip, ClipFrame, References, frame_indices
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import OPEN, Figures
from difftalk.evaluation.metrics.perception import early_distance, lpips_distance
from difftalk.evaluation.metrics.pictures import box_texture, inner_mouth_box, psnr, region_of, ssim
from difftalk.evaluation.metrics.take import Performance, flicker, of_frames, pasted
from difftalk.evaluation.protocols.bench import Bench, Outcome, own_conditions, predicted_conditions, shown, strips_of
from difftalk.evaluation.protocols.portraits import painting
from difftalk.face.space import EYE_DISTANCE, Alignment, region_mask
from difftalk.model import Model
from difftalk.render.drawing import Shown
from difftalk.render.paste import Drawn, Layer
from difftalk.render.references import Reference
from difftalk.render.renderer import sharpness_of, shown_of, unit
from difftalk.speech.motion import MOTION_RATE

STRIDE: Final = 5  # frames
TURNED: Final = 20.0  # degrees
OTHER_FRAMES: Final = 25  # by which another frame's latent is away at least
IN_PLACE: Final = Alignment(np.eye(2, 3))  # of frames that are aligned already
SEQUENCES: Final = ("ours", "painter", "composite")  # systems that draw every frame, so that flicker is theirs


@dataclass
class _Kept:
    """What every system shows: pictures by system at the strided frames, aligned frames by system at all."""

    pictures: dict[str, list[Array]] = field(default_factory=dict)
    frames: dict[str, list[Image]] = field(default_factory=dict)
    truths: list[Array] = field(default_factory=list)
    meshes: list[Array] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)  # whether a frame's reference is the one before it


def teacher(clip: Clip, bench: Bench) -> Outcome:
    """The true mesh: no motion enters."""
    return _compared(clip, bench, frame_indices(clip, bench.seconds), true_mouth=True)


def turn(clip: Clip, bench: Bench) -> Outcome:
    """As teacher, on the frames where the head is turned by more than 20 degrees; nothing where there are none."""
    yaws = np.array([pose.yaw for pose in clip.poses])
    turned = np.flatnonzero(np.abs(yaws) > TURNED)
    indices = turned[: round(bench.seconds * MOTION_RATE)].astype(np.int64)
    return _compared(clip, bench, indices, true_mouth=True) if len(indices) else Outcome({})


def reconstruction(clip: Clip, bench: Bench) -> Outcome:
    """The clip's own audio, its mesh predicted from it: pose from the frame, mouth from the motion."""
    return _compared(clip, bench, frame_indices(clip, bench.seconds), true_mouth=False)


def _compared(clip: Clip, bench: Bench, indices: NDArray[np.int64], *, true_mouth: bool) -> Outcome:
    if bench.outputs is not None:
        raise InputError(
            "teacher, turn and reconstruction render by themselves; judge videos of other tools with strict"
        )
    kept, pictures, model = _Kept(), References(clip), bench.model
    heard = own_conditions(clip, model) if true_mouth else predicted_conditions(clip, model)
    systems = {"ours": model}
    if model.settings.renderer == "denoiser":
        systems["painter"] = painting(model)
    frames = [ClipFrame(pictures, int(index), model.geometry, true_mouth=true_mouth) for index in indices]
    films = [shown(frames, (heard(frame.index) for frame in frames), system) for system in systems.values()]
    before: int | None = None
    for number, (frame, *made) in enumerate(zip(frames, *films, strict=True)):
        drawn = dict(zip(systems, made, strict=True))
        regions, ours = _regions(kept, drawn), drawn["ours"]
        if number % STRIDE == 0:
            truth = region_of(ours.frame)
            regions["held"] = region_of(ours.reference.aligned)
            if model.settings.renderer == "denoiser":
                other = (frame.index + max(OTHER_FRAMES, len(clip) // 2)) % len(clip)
                regions |= _decoded(model, pictures[frame.index], pictures[other], ours)
            _keep(kept, regions, truth, clip.meshes[frame.index])
        kept.same.append(ours.choice.reference == before)
        before = ours.choice.reference
    figures = _figures(kept, clip.meshes[list(indices)], model)
    rows = {name: Performance(film, clip.meshes[list(indices)]) for name, film in kept.frames.items()}
    return Outcome(figures, strips=strips_of({name: rows[name] for name in ("truth", "composite", *systems)}))


def _regions(kept: _Kept, drawn: Mapping[str, Shown]) -> dict[str, Array]:
    """Every system's picture of one frame, and the composite's; aligned frames are kept."""
    ours = drawn["ours"]
    regions = {name: one.picture for name, one in drawn.items()}
    regions["composite"] = ours.drawn.composite[:3].transpose(1, 2, 0)
    for name, region in regions.items():
        kept.frames.setdefault(name, []).append(pasted(ours.frame, region))
    kept.frames.setdefault("truth", []).append(ours.frame)
    return regions


def _keep(kept: _Kept, pictures: Mapping[str, Array], truth: Array, mesh: Array) -> None:
    """A frame's pictures, to be judged as such; its true region and aligned mesh."""
    for name, picture in pictures.items():
        kept.pictures.setdefault(name, []).append(np.ascontiguousarray(picture, np.float32))
    kept.truths.append(truth)
    kept.meshes.append(mesh)


def _figures(kept: _Kept, meshes: Array, model: Model) -> dict[str, Figures]:
    """meshes: (t, 478, 3), tracked in the true frames, as made ones are: both have the error of tracking."""
    true_flicker = _flicker(Performance(kept.frames["truth"], meshes), kept.same)
    out = {}
    for name, pictures in kept.pictures.items():
        out[name] = picture_figures(pictures, kept.truths, kept.meshes)
        if name in SEQUENCES:
            made = of_frames(kept.frames[name], model, IN_PLACE)
            for area, value, of in zip(("skin", "mouth"), _flicker(made, kept.same), true_flicker, strict=True):
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


def _flicker(film: Performance, same: Sequence[bool]) -> tuple[float, float]:
    """Of consecutive frames that share their reference, by runs, weighted by length."""
    totals, weight, start = np.zeros(2), 0, 0
    for stop in range(1, len(film) + 1):
        if stop == len(film) or not same[stop]:
            if stop - start > 1:
                run = Performance(film.frames[start:stop], film.meshes[start:stop])
                totals += (stop - start - 1) * np.array(flicker(run))
                weight += stop - start - 1
            start = stop
    skin, mouth = totals / max(weight, 1)
    return float(skin), float(mouth)


def _decoded(model: Model, truth: Reference, other: Reference, shown: Shown) -> dict[str, Array]:
    """The region with what the first stage makes of the mouth's own latent, of another frame's, and of zeros."""
    own, elsewhere = (
        own_latent(model, truth, shown),
        model.graph("encoder")(picture=unit(other.patch())[None])["latent"],
    )
    latents = {"ceiling": own, "other": elsewhere, "zeros": np.zeros_like(own)}
    return {name: with_latent(model, latent, shown).picture for name, latent in latents.items()}


def own_latent(model: Model, truth: Reference, shown: Shown) -> Array:
    """Of the true mouth, in the patch that was drawn: a ceiling of what any denoiser can reach."""
    picture = truth.close_at(_patch(shown).composite.grid)
    return model.graph("encoder")(picture=unit(picture)[None])["latent"]


def with_latent(model: Model, latent: Array, shown: Shown) -> Drawn:
    """What was drawn, its mouth decoded from another latent."""
    drawn, patch = shown.drawn, _patch(shown)
    assert isinstance(drawn, Drawn)
    layers, sharpness = patch.composite.layers, sharpness_of(shown.reference, drawn.mouth)[None]
    features = model.graph("composite_path")(composite=layers[None], sharpness=sharpness)
    picture = model.graph("decoder")(latent=latent, composite=layers[None], **features)["picture"]
    made = replace(patch, picture=shown_of(picture, layers, model.settings))
    return replace(drawn, layers=(*drawn.layers[:-1], made))


def _patch(shown: Shown) -> Layer:
    assert isinstance(shown.drawn, Drawn)
    return shown.drawn.layers[-1]
