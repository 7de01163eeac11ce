"""Drawing and pasting: inverse to cropping, exact outside the mask, and blind to what lies inside it."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from difftalk.arrays import Array, Image
from difftalk.engine import Graph
from difftalk.errors import ModelError
from difftalk.face.finder import Face
from difftalk.face.mouth import COMPONENTS, target_mesh
from difftalk.face.space import (
    CLOSE,
    CLOSE_SIZE,
    FEATHER,
    PATCH_SIZE,
    REGION_SIZE,
    REGION_X,
    REGION_Y,
    Alignment,
    align,
)
from difftalk.graphs import CONTEXT_FEATURES, LATENT_SHAPE
from difftalk.model import Model, check_renderer
from difftalk.render.paste import Drawn, _box, paste
from difftalk.render.references import Reference, Scene
from difftalk.render.renderer import LEAST_SHARP, Renderer, energy, halved, picture_of, sharpness_of, shown_of
from difftalk.render.surroundings import rim_colour
from difftalk.speech.features import FEATURE_SIZE
from difftalk.speech.listener import Conditions
from drawn import SETTINGS, weight_in


def conditions(seed: int = 0) -> Conditions:
    rng = np.random.default_rng(seed)
    audio, shape = rng.normal(0, 1, (CONTEXT_FEATURES, FEATURE_SIZE)), rng.normal(0, 1, COMPONENTS)
    return Conditions(audio.astype(np.float32), shape.astype(np.float32))


@pytest.fixture(scope="module")
def reference(portrait: Image, alignment: Alignment, face: Face) -> Reference:
    return Reference.of(portrait, alignment, alignment.points(face.points))


@pytest.fixture(scope="module")
def wide(model: Model, face: Face, alignment: Alignment) -> Array:
    geometry, pose = model.geometry, model.geometry.pose(face.points)
    row = geometry.opening_row()
    shape = row * 0.3 / (row @ row)
    return alignment.points(target_mesh(geometry, pose=pose, neutral=pose.remove(face.points), shape=shape))


def with_pictures(drawn: Drawn, *pictures: Array) -> Drawn:
    layers = (dataclasses.replace(layer, picture=p) for layer, p in zip(drawn.layers, pictures, strict=True))
    return dataclasses.replace(drawn, layers=tuple(layers))


@pytest.fixture
def drawn(painter_model: Model, reference: Reference, wide: Array) -> Drawn:
    return Renderer(painter_model, steps=1, seed=0).draw(reference, reference, wide, conditions())


def test_paste_undoes_crop(painter_model: Model, reference: Reference, portrait: Image, alignment: Alignment) -> None:
    """The reference's own mesh drawn by a painter that changes nothing gives the picture back."""
    same = Renderer(painter_model, steps=1, seed=0).draw(reference, reference, reference.points, conditions())
    region, mouth_layer = same.plain.layers  # no folds
    # A painter that is given the truth inside the mouth:
    grid, moved = mouth_layer.composite.grid, mouth_layer.composite.warp
    truth = reference.close_at(grid).astype(np.float32) / 127.5 - 1
    inner = moved.inner[..., None]
    told = dataclasses.replace(mouth_layer, picture=mouth_layer.picture * (1 - inner) + truth * inner)
    known = dataclasses.replace(same, layers=(region, told))
    out = paste(portrait, alignment, reference, known)
    outside = weight_in(portrait, alignment) == 0
    np.testing.assert_array_equal(out[outside], portrait[outside])
    mouth = cv2.warpAffine(moved.inner, _box(portrait, alignment, grid)[1], portrait.shape[1::-1]) > 0  # near enough
    assert mouth.any()
    difference = np.abs(out.astype(int) - portrait)
    assert difference.mean() < 0.2
    assert (difference <= 1).mean() > 0.99


def test_where_the_mask_is_nothing_the_bytes_stay(drawn: Drawn, reference: Reference, portrait: Image) -> None:
    other = np.random.default_rng(0).integers(0, 256, portrait.shape, np.uint8)
    out = paste(other, reference.alignment, reference, drawn)
    weight = weight_in(other, reference.alignment)
    np.testing.assert_array_equal(out[weight == 0], other[weight == 0])
    assert (out[weight == 1] != other[weight == 1]).any(-1).mean() > 0.9


