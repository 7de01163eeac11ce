"""Averages: clips -> people -> medians over people with bootstrap intervals. Knows nothing of what is averaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from difftalk.evaluation.metrics.curves import Figures

Rows = dict[str, dict[str, Figures]]  # clip or person -> system -> metric -> value
Medians = dict[str, dict[str, dict[str, float | int | None]]]  # system -> metric -> median, low, high, people

BOOTSTRAPS: Final = 1000
LEAST_PEOPLE: Final = 3  # of a language that is counted by itself, and of an interval


def by_person(figures: Rows, people: Mapping[str, str]) -> Rows:
    """Clips' figures averaged per person, unknown ones left out."""
    grouped: dict[str, dict[str, dict[str, list[float]]]] = {}
    for clip, rows in figures.items():
        for system, row in rows.items():
            held = grouped.setdefault(people[clip], {}).setdefault(system, {})
            for metric, value in row.items():
                if np.isfinite(value):
                    held.setdefault(metric, []).append(value)
    return {
        who: {system: {m: float(np.mean(v)) for m, v in row.items()} for system, row in rows.items()}
        for who, rows in grouped.items()
    }


def medians(people: Rows) -> Medians:
    """system -> metric -> median over people, bootstrap 95 % interval (Efron 1979), how many people."""
    out: Medians = {}
    for system in {system: None for rows in people.values() for system in rows}:
        metrics = {metric: None for rows in people.values() for metric in rows.get(system, {})}
        for metric in metrics:
            values = np.array([r[system][metric] for r in people.values() if metric in r.get(system, {})])
            low, high = interval(values)
            row = {"median": float(np.median(values)), "low": low, "high": high, "people": len(values)}
            out.setdefault(system, {})[metric] = row
    return out


def by_language(people: Rows, languages: Mapping[str, str], metric: str) -> dict[str, dict[str, Any]]:
    """Medians of one metric over a language's people; languages of fewer than 3 people are `others` together.

    languages: of each person; nothing where none is known.
    """
    spoken = {person: languages.get(person, "") for person in people}
    if not any(spoken.values()):
        return {}
    counts = Counter(spoken.values())
    named = {who: tongue if tongue and counts[tongue] >= LEAST_PEOPLE else "others" for who, tongue in spoken.items()}
    out = {}
    for language in sorted(set(named.values()), key=lambda name: (name == "others", name)):
        rows = medians({who: row for who, row in people.items() if named[who] == language})
        values = {system: row[metric] for system, row in rows.items() if metric in row}
        out[language] = {"metric": metric, "people": list(named.values()).count(language), "rows": values}
    return out


def interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float | None, float | None]:
    """The middle 95 % of the medians of 1,000 samples with replacement; nothing for fewer than 3 values."""
    if len(values) < LEAST_PEOPLE:
        return None, None
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(values, (BOOTSTRAPS, len(values))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
