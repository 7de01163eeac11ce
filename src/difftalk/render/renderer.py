"""The renderer: a target mesh and its conditions -> the frame with the region drawn anew.

Composes at 256 and lets the denoiser (or the painter) draw what the composite lacks. Knows nothing of audio or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, State
from difftalk.face.landmarks import UPPER
from difftalk.face.space import (
    ALIGNED_SIZE,
    EYE_DISTANCE,
    EYE_LINE,
    crop_region,
)
from difftalk.graphs import LATENT_SHAPE, LEFT_OUT
from difftalk.render.inner_mouth import Interior, interior
from difftalk.render.paste import Drawn
from difftalk.render.references import Reference, Scene
from difftalk.render.sampler import euler
from difftalk.render.surroundings import RimFollower, rim_colour, still_scene
from difftalk.render.warp import Warp, compose, known, warp
from difftalk.settings import Settings
from difftalk.speech.listener import Conditions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from difftalk.model import Model


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
        self._rim = RimFollower()

    def forget(self) -> None:
        """Forgets the previous output: in a long silence."""
        self._previous = None

    def turn_away(self) -> None:
        """Forgets how the surroundings moved: another reference follows."""
        self._rim.reset()

    def reset(self) -> None:
        """Forgets all of the frames before: at a cut, after a frame without a face."""
        self.forget()
        self.turn_away()

    def state(self) -> State:
        """What it remembers of the frames before; `restore` takes it back, in a renderer that was made alike."""
        return self._rim.state() | ({} if self._previous is None else {"previous": self._previous})

    def restore(self, state: State) -> None:
        self._rim.restore(state)
        self._previous = state.get("previous")

    def draw(
        self, reference: Reference, mouth: Reference, mesh: Array, conditions: Conditions, scene: Scene | None = None
    ) -> Drawn:
        """The region for an aligned target mesh (478, 3).

        mouth: shows the inside of the mouth; may be the reference itself. scene: of a video's frame, whose surroundings
        and light the references' are brought to; None for a still.
        """
        inside = interior(mouth.points, mesh, self._model.settings)
        composite, moved, colour = self._compose(reference, mouth, inside, mesh, scene)
        picture = (
            self._paint(composite, mouth)
            if self._kind == "painter"
            else self._denoise(composite, mouth, mesh, conditions)
        )
        shown = restrained(picture, composite, self._model.settings)[0].transpose(1, 2, 0)
        return Drawn(np.clip(shown, -1, 1), composite, moved, mesh, inside, mouth, self._model.settings, colour)

    def _compose(
        self, reference: Reference, mouth: Reference, inside: Interior, mesh: Array, scene: Scene | None
    ) -> tuple[Array, Warp, Array | None]:
        if scene is None:
            moved = warp(reference.points, mesh, settings=self._model.settings)
            return compose(reference, moved, mouth, inside), moved, None
        return compose_in(scene, reference, mesh, self._rim, mouth, inside, self._model.settings)

    def _paint(self, composite: Array, mouth: Reference) -> Array:
        picture = crop_region(mouth.aligned).astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        return self._model.graph("painter")(composite=composite[None], reference=picture)["picture"]

    def _denoise(self, composite: Array, mouth: Reference, mesh: Array, conditions: Conditions) -> Array:
        features = self._model.graph("composite_path")(composite=composite[None])
        denoiser, seen = self._model.graph("denoiser"), self._seen(mouth, mesh, conditions)

        def velocity(x: Array, t: float) -> Array:
            time = np.array([t], np.float32)
            return denoiser(noisy=x, time=time, composite=features["eighth"], **seen)["velocity"]

        latent = euler(velocity, self._noise, self._steps)
        self._previous = np.float32(self._model.settings.drawing.previous_share) * latent
        return self._model.graph("decoder")(latent=latent, composite=composite[None], **features)["picture"]

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

    def _latent(self, reference: Reference) -> Array:
        """The reference's latent, made once."""
        if id(reference) not in self._latents:
            picture = crop_region(reference.aligned).astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
            self._latents[id(reference)] = (reference, self._model.graph("encoder")(region=picture)["latent"])
        return self._latents[id(reference)][1]


def compose_in(
    scene: Scene,
    reference: Reference,
    mesh: Array,
    follower: RimFollower,
    mouth: Reference,
    inside: Interior,
    settings: Settings,
) -> tuple[Array, Warp, Array]:
    """The composite (5, 144, 176) as the scene has its surroundings and its light, the warp, the colour added."""
    rim = follower(scene.aligned, reference.aligned, still_scene(scene.alignment, reference.alignment), settings)
    moved = warp(reference.points, mesh, rim, settings=settings)
    composite, colour = compose(reference, moved, mouth, inside), rim_colour(scene, reference, settings)
    composite[:3] = np.clip(composite[:3] + colour.transpose(2, 0, 1) * known(moved, inside), -1, 1)
    return composite, moved, colour


def restrained(picture: Array, composite: Array, settings: Settings) -> Array:
    """A decoded picture (1, 3, 144, 176) with less of what it changes beyond the inner mouth: those pixels exist."""
    import cv2

    how = settings.drawing
    inner = cv2.dilate(composite[3], np.ones((how.mouth_rim, how.mouth_rim), np.uint8))
    share = 1 - np.float32(how.change_held) * (1 - cv2.GaussianBlur(inner, (0, 0), how.mouth_soft))
    return np.asarray(composite[:3] + share * (picture - composite[:3]), np.float32)


def landmarks_of(mesh: NDArray[np.floating]) -> Array:
    """Aligned mesh (478, 3) -> upper-face landmarks (45, 2) in eye distances from the eyes' middle."""
    return np.asarray((mesh[UPPER, :2] - np.array([ALIGNED_SIZE / 2, EYE_LINE])) / EYE_DISTANCE, np.float32)
