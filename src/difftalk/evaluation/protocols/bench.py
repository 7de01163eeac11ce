"""The bench: what is measured, with what, and what every protocol makes of performances."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.clip import Clip, ClipFrame
from difftalk.errors import InputError
from difftalk.evaluation.judge.judge import SyncJudge
from difftalk.evaluation.metrics.curves import Figures, follow_figures
from difftalk.evaluation.metrics.frechet import CrowdNets, Features
from difftalk.evaluation.metrics.take import (
    Performance,
    look_figures,
    look_of,
    of_frames,
    of_video,
)
from difftalk.evaluation.protocols.portraits import Subject
from difftalk.face.space import crop_region
from difftalk.model import Model
from difftalk.render.drawing import Drawing, Shown
from difftalk.speech.listener import Conditions, Voice
from difftalk.speech.loudness import Loudness
from difftalk.speech.motion import MOTION_RATE
from difftalk.talk.talker import Talker

DONORS: Final = 4  # voices that a clip is dubbed with
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


def strips_of(everyone: Mapping[str, Performance]) -> dict[str, list[Image]]:
    """The regions of a few frames of each, at the same times."""
    count = min(len(performance) for performance in everyone.values())
    chosen = np.linspace(0, count - 1, min(count, SHEET_FRAMES)).astype(int)
    return {name: [crop_region(performance.frames[i]) for i in chosen] for name, performance in everyone.items()}


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


def held_from(performance: Performance, index: int = 0) -> Performance:
    """A mouth that never moves: one frame, repeated."""
    count = len(performance)
    return Performance([performance.frames[index]] * count, np.repeat(performance.meshes[index : index + 1], count, 0))


def spoken(model: Model, subject: Subject, waveform: Array) -> Performance:
    """The subject's still speaking a waveform, rendered and tracked again."""
    frames = Talker(model).stream(subject.identity, [waveform], head_motion=0, blinks=0)
    return of_frames((frame.image for frame in frames), model, subject.identity.people[0].references[0].alignment)


def shown(
    frames: Iterable[ClipFrame],
    heard: Iterable[Conditions],
    model: Model,
    *,
    apart: int = 1,
    steps: int = 0,
    seed: int = 0,
    without: Sequence[str] = (),
) -> Iterator[Shown]:
    """A clip's frames, so many 1/25 s apart, drawn one after the other as a video's are. steps: 0: the model's."""
    drawing = Drawing(model, steps=steps or model.settings.steps, seed=seed, without=without)
    before: ClipFrame | None = None
    for frame, conditions in zip(frames, heard, strict=False):
        cut = before is not None and frame.clip.cut(before.index, frame.index, apart=apart)
        yield drawing.draw(frame, conditions, cut=cut)
        before = frame


def own_conditions(clip: Clip, model: Model) -> Callable[[int], Conditions]:
    """What a frame's own sound and own mouth are, by its number."""
    loudness, late = Loudness(model), clip.sample.record.offset / MOTION_RATE
    loudness.push(clip.sample.sound())

    def own(index: int) -> Conditions:
        silent = loudness.silent(max(0.0, float(clip.sample.seconds[index]) + late))
        return Conditions(clip.audio(index, model.settings.renderer), clip.shapes[index], silent)

    return own


def predicted_conditions(clip: Clip, model: Model, seconds: float | None = None) -> Callable[[int], Conditions]:
    """What the motion makes of the clip's own sound; asked for in order. The lip/audio offset is repaired for all.

    seconds: of the sound that is listened to; all of it, if None.
    """
    voice, late = Voice(model), clip.sample.record.offset / MOTION_RATE
    voice.push(clip.sample.sound(seconds))
    voice.finish()
    return lambda index: voice.at(max(0.0, float(clip.sample.seconds[index]) + late))


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


def donors_for(clip: Clip, bench: Bench) -> Sequence[Clip]:
    found = bench.donors.get(clip.sample.record.name, ())
    if not found:
        raise InputError("swap and cross need clips of at least two people")
    return found


def output_of(bench: Bench, protocol: str, name: str) -> Performance:
    """The video that another tool made for a protocol's task, any suffix."""
    assert bench.outputs is not None
    found = sorted((bench.outputs / protocol).glob(f"{name}.*"))
    if not found:
        folder = bench.outputs / protocol
        raise InputError(f"{folder} holds no video {name}.*; `write_tasks` says what each is made of")
    return of_video(found[0], bench.model, bench.seconds if protocol != "silence" else np.inf)


Protocol = Callable[[Clip, Bench], Outcome]
