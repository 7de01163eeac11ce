"""Drawing: what is chosen has inertia, a cut and a silence forget, and what is remembered can be kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from difftalk.arrays import Array, Image
from difftalk.face.finder import Face
from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import Alignment
from difftalk.graphs import CONTEXT_FEATURES
from difftalk.model import Model
from difftalk.render.drawing import Choice, Drawing
from difftalk.render.references import Reference, Scene
from difftalk.speech.features import FEATURE_SIZE
from difftalk.speech.listener import Conditions

FIRST = Choice(0, 0)


@dataclass
class Seen:
    """A view that says what it was asked for."""

    pictures: list[Reference]
    wanted: Choice = FIRST
    person: int = 0
    surroundings: Image | None = None
    before: Choice | None = None

    def choose(self, shape: Array, before: Choice | None) -> Choice:
        self.before = before
        return self.wanted

    def references(self, choice: Choice) -> tuple[Reference, Reference]:
        return self.pictures[choice.reference], self.pictures[choice.mouth]

    def mesh(self, shape: Array) -> Array:
        return self.pictures[0].points

    def scene(self, choice: Choice) -> Scene | None:
        if self.surroundings is None:
            return None
        return Scene.of(self.surroundings, self.pictures[choice.reference].alignment)


@pytest.fixture
def view(portrait: Image, alignment: Alignment, face: Face) -> Seen:
    one = Reference.of(portrait, alignment, face.points)
    return Seen([one, replace(one, aligned=np.ascontiguousarray(one.aligned[:, ::-1]))])


def heard(*, silent: bool = False) -> Conditions:
    audio = np.random.default_rng(0).standard_normal((CONTEXT_FEATURES, FEATURE_SIZE)).astype(np.float32)
    return Conditions(audio, np.zeros(COMPONENTS, np.float32), silent)


def of(model: Model) -> Drawing:
    return Drawing(model, steps=1, seed=0)


def test_a_cut_and_a_silence_forget_the_previous_output(denoiser_model: Model, view: Seen) -> None:
    drawing = of(denoiser_model)
    first, second = (drawing.draw(view, heard()).picture for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(drawing.draw(view, heard(), cut=True).picture, first)
    np.testing.assert_array_equal(drawing.draw(view, heard(silent=True)).picture, first)


def test_a_choice_lasts_as_long_as_the_person(denoiser_model: Model, view: Seen) -> None:
    drawing, other = of(denoiser_model), replace(view, person=1, wanted=Choice(1, 0))
    for seen, before in ((view, None), (view, Choice(0, 0)), (other, None), (other, Choice(1, 0)), (view, None)):
        shown = drawing.draw(seen, heard())
        assert seen.before == before
        assert shown.choice == seen.wanted
        assert shown.reference is seen.pictures[seen.wanted.reference]
        drawing.draw(seen, heard(), cut=True)
        assert seen.before == seen.wanted  # a cut is no reason to choose anew


def test_another_reference_begins_with_its_own_surroundings(painter_model: Model, view: Seen, portrait: Image) -> None:
    """What moves around the face is followed from frame to frame, but not from one reference to the next."""
    moved = [replace(view, surroundings=np.roll(portrait, step, 1)) for step in (2, 3)]
    other = replace(moved[0], wanted=Choice(1, 1))
    fresh, followed, back = of(painter_model), of(painter_model), of(painter_model)
    alone = fresh.draw(moved[1], heard()).picture
    followed.draw(moved[0], heard())
    assert (followed.draw(moved[1], heard()).picture != alone).any()
    back.draw(moved[0], heard())
    back.draw(other, heard())
    np.testing.assert_array_equal(back.draw(moved[1], heard()).picture, alone)


@pytest.mark.parametrize("scenery", [True, False])
def test_what_it_remembers_can_be_kept(denoiser_model: Model, view: Seen, portrait: Image, scenery: bool) -> None:
    one = replace(view, surroundings=np.roll(portrait, 2, 1) if scenery else None, person=3)
    whole, kept = of(denoiser_model), of(denoiser_model)
    for drawing in (whole, kept):
        drawing.draw(one, heard())
    again = of(denoiser_model)
    again.restore(kept.state())
    for _ in range(2):
        np.testing.assert_array_equal(again.draw(one, heard()).picture, whole.draw(one, heard()).picture)
    fresh = of(denoiser_model)
    fresh.restore(of(denoiser_model).state())
    assert (fresh.draw(one, heard()).picture != again.draw(one, heard()).picture).any()
