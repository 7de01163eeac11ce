"""The report's page: everything is on it, as text, in one file that a browser shows without complaint."""

from __future__ import annotations

import copy
import math
import re
import subprocess
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from difftalk.evaluation.report.page import write_page
from difftalk.media.sheet import write_sheet

CHROMIUM = Path("/usr/bin/chromium")
BROWSER_SECONDS = 60
HOSTILE = "<b>&\"'$x_1$ 顔"
SHEET = "sheets/strict-worst.png"
SYSTEMS = ("truth", "linear", "ours", HOSTILE)
LOADING = {"src", "href", "data", "srcset", "poster", "action", "xlink:href"}


def figure(median: float | None, half: float | None = 0.05, people: int = 3) -> dict[str, Any]:
    ends = (None, None) if median is None or half is None else (median - half, median + half)
    return {"median": median, "low": ends[0], "high": ends[1], "people": people}


def protocol(about: str, shift: float) -> dict[str, Any]:
    people = ("anna", "béla", HOSTILE)
    clips = [f"{person}/{number}" for person in people for number in range(3)]
    rank = {clip: 0.1 * number + shift for number, clip in enumerate(clips)}
    time = np.arange(50) / 25
    return {
        "about": about,
        "clips": clips,
        "list_hash": "0123456789ab",
        "rows": {
            "truth": {"r": figure(1.0, None), "spread": figure(1.0)},
            "linear": {"r": figure(0.613 + shift), "lpips": figure(0.0312, 0.002, people=2)},
            "ours": {"r": figure(0.812 + shift), "spread": figure(math.nan), "lpips": figure(0.0204, 0.001)},
            HOSTILE: {"r": figure(-0.251), "unexplained": figure(1234.0, 100)},
        },
        "people": {
            person: {"truth": {"r": 1.0}, "ours": {"r": 0.7 + 0.1 * number, "lpips": None, "spread": math.nan}}
            for number, person in enumerate(people)
        },
        "figures": {clip: {"ours": {"r": rank[clip]}} for clip in clips},
        "curves": {
            clip: {name: [*np.sin(time + n).tolist(), None] for n, name in enumerate(SYSTEMS[:3])} for clip in clips
        },
        "sheets": {"worst": SHEET, "best": "sheets/gone.png"},
    }


@pytest.fixture
def report() -> dict[str, Any]:
    silent = protocol("What the mouth does without a voice.", 0.1) | {"curves": {}, "sheets": {}}
    return {
        "format": 2,
        "model": "412f2fac264f",
        "code": "0.1.0+abcdef",
        "split": "val",
        "seconds": 5.0,
        "made": "2026-11-24T21:00:00Z",
        "notes": ["The main sync judge is <SyncNet>."],
        "metrics": {
            "r": {"title": "Opening, r", "better": "higher", "about": 'Pearson "r" <-1 to 1>'},
            "spread": {"title": "Spread", "better": "one", "about": "over the true one's"},
            "lpips": {"title": "LPIPS", "better": "lower", "about": "see https://example.org"},
        },
        "systems": {name: f"what {name} is" for name in SYSTEMS},
        "protocols": {"strict": protocol("One picture & a voice.", 0.0), "silence": silent},
    }


