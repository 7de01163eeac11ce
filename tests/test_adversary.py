"""The adversarial phase: it resumes exactly, and a critic learns to tell blurred mouths from sharp ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from difftalk.errors import InputError
from difftalk.face.space import PATCH_SIZE
from difftalk.nets.lpips import LPIPS
from difftalk.training.adversary import WARM_UP
from difftalk.training.batches import FakeSource, RenderBatch
from difftalk.training.kinds.denoiser import DENOISER, DenoiserRecipe
from difftalk.training.loop import train
from difftalk.training.picture_loss import Loss
from difftalk.training.recipes import override

CPU = torch.device("cpu")
REACH = 44  # px around the inner mouth that the critic looks at


def recipe(*settings: str) -> DenoiserRecipe:
    return override(DENOISER.recipes["debug"], ["critic=0.5", "critic_size.width=16", *settings])


def batch(seed: int) -> RenderBatch:
    """Striped mouths under an open inner mouth."""
    fake = FakeSource("denoiser", batch_size=4, seed=seed).batch(0)
    assert isinstance(fake, RenderBatch)
    composite = fake.composite.clone()
    composite[:, 3] = 0
    composite[:, 3, 40:64, 60:116] = 1
    return dataclasses.replace(fake, composite=composite)


def test_a_run_with_a_critic_goes_on_where_it_was(tmp_path: Path) -> None:
    source = FakeSource("denoiser")
    whole = train(DENOISER, source, recipe(), tmp_path / "whole", steps=4)
    train(DENOISER, source, recipe(), tmp_path / "halves", steps=2)
    halves = train(DENOISER, source, recipe(), tmp_path / "halves", steps=4)
    assert (whole.adversary["step"], halves.adversary["step"]) == (4, 4)
    for name, value in whole.adversary["net"].items():
        assert torch.equal(value, halves.adversary["net"][name])
    assert all(torch.equal(value, halves.net[name]) for name, value in whole.net.items())


def test_the_critic_learns_to_tell_blur_and_then_says_so() -> None:
    adversary = DENOISER.critic(recipe(), LPIPS.shipped(), CPU, None)
    assert adversary is not None

    def blurred(given: RenderBatch) -> torch.Tensor:
        return F.avg_pool2d(given.target, 5, 1, 2)

    def opinion(picture: torch.Tensor, given: RenderBatch) -> float:
        assert adversary is not None
        loss = Loss(torch.zeros(()), {}, picture)
        return float(adversary.added(loss, adversary.judged(loss, given)).parts["critic"].detach())

    for step in range(30):
        given = batch(step)
        adversary.learn(adversary.judged(Loss(torch.zeros(()), {}, blurred(given)), given), 0.001)
    unseen = batch(1000)
    assert opinion(blurred(unseen), unseen) > 2 * opinion(unseen.target, unseen)
    adversary.step = WARM_UP
    picture = blurred(unseen).requires_grad_(True)
    loss = Loss(torch.zeros(()), {}, picture)
    loss = adversary.added(loss, adversary.judged(loss, unseen))
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert picture.grad is not None
    assert float(picture.grad[:, :, 45:60, 65:110].abs().sum()) > 0
    beyond = torch.ones(PATCH_SIZE)
    beyond[: 64 + REACH, 60 - REACH : 116 + REACH] = 0
    assert beyond.any()
    assert float((picture.grad.abs() * beyond).sum()) == 0


def test_at_first_the_critic_only_looks() -> None:
    adversary = DENOISER.critic(recipe(), None, CPU, None)
    assert adversary is not None
    given = batch(0)
    loss = Loss(torch.ones(()), {}, given.target)
    assert float(adversary.added(loss, adversary.judged(loss, given)).total.detach()) == 1


def test_a_critic_needs_a_decoder_that_learns() -> None:
    with pytest.raises(InputError, match="along=true"):
        DENOISER.critic(recipe("along=false"), None, CPU, None)
    assert DENOISER.critic(DENOISER.recipes["joint"], None, CPU, None) is None
