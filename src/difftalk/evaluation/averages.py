"""Averages: clips -> people -> medians over people with bootstrap intervals. Knows nothing of what is averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from difftalk.evaluation.curves import Figures

Rows = dict[str, dict[str, Figures]]  # clip or person -> system -> metric -> value
Medians = dict[str, dict[str, dict[str, float | int | None]]]  # system -> metric -> median, low, high, people

BOOTSTRAPS: Final = 1000


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


def interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float | None, float | None]:
    """The middle 95 % of the medians of 1,000 samples with replacement; nothing for fewer than 3 values."""
    if len(values) < 3:
        return None, None
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(values, (BOOTSTRAPS, len(values))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
