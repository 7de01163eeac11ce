"""The published system as a renderer, with nets that can be foretold."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.finder import Face
from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import Alignment
from difftalk.graphs import CONTEXT
from difftalk.model import Model
from difftalk.render.published import EMPTY
from difftalk.render.published_renderer import PublishedRenderer
from difftalk.render.references import Reference, Scene
from difftalk.settings import Settings
from difftalk.speech.features import FEATURE_SIZE
from difftalk.speech.listener import Conditions

SIZE = 64
CODED = 16  # side of a latent


class Nets:
    """A model whose first stage is a mean over 4 x 4 px and whose denoiser brings everything to grey."""

    def __init__(self) -> None:
        self.settings = Settings(renderer="published", picture=SIZE)
        self.seen: list[tuple[str, dict[str, NDArray[Any]]]] = []

    def graph(self, name: str) -> Any:
        def call(**inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
            self.seen.append((name, inputs))
            if name == "published_encoder":
                return {"latent": inputs["picture"].reshape(1, 3, CODED, 4, CODED, 4).mean((3, 5))}
            if name == "published_decoder":
                return {"picture": inputs["latent"].repeat(4, 2).repeat(4, 3)}
            if name == "published_conditions":
                return {"context": np.zeros((1, 1, 128), np.float32)}
            return {"noise": inputs["noisy"]}

        return call

    def given(self, name: str) -> list[dict[str, NDArray[Any]]]:
        return [inputs for graph, inputs in self.seen if graph == f"published_{name}"]


@pytest.fixture
def nets() -> Nets:
    return Nets()


@pytest.fixture(scope="module")
def reference(portrait: Image, alignment: Alignment, face: Face) -> Reference:
    return Reference.of(portrait, alignment, face.points)


def conditions() -> Conditions:
    audio = np.random.default_rng(0).standard_normal((CONTEXT, FEATURE_SIZE)).astype(np.float32)
    return Conditions(audio, np.zeros(COMPONENTS, np.float32))


def drawn_by(nets: Nets, reference: Reference, frames: int = 1, without: tuple[str, ...] = ()) -> list[Array]:
    renderer = PublishedRenderer(cast("Model", nets), steps=4, seed=0, without=without)
    return [renderer.draw(reference, reference, reference.points, conditions()).picture for _ in range(frames)]


def test_what_it_remembers_can_be_kept(nets: Nets, reference: Reference) -> None:
    whole = drawn_by(nets, reference, frames=3)
    first, then = (PublishedRenderer(cast("Model", nets), steps=4, seed=seed) for seed in (0, 1))
    first.draw(reference, reference, reference.points, conditions())
    then.restore(first.painted_state())
    for picture in whole[1:]:
        again = then.draw(reference, reference, reference.points, conditions()).picture
        np.testing.assert_array_equal(again, picture)


def test_the_mouth_of_the_frame_is_not_seen(nets: Nets, reference: Reference) -> None:
    drawn_by(nets, reference)
    frame, masked, shown = (inputs["picture"][0] for inputs in nets.given("encoder"))
    covered = (masked == EMPTY).all((0, 2))
    assert covered[-1]
    assert not covered[: SIZE // 3].any()
    np.testing.assert_array_equal(masked[:, ~covered], frame[:, ~covered])
    np.testing.assert_array_equal(shown, frame)  # the reference of the first frame is the one that was given
    assert len(nets.given("denoiser")) == 4
    assert nets.given("conditions")[0]["windows"].shape == (1, 8, 16, 29)
    points = nets.given("conditions")[0]["points"]
    assert points.shape == (1, 39, 2)
    assert points.min() > 0
    assert points.max() < SIZE


def test_what_is_known_stays_and_the_rest_is_drawn(nets: Nets, reference: Reference) -> None:
    picture = drawn_by(nets, reference)[0]
    assert picture.shape == (144, 176, 3)
    latent = nets.given("decoder")[0]["latent"][0]
    known = nets.given("encoder")[0]["picture"][0]
    assert np.corrcoef(latent[0, :6].ravel(), known[0].reshape(CODED, 4, CODED, 4).mean((1, 3))[:6].ravel())[0, 1] > 0.9


def test_the_reference_is_progressive(nets: Nets, reference: Reference) -> None:
    drawn_by(nets, reference, frames=2)
    frame, second = nets.given("encoder")[0]["picture"][0], nets.given("encoder")[5]["picture"][0]
    latent = nets.given("decoder")[0]["latent"][0]
    painted = latent.repeat(4, 1).repeat(4, 2)
    np.testing.assert_allclose(second[:, -8:], np.clip(painted, -1, 1)[:, -8:], atol=1e-6)
    np.testing.assert_array_equal(second[:, :16], frame[:, :16])


def test_what_is_left_out(nets: Nets, reference: Reference) -> None:
    drawn_by(nets, reference, frames=2, without=("previous", "audio", "landmarks"))
    encoder = nets.given("encoder")
    np.testing.assert_array_equal(encoder[2]["picture"], encoder[5]["picture"])
    assert not nets.given("conditions")[0]["windows"].any()
    assert not nets.given("conditions")[0]["points"].any()
    nets.seen.clear()
    drawn_by(nets, reference, without=("reference", "smoothing"))
    assert (nets.given("encoder")[2]["picture"] == EMPTY).all()
    windows = nets.given("conditions")[0]["windows"][0]
    assert (windows == windows[:1]).all()


def test_one_seed_one_picture_and_a_cut_forgets(nets: Nets, reference: Reference) -> None:
    one, other = drawn_by(nets, reference), drawn_by(nets, reference)
    np.testing.assert_array_equal(one[0], other[0])
    renderer = PublishedRenderer(cast("Model", nets), steps=2, seed=0)
    for _ in range(2):
        nets.seen.clear()
        renderer.draw(reference, reference, reference.points, conditions())
        renderer.forget()
        np.testing.assert_array_equal(nets.given("encoder")[0]["picture"], nets.given("encoder")[2]["picture"])


def test_bytes_outside_are_the_frames(nets: Nets, reference: Reference, portrait: Image, alignment: Alignment) -> None:
    renderer = PublishedRenderer(cast("Model", nets), steps=2, seed=0)
    scene = Scene.of(portrait, alignment)
    drawn = renderer.draw(reference, reference, reference.points, conditions(), scene)
    out = drawn.onto(portrait, alignment, reference)
    changed = (out != portrait).any(2)
    assert changed.any()
    places = alignment.points(np.argwhere(changed)[:, ::-1].astype(np.float32))
    assert places[:, 1].min() > reference.points[2, 1] - 8  # below the nose
    assert (drawn.weight[0] == 0).all()
