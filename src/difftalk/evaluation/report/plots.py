"""Plots of a report: dots of people and opening curves -> an inline <svg> in the colours of the page it stands on.

Knows how a plot looks; does not know which metrics or clips are worth one. The same figures give the same text.
The page names the colours: --ink, --soft, --line, --ours. Needs matplotlib (extra `evaluate`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

from difftalk.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKED: Final = ("ours", "outputs")  # what a report is about: the model, or another tool's videos
DRAWN: Final = ("truth", "linear", *MARKED)  # systems among the curves, the last on top
FRAMES_PER_SECOND: Final = 25
LONGEST_LABEL: Final = 13  # characters beside the dots; the tables hold the whole name

# Plots are drawn in stand-ins, which become the page's own colours: one plot serves light and dark.
INK, SOFT, FAINT, ACCENT = "#010101", "#020202", "#030303", "#040404"
COLOURS: Final = {INK: "var(--ink)", SOFT: "var(--soft)", FAINT: "var(--line)", ACCENT: "var(--ours)"}


@dataclass(frozen=True)
class Row:
    """One system's dots. interval: low and high of the median, or empty."""

    name: str
    people: Sequence[float]
    median: float
    interval: Sequence[float]


def dots(rows: Sequence[Row], label: str, *, salt: str, one: bool = False) -> str:
    """One line a system, one dot a person; `one` marks the value 1. label: what a screen reader says."""

    def draw(axes: Axes) -> None:
        if one:
            axes.axvline(1, color=SOFT, linewidth=0.8, linestyle=":")
        for line, row in enumerate(rows):
            colour = ACCENT if row.name in MARKED else SOFT
            if len(row.interval) == 2:
                axes.plot(row.interval, [line, line], color=colour, linewidth=9, alpha=0.22, solid_capstyle="butt")
            axes.plot(row.people, [line] * len(row.people), "o", color=colour, markersize=3.4, mew=0, alpha=0.6)
            axes.plot([row.median], [line], "|", color=colour, markersize=10, mew=1.6)
        axes.set_yticks(range(len(rows)), [_stand_in(line) for line in range(len(rows))])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)

    names = [row.name for row in rows]
    return _svg(label, draw, salt=salt, width=3.0, height=0.42 + 0.21 * len(rows), left=0.27, names=names)


def curves(openings: Mapping[str, Sequence[float | None]], label: str, *, salt: str) -> str:
    """Lip openings at 25/s over seconds, of the systems in DRAWN. label: what a screen reader says."""

    def draw(axes: Axes) -> None:
        for system in (system for system in DRAWN if system in openings):
            curve = np.array(openings[system], np.float64)  # None becomes NaN, a gap in the line
            ours, linear = system in MARKED, system == "linear"
            axes.plot(
                np.arange(len(curve)) / FRAMES_PER_SECOND,
                curve,
                color=ACCENT if ours else SOFT if linear else INK,
                linewidth=1.5 if ours else 0.9,
                linestyle="--" if linear else "-",
            )
        axes.margins(x=0.01)

    return _svg(label, draw, salt=salt, width=4.2, height=1.25, left=0.1)


def _stand_in(line: int) -> str:
    """Names stay out of matplotlib: it reads $ as mathematics, and warns of what its font lacks."""
    return f"@{line}@"


def _svg(
    label: str,
    draw: Callable[[Axes], None],
    *,
    salt: str,
    width: float,
    height: float,
    left: float,
    names: Sequence[str] = (),
) -> str:
    """salt: no two plots of a page may share one, else their ids collide.

    width, height: inches, which say how large text is in the plot; left: the part of the width for `names`.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "evaluate") from error

    # Figures made without pyplot leave nothing behind; the context undoes the settings.
    with matplotlib.rc_context(), io.StringIO() as file:
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": salt})
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(left=left, right=0.97, bottom=0.24 / height, top=1 - 0.05 / height)
        axes = figure.add_subplot()
        _plain(axes)
        draw(axes)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
        return _fitted(file.getvalue(), label, names)


def _plain(axes: Axes) -> None:
    axes.figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=7.5, length=2, width=0.6, pad=2)
    axes.locator_params(nbins=4)
    axes.ticklabel_format(useOffset=False)


def _fitted(svg: str, label: str, names: Sequence[str]) -> str:
    """A file's text -> an element: no prolog, no style of its own, the page's colours, ids only where they are used."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace("xlink:href", "href")
    for stand_in, colour in COLOURS.items():
        svg = svg.replace(stand_in, colour)
    for line, name in enumerate(names):
        short = name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
        svg = svg.replace(f">{_stand_in(line)}<", f">{escape(short)}<", 1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
