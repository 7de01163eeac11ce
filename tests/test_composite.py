"""Composites of region and patch: the same at two scales, and blind to all that a frame shows below its nose."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from difftalk.arrays import Array, Image
from difftalk.face.finder import Face
from difftalk.face.landmarks import UPPER
from difftalk.face.mouth import COMPONENTS, Geometry, target_mesh
from difftalk.face.space import FEATHER, PATCH_SIZE, REGION, REGION_SIZE, Alignment, crop_region, patch_of
from difftalk.model import Model
from difftalk.render.composite import Composite, composites
from difftalk.render.references import Reference, Scene
from difftalk.render.surroundings import RimFollower
from drawn import SETTINGS


@pytest.fixture(scope="module")
def reference(portrait: Image, alignment: Alignment, face: Face) -> Reference:
    return Reference.of(portrait, alignment, alignment.points(face.points))


def said(geometry: Geometry, points: Array, amount: float = 0.2) -> Array:
    """The mesh of a frame that shows `points` (478, 3), aligned, with an open mouth, as speech would have it."""
    row, pose = geometry.opening_row(), geometry.pose(points)
    shape = np.zeros(COMPONENTS, np.float32) + (row * amount / (row @ row)).astype(np.float32)
    return target_mesh(geometry, pose=pose, neutral=geometry.canonical, shape=shape, upper=points)


@pytest.fixture(scope="module")
def mesh(reference: Reference, model: Model) -> Array:
    return said(model.geometry, reference.points)


@pytest.fixture(scope="module")
def scene(portrait: Image, alignment: Alignment) -> Scene:
    """The reference a little later: to the side, and in other light."""
    lit = np.clip(np.roll(portrait, 3, axis=1).astype(int) + 9, 0, 255).astype(np.uint8)
    return Scene.of(lit, Alignment(alignment.matrix - np.array([[0, 0, 3 * alignment.scale], [0, 0, 0]])))


def made(reference: Reference, mesh: Array, scene: Scene | None = None) -> tuple[Composite, Composite]:
    return composites(reference, reference, mesh, SETTINGS, scene, None if scene is None else RimFollower())


def same(one: tuple[Composite, Composite], other: tuple[Composite, Composite]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a.layers, b.layers) and np.array_equal(a.warp.map, b.warp.map) for a, b in pairs)


def test_of_the_region_and_of_the_patch(reference: Reference, mesh: Array, scene: Scene) -> None:
    for seen in (None, scene):
        region, patch = made(reference, mesh, seen)
        assert (region.grid, patch.grid) == (REGION, patch_of(mesh))
        assert region.layers.shape == (5, *REGION_SIZE)
        assert patch.layers.shape == (5, *PATCH_SIZE)
        for one in (region, patch):
            assert one.layers[3].max() == 1  # an open mouth
            assert np.abs(one.layers).max() <= 1
            assert (one.light is None) == (seen is None)


@pytest.mark.parametrize("lit", [False, True])
def test_they_show_the_same_at_two_scales(reference: Reference, mesh: Array, scene: Scene, *, lit: bool) -> None:
    """The patch made coarse is the region's middle: colours, inner mouth and coverage."""
    region, patch = made(reference, mesh, scene if lit else None)
    coarse = REGION.of(np.ascontiguousarray(patch.layers.transpose(1, 2, 0)), patch.grid)
    mask = REGION.of(np.repeat(patch.grid.mask[..., None], 2, 2), patch.grid)[..., 0]
    core = mask == 1
    assert core.sum() > (PATCH_SIZE[0] / 2 - 2 * FEATHER) * (PATCH_SIZE[1] / 2 - 2 * FEATHER)
    apart = np.abs(coarse - region.layers.transpose(1, 2, 0))[core]
    assert (apart.mean(0) < 0.03).all()
    assert np.abs(np.median(coarse[core] - region.layers.transpose(1, 2, 0)[core], axis=0)).max() < 0.01


def test_no_pixel_of_the_frame_inside_the_region_enters(reference: Reference, mesh: Array, scene: Scene) -> None:
    plain = made(reference, mesh, scene)
    for seed in range(4):
        noise = scene.aligned.copy()
        crop_region(noise)[:] = np.random.default_rng(seed).integers(0, 256, (*REGION_SIZE, 3), np.uint8)
        assert same(made(reference, mesh, dataclasses.replace(scene, aligned=noise)), plain)
    moved = dataclasses.replace(scene, aligned=np.roll(scene.aligned, 2, axis=1))
    assert not same(made(reference, mesh, moved), plain)  # what is around it does


def test_no_point_of_the_frame_below_its_nose_enters(reference: Reference, model: Model, scene: Scene) -> None:
    """Where a frame's own mouth is, how wide and how far open, moves neither patch nor warp."""
    geometry, own = model.geometry, reference.points
    lower = np.setdiff1d(np.arange(len(own)), UPPER)
    plain = made(reference, said(geometry, own), scene)
    for seed in range(4):
        other = own.copy()
        other[lower] += np.random.default_rng(seed).normal(0, 6, (len(lower), 3)).astype(np.float32)
        assert same(made(reference, said(geometry, other), scene), plain)
    higher = own.copy()
    higher[UPPER, 1] -= 2
    assert made(reference, said(geometry, higher), scene)[1].grid != plain[1].grid
