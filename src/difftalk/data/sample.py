"""Samples: the prepared form of a clip on disk, one directory each.

    frames.jpgs         aligned 256 x 256 frames, JPEG after JPEG; frames.npy their byte offsets
    closes.jpgs         close-ups of their mouths, likewise; closes.npy
    track.safetensors   meshes, blendshapes, alignments, frame times
    speech.npy          speech features, (n, 1152) float16 at 50 Hz
    audio.npy           16 kHz waveform, int16
    sample.json         person, split, rights, rate, offset, quality, decision and reason

Reads one frame in about a millisecond and never a whole clip. Knows nothing of how a sample is made or used.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array, Image
from difftalk.errors import DataError
from difftalk.face.space import Alignment

FORMAT: Final = 4
FULL_SCALE: Final = 32767  # of the int16 waveform
SPEECH_EXTRA: Final = 32  # features beyond the audio's end, for the motion's look-ahead
JPEG_QUALITY: Final = 95
PICTURES: Final = ("frames", "closes")
SHARP: Final = 6.0  # gradient energy from which a clip's texture counts fully
LARGE_EYES: Final = 90.0  # px between the eyes from which it does


@dataclass(frozen=True)
class Record:
    """What sample.json holds. offset: frames at 25/s by which the mouth leads its audio."""

    name: str
    source: str
    person: str
    split: str
    rights: str
    kept: bool
    reason: str
    frames: int
    frame_rate: float
    seconds: float
    offset: int
    offset_r: float
    eye_distance: float  # median, source pixels
    sharpness: float  # median gradient energy of the aligned region, 0-255 scale
    max_yaw: float
    missing: int  # frames without a face
    jaw_out: float  # share of frames whose jaw comes within 12 px of the region's border
    fingerprint: str  # of the source file and the way it was prepared
    language: str = ""  # as the manifest names it
    format: int = FORMAT

    @property
    def texture(self) -> float:
        """In [0, 1], how much of a face's texture there is: small and blurred ones show shape and colour alone."""
        return min(1.0, self.sharpness / SHARP) * min(1.0, self.eye_distance / LARGE_EYES)


@dataclass(frozen=True)
class Curve:
    """A clip's mouth over time. seconds: (t,). shapes: (t, 16). openings: (t,) inner lips, eye distances."""

    seconds: NDArray[np.float64]
    shapes: Array
    openings: Array


@dataclass(frozen=True)
class Sample:
    """A kept clip on disk."""

    folder: Path
    record: Record

    @classmethod
    def load(cls, folder: Path) -> Sample:
        return cls(folder, load_record(folder))

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: without what was read."""
        return {"folder": self.folder, "record": self.record}

    @cached_property
    def _track(self) -> dict[str, NDArray[np.float32]]:
        from safetensors.numpy import load_file

        return load_file(self.folder / "track.safetensors")

    @property
    def meshes(self) -> Array:
        """(t, 478, 3) source pixels."""
        return self._track["meshes"]

    @property
    def blendshapes(self) -> Array:
        """(t, 52)."""
        return self._track["blendshapes"]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(t,) time of each kept frame."""
        return self._track["seconds"].astype(np.float64)

    @cached_property
    def alignments(self) -> NDArray[np.float64]:
        """(t, 2, 3) source to aligned."""
        return self._track["alignments"].astype(np.float64)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(t,) of each frame in its clip."""
        return np.arange(len(self.seconds))

    @property
    def neutral(self) -> Array | None:
        """(478, 3) eye distances, where it is kept; else it is that of the meshes."""
        return None

    @property
    def curve(self) -> Curve | None:
        """Mouth shapes and openings, where they are kept; else they are those of the meshes."""
        return None

    def alignment(self, index: int) -> Alignment:
        return Alignment(self.alignments[index])

    def aligned_mesh(self, index: int) -> Array:
        """(478, 3) aligned pixels."""
        return self.alignment(index).points(self.meshes[index])

    @cached_property
    def speech(self) -> NDArray[np.float16]:
        """(n, 1152) features at 50 Hz, memory-mapped."""
        return np.load(self.folder / "speech.npy", mmap_mode="r")  # type: ignore[no-any-return]

    def features(self, rows: NDArray[np.int64]) -> Array:
        """(m, 1152) features of some rows; edges repeated."""
        return np.asarray(self.speech[np.clip(rows, 0, len(self.speech) - 1)], np.float32)

    @cached_property
    def waveform(self) -> NDArray[np.int16]:
        """(n,) 16 kHz."""
        return np.load(self.folder / "audio.npy", mmap_mode="r")  # type: ignore[no-any-return]

    def sound(self, seconds: float | None = None) -> Array:
        """The first `seconds` of the waveform (all, if None) as float32 in [-1, 1]."""
        count = None if seconds is None else round(seconds * SAMPLE_RATE)
        return self.waveform[:count].astype(np.float32) / np.float32(FULL_SCALE)

    @cached_property
    def _pictures(self) -> dict[str, _Pictures]:
        return {name: _Pictures(self.folder, name) for name in PICTURES}

    def frame(self, index: int) -> Image:
        """Aligned RGB frame (256, 256, 3)."""
        return self._pictures["frames"][index]

    def close_up(self, index: int) -> Image:
        """RGB close-up (176, 208, 3) of the frame's mouth, in the close space of its alignment."""
        return self._pictures["closes"][index]

    def close_corner(self, index: int) -> NDArray[np.int64]:
        """(x, y) of the close-up's first pixel in that space."""
        return np.asarray(self._track["close_corners"][index], np.int64)


