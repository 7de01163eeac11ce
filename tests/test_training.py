"""The training loop on fake data: exact resume, what a run leaves behind, recipes, checkpoints, losses."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from difftalk.errors import DataError, InputError
from difftalk.face.space import PATCH_SIZE
from difftalk.nets import sizes
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.lpips import LPIPS
from difftalk.nets.motion import MotionNetwork
from difftalk.training.batches import Batch, FakeSource, RenderBatch
from difftalk.training.checkpoint import FILE, WEIGHTS, load_checkpoint, save_weights
from difftalk.training.kinds.denoiser import DENOISER, DenoiserRecipe, denoiser_loss
from difftalk.training.kinds.first_stage import FirstStageRecipe, first_stage_loss
from difftalk.training.kinds.motion import MOTION
from difftalk.training.kinds.painter import PAINTER
from difftalk.training.kinds.table import RECIPES, kind_of, load_net, recipe_named, recipe_of
from difftalk.training.loop import learning_rate, train
from difftalk.training.picture_loss import INNER_WEIGHT, picture_loss
from difftalk.training.recipes import Optimiser, override, record_of, to_dict

KINDS: tuple[str, ...] = ("painter", "folds", "first-stage", "denoiser", "motion", "sync", "head")
MOUTH = (slice(None), slice(None), slice(48, 64), slice(64, 96))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Nets this small lose more by waiting for each other's threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def mouths(count: int = 4) -> RenderBatch:
    """Grey faces whose open mouths differ in colour: the composite and the reference cannot tell which."""
    fake = FakeSource("first-stage", batch_size=count).batch(0)
    assert isinstance(fake, RenderBatch)
    composite, target = torch.zeros(count, 5, *PATCH_SIZE), torch.zeros(count, 3, *PATCH_SIZE)
    composite[:, 4], composite[:, 3:4][MOUTH] = 1, 1
    composite[:, 4:5][MOUTH] = 0  # nothing fills the mouths
    colours = torch.tensor([[0.8, -0.8, -0.8], [-0.8, 0.8, -0.8], [-0.8, -0.8, 0.8], [0.8, 0.8, 0.8]])
    target[MOUTH] = colours[:count, :, None, None].expand(-1, -1, 16, 32)
    return dataclasses.replace(fake, target=target, composite=composite, reference=torch.zeros_like(target))


# --- the loop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_four_steps_are_two_and_two(kind: str, tmp_path: Path) -> None:
    recipe, source = recipe_named(kind, "debug"), FakeSource(kind)
    whole = train(kind_of(recipe), source, recipe, tmp_path / "whole", steps=4)
    first = train(kind_of(recipe), source, recipe, tmp_path / "halves", steps=2)
    torch.manual_seed(1234)  # whatever happened in between
    torch.rand(7)
    halves = train(kind_of(recipe), source, recipe, tmp_path / "halves", steps=4)
    assert (whole.step, first.step, halves.step) == (4, 2, 4)
    for part in ("net", "average", "random"):
        one, other = getattr(whole, part), getattr(halves, part)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), part
    for one, other in zip(whole.optimiser["state"].values(), halves.optimiser["state"].values(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(value, first.net[name]) for name, value in whole.net.items())


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_leaves_behind(kind: str, tmp_path: Path) -> None:
    train(kind_of(recipe_named(kind, "debug")), FakeSource(kind), recipe_named(kind, "debug"), tmp_path, steps=5)
    assert {path.name for path in tmp_path.iterdir()} >= {FILE, WEIGHTS, "metrics.jsonl", "loss.png"}
    assert load_checkpoint(tmp_path / WEIGHTS).step == 5
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows if any(name.startswith("val_") for name in row)] == [4, 5]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    if kind not in ("motion", "sync", "head"):
        assert (tmp_path / "samples" / "0000004.png").read_bytes().startswith(b"\x89PNG")
    checkpoint, net = load_net(tmp_path)
    assert (checkpoint.step, checkpoint.kind, recipe_of(checkpoint)) == (5, kind, recipe_named(kind, "debug"))
    assert checkpoint.code
    assert not net.training


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    recipe, source = recipe_named("painter", "debug"), FakeSource("painter")
    train(PAINTER, source, recipe, tmp_path, steps=1)
    before = (tmp_path / FILE).read_bytes()
    assert train(PAINTER, source, recipe, tmp_path, steps=1).step == 1
    assert (tmp_path / FILE).read_bytes() == before


def test_starting_from_a_run_takes_its_average(tmp_path: Path) -> None:
    recipe, source = recipe_named("painter", "debug"), FakeSource("painter")
    given = train(PAINTER, source, recipe, tmp_path / "given", steps=3)
    begun = train(PAINTER, source, recipe, tmp_path / "begun", steps=0, start_from=tmp_path / "given")
    assert begun.step == 0
    assert all(torch.equal(begun.net[name], given.average[name]) for name in begun.net)


def test_weights_start_a_run_as_its_checkpoint_does(tmp_path: Path) -> None:
    recipe, source = recipe_named("painter", "debug"), FakeSource("painter")
    done = train(PAINTER, source, recipe, tmp_path / "run", steps=3)
    save_weights(done, tmp_path / "painter.safetensors")
    found = load_checkpoint(tmp_path / "painter.safetensors")
    assert (found.kind, recipe_of(found), found.step, found.code) == (done.kind, recipe, 3, done.code)
    for name, value in done.average.items():
        torch.testing.assert_close(found.average[name], value, rtol=1e-3, atol=1e-6)
    again = train(PAINTER, source, recipe, tmp_path / "again", steps=1, start_from=tmp_path / "painter.safetensors")
    assert again.step == 1
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match="damaged"):
        load_checkpoint(tmp_path / "broken.safetensors")


class Interrupting(FakeSource):
    """Asks the process to stop while the third batch is being made."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__("painter")
        self._number = number

    def batch(self, step: int) -> Batch:
        if step == 2:
            os.kill(os.getpid(), self._number)
        return super().batch(step)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends(number: signal.Signals, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    done = train(PAINTER, Interrupting(number), recipe_named("painter", "debug"), tmp_path, steps=500)
    assert 1 <= done.step < 10
    assert load_checkpoint(tmp_path).step == done.step
    assert signal.getsignal(number) is before


def test_minutes_end_a_run(tmp_path: Path) -> None:
    done = train(PAINTER, FakeSource("painter"), recipe_named("painter", "debug"), tmp_path, steps=500, minutes=1e-6)
    assert done.step == 1
    assert load_checkpoint(tmp_path).step == 1


def test_minutes_may_count_from_before_the_run(tmp_path: Path) -> None:
    recipe, source, since = recipe_named("painter", "debug"), FakeSource("painter"), time.monotonic() - 3600
    assert train(PAINTER, source, recipe, tmp_path, steps=500, minutes=59, since=since).step == 1
    assert train(PAINTER, source, recipe, tmp_path, steps=3, minutes=61, since=since).step == 3


def test_the_rate_warms_up_and_falls() -> None:
    optimiser = Optimiser(lr=1.0, warm_up=10, final_share=0.1)
    assert learning_rate(optimiser, 0, 100, 0) == pytest.approx(0.1, abs=1e-2)
    assert learning_rate(optimiser, 100, 100, 0) == pytest.approx(0.1)
    assert learning_rate(optimiser, 50, 100, 0) == pytest.approx(0.55)
    assert learning_rate(optimiser, 50, 10**9, 1.0) == pytest.approx(0.1)  # the time is over
    rates = [learning_rate(optimiser, step, 100, 0) for step in range(10, 101)]
    assert rates == sorted(rates, reverse=True)


# --- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_a_function_of_its_step(kind: str) -> None:
    one, again, other = FakeSource(kind).batch(3), FakeSource(kind).batch(3), FakeSource(kind).batch(4)
    for field in dataclasses.fields(one):
        assert torch.equal(getattr(one, field.name), getattr(again, field.name))
    first = dataclasses.fields(one)[0].name
    assert not torch.equal(getattr(one, first), getattr(other, first))
    assert len(one) == 2


# --- recipes and checkpoints ------------------------------------------------------------------------------------------


def test_settings_are_put_in_their_place() -> None:
    recipe = override(
        recipe_named("first-stage", "default"),
        ["optimiser.lr=1e-4", "schedule.steps=7", "schedule.precision=f32", "size.encoder=8,16,24", "lpips=no"],
    )
    assert isinstance(recipe, FirstStageRecipe)
    assert (recipe.optimiser.lr, recipe.schedule.steps, recipe.schedule.precision) == (1e-4, 7, "f32")
    assert (recipe.size.encoder, recipe.lpips) == ((8, 16, 24), False)
    assert recipe_named("first-stage", "default") == RECIPES["first-stage"]["default"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optimiser.lr", "a.b=value"),
        ("optimizer.lr=1", "allowed: name, size, optimiser"),
        ("optimiser.rate=1", "allowed: lr, warm_up"),
        ("optimiser=1", "optimiser.lr"),
        ("optimiser.lr.x=1", "nothing inside"),
        ("optimiser.lr=fast", "not a number"),
        ("schedule.steps=1.5", "not a whole number"),
        ("schedule.precision=f16", "f32, bf16"),
        ("lpips=maybe", "not true or false"),
    ],
)
def test_a_wrong_setting_is_explained(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        override(recipe_named("painter", "default"), [setting])
    assert setting in str(caught.value)


def test_an_unknown_recipe_is_explained() -> None:
    with pytest.raises(InputError, match="debug, default"):
        recipe_named("painter", "huge")
    with pytest.raises(InputError, match="painter, folds, first-stage"):
        recipe_named("voice", "default")


@pytest.mark.parametrize("kind", KINDS)
def test_recipes_survive_a_checkpoint(kind: str) -> None:
    for recipe in RECIPES[kind].values():
        assert record_of(type(recipe), json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_a_motion_starts_with_its_regression(tmp_path: Path) -> None:
    train(MOTION, FakeSource("motion"), recipe_named("motion", "debug"), tmp_path, steps=1)
    net = load_net(tmp_path)[1]
    assert isinstance(net, MotionNetwork)
    assert net.regression is not None
    weight = net.regression.weight
    rough = kind_of(recipe_named("motion", "debug")).build(recipe_named("motion", "debug"))
    assert isinstance(rough, MotionNetwork)
    assert rough.regression is not None
    assert float((weight - rough.regression.weight).abs().max()) > 0
    assert not weight.requires_grad


def test_a_run_goes_on_only_as_what_it_was(tmp_path: Path) -> None:
    source = FakeSource("painter")
    train(PAINTER, source, recipe_named("painter", "debug"), tmp_path, steps=1)
    with pytest.raises(DataError, match="another optimiser"):
        train(PAINTER, source, override(recipe_named("painter", "debug"), ["optimiser.lr=1"]), tmp_path, steps=2)
    with pytest.raises(DataError, match="holds a painter run"):
        train(MOTION, FakeSource("motion"), recipe_named("motion", "debug"), tmp_path, steps=2)
    longer = override(recipe_named("painter", "debug"), ["schedule.steps=9", "schedule.validate_every=100"])
    assert train(PAINTER, source, longer, tmp_path, steps=2).step == 2


def test_checkpoints_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no"):
        load_checkpoint(tmp_path)
    (tmp_path / FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="damaged"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, recipe = FakeSource("painter"), recipe_named("painter", "debug")
    train(PAINTER, source, recipe, tmp_path, steps=1)

    def broken(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        train(PAINTER, source, recipe, tmp_path, steps=2)
    assert load_checkpoint(tmp_path).step == 1
    assert [path.name for path in tmp_path.glob(f".{FILE}*")] == []


# --- losses -----------------------------------------------------------------------------------------------------------


def test_lpips() -> None:
    with pytest.raises(DataError, match="does not exist"):
        LPIPS(Path("nowhere.safetensors"))
    net, pictures = LPIPS.shipped(), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(pictures, 5, 1, 2)
    blurred[1] = pictures[1]
    with torch.no_grad():
        distance = net(blurred, pictures)
    assert float(distance[0]) > 0.1
    assert float(distance[1]) == 0
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_the_mouth_counts_more_and_texture_by_its_weight() -> None:
    batch = mouths(2)
    cheek, mouth = batch.target.clone(), batch.target.clone()
    change = torch.tensor([0.5, -0.5]).repeat(10)  # evened it is no colour
    cheek[:, :, 100:108, 20:40] += change
    mouth[:, :, 52:60, 70:90] += change
    skin = float(picture_loss(cheek, batch, None).total)
    assert float(picture_loss(mouth, batch, None).total) == pytest.approx(INNER_WEIGHT * skin, rel=1e-4)
    light, lpips = dataclasses.replace(batch, weight=torch.tensor([1.0, 0.0])), LPIPS.shipped()
    assert float(picture_loss(cheek, light, None).total) == pytest.approx(skin)
    whole, half = (float(picture_loss(cheek, given, lpips).total) - skin for given in (batch, light))
    assert half == pytest.approx(whole / 2, rel=0.05)


def test_the_first_stage_uses_its_latent() -> None:
    """One batch by heart: the mouth's colour can come from nowhere but the latent."""
    torch.manual_seed(1)
    net, batch, random = FirstStage(sizes.FIRST_STAGE["debug"]), mouths(), torch.Generator().manual_seed(0)
    optimiser, seen = torch.optim.AdamW(net.parameters(), 1e-2), []
    for _ in range(50):
        loss = first_stage_loss(net, batch, None, random).total
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < 0.7 * seen[0]
    with torch.no_grad():
        latent = net.encode(batch.target)  # by the batch's statistics: the running ones are not there yet
        decoded = (net.decode(value, batch.composite, batch.sharpness) for value in (latent, latent.roll(1, 0)))
        own, other = (float((picture - batch.target)[MOUTH].abs().mean()) for picture in decoded)
    assert other > 2 * own


@pytest.mark.parametrize("along", [False, True])
def test_the_denoiser_learns_and_its_encoder_does_not(*, along: bool) -> None:
    """Mouths by heart, judged at the same noise; the decoder moves only where it learns along."""
    torch.manual_seed(0)
    recipe = dataclasses.replace(DENOISER.recipes["debug"], along=along)
    net, random = DENOISER.build(recipe).train(), torch.Generator().manual_seed(0)
    before = {name: value.clone() for name, value in net.first_stage.state_dict().items()}
    batch = mouths()

    @torch.no_grad()
    def judged() -> float:
        losses = [denoiser_loss(net, batch, None, torch.Generator().manual_seed(seed)) for seed in range(100, 106)]
        return sum(float(loss.parts["flow"]) for loss in losses)

    untrained, trained = judged(), [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, 3e-3)
    for _ in range(150):
        loss = denoiser_loss(net, batch, None, random)
        optimiser.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert judged() < 0.8 * untrained
    moved = {
        name.split(".")[0] for name, value in net.first_stage.state_dict().items() if (value != before[name]).any()
    }
    assert moved == ({"composite_path", "decoder"} if along else set())


def test_a_denoiser_keeps_the_first_stage_it_starts_with(tmp_path: Path) -> None:
    source = FakeSource("first-stage")
    for name, kind in (("stage", "first-stage"), ("another", "first-stage"), ("run", "denoiser")):
        recipe = recipe_named(kind, "debug")
        recipe = dataclasses.replace(recipe, schedule=dataclasses.replace(recipe.schedule, seed=len(name)))
        if isinstance(recipe, DenoiserRecipe):
            recipe = dataclasses.replace(recipe, first_stage=str(tmp_path / "stage"), along=False)
        train(kind_of(recipe), source, recipe, tmp_path / name, steps=1)
    stage, other = (load_checkpoint(tmp_path / name).average["encoder.stem.weight"] for name in ("stage", "another"))
    held = load_checkpoint(tmp_path / "run").average["first_stage.encoder.stem.weight"]
    assert torch.equal(held, stage)
    assert not torch.equal(held, other)


def test_a_denoiser_without_a_first_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a trained first stage"):
        train(DENOISER, FakeSource("denoiser"), recipe_named("denoiser", "default"), tmp_path, steps=1)


def test_a_net_learns_only_from_its_own_batches() -> None:
    recipe = PAINTER.recipes["debug"]
    with pytest.raises(DataError, match="Painter cannot learn from MotionBatch"):
        PAINTER.loss_of(PAINTER.build(recipe), FakeSource("motion").batch(0), recipe, None, torch.Generator())
