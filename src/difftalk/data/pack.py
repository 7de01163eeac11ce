"""Packs: a training set as one folder of a few files, read with numpy, OpenCV and safetensors alone.

    pack.json           format, counts, the clips' records, who is held out
    frames.bin          the rows of aligned frames that training looks at, WebP after WebP
    closes.bin          close-ups of their mouths, likewise
    pack.safetensors    meshes, alignments, mouth shapes, speech components: everything numeric
    sheet.png           some frames of everybody

A packed clip is a `Sample` with gaps: pictures and meshes of some of its frames, in pairs of consecutive ones; mouth
shapes, openings and times of all of them; its speech as principal components. It has no waveform. Knows nothing of
how frames are chosen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.codec import Components, Foretold, expand
from difftalk.data.sample import PICTURES, Curve, Record, Sample, load_samples
from difftalk.errors import DataError
from difftalk.face.landmarks import POINTS
from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import ALIGNED_SIZE, Alignment
from difftalk.speech.features import FEATURE_SIZE

FORMAT: Final = 2
INDEX: Final = "pack.json"
FILES: Final = {name: f"{name}.bin" for name in PICTURES}
NUMBERS: Final = "pack.safetensors"
TOP: Final = 84  # first row of an aligned frame that is kept; the rows above it come back as this one
MESH_STEP: Final = 1 / 64  # px
SHAPE_STEP: Final = 1 / 1024  # units of spread
OPENING_STEP: Final = 1 / 8192  # eye distances; of neutrals too
TICKS: Final = 1_000_000_000  # a second, of times


def encode(picture: Image, quality: int) -> bytes:
    """RGB (h, w, 3) -> WebP. quality: 1 to 100."""
    import cv2

    rows = np.ascontiguousarray(picture[..., ::-1])
    return bytes(cv2.imencode(".webp", rows, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes())


def decode(data: NDArray[np.uint8]) -> Image:
    """WebP -> RGB (h, w, 3)."""
    import cv2

    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def encode_frame(frame: Image, quality: int) -> bytes:
    """Aligned RGB frame (256, 256, 3) -> its rows from TOP on as WebP."""
    return encode(frame[TOP:], quality)


def decode_frame(data: NDArray[np.uint8]) -> Image:
    """WebP -> aligned RGB frame (256, 256, 3), its upper rows like the first that was kept."""
    rows = decode(data)
    return np.pad(rows, ((ALIGNED_SIZE - len(rows), 0), (0, 0), (0, 0)), mode="edge")


@dataclass(frozen=True)
class Pack:
    """A pack's folder, opened. index: what pack.json holds."""

    folder: Path
    index: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Pack:
        path = folder / INDEX
        try:
            index = json.loads(path.read_text())
            written = index["format"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is not a pack's index ({type(error).__name__}); run difftalk pack again") from None
        if written != FORMAT:
            raise DataError(f"{path} has format {written}, this version reads {FORMAT}; run difftalk pack again")
        return cls(folder, index)

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: without what was read."""
        return {"folder": self.folder, "index": self.index}

    @cached_property
    def samples(self) -> list[PackedSample]:
        """Every clip, with pictures or without."""
        return [PackedSample(self.folder, Record(**row), self, i) for i, row in enumerate(self.index["records"])]

    @cached_property
    def held_out(self) -> frozenset[str]:
        """People whose clips are for validation."""
        return frozenset(self.index["held_out"])

    @cached_property
    def numbers(self) -> dict[str, NDArray[Any]]:
        from safetensors.numpy import load_file

        return load_file(self.folder / NUMBERS)

    def span(self, kind: str, place: int) -> slice:
        """Which rows of 'frames', 'curves' or 'speech' are those of the clip number `place`."""
        ends = self.numbers[f"{kind}_ends"]
        return slice(int(ends[place - 1]) if place else 0, int(ends[place]))

    def expanded(self, name: str, *shape: int, dtype: type = np.int16, alike: bool = True) -> NDArray[Any]:
        return expand(self.numbers[name], dtype, (-1, *shape), alike=alike)

    @cached_property
    def meshes(self) -> NDArray[np.int16]:
        """(n, 478, 3) aligned, in steps."""
        mean, basis = self.numbers["mesh_mean"], self.numbers["mesh_basis"]
        coefficients = self.expanded("mesh_coefficients", len(basis))
        found = Foretold(mean, basis, coefficients, self.expanded("mesh_rest", len(mean), alike=False))
        return found.rows().reshape(-1, POINTS, 3)

    @cached_property
    def frame_numbers(self) -> NDArray[np.int64]:
        """(n,) of each frame in its clip."""
        return self.expanded("frame_numbers", dtype=np.int64)

    @cached_property
    def close_corners(self) -> NDArray[np.int64]:
        """(n, 2) x, y of each close-up's first pixel."""
        return self.expanded("close_corners", 2, dtype=np.int64)

    @cached_property
    def offsets(self) -> dict[str, NDArray[np.int64]]:
        """Of each kind of pictures where in its file they begin."""
        return {name: self.expanded(f"{name}_offsets", dtype=np.int64) for name in PICTURES}

    @cached_property
    def _bytes(self) -> dict[str, NDArray[np.uint8]]:
        return {name: np.memmap(self.folder / file, np.uint8, "r") for name, file in FILES.items()}

    def picture(self, name: str, place: int) -> NDArray[np.uint8]:
        """The bytes of one of `PICTURES`; place: among the frames of all clips."""
        offsets = self.offsets[name]
        return np.asarray(self._bytes[name][offsets[place] : offsets[place + 1]])

    @cached_property
    def neutrals(self) -> Array:
        """(clips, 478, 3) eye distances."""
        return np.asarray(self.expanded("neutrals", POINTS, 3) * OPENING_STEP, np.float32)

    @cached_property
    def curves(self) -> Curve:
        """Of all clips one after the other."""
        return Curve(
            self.expanded("curve_times", dtype=np.int64) / TICKS,
            np.asarray(self.expanded("curve_shapes", COMPONENTS) * SHAPE_STEP, np.float32),
            np.asarray(self.expanded("curve_openings") * OPENING_STEP, np.float32),
        )

    @cached_property
    def voice(self) -> Components:
        """The components of speech features: (k, 1152)."""
        return Components(*(self.numbers[f"speech_{name}"] for name in ("mean", "basis", "spread")))

    @cached_property
    def speech(self) -> NDArray[np.int8]:
        """(n, k) components in steps, of all clips one after the other."""
        return self.expanded("speech", len(self.voice.spread), dtype=np.int8)

    @cached_property
    def silences(self) -> Array:
        """(k, n, 1152) features of silence and faint noise."""
        steps = self.expanded("silences", len(self.voice.spread), dtype=np.int8)
        return self.voice.rows(steps).reshape(int(self.index["silences"]), -1, FEATURE_SIZE)


@dataclass(frozen=True)
class PackedSample(Sample):
    """A clip of a pack. Its frames are those that were packed; `numbers` says where in the clip they stood.

    record.frames: how many were packed, perhaps none.
    """

    pack: Pack = field(repr=False, compare=False)
    place: int

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: without what was read."""
        return {"folder": self.folder, "record": self.record, "pack": self.pack, "place": self.place}

    @property
    def held_out(self) -> bool:
        """Whether the clip is for validation."""
        return self.record.person in self.pack.held_out

    @property
    def _frames(self) -> slice:
        return self.pack.span("frames", self.place)

    @property
    def meshes(self) -> Array:
        """(t, 478, 3) source pixels."""
        count = len(self.numbers)
        back = [Alignment(self.alignment(i).inverse).points(self.aligned_mesh(i)) for i in range(count)]
        return np.stack(back) if back else np.zeros((0, POINTS, 3), np.float32)

    @property
    def blendshapes(self) -> Array:
        raise DataError(f"{self.folder} is a pack, which has no blendshapes; give the folder of difftalk prepare")

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(t,) of each packed frame in its clip."""
        return self.pack.frame_numbers[self._frames]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(t,) time of each packed frame."""
        return self.curve.seconds[self.numbers]

    @cached_property
    def alignments(self) -> NDArray[np.float64]:
        """(t, 2, 3) source to aligned."""
        return self.pack.numbers["alignments"][self._frames].astype(np.float64)

    def aligned_mesh(self, index: int) -> Array:
        """(478, 3) aligned pixels."""
        return np.asarray(self.pack.meshes[self._frames][index] * MESH_STEP, np.float32)

    @property
    def neutral(self) -> Array:
        """(478, 3) eye distances, of the whole clip."""
        return np.asarray(self.pack.neutrals[self.place])

    @property
    def curve(self) -> Curve:
        """Mouth shapes, openings and times of every frame of the clip."""
        span, all_of = self.pack.span("curves", self.place), self.pack.curves
        return Curve(all_of.seconds[span], all_of.shapes[span], all_of.openings[span])

    @property
    def steps(self) -> NDArray[np.int8]:
        """(n, k) speech components in steps, as they are kept: `pack.voice` makes features of them."""
        return self.pack.speech[self.pack.span("speech", self.place)]

    @property
    def components(self) -> Array:
        """(n, k) whitened speech components; features are components * pack.voice.spread @ basis + mean."""
        return self.pack.voice.whitened(self.steps)

    @property
    def speech(self) -> NDArray[np.float16]:
        """(n, 1152) features at 50 Hz, nearly those of the clip; made anew at each look."""
        return self.pack.voice.rows(self.steps).astype(np.float16)

    def features(self, rows: NDArray[np.int64]) -> Array:
        """(m, 1152) features of some rows; edges repeated."""
        steps = self.steps
        return self.pack.voice.rows(steps[np.clip(rows, 0, len(steps) - 1)])

    @property
    def waveform(self) -> NDArray[np.int16]:
        raise DataError(f"{self.folder} is a pack, which has no waveforms; give the folder of difftalk prepare")

    def frame(self, index: int) -> Image:
        """Aligned RGB frame (256, 256, 3)."""
        return decode_frame(self.pack.picture("frames", self._place(index)))

    def close_up(self, index: int) -> Image:
        """RGB close-up (176, 208, 3) of the frame's mouth, in the close space of its alignment."""
        return decode(self.pack.picture("closes", self._place(index)))

    def close_corner(self, index: int) -> NDArray[np.int64]:
        """(x, y) of the close-up's first pixel in that space."""
        return np.asarray(self.pack.close_corners[self._place(index)])

    def _place(self, index: int) -> int:
        """Where among the frames of all clips one of these is."""
        return int(self._frames.start + range(len(self.numbers))[index])


def pack_at(data: Path) -> Pack | None:
    """The pack in a folder; None where it is not one."""
    return Pack.open(data) if (data / INDEX).is_file() else None


def samples_of(data: Path, *, split: str | None = None) -> list[Sample]:
    """The samples of a prepared folder or of a pack. Of a pack, `val` are those that it holds out of training."""
    pack = pack_at(data)
    if pack is None:
        return load_samples(data, split=split)
    chosen: list[Sample] = [s for s in pack.samples if split is None or split == ("val" if s.held_out else "train")]
    if not chosen:
        raise DataError(f"{data} is a pack that holds no clip of split {split}")
    return chosen
