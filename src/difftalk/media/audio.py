"""Sound in: any audio or video file, or a stream of pieces, to a 16 kHz mono waveform.

`read` and `Resampler` make what the networks hear. Damaged packets lose only themselves: what is lost becomes silence
of the same length, so time is kept. It does not know pictures, features or models.

    waveform = audio.read("speech.m4a")    # float32 (samples,), 16 kHz, in [-1, 1]
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE
from difftalk.errors import MediaError
from difftalk.media.container import Damage, audio_stream, decode, open_media, seconds_of, video_stream

_JITTER = 0.04  # s; time stamps of honest files wander by less, a lost stretch is longer
JITTER_AFTER_LOSS = 0.005  # s; once a packet is known to be lost, its length is believed
_CLOCK_RESET = 600.0  # s; a longer gap (or a step back) is a clock that was reset, not lost sound
_PHASE_SECONDS = 0.25  # half-life of what is known of how channels go together
_CANCELLED = 0.5  # of the power that channels have apart, left in their sum: they are against each other
_LOST = 1e-4  # of the loudest channel's power

_MOST_CHANNELS = 7  # PyAV 18.1 crashes on the samples of a planar frame with more


def read(path: Path | str, *, from_video_start: bool = False, seconds: float = math.inf) -> NDArray[np.float32]:
    """The sound of a file: (samples,), 16 kHz mono in [-1, 1].

    Sample 0 is the track's first sample or, `from_video_start`, the moment of the first video frame: sound before it
    is cut off, sound that starts later is preceded by silence. seconds: no more than that is wanted.
    """
    parts: list[NDArray[np.float32]] = []
    resampler: Resampler | None = None
    start: float | None = None
    mono, zero, count = _Mono(), video_start(path) if from_video_start else None, 0
    with open_media(path) as container:
        stream = audio_stream(container, path)
        for frame in gapless(container, stream):
            if start is None:
                start = seconds_of(frame.pts, stream) or 0.0
            if resampler is None or resampler.source_rate != frame.sample_rate:
                parts += [resampler.finish()] if resampler else []
                resampler = Resampler(frame.sample_rate)
            parts.append(resampler.push(mono(frame)))
            count += len(parts[-1])
            if count > (seconds + (0 if zero is None else max(0, zero - start))) * SAMPLE_RATE:
                break
    parts += [resampler.finish()] if resampler else []
    if start is None or not any(part.size for part in parts):
        raise MediaError(f"{path}: its audio track holds no samples that can be decoded")
    waveform = np.clip(np.concatenate(parts), -1.0, 1.0)
    lead = 0 if zero is None else round((start - zero) * SAMPLE_RATE)
    if lead <= -waveform.size:
        raise MediaError(f"{path}: its audio track ends before the first video frame")
    waveform = np.pad(waveform, (lead, 0)) if lead > 0 else waveform[-lead:]
    return waveform if math.isinf(seconds) else waveform[: round(seconds * SAMPLE_RATE)]


def frame_count(seconds: float, frame_rate: Fraction) -> int:
    """How many frames last `seconds`: never cut the last word, never add to it."""
    return round(seconds * frame_rate)


class Resampler:
    """Sound in pieces of any length to 16 kHz; the sum of its outputs does not depend on where the cuts are."""

    def __init__(self, sample_rate: int) -> None:
        self.source_rate = sample_rate
        self._stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32")

    def push(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """`piece`: (samples,) mono in [-1, 1] at the source's rate. Returns what is ready, perhaps nothing."""
        ready: NDArray[np.float32] = self._stream.resample_chunk(np.ascontiguousarray(piece, np.float32))
        return ready

    def finish(self) -> NDArray[np.float32]:
        """The rest, once, after the last piece."""
        rest: NDArray[np.float32] = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return rest


def video_start(path: Path | str) -> float:
    """When the first frame that can be decoded is shown, on the file's clock: what `video.read` calls 0 s."""
    with open_media(path) as container:
        stream = video_stream(container, path)
        for frame in decode(container, stream, Damage()):
            return seconds_of(frame.pts, stream) or 0.0
    raise MediaError(f"{path}: its video track holds no frame that can be decoded")