def test_core_is_blind_to_the_frame(drawn: Drawn, reference: Reference, portrait: Image) -> None:
    """To the last bit, also in the dark, where the frame's bytes are large beside what is drawn."""
    dark = dataclasses.replace(reference, image=portrait // 16)
    core = weight_in(portrait, reference.alignment) == 1
    assert core.sum() > 4000
    for seed in range(40):
        rng = np.random.default_rng(seed)
        pictures = [layer.picture for layer in drawn.layers]
        some = with_pictures(drawn, *(p + rng.uniform(-0.1, 0.1, p.shape).astype(np.float32) for p in pictures))
        noise = rng.integers(0, 256, portrait.shape, np.uint8)
        one, other = (paste(frame, dark.alignment, dark, some) for frame in (noise, portrait))
        np.testing.assert_array_equal(one[core], other[core])


def test_the_mouth_is_put_over_the_region(drawn: Drawn, reference: Reference, portrait: Image) -> None:
    """Where the patch's mask is 0 its region's bytes stay; where it is 1 it alone counts."""
    region, mouth = drawn.layers
    noise = np.random.default_rng(0).uniform(-1, 1, mouth.picture.shape).astype(np.float32)
    other_mouth, other_region = (
        with_pictures(drawn, region.picture, noise),
        with_pictures(drawn, -region.picture, mouth.picture),
    )
    plain, noisy, inverted = (
        paste(portrait, reference.alignment, reference, some) for some in (drawn, other_mouth, other_region)
    )
    weight = weight_in(portrait, reference.alignment, mouth.composite.grid)
    around = weight_in(portrait, reference.alignment)
    assert (weight[around == 0] == 0).all()  # the patch lies within the region
    np.testing.assert_array_equal(noisy[weight == 0], plain[weight == 0])
    assert (noisy[weight == 1] != plain[weight == 1]).any(-1).mean() > 0.9
    np.testing.assert_array_equal(inverted[weight == 1], plain[weight == 1])
    assert (inverted[(weight == 0) & (around == 1)] != plain[(weight == 0) & (around == 1)]).any(-1).mean() > 0.8


def test_folds_change_the_region_beyond_the_mouth(
    painter_model: Model, drawn: Drawn, reference: Reference, portrait: Image
) -> None:
    """What the net says at half the region's size is added to its composite, and shows in the frame."""
    region, mouth = drawn.layers
    composite, shape = region.composite.layers, conditions().shape
    change = painter_model.graph("folds")(composite=halved(composite)[None], shape=shape[None])["change"][0]
    assert np.abs(change).max() > 0.02
    added = (region.picture - composite[:3].transpose(1, 2, 0)).transpose(2, 0, 1)
    assert added.shape == (3, *REGION_SIZE)
    unclipped = np.abs(region.picture).max(2) < 0.99
    low = cv2.resize(change.transpose(1, 2, 0), REGION_SIZE[::-1], interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    np.testing.assert_allclose(added[:, unclipped], low[:, unclipped], atol=1e-5)
    plain = dataclasses.replace(drawn, layers=(region.plain, mouth))
    frames = [paste(portrait, reference.alignment, reference, some).astype(int) for some in (drawn, plain)]
    weight = weight_in(portrait, reference.alignment, mouth.composite.grid)
    core = (weight_in(portrait, reference.alignment) == 1) & (weight == 0)
    assert np.abs(frames[0] - frames[1])[core].max() >= 3
    assert (frames[0] == frames[1])[weight == 1].all()  # the mouth is another net's


def test_the_drawn_region_is_what_is_pasted(drawn: Drawn) -> None:
    """Its mouth is the patch at half its size, the rest the region's layer."""
    region, mouth = drawn.layers
    grid = mouth.composite.grid
    begin = np.ceil(grid.corner).astype(int)  # the first pixel of the region that lies in the patch, x and y
    column, row = (grid.points(begin) - 0.5).astype(int)  # of the patch: half way between two lies one of the region
    height, width = (grid.size[0] - row) // CLOSE, (grid.size[1] - column) // CLOSE
    x, y = begin - np.array([REGION_X[0], REGION_Y[0]])
    within = np.zeros(REGION_SIZE, bool)
    within[y : y + height, x : x + width] = True
    np.testing.assert_array_equal(drawn.picture[~within], region.picture[~within])
    even = mouth.picture[row : row + CLOSE * height, column : column + CLOSE * width]
    seen = even.reshape(height, CLOSE, width, CLOSE, 3).mean((1, 3))
    core = np.s_[FEATHER // CLOSE + 1 : -FEATHER // CLOSE - 1, FEATHER // CLOSE + 1 : -FEATHER // CLOSE - 1]
    np.testing.assert_allclose(drawn.picture[y : y + height, x : x + width][core], seen[core], atol=1e-5)


def test_sharpness_is_pixels_and_what_is_in_them(reference: Reference) -> None:
    blurred = dataclasses.replace(reference, close=cv2.GaussianBlur(reference.close, (0, 0), 4).astype(np.uint8))
    for eyes, expected in ((64.0, -1.0), (128.0, 0.0), (500.0, 0.0), (2.0, -LEAST_SHARP)):
        assert sharpness_of(dataclasses.replace(reference, eyes=eyes), reference)[0] == expected
    assert sharpness_of(reference, blurred)[0] == sharpness_of(reference, reference)[0]
    assert 0 < sharpness_of(reference, blurred)[1] < 0.6 * sharpness_of(reference, reference)[1]
    picture = picture_of(reference)
    together = energy(torch.from_numpy(np.stack([picture, 0.5 * picture])))
    np.testing.assert_allclose(together.numpy(), [energy(picture), 0.5 * energy(picture)], rtol=1e-5)


def test_painter_is_told_how_sharp_the_pictures_are(painter_model: Model, reference: Reference, wide: Array) -> None:
    small = dataclasses.replace(reference, eyes=20.0)
    one, other = (
        Renderer(painter_model, steps=1, seed=0).draw(shown, reference, wide, conditions()).layers[1].picture
        for shown in (reference, small)
    )
    assert np.abs(one - other).max() > 1e-3


def test_paste_at_the_frames_own_resolution(
    painter_model: Model, model: Model, portrait: Image, face: Face, wide: Array
) -> None:
    """Three times as many pixels keep their detail: the network's 256 do not limit the skin."""
    large = cv2.resize(portrait, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    grain = np.random.default_rng(0).integers(-30, 31, large.shape[:2])[..., None]
    large = np.clip(large + grain, 0, 255).astype(np.uint8)
    points = ((face.points + 0.5) * 3 - 0.5).astype(np.float32)
    placed = align(model.geometry.pose(points))
    enlarged = Reference.of(large, placed, placed.points(points))
    out = Renderer(painter_model, steps=1, seed=0).draw(enlarged, enlarged, enlarged.points, conditions())
    pasted = paste(large, enlarged.alignment, enlarged, out)
    core = weight_in(large, enlarged.alignment) == 1
    sharpness = [np.abs(np.diff(image.astype(float).mean(2), axis=1))[core[:, 1:]].mean() for image in (pasted, large)]
    assert sharpness[0] > 0.9 * sharpness[1]


def test_a_kept_reference_gives_the_same_picture(
    painter_model: Model, portrait: Image, alignment: Alignment, face: Face, wide: Array
) -> None:
    """Less of the picture is held, none of what is drawn is missing."""
    border = 300
    large = np.pad(portrait, ((border, border), (border, border), (0, 0)), mode="edge")
    placed = Alignment(alignment.matrix + [[0, 0, -alignment.scale * border]] * 2)
    whole = Reference.of(large, placed, placed.points(face.points + np.array([border, border, 0], np.float32)))
    kept = whole.kept(SETTINGS)
    assert kept.image.size < 0.6 * whole.image.size
    shown = Renderer(painter_model, steps=1, seed=0).draw(whole, whole, wide, conditions())
    one, other = (paste(large, placed, held, shown).astype(int) for held in (kept, whole))
    np.testing.assert_allclose(one, other, atol=1)


def test_region_beyond_the_frame(drawn: Drawn, reference: Reference) -> None:
    small = np.full((150, 140, 3), 9, np.uint8)  # ends in the middle of the region
    assert paste(small, reference.alignment, reference, drawn).shape == small.shape
    tiny = np.full((20, 20, 3), 9, np.uint8)  # lies outside of it
    np.testing.assert_array_equal(paste(tiny, reference.alignment, reference, drawn), tiny)


def test_painter_paints_the_inner_mouth_alone(drawn: Drawn) -> None:
    mouth = drawn.layers[1]
    change = np.abs(mouth.picture - mouth.composite.layers[:3].transpose(1, 2, 0)).max(2)
    inner = mouth.composite.warp.inner
    assert inner.max() == 1
    assert (change[inner == 0] == 0).all()
    assert (change[inner == 1] > 0.03).all()


def test_the_inside_comes_from_the_mouth_reference(painter_model: Model, reference: Reference, wide: Array) -> None:
    black = {name: np.zeros_like(getattr(reference, name)) for name in ("aligned", "close")}
    dark = dataclasses.replace(reference, points=wide, **black)
    renderer = Renderer(painter_model, steps=1, seed=0)
    one, other = (renderer.draw(reference, mouth, wide, conditions()) for mouth in (reference, dark))
    for ours, theirs in zip(one.layers, other.layers, strict=True):
        inner, with_teeth, without = ours.composite.warp.inner, ours.composite.layers, theirs.composite.layers
        np.testing.assert_array_equal(with_teeth[:, inner == 0], without[:, inner == 0])
        assert (without[:3, inner == 1] == -1).all()
        assert np.abs(ours.picture - theirs.picture).max() > 0.02


def test_the_inside_is_pasted_at_its_own_resolution(painter_model: Model, reference: Reference, wide: Array) -> None:
    """A mouth of stripes too fine for region and patch, on a reference four times the region's size."""
    large = Alignment(np.array([[0.25, 0, 0], [0, 0.25, 0]]))
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    aligned, close = (np.full((*size, 3), 127, np.uint8) for size in ((256, 256), CLOSE_SIZE))
    mouth = dataclasses.replace(Reference.of(stripes, large, wide), aligned=aligned, close=close)
    drawn = Renderer(painter_model, steps=1, seed=0).draw(reference, mouth, wide, conditions())
    out = paste(np.zeros((1024, 1024, 3), np.uint8), large, reference, drawn.plain).astype(int)
    inner = cv2.resize(drawn.layers[0].composite.warp.inner, (704, 576)) == 1
    region = out[4 * REGION_Y[0] : 4 * REGION_Y[0] + 576, 4 * REGION_X[0] : 4 * REGION_X[0] + 704]
    steps = np.abs(np.diff(region, axis=1)).mean(2)
    assert steps[inner[:, 1:]].mean() > 5 * steps[~inner[:, 1:]].mean()


def test_light_is_brought_to_the_scene_where_there_are_pixels(
    painter_model: Model, reference: Reference, wide: Array, portrait: Image
) -> None:
    renderer = Renderer(painter_model, steps=1, seed=0)
    lit = np.clip(portrait.astype(int) + 12, 0, 255).astype(np.uint8)
    plain, tinted = (
        renderer.draw(reference, reference, wide, conditions(), Scene.of(image, reference.alignment))
        for image in (portrait, lit)
    )
    for one, other in zip(plain.layers, tinted.layers, strict=True):
        composite, inner = one.composite.layers, one.composite.warp.inner
        added = (other.composite.layers - composite)[:3]
        skin = (inner == 0) & (composite[:3].max(0) < 0.8)
        assert np.median(added[:, skin]) == pytest.approx(12 / 127.5 - SETTINGS.surroundings.light_noise, abs=0.01)
        share = one.composite.inside.share
        assert 0 < share < 1
        inside = np.median(added[:, inner == 1])
        assert inside == pytest.approx(share * (12 / 127.5 - SETTINGS.surroundings.light_noise), abs=0.01)


def test_denoiser_remembers_until_reset(denoiser_model: Model, reference: Reference, wide: Array) -> None:
    renderer = Renderer(denoiser_model, steps=1, seed=0)
    first, second = (renderer.draw(reference, reference, wide, conditions()).picture for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    renderer.forget()
    np.testing.assert_array_equal(renderer.draw(reference, reference, wide, conditions()).picture, first)


def test_denoiser_hears(denoiser_model: Model, reference: Reference, wide: Array) -> None:
    pictures = []
    for seed in (0, 1):
        renderer = Renderer(denoiser_model, steps=1, seed=0)
        pictures.append(renderer.draw(reference, reference, wide, conditions(seed)).picture)
    assert np.abs(pictures[0] - pictures[1]).max() > 1e-3


def test_seed_and_steps(denoiser_model: Model, reference: Reference, wide: Array) -> None:
    def latent(*, seed: int, steps: int) -> Array:
        renderer = Renderer(denoiser_model, steps=steps, seed=seed)
        renderer.draw(reference, reference, wide, conditions())
        assert renderer._previous is not None
        return renderer._previous

    assert latent(seed=0, steps=1).shape == LATENT_SHAPE
    np.testing.assert_array_equal(latent(seed=3, steps=2), latent(seed=3, steps=2))
    assert np.abs(latent(seed=0, steps=2) - latent(seed=1, steps=2)).max() > 1e-3  # the tiny net is not straight
    assert np.abs(latent(seed=0, steps=1) - latent(seed=0, steps=2)).max() > 1e-3


def test_reference_is_encoded_once(denoiser_model: Model, reference: Reference, wide: Array) -> None:
    calls, real = list[str](), denoiser_model.graph
    counted = dataclasses.replace(denoiser_model)

    def counting(name: str) -> Graph:
        calls.append(name)
        return real(name)

    object.__setattr__(counted, "graph", counting)
    renderer = Renderer(counted, steps=3, seed=0)
    for _ in range(3):
        renderer.draw(reference, reference, wide, conditions())
    assert calls.count("encoder") == 1
    assert calls.count("composite_path") == 3
    assert calls.count("decoder") == 3
    assert calls.count("folds") == 3


@pytest.mark.parametrize("name", ["painter", "folds", "linear", "speech_encoder"])
def test_missing_graph_is_named(painter_model: Model, name: str) -> None:
    graphs = {key: entry for key, entry in painter_model.graphs.items() if key != name}
    with pytest.raises(ModelError, match=f"lacks {name}"):
        check_renderer(dataclasses.replace(painter_model, graphs=graphs))
    check_renderer(painter_model)


def test_rim_colour_measures_the_light(portrait: Image, reference: Reference) -> None:
    def seen(image: Image) -> Array:
        return rim_colour(Scene.of(image, reference.alignment), reference, SETTINGS)

    brighter = np.clip(portrait.astype(int) + 10, 0, 255).astype(np.uint8)
    assert seen(brighter).shape == (1, REGION_SIZE[1], 3)
    np.testing.assert_allclose(seen(brighter), 10 / 127.5 - SETTINGS.surroundings.light_noise, atol=0.01)
    assert (seen(portrait) == 0).all()
    assert (seen(np.clip(portrait.astype(int) + 3, 0, 255).astype(np.uint8)) == 0).all()
    assert np.abs(seen(np.full_like(portrait, 255))).max() <= SETTINGS.surroundings.max_light + 1e-4


def test_scene_is_not_looked_at_inside_the_core(
    denoiser_model: Model, portrait: Image, reference: Reference, wide: Array
) -> None:
    core = weight_in(portrait, reference.alignment) == 1
    noisy = portrait.copy()
    noisy[core] = np.random.default_rng(0).integers(0, 256, (core.sum(), 3), np.uint8)
    pictures = [
        Renderer(denoiser_model, steps=1, seed=0)
        .draw(reference, reference, wide, conditions(), Scene.of(image, reference.alignment))
        .picture
        for image in (portrait, noisy)
    ]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert reference.alignment.points(np.argwhere(core)[:, ::-1].astype(np.float64))[:, 1].min() > REGION_Y[0]


def test_the_inner_mouth_is_shown_crisper_and_nothing_beside_it() -> None:
    columns = np.arange(PATCH_SIZE[1], dtype=np.float32)
    picture = np.broadcast_to(0.2 * np.sin(columns), (1, 3, *PATCH_SIZE)).astype(np.float32)
    composite = np.zeros((5, *PATCH_SIZE), np.float32)
    composite[:3], composite[3, 50:80, 60:120] = picture[0], 1
    shown, plain = shown_of(picture, composite, SETTINGS), picture[0].transpose(1, 2, 0)
    assert np.abs(shown[60:70, 75:105]).max() > 1.2 * np.abs(plain[60:70, 75:105]).max()
    np.testing.assert_allclose(shown[:30], plain[:30], atol=1e-6)
    off = dataclasses.replace(SETTINGS, drawing=dataclasses.replace(SETTINGS.drawing, crispness=0.0))
    np.testing.assert_allclose(shown_of(picture, composite, off), plain, atol=1e-6)


@pytest.mark.parametrize(
    ("colour", "wanted"),
    [((0.06, 0.09, 0.2), True), ((0.3, 0.4, 0.25), True), ((0.8, 0.8, 0.78), False), ((0.2, 0.1, 0.08), False)],
)
def test_a_tint_that_white_has_not_is_taken_away(colour: tuple[float, ...], wanted: bool) -> None:
    """Blue and green darks become neutral, as bright as they were; white teeth and red gums stay; so does the skin."""
    composite = np.zeros((5, *PATCH_SIZE), np.float32)
    composite[:3] = 2 * np.array([0.69, 0.46, 0.39], np.float32)[:, None, None] - 1
    composite[3, 50:80, 60:120] = 1
    drawn = composite[None, :3].copy()
    drawn[0, :, 50:80, 60:120] = 2 * np.array(colour, np.float32)[:, None, None] - 1
    found = (shown_of(drawn, composite, SETTINGS)[65, 90] + 1) / 2
    weight = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found @ weight, np.array(colour) @ weight, atol=0.01)
    assert (np.abs(found - colour).max() > 0.02) == wanted
    assert found[2] < 1.05 * found[0]
    assert found[1] < 1.05 * found[0]
    np.testing.assert_allclose(shown_of(drawn, composite, SETTINGS)[10, 10], composite[:3, 10, 10], atol=1e-6)
