"""A video's clock: time stamps -> its rate, and strictly increasing times whatever the stamps are.

Knows nothing of pictures.
"""

from fractions import Fraction

import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

RATE_DENOMINATOR = 1001  # no real rate needs a larger one

_USUAL_RATES = [Fraction(n, 1001 if n > 1000 else 1) for n in (24000, 24, 25, 30000, 30, 50, 60000, 60)]  # frames/s
_JITTER, _ROUNDING = 0.1, 0.0015  # of a frame; s: stamps this close to a grid are constant (Matroska keeps ms)
_RESET = 0.5  # s; a longer step back is a clock that was reset, not a swapped frame


def nominal_rate(stream: VideoStream) -> Fraction:
    """What the container says, where that is believable."""
    rate = stream.guessed_rate or stream.average_rate or Fraction(25)
    return rate.limit_denominator(RATE_DENOMINATOR) if 1 <= rate <= 1000 else Fraction(25)


def frame_rate(times: NDArray[np.float64], nominal: Fraction) -> tuple[Fraction, bool]:
    """The rate on whose grid all times (sorted, s) lie, else their mean; and whether they fill it without a hole."""
    count = len(times)
    if count < 2 or times[-1] <= times[0]:  # raw streams have no time stamps
        return nominal, True
    times = times - times[0]
    mean = Fraction((count - 1) / float(times[-1])).limit_denominator(RATE_DENOMINATOR) or Fraction(1, RATE_DENOMINATOR)
    usual = sorted(_USUAL_RATES, key=lambda rate: abs(1 / float(rate) - float(np.median(np.diff(times)))))
    for rate in [nominal] * (nominal.denominator in (1, 1001)) + usual + [nominal, mean]:
        places = times * float(rate)
        grid = np.rint(places)
        close = np.ptp(places - grid) / 2 <= max(_JITTER, _ROUNDING * float(rate))
        if close and np.diff(grid).min() > 0 and grid[-1] < 1.5 * count:
            return rate, bool(grid[-1] == count - 1)
    return mean, False


class Clock:
    """Strictly increasing times from whatever time stamps there are."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._zero, self._last, self._sure = 0.0, -1.0, 0.0

    def shown(self, at: float | None) -> float:
        if self._last < 0:
            self._zero, self._last = at or 0.0, 0.0
            return 0.0
        due = self._sure + self._step  # from the last time stamp that made sense
        seconds = max(due, self._last + self._step) if at is None else at - self._zero
        if seconds > self._last:
            self._sure = seconds
        elif self._last - seconds < _RESET and due - self._last > 0.01 * self._step:
            seconds = (self._last + due) / 2  # a repeated time stamp: leave room for the next one
        else:
            seconds = self._sure = self._last + self._step
            self._zero = (at or 0.0) - seconds
        self._last = seconds
        return seconds