def gapless(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Decoded sound with silence where time stamps show that some is missing."""
    damage, seen, due = Damage(), 0, None
    for frame in decode(container, stream, damage):
        if frame.samples == 0 or frame.sample_rate <= 0:
            continue
        allowed = JITTER_AFTER_LOSS if damage.packets > seen else _JITTER
        if due is None and damage.packets:  # the very beginning was lost
            due = seconds_of(stream.start_time, stream)
        at = seconds_of(frame.pts, stream)
        if at is not None:
            gap = 0.0 if due is None else at - due
            if due is not None and allowed < gap < _CLOCK_RESET:
                silence = round(gap * frame.sample_rate)
                yield from _silence(silence, _narrowed(frame), round(due / (stream.time_base or 1)))
            if due is None or gap > allowed or gap < -1.0:
                due = at
        due = None if due is None else due + frame.samples / frame.sample_rate
        seen = damage.packets
        yield _narrowed(frame)


def _narrowed(frame: av.AudioFrame) -> av.AudioFrame:
    """7.1 and wider sound as 5.1."""
    if frame.layout.nb_channels <= _MOST_CHANNELS:
        return frame
    pts, narrow = frame.pts, av.AudioResampler(format="flt", layout="5.1", rate=frame.sample_rate)
    try:
        frame = narrow.resample(frame)[0]
    except av.FFmpegError as error:
        raise MediaError(
            f"sound of {frame.layout.nb_channels} channels cannot be mixed; give stereo or mono"
        ) from error
    frame.pts = pts
    return frame


def _silence(samples: int, like: av.AudioFrame, pts: int) -> Iterator[av.AudioFrame]:
    """In pieces of at most a second, in the form of `like`; `pts` is the first one's."""
    rest = 128 if like.format.name in ("u8", "u8p") else 0
    while samples > 0:
        frame = av.AudioFrame(like.format, like.layout.name, min(samples, like.sample_rate))
        frame.sample_rate, frame.pts = like.sample_rate, pts
        for plane in frame.planes:
            plane.update(bytes([rest]) * plane.buffer_size)
        samples -= frame.samples
        yield frame


class _Mono:
    """Frames -> (samples,) in [-1, 1]; speech sits in the centre of a surround sound, so that leads.

    Channels that cancel each other are turned the same way; where next to nothing is left, the loudest is taken.
    """

    def __init__(self) -> None:
        self._channels: tuple[str, ...] = ()
        self._products = np.zeros((0, 0), np.float32)  # of channel and channel, summed over the last moments

    def __call__(self, frame: av.AudioFrame) -> NDArray[np.float32]:
        channels, planes = tuple(channel.name for channel in frame.layout.channels), _planes(frame)
        if channels != self._channels:
            self._channels, self._products = channels, np.zeros((len(channels), len(channels)), np.float32)
        kept = 0.5 ** (frame.samples / frame.sample_rate / _PHASE_SECONDS)
        self._products = np.float32(kept) * self._products + planes @ planes.T
        mixed: NDArray[np.float32] = np.clip(self._weights() @ planes, -1.0, 1.0)
        return mixed

    def _weights(self) -> NDArray[np.float32]:
        weights: NDArray[np.float32] = _weights(self._channels)
        power = self._products.diagonal()
        alone = weights**2 * power
        if weights @ self._products @ weights < _CANCELLED * alone.sum():
            weights = weights * np.where(self._products[alone.argmax()] < 0, np.float32(-1), np.float32(1))
        if weights @ self._products @ weights < _LOST * power.max():
            weights = np.eye(len(weights), dtype=np.float32)[power.argmax()]
        return weights


def _planes(frame: av.AudioFrame) -> NDArray[np.float32]:
    """(channels, samples) in [-1, 1]."""
    array: NDArray[Any] = frame.to_ndarray()
    planar = array if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels).T
    if planar.dtype == np.uint8:
        scaled = planar.astype(np.float32) / 128 - 1
    elif planar.dtype.kind == "i":
        scaled = planar.astype(np.float32) / 2 ** (8 * planar.dtype.itemsize - 1)
    else:
        scaled = np.nan_to_num(planar.astype(np.float32), posinf=1.0, neginf=-1.0)  # damaged float codecs
    return np.asarray(scaled, np.float32)


@lru_cache
def _weights(channels: tuple[str, ...]) -> NDArray[np.float32]:
    """Centre 1, left and right 1/√2, behind 1/2, no bass effects; their sum is 1, so nothing clips."""
    known = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "DL": 0.7071, "DR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
    weights = np.array([known.get(name, 0.5) for name in channels], np.float32)
    return weights / weights.sum() if weights.any() else np.full_like(weights, 1 / len(weights))
