"""Protocols: what a system is given of a clip, and which performances and figures come of it.

Each is a function (clip, bench) -> Outcome. Systems: *truth*; *held*, a mouth that stays; *composite*, the warped
reference with an empty mouth; *painter*; *linear*, the regression's motion through the same pipeline; *ceiling*, the
first stage with the true latent; *ours*; *outputs*, videos of another tool. Nothing here averages over clips.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.align import Alignment, crop_region
from difftalk.errors import InputError
from difftalk.evaluation.curves import Figures, follow_figures, mouth_curves, opening_correlation, rest_figures
from difftalk.evaluation.frechet import CrowdNets, Features
from difftalk.evaluation.judge import SyncJudge
from difftalk.evaluation.metrics import gradient_energy
from difftalk.evaluation.performance import (
    Performance,
    frame_indices,
    look_figures,
    look_of,
    of_clip,
    of_frames,
    of_video,
    pasted,
    shimmer,
)
from difftalk.evaluation.subject import Subject, portrait_of, sharpness, skin_weight, subject_of, variant
from difftalk.face import Image
from difftalk.model import Model
from difftalk.motion import MOTION_RATE
from difftalk.mouth import opening
from difftalk.published_renderer import renderer_of
from difftalk.talker import Talker
from difftalk.training.render_data import Clip, Follower, References
from difftalk.voice import Voice
from difftalk.waveform import SAMPLE_RATE

Array = NDArray[np.float32]

DONORS: Final = 4  # voices that a clip is dubbed with
PAUSE_SECONDS: Final = 1.6
PAUSE_SETTLE: Final = 0.3  # seconds after the pause begins in which the mouth may close
PAUSE_EARLY: Final = 0.4  # seconds before it ends in which the mouth may open: mouths do so before they speak
QUIET_SECONDS: Final = 2.4
QUIET_LEVEL: Final = -55.0  # dBFS
LONG_SECONDS: Final = {"length": 20.0, "drift": 120.0}
EDGE_SECONDS: Final = 5.0  # at either end of a long run that are compared
MIN_JUDGED: Final = 36  # frames, so that shifts of 15 either way leave windows
SHEET_FRAMES: Final = 6


@dataclass(frozen=True)
class Bench:
    """What is measured and with what.

    donors: by clip name. outputs: folder of another tool's videos. judge: of sync. crowd: for FID and FVD.
    """

    model: Model
    seconds: float
    donors: Mapping[str, Sequence[Clip]] = field(default_factory=dict)
    outputs: Path | None = None
    judge: SyncJudge | None = None
    crowd: CrowdNets = field(default_factory=CrowdNets)


@dataclass(frozen=True)
class Outcome:
    """figures: by system, by metric. curves: opening by system, 25/s. strips: rows of pictures to look at.

    crowd: features for FID and FVD by system.
    """

    figures: dict[str, Figures]
    curves: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    strips: dict[str, list[Image]] = field(default_factory=dict)
    crowd: dict[str, Features] = field(default_factory=dict)


def held_from(performance: Performance, index: int = 0) -> Performance:
    """A mouth that never moves: one frame, repeated."""
    count = len(performance)
    return Performance([performance.frames[index]] * count, np.repeat(performance.meshes[index : index + 1], count, 0))


def spoken(model: Model, subject: Subject, waveform: Array) -> Performance:
    """The subject's still speaking a waveform, rendered and tracked again."""
    frames = Talker(model).stream(subject.identity, [waveform], head_motion=0)
    return of_frames((frame.image for frame in frames), model, subject.identity.people[0].references[0].alignment)


def sync_figures(made: Performance, bench: Bench, waveform: Array) -> Figures:
    """What the sync judge says, where there is one and the clip is long enough for it."""
    if bench.judge is None or len(made) < MIN_JUDGED:
        return {}
    scores = bench.judge.scores(made.frames, waveform)
    return {"sync_c": scores.confidence, "sync_d": scores.distance, "sync_offset": float(scores.offset)}


def outcome(truth: Performance, made: Mapping[str, Performance], bench: Bench, clip: Clip) -> Outcome:
    """All figures of performances that speak the truth's words from whatever still, the truth's own among them."""
    geometry, waveform = bench.model.geometry, clip.sample.sound(bench.seconds)
    everyone = {"truth": truth, **made}
    curves = {name: performance.curves(geometry) for name, performance in everyone.items()}
    looks = {name: look_of(performance, geometry) for name, performance in everyone.items()}
    figures = {
        name: follow_figures(curves["truth"], curves[name], 0 if name == "truth" else clip.sample.record.offset)
        | look_figures(looks["truth"], looks[name])
        | sync_figures(performance, bench, waveform)
        for name, performance in everyone.items()
    }
    openings = {name: curve.opening for name, curve in curves.items()}
    crowd = {name: bench.crowd.features(performance) for name, performance in everyone.items()}
    return Outcome(figures, openings, strips_of(everyone), {name: found for name, found in crowd.items() if found})


