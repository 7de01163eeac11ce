"""Protocols: what a system is given of a clip, and which performances and figures come of it.

Each is a function (clip, bench) -> Outcome. Systems: *truth*; *held*, a mouth that stays; *composite*, the warped
reference with an empty mouth; *painter*; *linear*, the regression's motion through the same pipeline; *ceiling*, the
first stage with the true latent; *ours*; *outputs*, videos of another tool. Nothing here averages over clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from difftalk.arrays import SAMPLE_RATE, Array, Image
from difftalk.data.clip import Clip, ClipFrame, References, frame_indices
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import Figures, follow_figures, mouth_curves, opening_correlation, rest_figures
from difftalk.evaluation.metrics.pictures import gradient_energy
from difftalk.evaluation.metrics.take import (
    Performance,
    look_figures,
    look_of,
    of_clip,
    of_frames,
    pasted,
    shimmer,
)
from difftalk.evaluation.protocols.bench import (
    Bench,
    Outcome,
    donors_for,
    held_from,
    outcome,
    output_of,
    shown,
    spoken,
    strips_of,
)
from difftalk.evaluation.protocols.portraits import Subject, portrait_of, sharpness, skin_weight, subject_of, variant
from difftalk.face.mouth import opening
from difftalk.face.space import Alignment
from difftalk.model import Model
from difftalk.speech.listener import Voice
from difftalk.speech.motion import MOTION_RATE

PAUSE_SECONDS: Final = 1.6
PAUSE_SETTLE: Final = 0.3  # seconds after the pause begins in which the mouth may close
PAUSE_EARLY: Final = 0.4  # seconds before it ends in which the mouth may open: mouths do so before they speak
QUIET_SECONDS: Final = 2.4
QUIET_LEVEL: Final = -55.0  # dBFS
LONG_SECONDS: Final = {"length": 20.0, "drift": 120.0}
EDGE_SECONDS: Final = 5.0  # at either end of a long run that are compared


def strict(clip: Clip, bench: Bench) -> Outcome:
    """The clip's first frame as a still, and its audio: no frame with its true mouth enters."""
    truth = of_clip(clip, bench.seconds)
    if bench.outputs is not None:
        return outcome(truth, {"outputs": output_of(bench, "strict", clip.sample.record.name)}, bench, clip)
    subject = subject_of(clip, bench.model, 0, bench.seconds)
    made = {
        "held": held_from(truth),
        "linear": spoken(variant(bench.model, motion="linear"), subject, subject.waveform),
        "ours": spoken(bench.model, subject, subject.waveform),
    }
    found = outcome(truth, made, bench, clip)
    found.figures["ours"] |= sharpness(bench.model, subject)
    return found


def widest(clip: Clip, bench: Bench) -> Outcome:
    """As strict, from the frame in which the mouth is widest open."""
    truth = of_clip(clip, bench.seconds)
    if bench.outputs is not None:
        made = {"outputs": output_of(bench, "widest", clip.sample.record.name)}
    else:
        subject = subject_of(clip, bench.model, int(clip.openings.argmax()), bench.seconds)
        made = {"ours": spoken(bench.model, subject, subject.waveform)}
    return outcome(truth, made, bench, clip)


def outside(clip: Clip, bench: Bench) -> Outcome:
    """The clip's audio from a portrait that belongs to no data set, the demo's."""
    truth = of_clip(clip, bench.seconds)
    if bench.outputs is not None:
        made = {"outputs": output_of(bench, "outside", clip.sample.record.name)}
    else:
        subject = portrait_of(clip, bench.model, bench.seconds)
        made = {"ours": spoken(bench.model, subject, subject.waveform)}
    return outcome(truth, made, bench, clip)