class _Pictures:
    """A sample's pictures of one name, read one at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self._offsets: NDArray[np.int64] = np.load(folder / f"{name}.npy")
        self._bytes = np.memmap(folder / f"{name}.jpgs", np.uint8, "r")

    def __getitem__(self, index: int) -> Image:
        import cv2

        data = np.asarray(self._bytes[self._offsets[index] : self._offsets[index + 1]])
        return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)  # type: ignore[return-value]


class FrameWriter:
    """Packs pictures of one name into a sample's folder; the other half of `Sample.frame` and `Sample.close_up`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._file = (folder / f"{name}.jpgs").open("wb")
        self._offsets = [0]

    def write(self, frame: Image) -> None:
        import cv2

        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            JPEG_QUALITY,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        data = cv2.imencode(".jpg", frame[:, :, ::-1], options)[1]
        self._file.write(data.tobytes())
        self._offsets.append(self._offsets[-1] + len(data))

    def close(self, shown: slice = slice(None)) -> None:
        """shown: the frames, next to each other, that the sample keeps."""
        self._file.close()
        start, stop, _ = shown.indices(len(self._offsets) - 1)
        np.save(self._folder / f"{self._name}.npy", np.array(self._offsets[start : stop + 1], np.int64))


def save_record(record: Record, folder: Path) -> None:
    (folder / "sample.json").write_text(json.dumps(asdict(record), indent=1))


def load_record(folder: Path) -> Record:
    path = folder / "sample.json"
    try:
        record = Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} is not a sample's record ({type(error).__name__}); run difftalk prepare again"
        ) from None
    if record.format != FORMAT:
        raise DataError(f"{path} has format {record.format}, this version reads {FORMAT}; run difftalk prepare again")
    return record


def load_samples(data: Path, *, split: str | None = None) -> list[Sample]:
    """The kept samples of a prepared folder, in the index's order."""
    from difftalk.errors import MissingExtraError

    index = data / "index.parquet"
    if not index.is_file():
        raise DataError(f"{data} holds no index.parquet; give the OUT folder of difftalk prepare")
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "train") from None
    with index.open("rb") as file:
        rows = parquet.read_table(file).to_pylist()
    names = [row["name"] for row in rows if row["kept"] and (split is None or row["split"] == split)]
    if not names:
        raise DataError(
            f"{data} holds no kept sample" + (f" of split {split}" if split else "") + "; see its report.json"
        )
    return [Sample.load(data / "samples" / name) for name in names]
