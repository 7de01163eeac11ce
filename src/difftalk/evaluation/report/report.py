"""The report: protocols over clips -> every clip's figures, people's, and medians with intervals; JSON, text, one page.

Clips are averaged per person; a row is the median over people with a bootstrap 95 % interval. What was measured is kept
clip by clip, so a run that was stopped goes on. Knows nothing of how a figure comes about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from difftalk.data.clip import Clip
from difftalk.data.sample import Sample, load_samples
from difftalk.errors import DataError, InputError
from difftalk.evaluation.judge.gates import gates
from difftalk.evaluation.judge.judge import Judge, SyncJudge
from difftalk.evaluation.judge.syncnet import OfficialJudge
from difftalk.evaluation.metrics.curves import luck
from difftalk.evaluation.metrics.frechet import CrowdNets, crowd_figures
from difftalk.evaluation.protocols import conditions as changes
from difftalk.evaluation.protocols import head, mouth, speaker, stills, tables, tasks, teacher, teacher_large
from difftalk.evaluation.protocols.bench import Bench, Outcome, Protocol, donors_of
from difftalk.evaluation.report.averages import Medians, Rows, by_language, by_person, medians
from difftalk.evaluation.report.cache import FORMAT, NO_OWN, Kept, OwnNets, code_hash, file_hash, plain
from difftalk.evaluation.report.glossary import ABOUT, METRICS, RANKED, SYSTEMS
from difftalk.evaluation.report.page import write_page
from difftalk.model import AUTO, Model
from difftalk.progress import Progress

PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "strict": stills.strict,
    "teacher": teacher.teacher,
    "reconstruction": teacher.reconstruction,
    "swap": stills.swap,
    "silence": stills.silence,
    "widest": stills.widest,
    "cross": stills.cross,
    "own_way": speaker.own_way,
    "head": head.head,
    "outside": stills.outside,
    "turn": teacher.turn,
    "length": stills.length,
    "drift": stills.drift,
    "conditions": changes.conditions,
    "large": teacher_large.large,
    "mouth": mouth.mouth,
    "mouth_said": mouth.mouth_said,
    "mouth_still": mouth.mouth_still,
    "ablation": tables.ablation,
    "comparison": tables.comparison,
}
DEFAULT: Final = ("strict", "teacher", "reconstruction", "swap", "silence")
FOR_OUTPUTS: Final = ("strict", "swap", "silence", "widest", "cross", "outside")
TOTAL_SECONDS: Final = 60.0  # of the default list
CLIP_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Report:
    """content: what report.json holds. text: the same as a table."""

    content: dict[str, Any]
    text: str


def evaluate(
    data: Path,
    out: Path,
    *,
    chosen: Sequence[str] = (),
    model: Path | str | None = None,
    precision: str = AUTO,
    split: str | None = None,
    seconds: float = CLIP_SECONDS,
    full: bool = False,
    outputs: Path | None = None,
    own: OwnNets = NO_OWN,
    progress: Progress | None = None,
    protocols: Mapping[str, Protocol] = PROTOCOLS,
) -> Report:
    """Runs protocols and writes report.json, report.txt, report.html. Raises InputError, DataError.

    data: a folder that prepare wrote, or clips, which are prepared first. chosen: protocols; the default ones if empty.
    precision: see `Model.load`. full: every clip and protocol. outputs: another tool's videos, judged instead of the
    model; see tasks.py. own: a user's networks. protocols: what each name measures.
    """
    names = _protocols(chosen, full=full, outputs=outputs, known=protocols)
    loaded = Model.load(model, precision=precision)
    data = prepared(data, out, loaded, split, progress)
    clips = clips_of(data, loaded, split, seconds, full=full)
    judge, crowd = _judge(own), CrowdNets.load(own.inception, own.i3d)
    bench = Bench(loaded, _share(clips, seconds, full=full), donors_of(clips), outputs, judge, crowd)
    kept = Kept(out, bench, own)
    found: dict[str, dict[str, Outcome]] = {}
    with _one_torch_thread():
        trust = _trust(data, judge, loaded, clips[0].sample.record.split)
        for name in names:
            for number, clip in enumerate(clips):
                found.setdefault(name, {})[clip.sample.record.name] = kept.outcome(name, clip, protocols[name])
                if progress is not None:
                    progress(name, number + 1, len(clips))
    content = _content(found, clips, bench, out)
    content["notes"] += trust
    text = table(content)
    (out / "report.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    (out / "report.txt").write_text(text + "\n", encoding="utf-8", errors="replace")
    write_page(content, out)
    return Report(content, text)


def _judge(own: OwnNets) -> SyncJudge:
    return Judge.shipped() if own.syncnet is None else OfficialJudge.load(own.syncnet)


def _trust(data: Path, judge: SyncJudge, model: Model, split: str) -> list[str]:
    """How far the sync judge can be trusted on this data, in lines; that it is not known, where clips are too short."""
    try:
        lines = gates(data, judge, model, split=split).text().splitlines()
    except DataError as error:
        return [f"Sync judge: not checked here ({error})."]
    return [f"Sync judge: {line}." for line in (lines[0], lines[-1])]


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Pools of two engines wait for each other's threads; the metrics' nets are small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_tasks(
    data: Path,
    out: Path,
    folder: Path,
    *,
    chosen: Sequence[str] = (),
    split: str | None = None,
    seconds: float = CLIP_SECONDS,
    full: bool = False,
    progress: Progress | None = None,
) -> int:
    """Writes what another tool is to make its videos of, for the same clips as `evaluate`; how many tasks."""
    names = _protocols(chosen, full=full, outputs=folder)
    loaded = Model.load()
    clips = clips_of(prepared(data, out, loaded, split, progress), loaded, split, seconds, full=full)
    bench = Bench(loaded, _share(clips, seconds, full=full), donors_of(clips))
    return len(tasks.write_tasks(clips, bench, names, folder))


def _protocols(
    chosen: Sequence[str], *, full: bool, outputs: Path | None, known: Mapping[str, Protocol] = PROTOCOLS
) -> list[str]:
    allowed = FOR_OUTPUTS if outputs is not None else tuple(known)
    for name in chosen:
        if name not in allowed:
            raise InputError(f"protocol {name!r} is not known here; allowed: {', '.join(allowed)}")
    return list(chosen) or [name for name in (known if full else DEFAULT) if name in allowed]


def clips_of(data: Path, model: Model, split: str | None, seconds: float, *, full: bool) -> list[Clip]:
    """The prepared clips to measure on: all, or each person's longest."""
    if not 1 <= seconds <= 600:
        raise InputError(f"`seconds` was {seconds}; allowed are 1 to 600")
    samples = load_samples(data, split=split) if split else _val_or_all(data)
    return [Clip.of(sample, model.geometry) for sample in (samples if full else _one_a_person(samples))]


