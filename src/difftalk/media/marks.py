"""Marks: where each frame of a video lies, and its frames decoded from any one on.

A first reading marks every frame; a later one goes to a key frame before the one that is wanted, and knows frames by
their stamps. Knows nothing of pictures' colours or sizes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, dropwhile, pairwise

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from difftalk.media.clock import Clock, nominal_rate
from difftalk.media.container import Damage, decode
from difftalk.media.fields import whole

EARLIER = (0, 16, 64)  # frames before a key frame to which is sought in turn: some formats arrive late


@dataclass(frozen=True)
class Mark:
    """Where a frame lies in a video."""

    number: int
    seconds: float  # when it is shown, from the first frame
    stamp: int | None  # the file's own time stamp
    key: bool  # it and those shown after it need none before it


def marked(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Mark, av.VideoFrame]]:
    """All frames, whole, from a container that has just been opened."""
    base, clock = _base(stream), Clock(float(1 / nominal_rate(stream)))
    for number, frame in enumerate(whole(decode(container, stream, Damage()), base)):
        seconds = clock.shown(None if frame.pts is None else float(frame.pts * base))
        yield Mark(number, seconds, frame.pts, frame.key_frame), frame


def sought(
    container: InputContainer, stream: VideoStream, marks: Sequence[Mark], first: int
) -> Iterator[tuple[Mark, av.VideoFrame]] | None:
    """The video's very first frame, then those from a key frame before number `first` on; or None if none is found.

    None leaves the container somewhere: open it again. At least the frame before `first` is there, which the filter
    of interlaced frames looks at.
    """
    places = {mark.stamp: mark for mark in marks}
    stamps = [mark.stamp for mark in marks if mark.stamp is not None]
    if len(stamps) < len(marks) or any(one >= other for one, other in pairwise(stamps)):
        return None
    try:
        head = next(decode(container, stream, Damage()))
        key = next(mark for mark in reversed(marks[:first]) if mark.key)
        for earlier in EARLIER:
            container.seek(stamps[max(0, key.number - earlier)], stream=stream)
            frames = dropwhile(partial(_before, stamps[key.number]), decode(container, stream, Damage()))
            found = next(frames, None)
            if found is not None and found.pts == key.stamp:
                later = whole(chain([found], frames), _base(stream))
                known = ((places[frame.pts], frame) for frame in later if frame.pts in places)
                return chain([(marks[0], head)], known)
    except (av.FFmpegError, StopIteration):  # a format that cannot be sought; no key frame
        pass
    return None


def _before(stamp: int, frame: av.VideoFrame) -> bool:
    return frame.pts is None or frame.pts < stamp


def _base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 90_000)
