"""AdamW that clips gradients and leaves out broken steps without asking the device for a value.

The fused kernel divides gradients by `grad_scale` and does nothing where `found_inf` is 1: made for mixed precision
with scaled losses, and just what clipping needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import Self

from difftalk.training.recipes import Optimiser


class Clipping(torch.optim.AdamW):
    """AdamW whose `clipped_step` holds the gradients' norm under `limit`."""

    grad_scale: Tensor
    found_inf: Tensor

    def __init__(self, trained: list[nn.Parameter], settings: Optimiser) -> None:
        betas = (0.9, settings.beta2)
        super().__init__(trained, settings.lr, betas, weight_decay=settings.weight_decay, fused=True)
        self.limit = settings.clip

    @classmethod
    def of(cls, net: nn.Module, settings: Optimiser) -> Self:
        return cls([p for p in net.parameters() if p.requires_grad], settings)

    def clipped_step(self, rate: float) -> None:
        """A step at a learning rate, or none where a gradient is not finite."""
        for group in self.param_groups:
            group["lr"] = rate
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self.grad_scale = (norm / self.limit).clamp_min(1.0)
        self.found_inf = (~norm.isfinite()).float()
        self.step()
