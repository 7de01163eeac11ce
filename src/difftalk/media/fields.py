"""Fields: interlaced frames, two half pictures of different moments each -> whole pictures of one moment each.

Only frames that are marked as interlaced are touched, in the order of their fields (FFmpeg's bwdif); everything else
passes as it is. As many frames come out as go in, with their own time stamps.
"""

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph

SMALLEST = 4  # lines and columns below which there is nothing to interpolate


def whole(frames: Iterator[av.VideoFrame], time_base: Fraction) -> Iterator[av.VideoFrame]:
    """The frames; time_base: of their stamps, which are kept."""
    bwdif: _Filter | None = None
    for frame in frames:
        if bwdif is not None and not bwdif.takes(frame):
            yield from bwdif.push(None)
            bwdif = None
        if bwdif is None and frame.interlaced_frame and min(frame.width, frame.height) >= SMALLEST:
            bwdif = _Filter(frame, time_base)
        yield from [frame] if bwdif is None else bwdif.push(frame)
    if bwdif is not None:
        yield from bwdif.push(None)


class _Filter:
    """FFmpeg's, for frames of one form."""

    def __init__(self, first: av.VideoFrame, time_base: Fraction) -> None:
        self._form, self._time_base, self._graph = _form(first), time_base, Graph()
        source = self._graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=time_base
        )
        self._graph.link_nodes(
            source, self._graph.add("bwdif", "mode=send_frame:deint=interlaced"), self._graph.add("buffersink")
        ).configure()

    def takes(self, frame: av.VideoFrame) -> bool:
        return _form(frame) == self._form

    def push(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """The frames that are ready; None: the rest."""
        self._graph.vpush(frame)
        while True:
            try:
                ready = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            if ready.pts is not None and ready.time_base is not None:
                ready.pts = round(ready.pts * ready.time_base / self._time_base)
            ready.time_base = self._time_base
            yield ready


def _form(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
