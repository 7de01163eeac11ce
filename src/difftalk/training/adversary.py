"""The adversarial phase: a critic that learns to tell drawn mouths from true ones, and the loss that it gives.

Relativistic pairs (Jolicoeur-Martineau 2018): a drawn patch is judged beside the true patch of the same frame, so what
the two share, the person and the light, cancels. Gradient penalties on both as in R3GAN (Huang et al. 2024). Only the
inner mouth counts: everywhere else the pixels exist. Blurred frames count less, lest they teach blur.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from difftalk.errors import InputError
from difftalk.nets.critic import PATCH_STRIDE, PatchCritic
from difftalk.training.batches import RenderBatch
from difftalk.training.losses import Loss, mouth_boxes
from difftalk.training.recipes import DenoiserRecipe, Recipe

WARM_UP: Final = 60  # steps in which the critic learns alone
PENALTY: Final = 1.0  # of the squared gradient, on true and drawn boxes
PENALTY_EVERY: Final = 4  # steps; weighted by as much
RIM: Final = 9  # px, width of the square that widens the inner mouth


class Adversary:
    """The critic with its optimiser. weight: of its loss beside the others."""

    def __init__(self, recipe: DenoiserRecipe, device: torch.device) -> None:
        if not recipe.along:
            raise InputError("a critic needs a decoder that learns; set along=true or critic=0")
        self.weight, self.step = recipe.critic, 0
        self.net = PatchCritic(recipe.critic_size).to(device)
        rate = recipe.optimiser.lr
        self.optimiser = torch.optim.AdamW(self.net.parameters(), rate, (0.0, 0.99), weight_decay=0.0)

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> Adversary | None:
        """None for recipes without one."""
        return cls(recipe, device) if isinstance(recipe, DenoiserRecipe) and recipe.critic > 0 else None

    def added(self, loss: Loss, batch: RenderBatch) -> Loss:
        """The loss with the critic's opinion of its picture added."""
        assert loss.picture is not None
        true, drawn, inner, weight = _boxes(loss.picture, batch)
        self.net.requires_grad_(False)
        margin = self.net(drawn, inner) - self.net(true, inner)
        self.net.requires_grad_(True)
        opinion = _mean(F.softplus(-margin), weight)
        share = self.weight if self.step >= WARM_UP else 0.0
        return Loss(loss.total + share * opinion, {**loss.parts, "critic": opinion}, loss.picture)

    def learn(self, picture: Tensor, batch: RenderBatch, rate: float) -> None:
        """One step of the critic on what was drawn."""
        true, drawn, inner, weight = _boxes(picture.detach(), batch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        penalised = self.step % PENALTY_EVERY == 0
        true.requires_grad_(penalised)
        drawn.requires_grad_(penalised)
        real, fake = self.net(true, inner), self.net(drawn, inner)
        loss = _mean(F.softplus(-(real - fake)), weight)
        if penalised:
            for scores, boxes in ((real, true), (fake, drawn)):
                (slope,) = torch.autograd.grad(scores.sum(), boxes, create_graph=True)
                loss = loss + PENALTY_EVERY * PENALTY / 2 * slope.pow(2).sum((1, 2, 3)).mean() / scores[0].numel()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1

    def state(self) -> dict[str, Any]:
        """For a checkpoint; the inverse of `restore`."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step}

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def _boxes(picture: Tensor, batch: RenderBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """True and drawn mouth boxes, inner mouth, and how much each patch counts, (b, 1, h/4, w/4)."""
    inner = batch.composite[:, 3:4]
    true, drawn, mask = (mouth_boxes(p, inner, enlarged=False) for p in (batch.target, picture.float(), inner))
    near = F.max_pool2d(F.max_pool2d(mask, RIM, 1, RIM // 2), PATCH_STRIDE)
    return true, drawn, mask, near * batch.weight[:, None, None, None]


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