def cross(clip: Clip, bench: Bench) -> Outcome:
    """The clip's first frame as a still, and the audio of another data set's clip; judged against that clip's mouth."""
    donor = donors_for(clip, bench)[0]
    truth = of_clip(donor, bench.seconds)
    if bench.outputs is not None:
        name = f"{clip.sample.record.name}__{donor.sample.record.name}"
        made = {"outputs": output_of(bench, "cross", name)}
    else:
        subject = subject_of(clip, bench.model, 0, bench.seconds)
        made = {"ours": spoken(bench.model, subject, donor.sample.sound(bench.seconds))}
    figures = {}
    for system, performance in {"truth": truth, **made}.items():
        curves = performance.curves(bench.model.geometry)
        offset = 0 if system == "truth" else donor.sample.record.offset
        figures[system] = follow_figures(truth.curves(bench.model.geometry), curves, offset)
    return Outcome(figures, strips=strips_of(made))


def silence(clip: Clip, bench: Bench) -> Outcome:
    """The still under digital silence, noise at -55 dBFS, and a pause inside speech, beside itself in speech."""
    subject = subject_of(clip, bench.model, 0, bench.seconds)
    neutral, heard = float(opening(subject.identity.people[0].neutral)), quiet_waveforms(subject.waveform)
    start = len(subject.waveform) // 2 / SAMPLE_RATE
    inside = slice(
        round((start + PAUSE_SETTLE) * MOTION_RATE), round((start + PAUSE_SECONDS - PAUSE_EARLY) * MOTION_RATE)
    )
    figures, strips = dict[str, Figures](), dict[str, list[Image]]()
    systems = {"linear": variant(bench.model, motion="linear"), "ours": bench.model}
    for system, model in systems.items() if bench.outputs is None else [("outputs", bench.model)]:
        made = _all_spoken(clip, bench, model, subject, heard)
        curves = {name: performance.curves(bench.model.geometry).opening for name, performance in made.items()}
        figures[system] = {"shimmer": shimmer(made["zeros"])}
        for name in ("zeros", "noise", "pause"):
            part = curves[name][inside] if name == "pause" else curves[name]
            rest = rest_figures(part, curves["speech"], neutral)
            figures[system] |= {f"{name}_{key.removeprefix('rest_')}": value for key, value in rest.items()}
        strips = strips_of({name: made[name] for name in ("zeros", "noise", "pause")})
    return Outcome(figures, strips=strips)


def quiet_waveforms(speech: Array) -> dict[str, Array]:
    """What the silence protocol plays: speech, digital silence, noise, and the speech with a pause inside."""
    half, count = len(speech) // 2, round(QUIET_SECONDS * SAMPLE_RATE)
    noise = 10 ** (QUIET_LEVEL / 20) * np.random.default_rng(0).standard_normal(count)
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    broken = np.concatenate([speech[:half], pause, speech[half:]])
    return {"speech": speech, "zeros": np.zeros(count, np.float32), "noise": noise.astype(np.float32), "pause": broken}


def _all_spoken(
    clip: Clip, bench: Bench, model: Model, subject: Subject, heard: Mapping[str, Array]
) -> dict[str, Performance]:
    if bench.outputs is not None:
        return {name: output_of(bench, "silence", f"{clip.sample.record.name}__{name}") for name in heard}
    return {name: spoken(model, subject, waveform) for name, waveform in heard.items()}