def prepared(data: Path, out: Path, model: Model, split: str | None, progress: Progress | None = None) -> Path:
    """The prepared form of a folder: itself, or OUT/data, made of the people of `split`, val where there are such."""
    if (data / "index.parquet").is_file():
        return data
    from difftalk.data.manifest import find_clips
    from difftalk.data.prepare import prepare

    if split is None and any(clip.split == "val" for clip in find_clips(data)):
        split = "val"
    prepare(data, out / "data", model=model, split=split, progress=progress)
    return out / "data"


def check_judge(
    data: Path, out: Path, *, split: str | None = None, own: OwnNets = NO_OWN, progress: Progress | None = None
) -> str:
    """The gates of the sync judge on people that it never saw, as text; also written to OUT/gates.txt."""
    model = Model.load()
    with _one_torch_thread():
        found = gates(prepared(data, out, model, split, progress), _judge(own), model, split=split or "val")
    out.mkdir(parents=True, exist_ok=True)
    (out / "gates.txt").write_text(found.text() + "\n", encoding="utf-8", errors="replace")
    return found.text()


def _val_or_all(data: Path) -> list[Sample]:
    samples = load_samples(data)
    return [s for s in samples if s.record.split == "val"] or samples


def _one_a_person(samples: Sequence[Sample]) -> list[Sample]:
    """Each person's longest clip; of equals the first."""
    longest: dict[str, Sample] = {}
    for sample in samples:
        held = longest.get(sample.record.person)
        if held is None or sample.record.seconds > held.record.seconds:
            longest[sample.record.person] = sample
    return list(longest.values())


def _share(clips: Sequence[Clip], seconds: float, *, full: bool) -> float:
    return seconds if full else max(1.0, min(seconds, TOTAL_SECONDS / len(clips)))


