"""Ranges: what a setting may be, so that none ends in nonsense or in an endless wait.

A number may be up to ten times what it is by default, with its sign. A count is 1 at least; a measure may be 0, unless
something is divided by it or steps are taken by it: then it is a tenth at least. What this does not fit is named here.
Knows no setting but by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from difftalk.errors import InputError

FACTOR: Final = 10
MAX_STEPS: Final = 1000  # of denoising
MAX_RATE: Final = 1000  # frames/s of a still
SIDES: Final = (64, 8192)  # px, long side of an animated still
SHARE: Final = (0.0, 1.0)
NEVER_ZERO: Final = (
    "finding.view",
    "following.smoothing_sigma",
    "loudness.emphasis_decibels",
    "loudness.quiet_fade",
    "loudness.hush_seconds",
    "own_way.shape_frames",
    "own_way.sound_frames",
    "own_way.least_spread",
    "lips.join",
    "lips.thin",
    "references.opening_step",
    "references.width_step",
    "drawing.mouth_soft",
    "drawing.crisp_reach",
    "drawing.most_tint",
    "drawing.tint_reach",
    "drawing.tint_dark",
    "drawing.detail_whole",
    "drawing.blend",
    "surroundings.nearest",
    "head.limits",
    "head.neck",
    "head.before_lines",
    "head.lines_around",
    "head.lines_fade",
    "head.skull",
    "head.fade",
    "head.border",
    "head.jaw",
    "head.blur",
    "head.front",
    "head.brow_reach",
    "life.blink_gap",
    "life.lid_contrast",
    "life.lid_usual",
    "life.corner",
    "life.lash_reach",
    "people.turn_bin",
    "watching.min_zoom",
    "watching.first_seconds",
)
OTHER: Final = {  # lowest and highest of each number
    "steps": ((1, MAX_STEPS),),
    "picture": ((64, 1024),),
    "finding.min_score": ((0.2, 1.0),),  # below it the detector sees faces everywhere
    "finding.tile_step": ((0.2, 2.0),),
    "finding.steady_squares": ((0.5, 2.0), (-3.2, 3.2), (0.5, 2.0), (-3.2, 3.2)),
    "mouths.press_over": ((0.01, 0.15),),
    "loudness.silence_seconds": ((0.02, 5.0),),
    "loudness.loud_rows": ((40, 250),),  # as much is kept
    "loudness.heard_rows": ((1, 20), (1, 50)),
    "loudness.fade_rows": ((1, 20),),
    "drawing.previous_share": (SHARE,),
    "drawing.change_held": (SHARE,),
    "drawing.even_from": ((1.0, 10.0),),  # what is drawn in the frame's own pixels is never evened
    "surroundings.patch": ((1, 29), (1, 7)),  # the rim is so near the picture's edge
    "surroundings.keep": (SHARE,),
    "warp.rings": ((1.01, 4.0),) * 3,
    "warp.ring_shares": (SHARE,) * 3,
    "head.strain": ((0.01, 1.0),),
    "head.strains": ((0.01, 1.0),),
    "head.step": ((0.02, 0.5),),
    "life.rim_along": (SHARE,),
    "still.size": (SIDES,),
    "still.largest": (SIDES,),
    "watching.jaw_margin": ((0.0, 40.0),),
    "watching.pace": ((1.0, 20.0),),  # the look is never behind the drawing
}
RISING: Final = (  # each is less than the next
    ("loudness.no_voice", "loudness.voice"),
    ("lips.shut", "lips.parted"),
    ("lips.shows_little", "lips.shows_enough"),
    ("cover.whole",),
    ("warp.rings",),
    ("head.lines",),
    ("life.blink_gap",),
    ("life.lash_reach", "life.lid_room"),
    ("life.lid_under",),
    ("life.lid_light",),
)


def check(values: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Both: all settings by dotted name. Raises InputError, or TypeError for values of another kind."""
    for name, value in values.items():
        numbers, known = _numbers(value), _numbers(usual[name])
        if len(numbers) != len(known) or not all(map(_alike, numbers, known)):
            raise TypeError(f"setting {name} is {value}; it is {usual[name]} by default")
        if isinstance(known[0], str):
            continue
        allowed = OTHER.get(name) or [_range(name, one) for one in known]
        if not all(low <= one <= high for one, (low, high) in zip(numbers, allowed, strict=True)):
            wide = ", ".join(f"{low:.4g} to {high:.4g}" for low, high in dict.fromkeys(allowed))
            raise InputError(f"setting {name} is {_shown(numbers)}; allowed are {wide}")
    for names in RISING:
        numbers = [number for name in names for number in _numbers(values[name])]
        if not all(one < other for one, other in pairwise(numbers)):
            raise InputError(f"setting {' and '.join(names)}: {_shown(numbers)}; each must be less than the next")


def _range(name: str, usual: float) -> tuple[float, float]:
    if usual < 0:
        return FACTOR * usual, 0.0
    least = 1 if isinstance(usual, int) else usual / FACTOR if name in NEVER_ZERO else 0.0
    return least, FACTOR * usual


def _numbers(value: Any) -> list[Any]:
    return [one for part in value for one in _numbers(part)] if isinstance(value, tuple) else [value]


def _alike(value: Any, usual: Any) -> bool:
    """Whether it is of the usual one's kind; JSON may hold a whole number for one with a point."""
    return type(value) is type(usual) or (type(value) is int and type(usual) is float)


def _shown(numbers: list[Any]) -> str:
    return ",".join(f"{one:.6g}" if abs(one) < 1e300 else "inf" if one > 0 else "-inf" for one in numbers)
