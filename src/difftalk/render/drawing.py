"""Drawing: the frames of one film, one after the other. The one place that drives a renderer.

What a frame is drawn from is chosen with some inertia. At a cut everything of the frames before is forgotten, in a
silence the previous output. Knows nothing of files, nor where frames come from: a talker's and a measurement's are
drawn alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from difftalk.arrays import Array, Image, State, joined, part
from difftalk.render.paste import Drawn
from difftalk.render.published_renderer import PublishedRenderer, Redrawn
from difftalk.render.references import Reference, Scene
from difftalk.render.renderer import Renderer
from difftalk.stages import timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from difftalk.model import Model
    from difftalk.speech.listener import Conditions


@dataclass(frozen=True)
class Choice:
    """Numbers of the picture that is warped, and of the one that shows the inside of the mouth."""

    reference: int
    mouth: int


class View(Protocol):
    """A frame to draw on."""

    @property
    def person(self) -> int:
        """Whose face it shows; numbers of pictures are this person's."""

    def choose(self, shape: Array, before: Choice | None) -> Choice:
        """What a mouth shape (16,) is drawn from; `before` stays unless others are clearly nearer."""

    def references(self, choice: Choice) -> tuple[Reference, Reference]:
        """The pictures chosen."""

    def mesh(self, shape: Array) -> Array:
        """(478, 3): the aligned target mesh of a mouth shape (16,)."""

    def scene(self, choice: Choice) -> Scene | None:
        """The frame around the region, as seen from the reference's aligned space; None for a still's own."""


@dataclass(frozen=True)
class Shown:
    """What was drawn, and from what."""

    drawn: Drawn | Redrawn
    choice: Choice
    reference: Reference
    mesh: Array
    scene: Scene | None

    @property
    def picture(self) -> Array:
        """The region (144, 176, 3) in [-1, 1]."""
        return np.ascontiguousarray(self.drawn.picture, np.float32)

    @property
    def frame(self) -> Image:
        """(256, 256, 3): the frame drawn on, aligned."""
        return self.reference.aligned if self.scene is None else self.scene.aligned


class Drawing:
    """steps, seed, without: see the renderers; the model's settings name which it is."""

    def __init__(self, model: Model, *, steps: int, seed: int, without: Sequence[str] = ()) -> None:
        kind = PublishedRenderer if model.settings.renderer == "published" else Renderer
        self._renderer: Renderer | PublishedRenderer = kind(model, steps=steps, seed=seed, without=without)
        self._person = 0
        self._choice: Choice | None = None

    def reset(self) -> None:
        """Forgets the frames before: where one is not drawn."""
        self._renderer.reset()

    @timed("draw")
    def draw(self, view: View, conditions: Conditions, *, cut: bool = False) -> Shown:
        """cut: the frame does not follow the one before."""
        if cut:
            self._renderer.reset()
        elif conditions.silent:
            self._renderer.forget()
        before = self._choice if view.person == self._person else None
        choice = view.choose(conditions.shape, before)
        if before is None or choice.reference != before.reference:
            self._renderer.turn_away()
        self._person, self._choice = view.person, choice
        (reference, mouth), mesh, scene = view.references(choice), view.mesh(conditions.shape), view.scene(choice)
        return Shown(self._renderer.draw(reference, mouth, mesh, conditions, scene), choice, reference, mesh, scene)

    def state(self) -> State:
        """What it remembers; `restore` takes it back, in a drawing that was made alike."""
        numbers = [] if self._choice is None else [self._choice.reference, self._choice.mouth]
        return {"choice": np.array([self._person, *numbers])} | joined(renderer=self._renderer.state())

    def restore(self, state: State) -> None:
        self._person, *numbers = map(int, state["choice"])
        self._choice = Choice(*numbers) if numbers else None
        self._renderer.restore(part(state, "renderer"))