def _content(
    found: Mapping[str, Mapping[str, Outcome]], clips: Sequence[Clip], bench: Bench, out: Path
) -> dict[str, Any]:
    people = {clip.sample.record.name: clip.sample.record.person for clip in clips}
    languages = {clip.sample.record.person: clip.sample.record.language for clip in clips}
    sources = {clip.sample.record.name: file_hash(Path(clip.sample.record.source)) for clip in clips}
    sections = {name: _section(name, outcomes, people, sources, bench.seconds, out) for name, outcomes in found.items()}
    for name, section in sections.items():
        section["languages"] = by_language(section["people"], languages, RANKED[name][0])
    return {
        "format": FORMAT,
        "model": bench.model.hash if bench.outputs is None else bench.outputs.name,
        "code": code_hash(),
        "split": ", ".join(sorted({clip.sample.record.split for clip in clips})),
        "seconds": round(bench.seconds, 3),
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "notes": _notes(found, people),
        "metrics": {
            name: METRICS[name]
            for name in METRICS
            if any(name in row for section in sections.values() for row in section["rows"].values())
        },
        "systems": SYSTEMS,
        "clips": sources,
        "protocols": sections,
    }


def _section(
    protocol: str,
    outcomes: Mapping[str, Outcome],
    people: Mapping[str, str],
    sources: Mapping[str, str],
    seconds: float,
    out: Path,
) -> dict[str, Any]:
    figures = {clip: outcome.figures for clip, outcome in outcomes.items() if outcome.figures}
    listed = json.dumps([[clip, sources[clip]] for clip in sorted(figures)] + [round(seconds, 3)])
    persons = by_person(figures, people)
    return {
        "about": ABOUT[protocol],
        "clips": list(figures),
        "list_hash": hashlib.sha256(listed.encode()).hexdigest()[:12],
        "rows": _with_crowds(medians(persons), outcomes, people),
        "people": {who: plain(rows) for who, rows in persons.items()},
        "figures": {clip: plain(rows) for clip, rows in figures.items()},
        "curves": {
            clip: {name: [round(float(v), 4) for v in curve] for name, curve in outcome.curves.items()}
            for clip, outcome in outcomes.items()
            if outcome.curves
        },
        "sheets": _sheets(protocol, figures, out),
    }


def _with_crowds(rows: Medians, outcomes: Mapping[str, Outcome], people: Mapping[str, str]) -> Medians:
    """FID and FVD beside the medians: one figure for all clips together, so without an interval."""
    count = len({people[clip] for clip in outcomes})
    for system, found in crowd_figures([outcome.crowd for outcome in outcomes.values()]).items():
        for metric, value in found.items():
            rows[system][metric] = {"median": value, "low": None, "high": None, "people": count}
    return rows


def _sheets(protocol: str, figures: Rows, out: Path) -> dict[str, str]:
    """Strips of the worst and the best clip by the protocol's ranking metric, where there are pictures."""
    metric, better = RANKED[protocol]
    ranked = sorted(
        (better * row.get("ours", row.get("outputs", {})).get(metric, np.nan), clip) for clip, row in figures.items()
    )
    ranked = [(value, clip) for value, clip in ranked if np.isfinite(value)]
    if not ranked:
        return {}
    chosen = {"worst": ranked[0][1], "best": ranked[-1][1]}
    paths = {name: f"clips/{protocol}/{clip}.png" for name, clip in chosen.items()}
    return {name: path for name, path in paths.items() if (out / path).is_file()}


def _notes(found: Mapping[str, Mapping[str, Outcome]], people: Mapping[str, str]) -> list[str]:
    """Lines that stand above everything."""
    curves = {
        clip: outcome.curves["truth"]
        for outcomes in found.values()
        for clip, outcome in outcomes.items()
        if "truth" in outcome.curves
    }
    chance = luck(curves, dict(people))
    if not chance:
        return []
    return [
        f"Luck: the true openings of different people correlate by {chance['floor']:.3f} in the mean (swap's floor), "
        f"and by {chance['free']:.3f} when any shift within 15 frames is allowed."
    ]


def table(content: Mapping[str, Any]) -> str:
    """The medians as text."""
    lines = [f"model {content['model']}, code {content['code']}, {content['seconds']} s a clip", *content["notes"]]
    for name, section in content["protocols"].items():
        lines += ["", f"{name}: {section['about']} {len(section['clips'])} clips, list {section['list_hash']}"]
        metrics = [m for m in content["metrics"] if any(m in row for row in section["rows"].values())]
        for metric in metrics:
            cells = [f"{system} {_cell(row[metric])}" for system, row in section["rows"].items() if metric in row]
            lines.append(f"  {metric:20s} " + "   ".join(cells))
        for language, row in section["languages"].items():
            cells = [f"{system} {_cell(value)}" for system, value in row["rows"].items()]
            lines.append(f"  {row['metric']} in {language}, {row['people']} people: " + "   ".join(cells))
    return "\n".join(lines)


def _cell(row: Mapping[str, Any]) -> str:
    span = f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else ""
    return f"{row['median']:.3f}{span}"
