"""Which form of a graph is the fastest here: each is run for a moment, once on every machine, and what won is noted.

    precision, graph = fastest({"int8": integers, "bf16": floats, "f32": floats}, mark="5d41", threads=2)

Forms that an engine refuses are passed over. Notes lie in the user's cache, a file each; where they cannot be written,
every process measures anew. Knows nothing of what a graph computes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.engine import Compiled, Precision, load, runnable
from difftalk.engine.openvino import default_cache
from difftalk.errors import ModelError

SECONDS: Final = 0.25  # of measurement
LEAST_CALLS: Final = 8  # of each form; the first of all is not counted
CLEARLY: Final = 0.9  # share of an earlier form's time under which a later one is taken
CPU_FACTS: Final = re.compile(r"^(?:model name|flags|Features)\s*:.*$", re.MULTILINE)


def fastest(
    forms: Mapping[Precision, Path],
    *,
    mark: str,
    threads: int = 0,
    engine: str = "openvino",
    cache: Path | None = None,
    notes: Path | None = None,
) -> tuple[Precision, Compiled]:
    """The precision of the fastest form, and its graph. Raises ModelError where no form can be compiled.

    forms: files by precision, those first that are taken where others are hardly faster. mark: of the files, a hash.
    cache, notes: folders for compiled models and for what was found; by default in the user's cache folder.
    """
    known = {runnable(precision, engine): path for precision, path in forms.items()}
    if len(known) == 1:
        return next(iter(known)), _compiled(known, threads, engine, cache).popitem()[1]
    note = (notes or default_cache().parent / "fastest") / _key(mark, known, threads, engine)
    told = {precision: path for precision, path in known.items() if precision == _noted(note)}
    graphs = _compiled(told or known, threads, engine, cache)
    chosen = first_of(_times(graphs))
    if not told:
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(chosen)
    return chosen, graphs[chosen]


def _compiled(
    forms: Mapping[Precision, Path], threads: int, engine: str, cache: Path | None
) -> dict[Precision, Compiled]:
    """The forms that the engine takes. Raises the last one's ModelError where it takes none."""
    graphs: dict[Precision, Compiled] = {}
    for number, (precision, path) in enumerate(forms.items(), 1):
        try:
            graphs[precision] = load(path, precision=precision, threads=threads, engine=engine, cache=cache)
        except ModelError:
            if number == len(forms) and not graphs:
                raise
    return graphs


def first_of(times: Mapping[Precision, float]) -> Precision:
    """The first form that no later one beats clearly: what is nearly as fast must not change from day to day."""
    best, *others = times
    for other in others:
        if times[other] < CLEARLY * times[best]:
            best = other
    return best


def _times(graphs: Mapping[Precision, Compiled]) -> dict[Precision, float]:
    """Seconds of each graph's quickest call, called in turns: other work that runs beside slows all alike."""
    if len(graphs) == 1:
        return dict.fromkeys(graphs, 0.0)
    given = {precision: _example(graph) for precision, graph in graphs.items()}
    spent: dict[Precision, list[float]] = {precision: [] for precision in graphs}
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(next(iter(spent.values()))) <= LEAST_CALLS:
        for precision, graph in graphs.items():
            began = time.perf_counter()
            graph(**given[precision])
            spent[precision].append(time.perf_counter() - began)
    return {precision: min(seconds[1:]) for precision, seconds in spent.items()}


def _example(graph: Compiled) -> dict[str, NDArray[Any]]:
    """Noise in the graph's shapes; lengths that may vary are 1."""
    random = np.random.default_rng(0)
    return {
        name: random.standard_normal([length or 1 for length in port.shape]).astype(port.dtype)
        for name, port in graph.ports.items()
    }


def _noted(note: Path) -> str:
    """What was found before; nothing where there is no note, or none that can be read."""
    try:
        return note.read_text(errors="replace").strip()
    except OSError:
        return ""


def _key(mark: str, forms: Mapping[Precision, Path], threads: int, engine: str) -> str:
    """A note's name: another machine, engine, number of threads or graph has another."""
    facts = [_machine(), engine, _version(engine), threads, list(forms), mark]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _machine(told: Path = Path("/proc/cpuinfo")) -> list[str]:
    """What says how quickly this process computes: the processor, its instructions and those left out, its cores."""
    facts = sorted(set(CPU_FACTS.findall(told.read_text()))) if told.is_file() else [platform.processor()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [platform.machine(), *facts, str(cores), os.environ.get("ONEDNN_MAX_CPU_ISA", "")]


def _version(engine: str) -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(engine)
    return ""
