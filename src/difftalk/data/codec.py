"""Numbers made small and back: integers squeezed without loss, rows of numbers as their principal components.

A pack's numbers are kept so (`pack`). Knows nothing of what they mean.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from difftalk.arrays import Array

Integers = NDArray[np.signedinteger[Any]]

LEVEL: Final = 9  # of zlib
LARGEST: Final = 127  # step of a component, either way
REACH: Final = 6.0  # spreads of the first component that the steps must hold
BASIS_BITS: Final = 14  # behind the point, of a basis that predicts integers
COEFFICIENT_STEP: Final = 4  # units of the integers that it predicts
LEAST_SPREAD: Final = 1e-3  # of the largest: components below it say nothing


def squeeze(values: Integers, *, alike: bool = True) -> NDArray[np.uint8]:
    """Signed integers (n, ...) -> bytes: in planes of bytes, deflated.

    alike: whether rows are like the ones before them, so that only what each adds is kept.
    """
    rows, kind = values.reshape(len(values), -1), np.dtype(f"u{values.itemsize}")
    if alike:
        rows = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))  # runs over as integers do
    folded = ((rows << 1) ^ (rows >> (8 * values.itemsize - 1))).astype(kind)  # 0, -1, 1, -2 -> 0, 1, 2, 3
    planes = np.ascontiguousarray(folded.T)[..., None].view(np.uint8)
    return np.frombuffer(zlib.compress(np.moveaxis(planes, -1, 0).tobytes(), LEVEL), np.uint8)


def expand(squeezed: NDArray[np.uint8], dtype: DTypeLike, shape: tuple[int, ...], *, alike: bool = True) -> Integers:
    """What was squeezed; -1 in `shape` is the number of rows. alike: as it was squeezed."""
    kind, width = np.dtype(dtype), int(np.prod(shape[1:]))
    planes = np.frombuffer(zlib.decompress(squeezed.tobytes()), np.uint8).reshape(kind.itemsize, width, -1)
    folded = np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(f"u{kind.itemsize}")[..., 0]
    rows = ((folded >> 1).astype(kind) ^ -(folded & 1).astype(kind)).T
    return np.asarray((np.cumsum(rows, axis=0, dtype=kind) if alike else np.ascontiguousarray(rows)).reshape(shape))


def in_steps(values: NDArray[np.floating], step: float, dtype: DTypeLike = np.int16) -> Integers:
    """Numbers as whole steps, held within what the integers reach."""
    reach = np.iinfo(np.dtype(dtype))
    return np.asarray(np.clip(np.rint(values / step), reach.min, reach.max).astype(dtype))


@dataclass(frozen=True)
class Components:
    """The principal components of rows. mean: (d,). basis: (k, d). spread: (k,) of each over the rows."""

    mean: Array
    basis: NDArray[np.float16]
    spread: Array

    @classmethod
    def fit(cls, parts: Iterable[NDArray[np.floating]], count: int) -> Components:
        """Of the rows of all parts (n, d) together; fewer than `count` where they have fewer directions."""
        total, number = np.float64(0), 0
        square: NDArray[np.float64] = np.zeros((1, 1))
        for part in parts:
            rows = np.asarray(part, np.float32)
            total, number = total + rows.sum(0, dtype=np.float64), number + len(rows)
            square = square + rows.T @ rows
        mean = np.asarray(total / number)
        variance, vectors = np.linalg.eigh(square / number - np.outer(mean, mean))
        spread = np.sqrt(np.maximum(variance[::-1][:count], 0))
        kept = spread > LEAST_SPREAD * spread[0]
        basis = vectors.T[::-1][:count][kept]
        basis = basis * np.where(basis[np.arange(len(basis)), np.abs(basis).argmax(1)] < 0, -1, 1)[:, None]
        return cls(mean.astype(np.float32), basis.astype(np.float16), spread[kept].astype(np.float32))

    @property
    def step(self) -> np.float32:
        """In the rows' units, the same for all components: the last one's spread, if the first one's fit then."""
        return np.float32(max(self.spread[-1], self.spread[0] * np.float32(REACH / LARGEST)))

    def of(self, rows: NDArray[np.floating]) -> NDArray[np.int8]:
        """Rows (n, d) -> their components in steps (n, k)."""
        found = (np.asarray(rows, np.float32) - self.mean) @ self.basis.astype(np.float32).T / self.step
        return np.asarray(np.clip(np.rint(found), -LARGEST, LARGEST), np.int8)

    def whitened(self, steps: NDArray[np.int8]) -> Array:
        """(n, k) in steps -> in units of each component's spread."""
        return np.asarray(steps * (self.step / self.spread), np.float32)

    def rows(self, steps: NDArray[np.int8]) -> Array:
        """(n, k) in steps -> (n, d), nearly the rows they were taken of."""
        return np.asarray((steps * self.step) @ self.basis.astype(np.float32) + self.mean, np.float32)


@dataclass(frozen=True)
class Foretold:
    """Rows of integers (n, d) kept without loss: what few components foretell of them, and the rest.

    mean: (d,). basis: (k, d), 2^14 is one. coefficients: (n, k). rest: (n, d).
    """

    mean: NDArray[np.int16]
    basis: NDArray[np.int16]
    coefficients: Integers
    rest: Integers

    @classmethod
    def of(cls, rows: NDArray[np.int16], count: int) -> Foretold:
        components = Components.fit([rows.astype(np.float32)], count)
        mean = np.rint(components.mean).astype(np.int16)
        basis = np.rint(components.basis.astype(np.float64) * 2**BASIS_BITS).astype(np.int16)
        apart = rows.astype(np.float64) - mean
        coefficients = in_steps(apart @ components.basis.astype(np.float64).T, COEFFICIENT_STEP)
        return cls(mean, basis, coefficients, in_steps(apart - _foretold(coefficients, basis), 1))

    def rows(self) -> NDArray[np.int16]:
        return np.asarray(self.mean + _foretold(self.coefficients, self.basis) + self.rest).astype(np.int16)


def _foretold(coefficients: Integers, basis: NDArray[np.int16]) -> NDArray[np.float64]:
    """Whole numbers, the same on every machine: float64 holds all the sums exactly."""
    sums = coefficients.astype(np.float64) @ basis.astype(np.float64)
    return np.asarray(np.floor(sums * (COEFFICIENT_STEP / 2**BASIS_BITS) + 0.5))
