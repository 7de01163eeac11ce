"""Drawing: the frames of one film, one after the other. The one place that drives a renderer.

What a frame is drawn from is chosen with some inertia. At a cut everything of the frames before is forgotten, in a
silence the previous output. Knows nothing of files, nor where frames come from: a talker's and a measurement's are
drawn alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from difftalk.arrays import Array, Image, State, joined, part
from difftalk.render.paste import Drawn
from difftalk.render.published_renderer import PublishedRenderer, Redrawn
from difftalk.render.references import Reference, Scene
from difftalk.render.renderer import Renderer
from difftalk.stages import timed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


class Steps(Protocol):
    """A renderer: see `Renderer`. What a step makes is for the next one alone."""

    def turn_away(self) -> None: ...

    def forget(self, *, cut: bool) -> None: ...

    def lay(
        self, reference: Reference, mouth: Reference, mesh: Array, conditions: Conditions, scene: Scene | None
    ) -> Any: ...

    def paint(self, laid: Any) -> Any: ...

    def show(self, painted: Any) -> Drawn | Redrawn: ...

    def laid_state(self) -> State: ...

    def painted_state(self) -> State: ...

    def restore(self, state: State) -> None: ...


@dataclass(frozen=True)
class Begun:
    """A frame on its way. sketch: what the renderer has of it. forgets: whether the previous output may not enter.

    shown: what it will be. state: what the drawing remembers behind it, of the steps that it has been through.
    """

    sketch: Any
    cut: bool
    forgets: bool
    shown: Callable[[Drawn | Redrawn], Shown]
    state: State


class Drawing:
    """steps, seed, without: see the renderers; the model's settings name which it is.

    `draw` is three steps, `lay`, `paint` and `show`. Each may have a thread of its own that takes one frame after the
    other, for what one of them remembers no other asks for.
    """

    def __init__(self, model: Model, *, steps: int, seed: int, without: Sequence[str] = ()) -> None:
        kind = PublishedRenderer if model.settings.renderer == "published" else Renderer
        self._renderer: Steps = kind(model, steps=steps, seed=seed, without=without)
        self._person = 0
        self._choice: Choice | None = None

    def draw(self, view: View, conditions: Conditions, *, cut: bool = False) -> Shown:
        """cut: the frame does not follow the one before."""
        return self.show(self.paint(self.lay(view, conditions, cut=cut)))

    @timed("lay")
    def lay(self, view: View, conditions: Conditions, *, cut: bool = False) -> Begun:
        """The choice and the geometry."""
        before = self._choice if view.person == self._person else None
        choice = view.choose(conditions.shape, before)
        if cut or before is None or choice.reference != before.reference:
            self._renderer.turn_away()
        self._person, self._choice = view.person, choice
        (reference, mouth), mesh, scene = view.references(choice), view.mesh(conditions.shape), view.scene(choice)
        sketch = self._renderer.lay(reference, mouth, mesh, conditions, scene)
        shown = partial(Shown, choice=choice, reference=reference, mesh=mesh, scene=scene)
        return Begun(sketch, cut, cut or conditions.silent, shown, self._laid_state())

    @timed("paint")
    def paint(self, begun: Begun) -> Begun:
        """What depends on the output before."""
        if begun.forgets:
            self._renderer.forget(cut=begun.cut)
        sketch = self._renderer.paint(begun.sketch)
        return replace(begun, sketch=sketch, state=begun.state | joined(renderer=self._renderer.painted_state()))

    @timed("show")
    def show(self, begun: Begun) -> Shown:
        """The rest."""
        return begun.shown(self._renderer.show(begun.sketch))

    def _laid_state(self) -> State:
        numbers = [] if self._choice is None else [self._choice.reference, self._choice.mouth]
        return {"choice": np.array([self._person, *numbers])} | joined(renderer=self._renderer.laid_state())

    def state(self) -> State:
        """What it remembers while no frame is on its way; `restore` takes it back, in a drawing that was made alike."""
        return self._laid_state() | joined(renderer=self._renderer.painted_state())

    def restore(self, state: State) -> None:
        self._person, *numbers = map(int, state["choice"])
        self._choice = Choice(*numbers) if numbers else None
        self._renderer.restore(part(state, "renderer"))