@pytest.fixture
def page(report: dict[str, Any], tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    write_sheet(tmp_path / SHEET, [[rng.integers(0, 255, (60, 1600, 3), np.uint8)]])
    return write_page(report, tmp_path)


class Elements(HTMLParser):
    """Every element with its attributes, and the text between them."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.lasttag != "style":
            self.text += data

    def every(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_everything_is_on_the_page(page: Path, report: dict[str, Any]) -> None:
    elements = Elements(page)
    for said in ("412f2fac264f", "0.1.0+abcdef", "val", "5 s", "2026-11-24T21:00:00Z", *report["notes"]):
        assert said in elements.text
    for explained in (*report["metrics"].values(), *({"about": about} for about in report["systems"].values())):
        assert explained["about"] in elements.text
    for held in report["protocols"].values():
        assert held["about"] in elements.text
        assert held["list_hash"] in elements.text
    assert "9 clips" in elements.text
    assert "3 people" in elements.text
    assert len(elements.every("table")) == 4
    assert [image["alt"] for image in elements.every("img")] == ["Contact sheet, strict: worst"]
    assert "sheets/gone.png is missing" in elements.text


def test_order(page: Path) -> None:
    text = Elements(page).text
    parts = ["<SyncNet>", "One picture", "0.812", "Distribution over people", "Opening curves", "Contact sheets"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.index("Every person") > places[-1]
    assert text.rindex("Glossary") > text.index("without a voice")


def test_figures_are_shown_with_their_interval(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<td>0.812<small>0.762 to 0.862</small></td>" in text
    assert "<td>0.0312<small>0.0292 to 0.0332</small><small>2 people</small></td>" in text
    assert "<td>1.000<small>–</small></td>" in text
    assert "<td>−0.251<small>−0.301 to −0.201</small></td>" in text
    assert "<td>–</td>" in text
    assert ">1234<" in text
    assert not re.search(r"\bnan\b|\bNone\b", Elements(page).text, re.IGNORECASE)


def test_headers_say_which_way_is_better(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count('<th scope="col" title="Pearson &quot;r&quot; &lt;-1 to 1&gt;">Opening, r&nbsp;<span') == 4
    for mark, said in (("↑", "higher is better"), ("↓", "lower is better"), ("→1", "nearer to one is better")):
        assert f'aria-hidden="true">{mark}</span><span class="hidden">({said})</span>' in text
    assert '<th scope="col" title="">unexplained</th>' in text


def test_ours_is_marked_in_every_table(page: Path) -> None:
    rows = [attributes.get("class", "") for attributes in Elements(page).every("tr")]
    assert rows.count("ours") == 2 + 2 * 3


def test_plots_are_of_what_ours_has_and_of_the_extreme_clips(page: Path, report: dict[str, Any]) -> None:
    labels = [svg["aria-label"] for svg in Elements(page).every("svg")]
    strict = [label for label in labels if "lip opening" in label]
    assert [label.split(":")[0] for label in strict] == [
        *(f"anna/{number}" for number in range(3)),
        *(f"{HOSTILE}/{number}" for number in range(3)),
    ]
    assert strict[0].endswith("lip opening of truth, linear, ours, Opening, r 0.000")
    assert [label.split(",")[0] for label in labels if "medians" in label] == ["Opening", "LPIPS"] * 2


def test_without_a_rank_the_first_clips_are_shown(report: dict[str, Any], tmp_path: Path) -> None:
    strict = report["protocols"]["strict"]
    strict["figures"] = {}
    labels = [svg["aria-label"] for svg in Elements(write_page(report, tmp_path)).every("svg")]
    assert [label.split(":")[0] for label in labels if "lip opening" in label] == strict["clips"][:6]


def test_data_is_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert '<b>&"' not in text
    assert text.count(escape(HOSTILE)) > 10
    assert HOSTILE in Elements(page).text


def test_nothing_is_loaded(page: Path) -> None:
    elements = Elements(page)
    for tag, attributes in elements.found:
        for name in LOADING & attributes.keys():
            assert attributes[name].startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
        assert "url(http" not in attributes.get("style", "")
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in elements.found}
    text = page.read_text(encoding="utf-8")
    assert "http" not in text.replace("see https://example.org", "")  # a metric's source is text, not a link
    assert not re.search(r"@import|url\((?!#)", text)


def test_every_id_is_there_once(page: Path) -> None:
    elements = Elements(page)
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for _, a in elements.found if a.get("href", "").startswith("#")}
    wanted |= set(re.findall(r"url\(#(\w+)\)", page.read_text(encoding="utf-8")))
    assert wanted <= set(ids)


def test_the_same_report_gives_the_same_bytes(page: Path, report: dict[str, Any]) -> None:
    first, untouched = page.read_bytes(), copy.deepcopy(report)
    assert write_page(report, page.parent).read_bytes() == first
    assert repr(report) == repr(untouched)


@dataclass(frozen=True)
class Shown:
    """What a browser makes of a page: its document after loading, and what it wrote to the console."""

    document: str
    console: list[str]


def show(page: Path, profile: Path, *, width: int = 1280) -> Shown:
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is not installed: apt-get install chromium")
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    command = [str(CHROMIUM), *(f"--{flag}" for flag in f"{flags} disable-component-update disable-sync".split())]
    command += [f"--user-data-dir={profile}", f"--window-size={width},900", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, timeout=BROWSER_SECONDS, check=True, encoding="utf-8"
    )
    return Shown(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def test_a_browser_shows_it_without_complaint(page: Path, tmp_path: Path) -> None:
    shown = show(page, tmp_path / "profile")
    assert shown.console == []
    assert shown.document.count("<table>") == 4
    assert shown.document.count("<svg ") == 10
    assert "0.812" in shown.document


def test_at_a_phones_width_only_boxes_scroll(page: Path, tmp_path: Path) -> None:
    """The page is measured inside a narrow frame: a browser's window has a least width."""
    measure = """<script>onload = () => {
        const page = document.documentElement, sheet = document.querySelector("img");
        const boxes = [...document.querySelectorAll(".box")];
        console.log("WIDE", innerWidth, page.scrollWidth > page.clientWidth, sheet.naturalWidth,
        boxes.some(box => box.scrollWidth > box.clientWidth))}</script>"""
    inside = page.read_text(encoding="utf-8").replace("</body>", f"{measure}</body>")
    frame = tmp_path / "phone.html"
    frame.write_text(f'<meta charset="utf-8"><iframe width="360" height="700" srcdoc="{escape(inside)}"></iframe>')
    (line,) = show(frame, tmp_path / "profile").console
    assert "WIDE 360 false 1600 true" in line


def test_a_script_error_would_be_seen(tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<!DOCTYPE html><title>x</title><p>x<script>thereIsNoSuchFunction()</script>")
    shown = show(broken, tmp_path / "profile")
    assert any("thereIsNoSuchFunction" in line for line in shown.console)
