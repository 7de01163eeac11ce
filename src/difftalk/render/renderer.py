"""The renderer: a target mesh and its conditions -> what is drawn of a frame, layer by layer.

In the region folds and shade are added to the composite; in the mouth's patch the denoiser (or the painter) draws what
the composite lacks. A frame takes three steps, `lay`, `paint` and `show`; each may have a thread of its own that takes
one frame after the other. Knows nothing of audio or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image, State, hwc, part_of
from difftalk.face.landmarks import UPPER
from difftalk.face.space import ALIGNED_SIZE, CLOSE, EYE_DISTANCE, EYE_LINE, REGION_SIZE
from difftalk.graphs import LATENT_SHAPE, LEFT_OUT
from difftalk.render.composite import Composite, composites
from difftalk.render.paste import Drawn, Layer
from difftalk.render.references import Reference, Scene
from difftalk.render.sampler import euler
from difftalk.render.surroundings import RimFollower
from difftalk.settings import Settings
from difftalk.speech.listener import Conditions
from difftalk.stages import timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from difftalk.model import Model


LUMINANCE: Final = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue, ITU-R BT.601
LEAST_SHARP: Final = 3.0  # halvings of 128 px an eye distance; with fewer pixels yet it is the same


@dataclass(frozen=True)
class Laid:
    """A frame before anything is drawn. mesh: (478, 3) aligned. sharpness: (2,), see `sharpness_of`."""

    region: Composite
    patch: Composite
    mouth: Reference
    mesh: Array
    conditions: Conditions
    sharpness: Array


@dataclass(frozen=True)
class Painted:
    """A frame whose latent is known. features: what the decoder is given besides the composite."""

    laid: Laid
    features: dict[str, Array]


class Renderer:
    """Draws the frames of one clip, one after the other. seed fixes the noise, which is shared along the clip.

    without: the denoiser's conditions that are left out, of LEFT_OUT: for ablations.
    """

    def __init__(self, model: Model, *, steps: int, seed: int, without: Sequence[str] = ()) -> None:
        assert set(without) <= set(LEFT_OUT)
        self._model, self._steps, self._without = model, steps, without
        self._kind = model.settings.renderer
        self._noise = np.random.default_rng(seed).standard_normal(LATENT_SHAPE).astype(np.float32)
        self._previous: Array | None = None
        self._latents: dict[int, tuple[Reference, Array]] = {}
        self._sharpness: dict[tuple[int, int], tuple[Reference, Reference, Array]] = {}
        self._rim = RimFollower()

    def turn_away(self) -> None:
        """Before `lay`: forgets how the surroundings moved, for another reference or picture follows."""
        self._rim.reset()

    def forget(self, *, cut: bool = True) -> None:
        """Before `paint`: forgets the previous output, at a cut or in a long silence."""
        self._previous = None

    def laid_state(self) -> State:
        """What `lay` remembers of the frames before."""
        return self._rim.state()

    def painted_state(self) -> State:
        """What `paint` remembers of them; `restore` takes back both, in a renderer that was made alike."""
        return {} if self._previous is None else {"previous": self._previous}

    def restore(self, state: State) -> None:
        self._rim.restore(state)
        self._previous = state.get("previous")

    def draw(
        self, reference: Reference, mouth: Reference, mesh: Array, conditions: Conditions, scene: Scene | None = None
    ) -> Drawn:
        """The layers for an aligned target mesh (478, 3): all three steps.

        mouth: shows the inside of the mouth; may be the reference itself. scene: of a video's frame, whose surroundings
        and light the references' are brought to; None for a still.
        """
        return self.show(self.paint(self.lay(reference, mouth, mesh, conditions, scene)))

    def lay(
        self, reference: Reference, mouth: Reference, mesh: Array, conditions: Conditions, scene: Scene | None = None
    ) -> Laid:
        """The geometry: what is known before anything is drawn. See `draw`."""
        region, patch = composites(reference, mouth, mesh, self._model.settings, scene, self._rim)
        return Laid(region, patch, mouth, mesh, conditions, self._sharp(reference, mouth))

    def paint(self, laid: Laid) -> Painted:
        """What depends on the frame before."""
        return Painted(laid, {}) if self._kind == "painter" else Painted(laid, self._denoise(laid))

    def show(self, painted: Painted) -> Drawn:
        """The rest, which remembers nothing."""
        laid, settings = painted.laid, self._model.settings
        composite, given = laid.patch.layers, painted.features
        if self._kind == "painter":
            given = {"reference": picture_of(laid.mouth)[None], "sharpness": laid.sharpness[None]}
        graph = self._model.graph("painter" if self._kind == "painter" else "decoder")
        picture = graph(composite=composite[None], **given)["picture"]
        layers = (
            Layer(self._folded(laid.region, laid.conditions), laid.region),
            Layer(shown_of(picture, composite, settings), laid.patch),
        )
        return Drawn(layers, laid.mesh, laid.mouth, settings)

    def _folded(self, region: Composite, conditions: Conditions) -> Array:
        """The region's composite with the folds and the shade of skin that moved, (144, 176, 3)."""
        import cv2

        given = {"composite": halved(region.layers)[None], "shape": conditions.shape[None]}
        change = hwc(self._model.graph("folds")(**given)["change"][0])
        added = region.plain + cv2.resize(change, REGION_SIZE[::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.clip(added, -1, 1, out=added), np.float32)

    def _denoise(self, laid: Laid) -> dict[str, Array]:
        """What the decoder is given besides the composite: its features, and the latent."""
        given = {"composite": laid.patch.layers[None], "sharpness": laid.sharpness[None]}
        features = self._model.graph("composite_path")(**given)
        denoiser, seen = self._model.graph("denoiser"), self._seen(laid.mouth, laid.mesh, laid.conditions)

        def velocity(x: Array, t: float) -> Array:
            time = np.array([t], np.float32)
            return denoiser(noisy=x, time=time, composite=features["eighth"], **seen)["velocity"]

        latent = euler(velocity, self._noise, self._steps)
        self._previous = np.float32(self._model.settings.drawing.previous_share) * latent
        return {"latent": latent, **features}

    def _seen(self, mouth: Reference, mesh: Array, conditions: Conditions) -> dict[str, Array]:
        """What the denoiser is told besides the composite; zeros for what is left out, as in its training."""
        seen = {
            "reference": self._latent(mouth),
            "previous": np.zeros(LATENT_SHAPE, np.float32) if self._previous is None else self._previous,
            "audio": conditions.audio[None],
            "landmarks": landmarks_of(mesh)[None],
            "shape": conditions.shape[None],
        }
        gone = {name for condition in self._without for name in LEFT_OUT[condition]}
        return {name: np.zeros_like(value) if name in gone else value for name, value in seen.items()}

    def _sharp(self, reference: Reference, mouth: Reference) -> Array:
        """What the nets are told of the pictures' sharpness, found once for each two."""
        key = id(reference), id(mouth)
        if key not in self._sharpness:
            self._sharpness[key] = (reference, mouth, sharpness_of(reference, mouth))
        return self._sharpness[key][2]

    def _latent(self, reference: Reference) -> Array:
        """The reference's latent, made once."""
        if id(reference) not in self._latents:
            given = picture_of(reference)[None]
            self._latents[id(reference)] = (reference, self._model.graph("encoder")(picture=given)["latent"])
        return self._latents[id(reference)][1]


def restrained(picture: Array, composite: Array, settings: Settings) -> Array:
    """A decoded picture (1, 3, 128, 176) with less of what it changes beyond the inner mouth: those pixels exist."""
    import cv2

    how, plain = settings.drawing, composite[:3]
    change = picture - plain
    out = np.asarray(plain + np.float32(1 - how.change_held) * change, np.float32)
    part = part_of(composite[3], how.mouth_rim // 2 + _reach(how.mouth_soft))
    if part is not None:
        inner = cv2.dilate(composite[3][part], np.ones((how.mouth_rim, how.mouth_rim), np.uint8))
        share = np.float32(how.change_held) * cv2.GaussianBlur(inner, (0, 0), how.mouth_soft)
        out[(..., *part)] += share * change[(..., *part)]
    return out


@timed("finish")
def shown_of(picture: Array, composite: Array, settings: Settings) -> Array:
    """A decoded picture (1, 3, 128, 176) as a frame shows it, (128, 176, 3): the inner mouth untinted and crisper."""
    import cv2

    how, out = settings.drawing, hwc(restrained(picture, composite, settings)[0])
    part = part_of(composite[3], _reach(max(how.crisp_reach, how.tint_reach)))
    if part is not None:
        inner, near = composite[3][part], out[part]
        near[:] = _untinted(near, inner, _light_on_skin(composite, settings), settings)
        crisp = inner * cv2.GaussianBlur(inner, (0, 0), how.crisp_reach)  # less along the lips
        crisp *= np.float32(how.crispness)
        near += crisp[..., None] * (near - cv2.GaussianBlur(near, (0, 0), how.crisp_reach))
    return np.asarray(np.clip(out, -1, 1, out=out), np.float32)


def _reach(sigma: float) -> int:
    """Pixels beyond which a blur shows nothing."""
    return int(np.ceil(4 * sigma)) + 1


def _light_on_skin(composite: Array, settings: Settings) -> NDArray[np.floating]:
    """(3,): the colour of what is beside the inner mouth, over black."""
    beside = np.flatnonzero(composite[3] == 0)[::7]
    if not len(beside):
        return np.ones(3)
    skin = np.median(composite[:3].reshape(3, -1).take(beside, 1), axis=1)
    return np.asarray(skin + 1 + np.float32(settings.drawing.tint_dark))


def _untinted(picture: Array, inner: Array, skin: NDArray[np.floating], settings: Settings) -> Array:
    """(h, w, 3): no part of the inner mouth much greener or bluer than white is in the light that is on the skin."""
    import cv2

    how, light = settings.drawing, picture + 1
    even = cv2.GaussianBlur(light, (0, 0), how.tint_reach) + np.float32(how.tint_dark)
    most = even[..., :1] * (skin / skin[0] * np.array([1, *how.most_tint])).astype(np.float32)
    less = np.minimum(1, most / even)
    kept = less * (even @ LUMINANCE / ((less * even) @ LUMINANCE))[..., None]
    return np.asarray(picture + inner[..., None] * (kept - 1) * light, np.float32)


def unit(picture: Image) -> Array:
    """uint8 (h, w, 3) -> (3, h, w) in [-1, 1]."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32) / np.float32(127.5) - 1


def halved(layers: Array) -> Array:
    """The region's layers (c, 144, 176) at half their size."""
    import cv2

    size = (REGION_SIZE[1] // 2, REGION_SIZE[0] // 2)
    return np.stack([cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in layers])


def picture_of(reference: Reference) -> Array:
    """(3, 128, 176) in [-1, 1]: the reference's mouth, in its own patch."""
    return unit(reference.patch())


def sharpness_of(reference: Reference, mouth: Reference) -> Array:
    """(2,): how many pixels there are, log2 of eye distances over 128 px, and how much the mouth's patch has in it."""
    pixels = np.clip(np.log2(reference.eyes / (CLOSE * EYE_DISTANCE)), -LEAST_SHARP, 0)
    return np.array([pixels, energy(picture_of(mouth))], np.float32)


def energy(pictures: Any) -> Any:
    """Mean gradient of pictures (..., 3, h, w), [-1, 1] units for a px, times 32; of NumPy or torch."""
    down, across = abs(pictures[..., 1:, :] - pictures[..., :-1, :]), abs(pictures[..., 1:] - pictures[..., :-1])
    return 32 * (down.mean((-3, -2, -1)) + across.mean((-3, -2, -1)))


def landmarks_of(mesh: NDArray[np.floating]) -> Array:
    """Aligned mesh (478, 3) -> upper-face landmarks (45, 2) in eye distances from the eyes' middle."""
    return np.asarray((mesh[UPPER, :2] - np.array([ALIGNED_SIZE / 2, EYE_LINE])) / EYE_DISTANCE, np.float32)
