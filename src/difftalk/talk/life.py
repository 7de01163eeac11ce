"""A still lives: how its head is turned and how far its lids are down, as functions of time, seed and what was heard.

The head goes the way that was learnt from people who speak, or that of a film. Knows nothing of pixels or mouths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from difftalk.face.head import HeadPose
from difftalk.settings import Settings

if TYPE_CHECKING:
    from difftalk.speech.head_motion import HeadMotion
    from difftalk.talk.identity import Manner


@dataclass(frozen=True)
class Life:
    """Of one still that speaks in a manner. motion: as which its head moves by itself; without one it stays."""

    manner: Manner
    motion: HeadMotion | None
    settings: Settings

    def head(self, number: int) -> HeadPose:
        """How the head is at a frame that has been heard."""
        manner = self.manner
        if manner.head_motion == 0:
            return HeadPose()
        if manner.heads:
            return manner.heads[_bounced(number, len(manner.heads))].times(manner.head_motion)
        if self.motion is None:
            return HeadPose()
        return HeadPose.of_row(self.motion.at(float(number / manner.frame_rate))).times(manner.head_motion)

    def closed(self, seconds: float) -> float:
        """How far the lids are down at a time, 0 to 1."""
        if self.manner.blinks == 0:
            return 0.0
        rng, at = np.random.default_rng((self.manner.seed, 1)), 0.0
        closing, shut, opening = self.settings.life.blink_seconds
        while at < seconds + 1:
            at += float(rng.uniform(*self.settings.life.blink_gap)) / self.manner.blinks
            since = seconds - at
            if 0 <= since < closing + shut + opening:
                if since < closing:
                    return _ease(since / closing)
                return 1.0 if since < closing + shut else 1 - _ease((since - closing - shut) / opening)
        return 0.0


def _bounced(number: int, count: int) -> int:
    """Which of so many a number is, to the end and back again."""
    place = number % max(1, 2 * (count - 1))
    return min(place, 2 * (count - 1) - place) if count > 1 else 0


def _ease(share: float) -> float:
    return float(0.5 - 0.5 * np.cos(np.pi * share))