def swap(clip: Clip, bench: Bench) -> Outcome:
    """The clip dubbed with voices of another data set: the mouth must follow the voice, not what the clip once said."""
    geometry, truth = bench.model.geometry, of_clip(clip, bench.seconds)
    own = truth.curves(geometry).opening
    rows: dict[str, list[Figures]] = {}
    strips = {"truth": strips_of({"truth": truth})["truth"]}
    for donor in donors_for(clip, bench):
        theirs, offset = mouth_curves(clip_meshes(donor, bench.seconds), geometry).opening, donor.sample.record.offset
        if bench.outputs is not None:
            name = f"{clip.sample.record.name}__{donor.sample.record.name}"
            made = {"outputs": output_of(bench, "swap", name)}
        else:
            made = {"ours": dubbed(clip, bench.model, donor.sample.sound(bench.seconds), bench.seconds)}
        for system, performance in {"truth": truth, "held": held_from(truth), **made}.items():
            curve, late = performance.curves(geometry).opening, offset if system in made else 0
            figures = {
                "r_own": opening_correlation(own, curve, 0),
                "r_donor": opening_correlation(theirs, curve, late),
            }
            rows.setdefault(system, []).append(figures)
        strips |= strips_of(made)
    means = {
        system: {key: float(np.mean([row[key] for row in found])) for key in found[0]} for system, found in rows.items()
    }
    return Outcome(means, strips=strips)


def clip_meshes(clip: Clip, seconds: float) -> Array:
    return np.asarray(clip.meshes[frame_indices(clip, seconds)], np.float32)


def dubbed(clip: Clip, model: Model, waveform: Array, seconds: float) -> Performance:
    """The clip's frames speaking another waveform, at 25/s in the aligned space, tracked again; as `dub` does it."""
    voice, pictures = Voice(model), References(clip)
    voice.push(waveform)
    voice.finish()
    indices = frame_indices(clip, min(seconds, len(waveform) / SAMPLE_RATE))
    frames = (ClipFrame(pictures, int(index), model.geometry) for index in indices)
    heard = (voice.at(number / MOTION_RATE) for number in range(len(indices)))
    made = (pasted(one.frame, one.picture) for one in shown(frames, heard, model))
    return of_frames(made, model, Alignment(np.eye(2, 3)))


def long_run(clip: Clip, bench: Bench, name: str) -> Outcome:
    """The still speaking its audio over and over: is the end like the beginning?"""
    if bench.outputs is not None:
        raise InputError(f"protocol {name} renders by itself; it cannot judge videos of another tool")
    subject, total = subject_of(clip, bench.model, 0, bench.seconds), round(LONG_SECONDS[name] * SAMPLE_RATE)
    period = len(subject.waveform)
    made = spoken(bench.model, subject, np.resize(subject.waveform, total).astype(np.float32))
    geometry, edge = bench.model.geometry, round(EDGE_SECONDS * MOTION_RATE)
    rounds = (len(made) - edge) * SAMPLE_RATE // (period * MOTION_RATE)
    start = round(rounds * period / SAMPLE_RATE * MOTION_RATE)  # the last beginning of the audio that leaves room
    first = Performance(made.frames[:edge], made.meshes[:edge])
    last = Performance(made.frames[start : start + edge], made.meshes[start : start + edge])
    curves = [part.curves(geometry).opening for part in (first, last)]
    look = look_figures(look_of(first, geometry), look_of(last, geometry))
    colour = np.mean(last.frames, axis=(0, 1, 2)) - np.mean(first.frames, axis=(0, 1, 2))
    figures = {
        "frames_missing": float(abs(len(made) - round(total / SAMPLE_RATE * MOTION_RATE))),
        "r_ends": opening_correlation(curves[0], curves[1], 0),
        "identity": look["identity"],
        "texture": look["texture"],
        "colour_drift": float(np.abs(colour).max()),
        "sharpness": float(np.mean(_energies(last)) / max(float(np.mean(_energies(first))), 1e-9)),
    }
    return Outcome({"ours": figures}, strips=strips_of({"first": first, "last": last}))


def _energies(performance: Performance) -> list[float]:
    """Gradient energy of each frame's skin inside the mask."""
    weight = skin_weight()
    return [gradient_energy(frame, weight) for frame in performance.frames]


def length(clip: Clip, bench: Bench) -> Outcome:
    """20 seconds from one still."""
    return long_run(clip, bench, "length")


def drift(clip: Clip, bench: Bench) -> Outcome:
    """120 seconds from one still."""
    return long_run(clip, bench, "drift")
