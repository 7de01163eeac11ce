"""What `difftalk train` does: from prepared data, a kind of net and a recipe to a finished run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.training.data_choice import DataChoice
from difftalk.training.geometry import TrackedClip, fit_geometry
from difftalk.training.kinds.table import kind_of, recipe_named
from difftalk.training.loop import train
from difftalk.training.recipes import override

KINDS = ("first-stage", "motion", "denoiser", "painter", "folds", "sync", "head", "geometry")


def train_kind(
    kind: str,
    data: Path | None,
    run: Path,
    *,
    recipe: str,
    start_from: Path | None = None,
    settings: Sequence[str] = (),
    steps: int | None = None,
    minutes: float = math.inf,
    threads: int = 0,
    device: str = "cpu",
    warped: bool = True,
    since: float | None = None,
) -> str:
    """Trains one kind of net and says in a line what was done.

    settings: 'a.b=value' for the recipe, data.rights=KIND, and data.aside=true: the people kept aside for choosing
    numbers are not trained on but validated on. warped: see RenderSource. since: see train.
    """
    if kind not in KINDS:
        raise InputError(f"{kind!r} cannot be trained; allowed: {', '.join(KINDS)}")
    wanted, others = DataChoice.of(settings)
    choice = replace(wanted, folder=data, warped=warped, device=device)
    if kind == "geometry":
        return _train_geometry(choice.samples("train"), run)
    chosen = override(recipe_named(kind, recipe), others)
    if threads:
        torch.set_num_threads(threads)
    net = kind_of(chosen)
    with net.source(chosen, choice) as source:
        done = train(
            net,
            source,
            chosen,
            run,
            steps=steps,
            minutes=minutes,
            start_from=start_from,
            threads=threads,
            device=device,
            since=since,
        )
    return f"{done.step} steps in {done.seconds / 60:.1f} minutes"


def _train_geometry(samples: Sequence[Sample], run: Path) -> str:
    people: dict[str, list[TrackedClip]] = {}
    for sample in samples:
        people.setdefault(sample.record.person, []).append(TrackedClip(sample.meshes, sample.blendshapes))
    run.mkdir(parents=True, exist_ok=True)
    fit_geometry(people).save(run)
    return f"geometry of {len(people)} people"
