"""Knowledge: what is known of a video's people as a look over it goes on, ahead of the drawing.

The look is `first_seconds` ahead at the beginning and goes on by `pace` frames a frame. So what a frame is drawn from
depends on its number alone, however fast anything runs. Knows nothing of how people are seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from difftalk.media.video import VideoInfo
from difftalk.render.references import Person
from difftalk.settings import Settings
from difftalk.speech.own_way import OwnWay

SETTLED_AT_ONCE: Final = 8  # frames whose findings are settled together


@dataclass(frozen=True)
class Known:
    """What is known once `since` frames have been looked at. own_way: of a film of one person whose sound is theirs."""

    since: int
    people: list[Person]
    own_way: OwnWay | None = None


def reach_of(settings: Settings) -> int:
    """Frames before and after one on which depends what is found in it."""
    how, cover = settings.watching, settings.cover
    return how.blended + 2 * how.zoom_reach + 2 * cover.shortest + cover.seen_again


def first_look(info: VideoInfo, settings: Settings) -> int:
    """Frames of a video that are looked at before its first is drawn."""
    least = reach_of(settings) + SETTLED_AT_ONCE
    return max(least, round(settings.watching.first_seconds * float(info.frame_rate)))


def look_at(number: int, info: VideoInfo, settings: Settings) -> int:
    """Frames that are looked at before the one of this number is drawn."""
    return first_look(info, settings) + int(settings.watching.pace * number)


def known_at(stages: Sequence[Known], person: int, number: int | None, info: VideoInfo, settings: Settings) -> Known:
    """What a frame of this number that shows this person is drawn from, `people` theirs alone.

    number: None where the video is shown once more. What was learnt anew of somebody takes over little by little.
    """
    seen = math.inf if number is None else look_at(number, info, settings)
    last = max(place for place, stage in enumerate(stages) if stage.since <= seen)
    now = stages[last]
    if number is None or last == 0:
        return replace(now, people=[now.people[person]])
    before, pace = stages[last - 1], settings.watching.pace
    began = math.ceil((now.since - first_look(info, settings)) / pace)
    share = (number - began + 1) / settings.watching.eased
    if began <= 0 or share >= 1:
        return replace(now, people=[now.people[person]])
    one, way = now.people[person], now.own_way
    if before.own_way is not way:
        usual = OwnWay.usual()
        way = (before.own_way or usual).toward(way or usual, share)
    if person < len(before.people) and before.people[person] is not one:
        neutral = before.people[person].neutral
        one = replace(one, neutral=np.asarray(neutral + np.float32(share) * (one.neutral - neutral), np.float32))
    return Known(now.since, [one], way)
