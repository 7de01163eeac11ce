"""AdamW that clips in its own kernel: the same steps as clipping first, and none where a gradient is broken."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from difftalk.training.optimiser import Clipping
from difftalk.training.recipes import Optimiser

SETTINGS = Optimiser(lr=0.1, clip=0.5)


def filled(net: nn.Module, seed: int, size: float) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = size * torch.randn(parameter.shape, generator=random)


def state(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@pytest.mark.parametrize("size", [0.001, 30.0])
def test_steps_are_those_of_clipped_gradients(size: float) -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    other = deepcopy(net)
    ours = Clipping.of(net, SETTINGS)
    theirs = torch.optim.AdamW(other.parameters(), 0.1, (0.9, SETTINGS.beta2), weight_decay=SETTINGS.weight_decay)
    for seed in range(4):
        filled(net, seed, size)
        filled(other, seed, size)
        ours.clipped_step(0.1)
        nn.utils.clip_grad_norm_(other.parameters(), SETTINGS.clip)
        theirs.step()
    for one, another in zip(state(net), state(other), strict=True):
        torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_gradient_is_no_step(broken: float) -> None:
    net = nn.Linear(5, 3)
    optimiser = Clipping.of(net, SETTINGS)
    filled(net, 0, 1.0)
    optimiser.clipped_step(0.1)
    before, kept = state(net), deepcopy(optimiser.state_dict()["state"])
    filled(net, 1, 1.0)
    assert net.bias.grad is not None
    net.bias.grad[1] = broken
    optimiser.clipped_step(0.1)
    assert all(torch.equal(one, other) for one, other in zip(before, state(net), strict=True))
    for number, held in optimiser.state_dict()["state"].items():
        assert all(torch.equal(held[name], kept[number][name]) for name in held)
    filled(net, 2, 1.0)
    optimiser.clipped_step(0.1)
    assert not torch.equal(before[0], net.weight)


def test_only_what_trains_is_held() -> None:
    net = nn.Linear(5, 3)
    net.bias.requires_grad_(False)
    assert [len(group["params"]) for group in Clipping.of(net, SETTINGS).param_groups] == [1]
