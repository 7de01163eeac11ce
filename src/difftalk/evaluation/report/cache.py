"""Outcomes on disk as they come, so that a stopped evaluation goes on where it was; and the hashes that date them.

Knows nothing of what is measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from difftalk.data.clip import Clip
from difftalk.evaluation.judge import judge as judges
from difftalk.evaluation.metrics.curves import Figures
from difftalk.evaluation.metrics.frechet import Features
from difftalk.evaluation.protocols.bench import Bench, Outcome
from difftalk.media.sheet import write_sheet
from difftalk.nets.stored import stored

FORMAT: Final = 2


@dataclass(frozen=True)
class OwnNets:
    """Files of a user's own: the sync judge instead of the shipped one, and the networks of FID and FVD."""

    syncnet: Path | None = None
    inception: Path | None = None
    i3d: Path | None = None

    @property
    def mark(self) -> list[str]:
        return ["" if path is None else file_hash(path) for path in astuple(self)]


NO_OWN: Final = OwnNets()


class Kept:
    """OUT/clips/PROTOCOL/CLIP.json, a strip of pictures beside it, what FID and FVD see where they are asked for."""

    def __init__(self, out: Path, bench: Bench, own: OwnNets) -> None:
        self._folder, self._bench = out / "clips", bench
        self._mark = [
            FORMAT,
            bench.model.hash,
            bench.model.precision,
            bench.seconds,
            code_hash(),
            _outputs_mark(bench.outputs),
            file_hash(stored(judges.WEIGHTS)),
            own.mark,
        ]

    def outcome(self, protocol: str, clip: Clip, make: Callable[[Clip, Bench], Outcome]) -> Outcome:
        """What `make` returns, or what it returned before of the same."""
        record, folder = clip.sample.record, self._folder / protocol
        path = folder / f"{record.name}.json"
        donors = [donor.sample.record.name for donor in self._bench.donors.get(record.name, ())]
        mark = json.loads(json.dumps([*self._mark, record.fingerprint, donors]))
        if path.is_file():
            held = json.loads(path.read_text())
            if held["mark"] == mark:
                curves = {name: np.array(curve) for name, curve in held["curves"].items()}
                return Outcome(_numbers(held["figures"]), curves, crowd=_load_crowd(path))
        made = make(clip, self._bench)
        folder.mkdir(parents=True, exist_ok=True)
        if made.strips:
            write_sheet(folder / f"{record.name}.png", list(made.strips.values()), list(made.strips))
        rounded = {name: [round(float(v), 5) for v in curve] for name, curve in made.curves.items()}
        content = {"mark": mark, "figures": plain(made.figures), "curves": rounded}
        _save_crowd(path, made.crowd)
        half = path.with_suffix(".part")
        half.write_text(json.dumps(content, allow_nan=False))
        half.rename(path)
        return made


def _save_crowd(path: Path, crowd: Mapping[str, Features]) -> None:
    if crowd:
        arrays = {f"{system}/{metric}": rows for system, found in crowd.items() for metric, rows in found.items()}
        np.savez(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]


def _load_crowd(path: Path) -> dict[str, Features]:
    """The inverse of `_save_crowd`."""
    out: dict[str, Features] = {}
    if path.with_suffix(".npz").is_file():
        with np.load(path.with_suffix(".npz")) as held:
            for name in held.files:
                system, metric = name.split("/")
                out.setdefault(system, {})[metric] = held[name]
    return out


def plain(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """For JSON, which has no NaN."""
    return {s: {m: float(v) if np.isfinite(v) else None for m, v in row.items()} for s, row in rows.items()}


def _numbers(rows: Mapping[str, Mapping[str, float | None]]) -> dict[str, Figures]:
    return {s: {m: np.nan if v is None else v for m, v in row.items()} for s, row in rows.items()}


def _outputs_mark(outputs: Path | None) -> list[Any]:
    if outputs is None:
        return []
    files = sorted(p for p in outputs.rglob("*") if p.is_file())
    return [[str(p.relative_to(outputs)), p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""


@lru_cache(maxsize=1)
def code_hash() -> str:
    """The package's version and a hash of all its sources."""
    from difftalk import __version__

    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
