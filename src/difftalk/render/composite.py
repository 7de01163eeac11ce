"""Composites: what is known of a frame before anything is drawn, of its region and of its mouth's patch.

A reference's own pixels are warped to the target mesh; a video's frame says how its surroundings move and what light
they are in. Geometry and pixels only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from difftalk.arrays import Array, hwc
from difftalk.face.space import REGION, Grid, patch_of
from difftalk.render.inner_mouth import Interior, interior
from difftalk.render.references import Reference, Scene
from difftalk.render.surroundings import RimFollower, rim_colour, still_scene
from difftalk.render.warp import Warp, compose, known, warp
from difftalk.settings import Settings
from difftalk.stages import timed


@dataclass(frozen=True)
class Composite:
    """On the warp's grid. layers: (5, h, w), RGB in [-1, 1], inner mouth, coverage.

    inside: what its inner mouth is filled with. light: (h, w, 3) that was added to the reference's, [-1, 1] units.
    """

    layers: Array
    warp: Warp
    inside: Interior
    light: Array | None = None

    @property
    def grid(self) -> Grid:
        return self.warp.grid

    @cached_property
    def plain(self) -> Array:
        """(h, w, 3): its colours."""
        return hwc(self.layers[:3])


@timed("composite")
def composites(
    reference: Reference,
    mouth: Reference,
    mesh: Array,
    settings: Settings,
    scene: Scene | None = None,
    follower: RimFollower | None = None,
) -> tuple[Composite, Composite]:
    """Of the region and of the patch, for an aligned target mesh (478, 3).

    mouth: shows the inside of the mouth; may be the reference itself. scene: a video's frame, whose surroundings and
    light the reference's are brought to, and who follows them from frame to frame.
    """
    rim, colour = None, None
    if scene is not None and follower is not None:
        rim = follower(scene.aligned, reference.aligned, still_scene(scene.alignment, reference.alignment), settings)
        colour = rim_colour(scene, reference, settings)
    whole, patch = warp(reference.points, mesh, rim, settings=settings), patch_of(mesh)
    region = _composed(reference, mouth, mesh, whole, colour, settings)
    near = None if colour is None else _across(colour, patch)
    return region, _composed(reference, mouth, mesh, whole.on(patch, mesh), near, settings)


def _composed(
    reference: Reference, mouth: Reference, mesh: Array, moved: Warp, colour: Array | None, settings: Settings
) -> Composite:
    inside = interior(mouth.points, mesh, settings, moved.grid)
    layers = compose(reference, moved, mouth, inside)
    if colour is None:
        return Composite(layers, moved, inside)
    light = colour[0].T[:, None] * known(moved, inside)
    layers[:3] = np.clip(layers[:3] + light, -1, 1)
    return Composite(layers, moved, inside, hwc(light))


def _across(colour: Array, patch: Grid) -> Array:
    """The region's colours (1, w, 3) at the columns of a patch."""
    columns = [np.interp(patch.places[0], REGION.places[0], one) for one in colour[0].T]
    return np.stack(columns, -1)[None].astype(np.float32)
