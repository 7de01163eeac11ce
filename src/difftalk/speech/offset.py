"""By how much one curve is later than another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_offset(truth: NDArray[np.float64], generated: NDArray[np.float64], *, reach: int) -> tuple[int, float]:
    """The shift within ± reach at which truth[i] and generated[i + shift] agree best, of equals the least; r there."""
    best = max((correlation_at(truth, generated, shift), -abs(shift), shift) for shift in range(-reach, reach + 1))
    return best[2], best[0]


def correlation_at(truth: NDArray[np.float64], generated: NDArray[np.float64], shift: int) -> float:
    """Pearson correlation of truth[i] with generated[i + shift] where both exist; 0 where it is undefined."""
    start, stop = max(0, -shift), min(len(truth), len(generated) - shift)
    if stop - start < 3:
        return 0.0
    a, b = truth[start:stop], generated[start + shift : stop + shift]
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else 0.0
