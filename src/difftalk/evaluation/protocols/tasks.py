"""Tasks for another tool: the pictures, videos and sounds of the protocols, so that its videos can be judged alike.

Writes FOLDER/PROTOCOL/NAME.png and NAME.wav (for swap a row names the clip's own video), and FOLDER/tasks.csv. The
tool's videos go to OUTPUTS/PROTOCOL/NAME.mp4 (or any other suffix). Knows nothing of figures.
"""

from __future__ import annotations

import csv
import wave
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from difftalk.arrays import SAMPLE_RATE
from difftalk.data.clip import Clip
from difftalk.data.sample import FULL_SCALE
from difftalk.errors import OutputError
from difftalk.evaluation.protocols.bench import Bench
from difftalk.evaluation.protocols.portraits import DEMO, Subject, subject_of
from difftalk.evaluation.protocols.stills import quiet_waveforms


@dataclass(frozen=True)
class Task:
    """One row: who speaks what. source: a picture or a video. name: of the video that is wanted."""

    protocol: str
    name: str
    source: str
    sound: str


def write_tasks(clips: Sequence[Clip], bench: Bench, protocols: Sequence[str], folder: Path) -> list[Task]:
    """Writes the tasks of protocols over clips. Raises OutputError."""
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty; give a new folder")
    made = [task for name in protocols for clip in clips for task in _tasks(name, clip, bench, folder)]
    with (folder / "tasks.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Task)])
        writer.writerows(astuple(task) for task in made)
    return made


def _tasks(protocol: str, clip: Clip, bench: Bench, folder: Path) -> Iterator[Task]:
    record, out = clip.sample.record, folder / protocol
    out.mkdir(parents=True, exist_ok=True)
    if protocol == "swap":
        for donor in bench.donors[record.name]:
            name = f"{record.name}__{donor.sample.record.name}"
            yield Task(
                protocol, name, record.source, write_sound(out / f"{name}.wav", donor.sample.sound(bench.seconds))
            )
        return
    subject = subject_of(clip, bench.model, int(clip.openings.argmax()) if protocol == "widest" else 0, bench.seconds)
    picture = str(DEMO) if protocol == "outside" else _picture(out / f"{record.name}.png", subject)
    if protocol == "silence":
        for kind, waveform in quiet_waveforms(subject.waveform).items():
            name = f"{record.name}__{kind}"
            yield Task(protocol, name, picture, write_sound(out / f"{name}.wav", waveform))
        return
    name, waveform = record.name, subject.waveform
    if protocol == "cross":
        donor = bench.donors[record.name][0]
        name, waveform = f"{name}__{donor.sample.record.name}", donor.sample.sound(bench.seconds)
    yield Task(protocol, name, picture, write_sound(out / f"{name}.wav", waveform))


def _picture(path: Path, subject: Subject) -> str:
    Pillow.fromarray(subject.identity.image).save(path)
    return str(path)


def write_sound(path: Path, waveform: NDArray[np.float32]) -> str:
    """16 kHz mono; the path."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(waveform, -1, 1) * FULL_SCALE).astype("<i2").tobytes())
    return str(path)
