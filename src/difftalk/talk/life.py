"""A still lives: how its head is turned and how far its lids are down, as functions of time, seed and what was heard.

The head sways while something is said, nods with emphasis and all but rests in silence; or it moves as that of a film
did. Knows nothing of pixels or mouths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from difftalk.face.head import HeadPose
from difftalk.overlap import DEPTH
from difftalk.settings import Settings
from difftalk.speech.listener import look_ahead_of

if TYPE_CHECKING:
    from difftalk.speech.loudness import Loudness
    from difftalk.talk.identity import Manner


@dataclass(frozen=True)
class Life:
    """Of one still that speaks in a manner. loudness: of what is said; only what is sure to be heard by then counts."""

    manner: Manner
    loudness: Loudness
    settings: Settings

    def head(self, number: int) -> HeadPose:
        """How the head is at a frame."""
        manner, how = self.manner, self.settings.still
        if manner.head_motion == 0:
            return HeadPose()
        if manner.heads:
            return manner.heads[_bounced(number, len(manner.heads))].times(manner.head_motion)
        if number <= DEPTH:
            return HeadPose()
        seconds = float(number / manner.frame_rate)
        # made up to DEPTH frames ahead: so much audio has been heard by then, in any pieces
        heard = float((number - DEPTH) / manner.frame_rate) + look_ahead_of("denoiser") - how.heard_margin
        begun = min(1.0, seconds / how.nod_begins)
        said, emphasis = self.loudness.liveliness(seconds, heard), self.loudness.emphasis(seconds, heard)
        return sway(manner.seed, seconds, said, emphasis, self.settings).times(begun * manner.head_motion)

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


def sway(seed: int, seconds: float, said: float, emphasis: float, settings: Settings) -> HeadPose:
    """How a head moves of its own accord. said: how much is, 0 to 1. emphasis: -1 to 1, a nod."""
    how = settings.life
    phases = np.random.default_rng((seed, 2)).uniform(0, 2 * np.pi, (7, len(how.periods)))
    waves = np.sin(2 * np.pi / np.array(how.periods) * seconds + phases).sum(1) / np.sqrt(len(how.periods) / 2)
    spread = np.array([how.yaw, how.pitch, how.roll, how.sway, 0.6 * how.sway, how.zoom, how.brow])
    own = (how.rest + (1 - how.rest) * said) * spread * waves
    own[1] += how.nod * emphasis
    own[6] += how.brow * emphasis
    return HeadPose.about_neck(*map(float, own))


def _bounced(number: int, count: int) -> int:
    """Which of so many a number is, to the end and back again."""
    place = number % max(1, 2 * (count - 1))
    return min(place, 2 * (count - 1) - place) if count > 1 else 0


def _ease(share: float) -> float:
    return float(0.5 - 0.5 * np.cos(np.pi * share))
