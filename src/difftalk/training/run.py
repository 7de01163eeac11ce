"""What `difftalk train` does: from prepared data, a kind of net and a recipe to a finished run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from difftalk.data.hdtf import read_hdtf
from difftalk.data.pack import pack_at, samples_of
from difftalk.data.sample import Sample
from difftalk.errors import DataError, InputError
from difftalk.face.mouth import Geometry
from difftalk.model import SHIPPED
from difftalk.training.batches import FakeSource, Source
from difftalk.training.geometry import TrackedClip, fit_geometry
from difftalk.training.loop import train
from difftalk.training.motion_data import MotionSource, silences_of
from difftalk.training.people import parted
from difftalk.training.published_data import PaperSource
from difftalk.training.recipes import (
    Kind,
    MotionRecipe,
    PaperFirstStageRecipe,
    PaperRecipe,
    Recipe,
    SyncRecipe,
    override,
    recipe_named,
)
from difftalk.training.render_data import RenderSource
from difftalk.training.rooms import rooms_of
from difftalk.training.shelf import Shelf

KINDS = ("first-stage", "motion", "denoiser", "painter", "sync", "geometry")


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
    if kind == "geometry":
        return _train_geometry(wanted.samples(data, "train"), run)
    chosen = override(recipe_named(kind, recipe), others)
    if threads:
        torch.set_num_threads(threads)
    source = _source(kind, chosen, data, wanted, warped=warped, device=device)
    with source if isinstance(source, Shelf) else nullcontext():
        done = train(
            cast("Kind", kind),
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


@dataclass(frozen=True)
class DataChoice:
    """Of the data: rights, only clips with these; aside: whether the people kept aside are left out of training."""

    rights: str | None = None
    aside: bool = False

    @classmethod
    def of(cls, settings: Sequence[str]) -> tuple[DataChoice, list[str]]:
        """The data's settings, and those of the recipe."""
        own = dict(s.removeprefix("data.").partition("=")[::2] for s in settings if s.startswith("data."))
        for name, value in own.items():
            if name not in ("rights", "aside") or (name == "aside" and value not in ("true", "false")):
                raise InputError(
                    f"`settings` data.{name}={value}: allowed are data.rights=KIND and data.aside=true or false"
                )
        choice = cls(own.get("rights"), own.get("aside") == "true")
        return choice, [s for s in settings if not s.startswith("data.")]

    def samples(self, data: Path | None, split: str) -> list[Sample]:
        """The kept samples of a split with these rights."""
        if data is None:
            raise InputError("no data was given; give a folder that difftalk prepare wrote, or `recipe=debug`")
        samples = [s for s in samples_of(data, split=split) if self.rights in (None, s.record.rights)]
        if not samples:
            raise DataError(f"{data} has no kept {split} sample with rights {self.rights!r}")
        return samples

    def parts(self, data: Path | None) -> tuple[list[Sample], list[Sample]]:
        """Samples to train on and to validate on."""
        samples = self.samples(data, "train")
        return parted(samples) if self.aside else (samples, _held_out(data))


def _held_out(data: Path | None) -> list[Sample]:
    """Validation people, of a pack those that it holds out; where there are none, the first training clips."""
    assert data is not None
    try:
        return samples_of(data, split="val")
    except DataError:
        return samples_of(data)[:4]


def _source(kind: str, recipe: Recipe, data: Path | None, wanted: DataChoice, *, warped: bool, device: str) -> Source:
    schedule = recipe.schedule
    if isinstance(recipe, PaperRecipe | PaperFirstStageRecipe):
        return _paper_source(recipe, data)
    if recipe.name == "debug" and data is None:
        return FakeSource(kind, batch_size=schedule.batch, seed=schedule.seed)
    (samples, held_out), geometry = wanted.parts(data), Geometry.load(SHIPPED)
    if isinstance(recipe, MotionRecipe | SyncRecipe):
        assert data is not None
        return MotionSource(
            samples,
            geometry,
            batch_size=schedule.batch,
            silences=silences_of(data),
            speeds=recipe.speeds,
            rooms=_rooms(recipe, samples, data),
            seed=schedule.seed,
            validation=held_out,
        )
    rows = RenderSource(
        samples,
        geometry,
        batch_size=schedule.batch,
        seed=schedule.seed,
        validation=held_out,
        warped=warped,
    )
    return Shelf(rows, batch_size=schedule.batch, rows=schedule.rows, uses=schedule.uses, device=device)


def _rooms(recipe: MotionRecipe | SyncRecipe, samples: Sequence[Sample], data: Path) -> list[list[NDArray[np.float16]]]:
    """None for a sync expert, nor from a pack, which has no sound."""
    if not isinstance(recipe, MotionRecipe) or pack_at(data) is not None:
        return []
    return rooms_of(samples, recipe.rooms)


def _paper_source(recipe: PaperRecipe | PaperFirstStageRecipe, data: Path | None) -> Source:
    schedule, picture = recipe.schedule, recipe.size.picture if isinstance(recipe, PaperRecipe) else recipe.picture
    if data is None and recipe.name == "paper-debug":
        return FakeSource("paper", batch_size=schedule.batch, seed=schedule.seed)
    if data is None:
        raise InputError("no data was given; give a folder that `write_hdtf` wrote")
    train_on = read_hdtf(data, "train")
    try:
        held_out = read_hdtf(data, "test")
    except DataError:  # a folder of one's own without one
        held_out = train_on
    return PaperSource(train_on, batch_size=schedule.batch, picture_size=picture, seed=schedule.seed, held_out=held_out)


def _train_geometry(samples: Sequence[Sample], run: Path) -> str:
    people: dict[str, list[TrackedClip]] = {}
    for sample in samples:
        people.setdefault(sample.record.person, []).append(TrackedClip(sample.meshes, sample.blendshapes))
    run.mkdir(parents=True, exist_ok=True)
    fit_geometry(people).save(run)
    return f"geometry of {len(people)} people"
