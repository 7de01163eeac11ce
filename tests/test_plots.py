"""Plots: the page's colours, names that can be any text, nothing left behind."""

from __future__ import annotations

import re

import matplotlib

from difftalk.evaluation.report.plots import Row, curves, dots

ROWS = [
    Row("truth", [1.0, 1.0], 1.0, []),
    Row("$<é顔>$ & a long name", [], -0.5, [-1, 0]),
    Row("ours", [0.5], 0.5, [0, 1]),
]


def test_colours_are_the_pages() -> None:
    for svg in (dots(ROWS, "", salt="a", one=True), curves({"truth": [0, 1], "ours": [1, 0]}, "", salt="b")):
        assert {"var(--ink)", "var(--line)", "var(--ours)"} <= set(re.findall(r"var\(--\w+\)", svg))
        assert not re.search(r"#[0-9a-f]{6}\b(?!\")", svg)


def test_names_and_labels_are_text() -> None:
    svg = dots(ROWS, 'a "label" <b>', salt="a")
    assert 'aria-label="a &quot;label&quot; &lt;b&gt;"' in svg
    assert ">$&lt;é顔&gt;$ &amp; a l…<" in svg
    assert "@" not in svg


def test_a_gap_is_a_gap() -> None:
    whole, torn = (curves({"truth": [0.0, 1.0, value, 1.0, 0.0]}, "", salt="a") for value in (0.5, None))
    assert "nan" not in torn.lower()
    assert torn.count("M ") > whole.count("M ")


def test_ids_of_two_plots_differ() -> None:
    one, other = (set(re.findall(r'id="(\w+)"', dots(ROWS, "", salt=salt))) for salt in "ab")
    assert one
    assert not one & other


def settings() -> dict[str, object]:
    """All but the backend, which reading would choose."""
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}


def test_the_users_settings_neither_matter_nor_change() -> None:
    before = dots(ROWS, "", salt="a")
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red"}):
        held = settings()
        assert dots(ROWS, "", salt="a") == before
        assert settings() == held
