"""Few-step samplers: functions over arrays with one signature, (velocity, noise, steps) -> clean latent."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Velocity = Callable[[Array, float], Array]


def euler(velocity: Velocity, noise: Array, steps: int) -> Array:
    """Euler's method on a rectified flow from t = 1 (noise) to t = 0 (Liu et al. 2023, section 2).

    velocity(x, t) estimates noise - clean at x = (1 - t) clean + t noise. One step is a single call at t = 1.
    """
    x, times = noise, np.linspace(1.0, 0.0, steps + 1)
    for now, after in pairwise(times):
        x = (x + (after - now) * velocity(x, float(now))).astype(np.float32)
    return x
