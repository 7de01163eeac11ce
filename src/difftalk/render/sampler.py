"""Few-step samplers: functions over arrays with one signature, (what the net says, noise, steps) -> clean latent."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array

Velocity = Callable[[Array, float], Array]
Noise = Callable[[Array, float], Array]
Held = Callable[[Array, float], Array]

TIME_STEPS: Final = 1000
BETA: Final = (0.0015, 0.0195)  # scaled linear: roots are spaced evenly


def euler(velocity: Velocity, noise: Array, steps: int) -> Array:
    """Euler's method on a rectified flow from t = 1 (noise) to t = 0 (Liu et al. 2023, section 2).

    velocity(x, t) estimates noise - clean at x = (1 - t) clean + t noise. One step is a single call at t = 1.
    """
    x, times = noise, np.linspace(1.0, 0.0, steps + 1)
    for now, after in pairwise(times):
        x = (x + (after - now) * velocity(x, float(now))).astype(np.float32)
    return x


def ddim(noise_in: Noise, noise: Array, steps: int, *, held: Held | None = None) -> Array:
    """DDIM without fresh noise (Song et al. 2021, equation 12, eta 0), at the published time steps.

    noise_in(x, step) estimates the noise in x at a time step of 0..999. held(x, share), before every call: x with what
    is known put in place, at that share of the clean latent's variance. The last step ends at the first time step's
    share, not at 1.
    """
    shares, times, x = alphas_cumprod(), ddim_times(steps), noise
    for now, after in zip(times[::-1], [*times[-2::-1], 0], strict=True):
        share, next_share = float(shares[now]), float(shares[after])
        x = held(x, share) if held is not None else x
        found = noise_in(x, float(now))
        clean = (x - (1 - share) ** 0.5 * found) / share**0.5
        x = (next_share**0.5 * clean + (1 - next_share) ** 0.5 * found).astype(np.float32)
    return x


def holding(clean: Array, kept: NDArray[np.bool_], random: np.random.Generator) -> Held:
    """For `ddim`: where `kept`, the clean latent, noised anew at every call (the published code's mask)."""

    def held(x: Array, share: float) -> Array:
        noise = random.standard_normal(x.shape).astype(np.float32)
        return np.where(kept, np.float32(share**0.5) * clean + np.float32((1 - share) ** 0.5) * noise, x)

    return held


def ddim_times(steps: int) -> list[int]:
    """Time steps of `steps` even strides through 1000, rising: 1, 6, ..., 996 for 200."""
    return list(range(1, TIME_STEPS, TIME_STEPS // steps))


@lru_cache(maxsize=1)
def alphas_cumprod() -> NDArray[np.float64]:
    """(1000,): share of the clean latent's variance at each time step (Ho et al. 2020, section 2)."""
    roots = np.linspace(BETA[0] ** 0.5, BETA[1] ** 0.5, TIME_STEPS)
    return np.cumprod(1 - roots**2)
