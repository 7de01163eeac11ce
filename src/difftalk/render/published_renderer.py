"""The published system as a renderer: a frame's lower half drawn anew by 200 steps of DDIM, frame after frame.

The reference of the first frame is the one that is given, that of each later frame the picture drawn before it (the
progressive reference of the paper). No mesh is warped and no mouth shape enters: only audio and landmarks.
Works on the aligned picture, brought to the size that the nets draw. Knows nothing of files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk import graphs
from difftalk.arrays import Array, Image, State
from difftalk.face.space import ALIGNED_SIZE, REGION_X, REGION_Y, Alignment, region_mask
from difftalk.render import published
from difftalk.render.references import Reference, Scene
from difftalk.render.sampler import ddim, holding
from difftalk.settings import Settings
from difftalk.speech.listener import Conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from difftalk.model import Model

LEFT_OUT: Final = ("audio", "landmarks", "reference", "masked", "previous", "smoothing")  # for ablations


@dataclass(frozen=True)
class Redrawn:
    """A region as drawn: picture (144, 176, 3) in [-1, 1], the masked one it started from, and where it counts."""

    picture: Array
    composite: Array  # (5, 144, 176), as a composite's, so that both are measured alike
    weight: Array  # (144, 176) in [0, 1]

    @property
    def plain(self) -> Redrawn:
        """With nothing drawn."""
        return replace(self, picture=self.composite[:3].transpose(1, 2, 0))

    def onto(self, frame: Image, alignment: Alignment, reference: Reference) -> Image:
        """The frame (h, w, 3) with the drawn region in it, enlarged; bytes where it does not count are the frame's."""
        import cv2

        size, inverse = (frame.shape[1], frame.shape[0]), alignment.inverse.copy()
        inverse[:, 2] += inverse[:, :2] @ np.array([REGION_X[0], REGION_Y[0]])
        weight = cv2.warpAffine(self.weight, inverse, size, flags=cv2.INTER_LINEAR)[..., None]
        edge = cv2.BORDER_REPLICATE
        picture = cv2.warpAffine(self.picture, inverse, size, flags=cv2.INTER_CUBIC, borderMode=edge)
        mixed = (1 - weight) * frame + weight * (picture + 1) * 127.5
        return np.where(weight > 0, np.clip(np.rint(mixed), 0, 255).astype(np.uint8), frame)