def strips_of(everyone: Mapping[str, Performance]) -> dict[str, list[Image]]:
    """The regions of a few frames of each, at the same times."""
    count = min(len(performance) for performance in everyone.values())
    chosen = np.linspace(0, count - 1, min(count, SHEET_FRAMES)).astype(int)
    return {name: [crop_region(performance.frames[i]) for i in chosen] for name, performance in everyone.items()}


def strict(clip: Clip, bench: Bench) -> Outcome:
    """The clip's first frame as a still, and its audio: no frame with its true mouth enters."""
    truth = of_clip(clip, bench.seconds)
    if bench.outputs is not None:
        return outcome(truth, {"outputs": _output(bench, "strict", clip.sample.record.name)}, bench, clip)
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
        made = {"outputs": _output(bench, "widest", clip.sample.record.name)}
    else:
        subject = subject_of(clip, bench.model, int(clip.openings.argmax()), bench.seconds)
        made = {"ours": spoken(bench.model, subject, subject.waveform)}
    return outcome(truth, made, bench, clip)


def outside(clip: Clip, bench: Bench) -> Outcome:
    """The clip's audio from a portrait that belongs to no data set, the demo's."""
    truth = of_clip(clip, bench.seconds)
    if bench.outputs is not None:
        made = {"outputs": _output(bench, "outside", clip.sample.record.name)}
    else:
        subject = portrait_of(clip, bench.model, bench.seconds)
        made = {"ours": spoken(bench.model, subject, subject.waveform)}
    return outcome(truth, made, bench, clip)


def cross(clip: Clip, bench: Bench) -> Outcome:
    """The clip's first frame as a still, and the audio of another data set's clip; judged against that clip's mouth."""
    donor = _donors(clip, bench)[0]
    truth = of_clip(donor, bench.seconds)
    if bench.outputs is not None:
        name = f"{clip.sample.record.name}__{donor.sample.record.name}"
        made = {"outputs": _output(bench, "cross", name)}
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
        return {name: _output(bench, "silence", f"{clip.sample.record.name}__{name}") for name in heard}
    return {name: spoken(model, subject, waveform) for name, waveform in heard.items()}


def swap(clip: Clip, bench: Bench) -> Outcome:
    """The clip dubbed with voices of another data set: the mouth must follow the voice, not what the clip once said."""
    geometry, truth = bench.model.geometry, of_clip(clip, bench.seconds)
    own = truth.curves(geometry).opening
    rows: dict[str, list[Figures]] = {}
    strips = {"truth": strips_of({"truth": truth})["truth"]}
    for donor in _donors(clip, bench):
        theirs, offset = mouth_curves(clip_meshes(donor, bench.seconds), geometry).opening, donor.sample.record.offset
        if bench.outputs is not None:
            name = f"{clip.sample.record.name}__{donor.sample.record.name}"
            made = {"outputs": _output(bench, "swap", name)}
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
    voice, renderer = Voice(model, articulation=1.0), renderer_of(model, steps=model.settings.steps, seed=0)
    voice.push(waveform)
    voice.finish()
    indices = frame_indices(clip, min(seconds, len(waveform) / SAMPLE_RATE))
    references, follower = References(clip), Follower(clip)

    def frames() -> Iterator[Image]:
        for number, index in enumerate(indices):
            conditions = voice.at(number / MOTION_RATE)
            mesh = clip.mesh(int(index), conditions.shape, model.geometry)
            chosen, mouth = follower.at(int(index), conditions.shape)
            scene = clip.scene(int(index), chosen)
            drawn = renderer.draw(references[chosen], references[mouth], mesh, conditions, scene)
            yield pasted(scene.aligned, drawn.picture)

    return of_frames(frames(), model, Alignment(np.eye(2, 3)))


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


def donors_of(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """For every clip four others of another data set, always the same: by a hash of both names.

    A data set is what stands before the first underscore of a clip's name.
    """
    out = {}
    for clip in clips:
        name = clip.sample.record.name
        others = [c for c in clips if c.sample.record.name.split("_")[0] != name.split("_")[0]]
        others = others or [c for c in clips if c.sample.record.person != clip.sample.record.person]
        out[name] = sorted(others, key=lambda c: zlib.crc32(f"{name} {c.sample.record.name}".encode()))[:DONORS]
    return out


def _donors(clip: Clip, bench: Bench) -> Sequence[Clip]:
    found = bench.donors.get(clip.sample.record.name, ())
    if not found:
        raise InputError("swap and cross need clips of at least two people")
    return found


def _output(bench: Bench, protocol: str, name: str) -> Performance:
    """The video that another tool made for a protocol's task, any suffix."""
    assert bench.outputs is not None
    found = sorted((bench.outputs / protocol).glob(f"{name}.*"))
    if not found:
        folder = bench.outputs / protocol
        raise InputError(f"{folder} holds no video {name}.*; difftalk evaluate --tasks says what each is made of")
    return of_video(found[0], bench.model, bench.seconds if protocol != "silence" else np.inf)


Protocol = Callable[[Clip, Bench], Outcome]
