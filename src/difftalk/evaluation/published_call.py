"""One call of the denoiser that DiffTalk published, in torch as it was published: `python -m`, asked by the bench.

A yardstick of speed. Its weights are random: they were never released, and do not matter here.
"""

from __future__ import annotations

import torch

from difftalk.nets.published import CONDITION, LATENT, PAPER, denoising_net
from difftalk.speed.apart import answer
from difftalk.speed.yardstick import least


def published_call_seconds(size: str = "paper") -> float:
    """Of the quickest of three, f32. size: of `PAPER`; the paper's own has 530 M numbers."""
    sizes = PAPER[size]
    net = denoising_net(sizes).eval()
    noisy = torch.zeros(1, 3 * LATENT, sizes.latent, sizes.latent)
    time_step, context = torch.zeros(1), torch.zeros(1, 1, 2 * CONDITION)
    with torch.no_grad():
        return least(lambda: net(noisy, time_step, encoder_hidden_states=context), 3)


if __name__ == "__main__":
    raise SystemExit(answer(lambda given: published_call_seconds(**given)))
