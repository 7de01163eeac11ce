"""The timeline: when each frame of a video is shown, again and again where the video is slower than a mouth.

A mouth that speaks needs 20 frames/s. A video of a constant rate below that is shown at 25/s; where a frame of another
one stands for longer, as in a screen recording, it is repeated 25 times a second. Knows nothing of pictures.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from difftalk.media.video import VideoInfo

SLOWEST = 20  # frames/s
REPEATED = Fraction(25)  # frames/s
LONGEST = 3600 * 25  # times that one frame is shown: a broken time stamp may be years away


def shown_rate(info: VideoInfo) -> Fraction:
    """Frames/s of an output that shows a video; the mean, where it is not constant."""
    return info.frame_rate if info.frame_rate >= SLOWEST else REPEATED


def timeline(info: VideoInfo, seconds: Sequence[float]) -> list[list[float]]:
    """For each frame, of which `seconds` has the time, the times at which it is shown."""
    pairs = zip(seconds, [*seconds[1:], None], strict=True)
    return [moments(info, start, end) for start, end in pairs]


def moments(info: VideoInfo, start: float, end: float | None) -> list[float]:
    """The times at which a frame is shown that stands from `start` until the next one; None: it is the last."""
    until = start + float(1 / info.frame_rate) if end is None else end
    if info.constant_rate and info.frame_rate < SLOWEST:
        first = max(0, math.ceil((start - 1e-6) * REPEATED))
        stop = round(until * REPEATED) if end is None else math.ceil((until - 1e-6) * REPEATED)
        return [number / float(REPEATED) for number in range(first, stop)]
    rate = float(info.frame_rate if info.constant_rate else REPEATED)  # of repeats in gaps
    return [start + repeat / rate for repeat in range(min(max(1, round((until - start) * rate)), LONGEST))]


def repeats_note(info: VideoInfo, times: list[list[float]]) -> list[str]:
    """What to say of repeated frames: a line, or none where there are none."""
    if all(len(moments) == 1 for moments in times):
        return []
    what = f"has {float(info.frame_rate):.3g} frames/s" if info.constant_rate else "stands still in places"
    return [f"the video {what}: its frames are repeated to {REPEATED}/s, so that the mouth can move"]
