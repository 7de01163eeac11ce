"""The adversarial phase: a critic that learns to tell drawn mouths from true ones, and the loss that it gives.

Relativistic pairs (Jolicoeur-Martineau 2018): a drawn patch is judged beside the true patch of the same frame, so what
the two share, the person and the light, cancels. Gradient penalties on both as in R3GAN (Huang et al. 2024). Which
patches count, a kind of net says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic

import torch
import torch.nn.functional as F
from torch import Tensor

from difftalk.nets.critic import CRITIC_LAYERS, PatchCritic
from difftalk.nets.lpips import LPIPS
from difftalk.nets.sizes import CriticSizes
from difftalk.training.batches import BatchT
from difftalk.training.picture_loss import Loss, Mouths

WARM_UP: Final = 60  # steps in which the critic learns alone
RATE: Final = 5.0  # times the other nets' learning rate
PENALTY: Final = 0.004  # of the squared gradient, on true and drawn mouths
PENALTY_EVERY: Final = 4  # steps; weighted by as much; on every second sample
PATCH: Final = 8  # px, side of what is judged as one


@dataclass(frozen=True)
class Judged:
    """Mouths side by side, and how much each patch counts, (b, 1, 16, 22)."""

    mouths: Mouths
    weight: Tensor


class Adversary(Generic[BatchT]):
    """The critic with its optimiser.

    look: what it judges of a loss and a batch. eyes: whose features it sees, frozen. weight: of its loss beside the
    others. lr: of the nets that draw. autocast: in which they and the critic compute.
    """

    def __init__(
        self,
        look: Callable[[Loss, BatchT, LPIPS], Judged],
        eyes: LPIPS,
        size: CriticSizes,
        *,
        weight: float,
        lr: float,
        device: torch.device,
        autocast: torch.autocast | None = None,
    ) -> None:
        self.weight, self.eyes, self.step = weight, eyes, 0
        self.net = PatchCritic(size).to(device)
        self._look = look
        self._autocast = autocast or torch.autocast(device.type, enabled=False)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), RATE * lr, (0.0, 0.99), weight_decay=0.0, fused=True)

    def judged(self, loss: Loss, batch: BatchT) -> Judged:
        """What the critic looks at."""
        return self._look(loss, batch, self.eyes)

    def added(self, loss: Loss, judged: Judged) -> Loss:
        """The loss with the critic's opinion of its picture added."""
        mouths, weight = judged.mouths, judged.weight
        self.net.requires_grad_(False)
        margin = self._scores(mouths.drawn_features, weight) - self._scores(mouths.true_features, weight)
        self.net.requires_grad_(True)
        opinion = _mean(F.softplus(-margin), weight)
        share = self.weight if self.step >= WARM_UP else 0.0
        return replace(loss, total=loss.total + share * opinion, parts={**loss.parts, "critic": opinion})

    def learn(self, judged: Judged, rate: float) -> None:
        """One step of the critic on what was drawn. rate: of the nets that draw."""
        mouths, weight = judged.mouths, judged.weight
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * rate
        drawn = [features.detach() for features in mouths.drawn_features]
        real, fake = self._scores(mouths.true_features, weight), self._scores(drawn, weight)
        loss = _mean(F.softplus(fake - real), weight)
        if self.step % PENALTY_EVERY == 0:
            loss = loss + PENALTY_EVERY * PENALTY / 2 * self._slope(mouths, weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1

    def _slope(self, mouths: Mouths, weight: Tensor) -> Tensor:
        """The square of the scores' gradient with respect to true and drawn mouths, in f32."""
        boxes = torch.cat([mouths.true[::2], mouths.drawn[::2].detach()]).requires_grad_(True)
        scores = self.net(self.eyes.features(boxes, len(CRITIC_LAYERS)), weight.shape[-2:])
        (slope,) = torch.autograd.grad(scores.sum(), boxes, create_graph=True)
        squares: Tensor = slope.square().sum((1, 2, 3)).mean() * (2 / scores[0].numel())
        return squares

    def _scores(self, features: Sequence[Tensor], weight: Tensor) -> Tensor:
        with self._autocast:
            out: Tensor = self.net(features[: len(CRITIC_LAYERS)], weight.shape[-2:])
        return out.float()

    def state(self) -> dict[str, Any]:
        """For a checkpoint; the inverse of `restore`."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step}

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
