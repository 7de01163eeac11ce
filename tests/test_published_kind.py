"""Training the published nets: resumed exactly, in parts, with an average of the denoiser alone; and learning."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from difftalk.nets.published import PaperFirstStage, PublishedDiffTalk
from difftalk.training.batches import FakeSource, PaperBatch
from difftalk.training.kinds.published import (
    PUBLISHED,
    PUBLISHED_FIRST_STAGE,
    fit_codebook,
    paper_first_stage_loss,
    paper_loss,
    unit_latents,
)
from difftalk.training.kinds.table import kind_of, load_net, recipe_named, recipe_of
from difftalk.training.loop import train
from difftalk.training.recipes import override

KINDS: tuple[str, ...] = ("first-stage", "denoiser")
SOURCE = FakeSource("paper")


def batch_of(count: int) -> PaperBatch:
    made = FakeSource("paper", batch_size=count).batch(0)
    assert isinstance(made, PaperBatch)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_four_steps_are_two_and_two(kind: str, tmp_path: Path) -> None:
    recipe = override(recipe_named(kind, "paper-debug"), ["schedule.parts=2"])
    whole = train(kind_of(recipe), SOURCE, recipe, tmp_path / "whole", steps=4)
    train(kind_of(recipe), SOURCE, recipe, tmp_path / "halves", steps=2)
    torch.manual_seed(1234)
    halves = train(kind_of(recipe), SOURCE, recipe, tmp_path / "halves", steps=4)
    for one, other in ((whole.net, halves.net), (whole.average, halves.average)):
        assert all(torch.equal(one[name], other[name]) for name in one)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert any("val_l1" in row and "val_fill_l1" in row for row in rows)
    assert recipe_of(load_net(tmp_path / "whole")[0]) == recipe


def test_condition_nets_have_no_average(tmp_path: Path) -> None:
    recipe = override(recipe_named("denoiser", "paper-debug"), ["optimiser.ema=0.9"])
    done = train(PUBLISHED, SOURCE, recipe, tmp_path, steps=4)
    for name, value in done.average.items():
        if name.startswith(("denoiser.conv_out", "denoiser.conv_in")):
            assert not torch.equal(value, done.net[name]), name
        if name.startswith(("conditions.", "first_stage.")):
            assert torch.equal(value, done.net[name]), name


def test_parts_add_up_to_the_whole() -> None:
    batch = batch_of(5)
    parts = batch.parts(2)
    assert [len(part) for part in parts] == [3, 2]
    assert torch.equal(torch.cat([part.audio for part in parts]), batch.audio)
    assert len(batch.parts(9)) == 5
    recipe = PUBLISHED_FIRST_STAGE.recipes["paper-debug"]
    net = PUBLISHED_FIRST_STAGE.build(recipe)

    def gradient(pieces: list[PaperBatch]) -> torch.Tensor:
        net.zero_grad()
        for piece in pieces:
            loss = paper_first_stage_loss(net, piece, recipe, None)
            (loss.parts["l1"] * len(piece) / len(batch)).backward()  # type: ignore[no-untyped-call]
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

    torch.testing.assert_close(gradient(parts), gradient([batch]), atol=1e-6, rtol=1e-3)


def test_the_noise_is_learnt_and_the_first_stage_stays() -> None:
    """One batch by heart, once with the denoiser's blocks computed again on the way back: the same loss."""
    losses = []
    for checkpointing in (False, True):
        recipe = PUBLISHED.recipes["paper-debug"]
        torch.manual_seed(0)
        net = PUBLISHED.build(dataclasses.replace(recipe, checkpointing=checkpointing)).train()
        before = {name: value.clone() for name, value in net.first_stage.state_dict().items()}
        trained = [p for p in net.parameters() if p.requires_grad]
        optimiser, seen = torch.optim.AdamW(trained, 2e-3), []
        for step in range(25):
            loss = paper_loss(net, batch_of(2), torch.Generator().manual_seed(step % 2))
            optimiser.zero_grad()
            loss.total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            seen.append(float(loss.total.detach()))
        assert sum(seen[-4:]) < 0.8 * sum(seen[:4])
        assert all(torch.equal(value, before[name]) for name, value in net.first_stage.state_dict().items())
        losses.append(seen)
    assert losses[0][:3] == pytest.approx(losses[1][:3], rel=1e-4)


def test_codes_begin_where_latents_are() -> None:
    net = kind_of(recipe_named("first-stage", "paper-debug")).build(recipe_named("first-stage", "paper-debug"))
    assert isinstance(net, PaperFirstStage)
    codes, before = net.model.quantize.embedding.weight, net.model.quantize.embedding.weight.clone()
    fit_codebook(net, SOURCE)
    with torch.no_grad():
        latents = net.encode(batch_of(2).picture).movedim(1, -1).flatten(0, -2)
        used = [len(set(torch.cdist(latents, held).argmin(1).tolist())) for held in (before, codes)]
    assert used[1] > max(used[0], len(codes) // 2)


def test_unit_latents_are_the_same_first_stage() -> None:
    net = kind_of(recipe_named("first-stage", "paper-debug")).build(recipe_named("first-stage", "paper-debug"))
    assert isinstance(net, PaperFirstStage)
    fit_codebook(net, SOURCE)
    picture = batch_of(2).picture
    with torch.no_grad():
        before, wide = net.decode(net.encode(picture)), net.encode(picture).std()
        unit_latents(net, SOURCE)
        after, latents = net.decode(net.encode(picture)), net.encode(picture)
    assert abs(float(wide) - 1) > 0.1
    assert 0.8 < float(latents.std()) < 1.25
    assert float((after - before).abs().max()) < 1e-4


def test_a_denoiser_starts_on_unit_latents(tmp_path: Path) -> None:
    train(PUBLISHED_FIRST_STAGE, SOURCE, recipe_named("first-stage", "paper-debug"), tmp_path / "vq", steps=1)
    recipe = override(recipe_named("denoiser", "paper-debug"), [f"first_stage={tmp_path / 'vq'}"])
    train(PUBLISHED, SOURCE, recipe, tmp_path / "whole", steps=1)
    net, alone = load_net(tmp_path / "whole")[1], load_net(tmp_path / "vq")[1]
    assert isinstance(net, PublishedDiffTalk)
    assert isinstance(alone, PaperFirstStage)
    picture = batch_of(4).picture
    with torch.no_grad():
        assert 0.8 < float(net.encode(picture).std()) < 1.25
        assert abs(float(alone.encode(picture).std()) - 1) > 0.1


def test_the_first_stage_learns_with_its_critic(tmp_path: Path) -> None:
    recipe = override(recipe_named("first-stage", "paper-debug"), ["critic=0.5", "lpips=true"])
    done = train(PUBLISHED_FIRST_STAGE, SOURCE, recipe, tmp_path, steps=2)
    assert done.adversary["step"] == 2
    assert "val_lpips" in (tmp_path / "metrics.jsonl").read_text()
