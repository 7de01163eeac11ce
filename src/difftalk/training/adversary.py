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
from difftalk.nets.critic import CRITIC_LAYERS, PatchCritic
from difftalk.training.batches import Batch, PaperBatch, RenderBatch
from difftalk.training.losses import LPIPS, Loss, mouth_boxes
from difftalk.training.recipes import DenoiserRecipe, PaperFirstStageRecipe, Recipe

WARM_UP: Final = 60  # steps in which the critic learns alone
RATE: Final = 5.0  # times the other nets' learning rate
PENALTY: Final = 0.004  # of the squared gradient, on true and drawn boxes
PENALTY_EVERY: Final = 4  # steps; weighted by as much
RIM: Final = 9  # px of the enlarged box, width of the square that widens the inner mouth
PATCH: Final = 8  # px of the enlarged box, side of what is judged as one


class Adversary:
    """The critic with its optimiser. weight: of its loss beside the others. eyes: whose features it sees, frozen."""

    def __init__(self, recipe: DenoiserRecipe | PaperFirstStageRecipe, eyes: LPIPS, device: torch.device) -> None:
        if isinstance(recipe, DenoiserRecipe) and not recipe.along:
            raise InputError("a critic needs a decoder that learns; set along=true or critic=0")
        self.weight, self.eyes, self.step = recipe.critic, eyes, 0
        self.net = PatchCritic(recipe.critic_size).to(device)
        rate = RATE * recipe.optimiser.lr
        self.optimiser = torch.optim.AdamW(self.net.parameters(), rate, (0.0, 0.99), weight_decay=0.0)

    @classmethod
    def of(cls, recipe: Recipe, eyes: LPIPS | None, device: torch.device) -> Adversary | None:
        """None for recipes without one."""
        if not isinstance(recipe, DenoiserRecipe | PaperFirstStageRecipe) or recipe.critic <= 0:
            return None
        return cls(recipe, eyes or LPIPS.shipped().to(device), device)

    def added(self, loss: Loss, batch: Batch) -> Loss:
        """The loss with the critic's opinion of its picture added."""
        assert loss.picture is not None
        true, drawn, weight = _boxes(loss.picture, batch)
        self.net.requires_grad_(False)
        margin = self._scores(drawn) - self._scores(true)
        self.net.requires_grad_(True)
        opinion = _mean(F.softplus(-margin), weight)
        share = self.weight if self.step >= WARM_UP else 0.0
        return Loss(loss.total + share * opinion, {**loss.parts, "critic": opinion}, loss.picture)

    def learn(self, picture: Tensor, batch: Batch, rate: float) -> None:
        """One step of the critic on what was drawn. rate: of the nets that draw."""
        true, drawn, weight = _boxes(picture.detach(), batch)
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * rate
        penalised = self.step % PENALTY_EVERY == 0
        true.requires_grad_(penalised)
        drawn.requires_grad_(penalised)
        real, fake = self._scores(true), self._scores(drawn)
        loss = _mean(F.softplus(-(real - fake)), weight)
        if penalised:
            for scores, boxes in ((real, true), (fake, drawn)):
                (slope,) = torch.autograd.grad(scores.sum(), boxes, create_graph=True)
                loss = loss + PENALTY_EVERY * PENALTY / 2 * slope.pow(2).sum((1, 2, 3)).mean() / scores[0].numel()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1

    def _scores(self, boxes: Tensor) -> Tensor:
        size = boxes.shape[2] // PATCH, boxes.shape[3] // PATCH
        out: Tensor = self.net(self.eyes.features(boxes, len(CRITIC_LAYERS)), size)
        return out

    def state(self) -> dict[str, Any]:
        """For a checkpoint; the inverse of `restore`."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step}

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def _boxes(picture: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """True and drawn mouth boxes (b, 3, 96, 160), and how much each patch counts, (b, 1, 12, 20).

    Of the published first stage the whole pictures, every patch alike.
    """
    if isinstance(batch, PaperBatch):
        count, _, height, width = batch.picture.shape
        return batch.picture.clone(), picture.float(), torch.ones(count, 1, height // PATCH, width // PATCH).to(picture)
    assert isinstance(batch, RenderBatch)
    inner = batch.composite[:, 3:4]
    true, drawn, mask = (mouth_boxes(p, inner) for p in (batch.target, picture.float(), inner))
    near = F.max_pool2d(F.max_pool2d(mask, RIM, 1, RIM // 2), PATCH)
    return true, drawn, near * batch.weight[:, None, None, None]


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