class PublishedRenderer:
    """Draws the frames of one clip, one after the other. seed fixes the noise.

    without: of LEFT_OUT. "previous" keeps the given reference for every frame; "reference" and "masked" show empty
    pictures, and without the masked frame nothing of it is held while it is drawn.
    """

    def __init__(self, model: Model, *, steps: int, seed: int, without: Sequence[str] = ()) -> None:
        assert set(without) <= set(LEFT_OUT)
        self._model, self._steps, self._without = model, steps, frozenset(without)
        self._random, self._size = np.random.default_rng(seed), model.settings.picture
        self._drawn: Array | None = None

    def turn_away(self) -> None:
        """Its surroundings are the frame's own."""

    def forget(self, *, cut: bool = True) -> None:
        """Forgets the frame before: at a cut, after a frame without a face; a silence is no reason to."""
        if cut:
            self._drawn = None

    def laid_state(self) -> State:
        """Nothing: see `lay`."""
        return {}

    def painted_state(self) -> State:
        """What it remembers: the picture drawn last, and how far its noise has come; `restore` takes it back."""
        noise = np.frombuffer(json.dumps(self._random.bit_generator.state).encode(), np.uint8)
        return {"noise": noise} | ({} if self._drawn is None else {"drawn": self._drawn})

    def restore(self, state: State) -> None:
        self._random.bit_generator.state = json.loads(state["noise"].tobytes())
        self._drawn = state.get("drawn")

    def lay(
        self, reference: Reference, mouth: Reference, mesh: Array, conditions: Conditions, scene: Scene | None = None
    ) -> Callable[[], Redrawn]:
        """Nothing is known before it is drawn; of `Renderer`'s steps `paint` does the work."""
        return partial(self.draw, reference, mouth, mesh, conditions, scene)

    def paint(self, laid: Callable[[], Redrawn]) -> Redrawn:
        return laid()

    def show(self, painted: Redrawn) -> Redrawn:
        return painted

    def draw(
        self, reference: Reference, mouth: Reference, mesh: Array, conditions: Conditions, scene: Scene | None = None
    ) -> Redrawn:
        """The region under an aligned mesh (478, 3); scene: the frame, or None for a still's own. See Renderer.draw."""
        frame = self._planes(reference.aligned if scene is None else scene.aligned)
        landmarks = published.landmarks_68(mesh) * np.float32(self._size / ALIGNED_SIZE)
        mask = published.mask_of(landmarks, self._size)
        empty = published.masked(frame, mask)
        latents = {name: self._encoded(picture) for name, picture in self._pictures(frame, empty, mouth).items()}
        token = self._context(conditions, landmarks)
        denoiser = self._model.graph("published_denoiser")

        def noise_in(x: Array, step: float) -> Array:
            seen = {"masked": latents["masked"], "reference": latents["reference"], "context": token}
            return denoiser(noisy=x, step=np.array([step], np.float32), **seen)["noise"]

        start = self._random.standard_normal(latents["frame"].shape).astype(np.float32)
        held = holding(latents["frame"], _kept(mask, latents["frame"].shape), self._random)
        latent = ddim(noise_in, start, self._steps, held=None if "masked" in self._without else held)
        picture = np.clip(self._model.graph("published_decoder")(latent=latent)["picture"][0], -1, 1)
        self._drawn = np.where(mask > 0, picture, frame).astype(np.float32)
        composite = _region(np.concatenate([empty, mask[None], 1 - mask[None]]))
        share = _share(composite[3], self._model.settings)
        shown = share * _region(picture) + (1 - share) * _region(frame)
        return Redrawn(shown.transpose(1, 2, 0), composite, region_mask() * share)

    def _pictures(self, frame: Array, empty: Array, reference: Reference) -> dict[str, Array]:
        shown, nothing = self._planes(reference.aligned), np.full_like(frame, published.EMPTY)
        if self._drawn is not None and "previous" not in self._without:
            shown = self._drawn
        if "reference" in self._without:
            shown = nothing
        return {"frame": frame, "masked": nothing if "masked" in self._without else empty, "reference": shown}

    def _planes(self, picture: Image) -> Array:
        """uint8 (256, 256, 3) -> (3, s, s) in [-1, 1]."""
        import cv2

        sized = cv2.resize(picture, (self._size, self._size), interpolation=cv2.INTER_AREA)
        return np.asarray(sized.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1, np.float32)

    def _encoded(self, picture: Array) -> Array:
        return self._model.graph("published_encoder")(picture=picture[None])["latent"]

    def _context(self, conditions: Conditions, landmarks: Array) -> Array:
        heard, points = published.characters_of(conditions.audio), landmarks[published.SEEN]
        if "audio" in self._without:
            heard = np.zeros_like(heard)
        if "landmarks" in self._without:
            points = np.zeros_like(points)
        windows = published.windows_of(heard)
        if "smoothing" in self._without:  # every window the frame's own: whatever the weights, it is what is heard
            windows = np.repeat(windows[graphs.WINDOWS // 2][None], graphs.WINDOWS, 0)
        return self._model.graph("published_conditions")(windows=windows[None], points=points[None])["context"]


def _region(planes: Array) -> Array:
    """(c, s, s) -> the region's (c, 144, 176)."""
    import cv2

    size, how = (ALIGNED_SIZE, ALIGNED_SIZE), cv2.INTER_LINEAR
    sized = np.stack([cv2.resize(plane, size, interpolation=how) for plane in planes])
    return np.asarray(sized[:, REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]], np.float32)


def _kept(mask: Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(1, 1, h, h): places of a latent whose pixels are all known."""
    factor = mask.shape[0] // shape[-1]
    return np.asarray(mask.reshape(shape[-2], factor, shape[-1], factor).max((1, 3))[None, None] == 0)


def _share(mask: Array, settings: Settings) -> Array:
    """(144, 176) in [0, 1]: how much of what was drawn counts, coming in over a few rows of the mask (144, 176)."""
    import cv2

    inside = cv2.GaussianBlur(mask, (0, 0), settings.drawing.blend / 2)
    return np.asarray(np.clip(2 * inside - 1, 0, 1), np.float32)
