"""The report: protocols over prepared clips -> figures per clip, per person, and their medians; JSON and text.

Clips are averaged per person, people by their median. Goes on where it stopped: finished clips are read back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from difftalk.errors import InputError
from difftalk.evaluation.protocols import Figures, lpips_distance, silence, strict, teacher
from difftalk.model import Model
from difftalk.sample import Sample, load_samples
from difftalk.training.render_data import Clip

PROTOCOLS: Final = ("strict", "teacher", "silence")


@dataclass(frozen=True)
class EvaluationReport:
    """summary: protocol -> figure -> median over people. people: protocol -> person -> figure. text: a table."""

    summary: dict[str, Figures]
    people: dict[str, dict[str, Figures]]
    text: str


def evaluate(
    data: Path,
    out: Path,
    *,
    protocols: Sequence[str],
    model: Path | None = None,
    split: str = "val",
    seconds: float = 5.0,
    progress: Callable[[str, int, int], None] | None = None,
) -> EvaluationReport:
    """Runs protocols on every kept clip of a split; writes report.json and report.txt. Raises InputError, DataError."""
    for name in protocols:
        if name not in PROTOCOLS:
            raise InputError(f"protocol {name!r} is not known; allowed: {', '.join(PROTOCOLS)}")
    loaded, samples = Model.load(model), load_samples(data, split=split)
    done = _Done(out, loaded.hash, seconds)
    figures: dict[str, dict[str, Figures]] = {}
    for name in protocols:
        chosen = samples if name != "silence" else _one_a_person(samples)
        for number, sample in enumerate(chosen):
            found = done.get(name, sample)
            if found is None:
                found = _measure(name, Clip.of(sample, loaded.geometry), loaded, seconds)
                done.put(name, sample, found)
            figures.setdefault(name, {})[sample.record.name] = found
            if progress is not None:
                progress(name, number + 1, len(chosen))
    person = {sample.record.name: sample.record.person for sample in samples}
    report = _summed(figures, person)
    content = {
        "model": loaded.hash,
        "seconds": seconds,
        "split": split,
        "median": report.summary,
        "people": report.people,
        "clips": figures,
    }
    (out / "report.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "report.txt").write_text(report.text + "\n")
    return report


def _one_a_person(samples: Sequence[Sample]) -> list[Sample]:
    """Each person's longest clip."""
    longest: dict[str, Sample] = {}
    for sample in samples:
        held = longest.get(sample.record.person)
        if held is None or sample.record.seconds > held.record.seconds:
            longest[sample.record.person] = sample
    return list(longest.values())


def _measure(name: str, clip: Clip, model: Model, seconds: float) -> Figures:
    if name == "strict":
        return strict(clip, model, seconds)
    return silence(clip, model, seconds) if name == "silence" else teacher(clip, model, seconds, lpips_distance())


class _Done:
    """Figures of finished clips, on disk as they come."""

    def __init__(self, out: Path, model: str, seconds: float) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path, self._mark = out / "clips.jsonl", [model, seconds]
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._rows = {
            (r["protocol"], r["name"], r["fingerprint"]): r["figures"] for r in rows if r["mark"] == self._mark
        }

    def get(self, protocol: str, sample: Sample) -> Figures | None:
        return self._rows.get((protocol, sample.record.name, sample.record.fingerprint))

    def put(self, protocol: str, sample: Sample, figures: Figures) -> None:
        record = sample.record
        row = {
            "mark": self._mark,
            "protocol": protocol,
            "name": record.name,
            "fingerprint": record.fingerprint,
            "figures": figures,
        }
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _summed(figures: dict[str, dict[str, Figures]], person: dict[str, str]) -> EvaluationReport:
    people: dict[str, dict[str, Figures]] = {}
    for protocol, clips in figures.items():
        grouped: dict[str, dict[str, list[float]]] = {}
        for name, row in clips.items():
            for key, value in row.items():
                grouped.setdefault(person[name], {}).setdefault(key, []).append(value)
        people[protocol] = {
            who: {key: float(np.mean(values)) for key, values in rows.items()} for who, rows in grouped.items()
        }
    summary = {}
    for protocol, rows in people.items():
        keys = sorted({key for row in rows.values() for key in row})
        summary[protocol] = {key: float(np.median([row[key] for row in rows.values() if key in row])) for key in keys}
    return EvaluationReport(summary, people, _text(summary, people))


def _text(summary: dict[str, Figures], people: dict[str, dict[str, Figures]]) -> str:
    lines = []
    for protocol, medians in summary.items():
        keys = list(medians)
        lines += [f"{protocol} (clips averaged per person; median of {len(people[protocol])} people)"]
        lines += [f"  {key:24s} {medians[key]:8.3f}" for key in keys]
        if protocol == "teacher" and "lpips_ours" in medians:
            gains = {who: 1 - row["lpips_ours"] / row["lpips_held"] for who, row in people[protocol].items()}
            worst = min(gains, key=lambda who: gains[who])
            middle = np.median(list(gains.values()))
            lines += [f"  below the held reference by {middle:.1%} (median); least {gains[worst]:.1%} ({worst})"]
        for who, row in sorted(people[protocol].items()):
            lines.append(f"    {who:32s} " + "  ".join(f"{key} {row[key]:.3f}" for key in keys if key in row))
    return "\n".join(lines)
