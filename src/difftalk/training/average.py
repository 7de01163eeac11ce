"""The average of a net's weights over the steps (EMA): what a run gives."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float, *, copied: tuple[str, ...] = ()) -> None:
    """average <- decay average + (1 - decay) net; buffers are copied, and parameters whose names begin with `copied`.

    What does not train is the same in both from the start.
    """
    held: list[Tensor] = []
    trained: list[Tensor] = []
    for (name, kept), new in zip(average.named_parameters(), net.parameters(), strict=True):
        if name.startswith(copied):
            kept.copy_(new)
        elif new.requires_grad:
            held.append(kept)
            trained.append(new)
    torch._foreach_lerp_(held, trained, 1 - decay)
    for kept_as_it_is, now in zip(average.buffers(), net.buffers(), strict=True):
        kept_as_it_is.copy_(now)
