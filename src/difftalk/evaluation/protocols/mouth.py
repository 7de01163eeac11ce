"""The mouth protocols: the inside of the mouth in the source's own frame, at 128 px an eye distance.

What is drawn is pasted into the source's frame, and the mouth cut out of that, see `metrics/patch.py`; on every fifth
frame, of clips whose eyes are at least 90 px apart in the source. Knows nothing of how a renderer draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from difftalk.arrays import Image
from difftalk.data.clip import Clip, References, frame_indices
from difftalk.errors import InputError
from difftalk.evaluation.metrics.patch import Patch, inner_figures, paired_figures
from difftalk.evaluation.metrics.take import of_frames
from difftalk.evaluation.protocols.bench import (
    SHEET_FRAMES,
    Bench,
    Outcome,
    own_conditions,
    predicted_conditions,
    shown,
)
from difftalk.evaluation.protocols.portraits import painting, source_frames, subject_of
from difftalk.evaluation.protocols.teacher import own_latent, with_latent
from difftalk.evaluation.protocols.teacher_large import LargeFrame, Numbers, looked_at
from difftalk.model import Model
from difftalk.render.drawing import Shown
from difftalk.render.references import Reference
from difftalk.talk.talker import Talker

LEAST_EYES: Final = 90.0  # px between the eyes in the source
STRIDE: Final = 5  # frames
BEYOND: Final = 1.0  # seconds of sound after the last frame that are listened to

Patches = Mapping[str, Sequence[Patch]]  # by system, the truth's among them


def mouth(clip: Clip, bench: Bench) -> Outcome:
    """The true mesh: no motion enters."""
    return _compared(clip, bench, true_mouth=True)


def mouth_said(clip: Clip, bench: Bench) -> Outcome:
    """The clip's own audio, its mesh predicted from it."""
    return _compared(clip, bench, true_mouth=False)


def mouth_still(clip: Clip, bench: Bench) -> Outcome:
    """The clip's first frame as a still, and its audio: frames do not belong together, so only what is shown counts."""
    if not _is_judged(clip, bench):
        return Outcome({})
    indices, subject = frame_indices(clip, bench.seconds)[::STRIDE], subject_of(clip, bench.model, 0, bench.seconds)
    sources, alignment = source_frames(clip.sample, set(map(int, indices))), clip.sample.alignment
    patches = {"truth": [Patch.of(sources[int(i)], alignment(int(i)), clip.meshes[i]) for i in indices]}
    there = subject.identity.people[0].references[0].alignment
    said = Talker(bench.model).stream(subject.identity, [subject.waveform], head_motion=0, blinks=0)
    images = [frame.image for frame in said][::STRIDE]
    meshes = of_frames(images, bench.model, there).meshes
    patches["ours"] = [Patch.of(image, there, mesh) for image, mesh in zip(images, meshes, strict=True)]
    figures = {name: inner_figures(found, patches["truth"]) for name, found in patches.items()}
    return Outcome(figures, strips=_strips(patches))


def _compared(clip: Clip, bench: Bench, *, true_mouth: bool) -> Outcome:
    if not _is_judged(clip, bench):
        return Outcome({})
    patches = mouth_patches(clip, bench.model, frame_indices(clip, bench.seconds)[::STRIDE], true_mouth=true_mouth)
    true = patches["truth"]
    figures = {name: inner_figures(made, true) | paired_figures(made, true) for name, made in patches.items()}
    return Outcome(figures, strips=_strips(patches))


def mouth_patches(clip: Clip, model: Model, indices: Numbers, *, true_mouth: bool, apart: int = STRIDE) -> Patches:
    """Every system's mouths in some of the clip's frames, so many 1/25 s apart."""
    until = float(clip.sample.seconds[indices[-1]]) + BEYOND
    asked = own_conditions(clip, model) if true_mouth else predicted_conditions(clip, model, until)
    heard = [asked(int(index)) for index in indices]
    sources = source_frames(clip.sample, looked_at(clip, model.geometry, indices, [one.shape for one in heard]))
    pictures, held = References(clip), dict[int, Reference]()
    frames = [
        LargeFrame(pictures, int(index), model.geometry, true_mouth, False, sources, held=held) for index in indices
    ]
    films = {name: list(shown(frames, heard, one, apart=apart)) for name, one in _systems(model).items()}
    out = {"truth": [Patch.of(*frame.picture(frame.index), clip.meshes[frame.index]) for frame in frames]}
    reference = [frame.picture(one.choice.reference) for frame, one in zip(frames, films["ours"], strict=True)]
    out["held"] = [Patch.of(*seen, clip.meshes[frame.index]) for frame, seen in zip(frames, reference, strict=True)]
    films["composite"] = [replace(one, drawn=one.drawn.plain) for one in films["ours"]]
    if model.settings.renderer == "denoiser":
        films["ceiling"] = [
            _ceiling(model, pictures[frame.index], one) for frame, one in zip(frames, films["ours"], strict=True)
        ]
    for name, film in films.items():
        out[name] = [_pasted(frame, one) for frame, one in zip(frames, film, strict=True)]
    return out


def _systems(model: Model) -> dict[str, Model]:
    return {"ours": model} | ({"painter": painting(model)} if model.settings.renderer == "denoiser" else {})


def _ceiling(model: Model, truth: Reference, one: Shown) -> Shown:
    """With the true mouth's own latent."""
    return replace(one, drawn=with_latent(model, own_latent(model, truth, one), one))


def _pasted(frame: LargeFrame, one: Shown) -> Patch:
    image, alignment = frame.picture(frame.index)
    pasted = one.drawn.onto(image, alignment, one.reference)
    return Patch.of(pasted, alignment, one.mesh, frame.clip.meshes[frame.index])


def _is_judged(clip: Clip, bench: Bench) -> bool:
    if bench.outputs is not None:
        raise InputError("the mouth protocols render by themselves; judge videos of other tools with strict")
    return clip.sample.record.eye_distance >= LEAST_EYES


def _strips(patches: Patches) -> dict[str, list[Image]]:
    return {name: [patch.picture for patch in row[:SHEET_FRAMES]] for name, row in patches.items()}
