"""The page: a report's content -> one report.html with tables, dots, curves and contact sheets, and nothing to load.

Knows how figures are shown; does not know how they were measured, nor which are good enough.
The same report gives the same bytes. Needs matplotlib (extra `evaluate`) where there is something to draw.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Real
from pathlib import Path
from typing import Any, Final

from PIL import Image as Pillow

from difftalk.evaluation.report.plots import DRAWN, MARKED, Row, curves, dots

FILE: Final = "report.html"
RANKED_BY: Final = "r"  # the metric that says which clips are worst and best
JPEG_QUALITY: Final = 90
EXTREMES: Final = 3  # clips shown from either end
DASH: Final = "–"

# Which way is better: what the eye sees, and what a screen reader says.
MARKS: Final = {"higher": "↑", "lower": "↓", "one": "→1"}
SPOKEN: Final = {"higher": "higher is better", "lower": "lower is better", "one": "nearer to one is better"}

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--line:#d5dae0;--paper:#fff;--panel:#f5f7f9;
--ours:#b3400a;--tint:#fdf0e8}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--line:#3a424b;--paper:#14181c;--panel:#1c2126;
--ours:#ff9a5c;--tint:#33241a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:78rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.3rem;margin:3rem 0 .25rem;padding-top:1rem;border-top:2px solid var(--line)}
h3{font-size:1rem;margin:2rem 0 .25rem}
p{margin:.25rem 0 .75rem;max-width:50rem}
a{color:inherit}
code{font-size:.9em}
nav a{margin-right:1rem}
.soft,figcaption,caption,small{color:var(--soft)}
.facts{display:flex;flex-wrap:wrap;gap:.25rem 1.75rem;margin:0 0 1rem}
.facts div{display:flex;gap:.4rem}
.facts dt{color:var(--soft)}
.facts dd{margin:0}
.notes{margin:1rem 0;padding:.6rem 1rem .6rem 2rem;background:var(--panel);border-left:4px solid var(--line)}
.box{position:relative;overflow-x:auto;margin:.75rem 0;border:1px solid var(--line);border-radius:6px}
.box:focus-visible{outline:2px solid var(--ours)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;overflow-wrap:normal}
caption{text-align:left;padding:.35rem .5rem;font-size:.85rem}
th,td{padding:.35rem .5rem;text-align:right;vertical-align:top;border-top:1px solid var(--line)}
th{font-weight:600}
thead th{vertical-align:bottom;background:var(--panel);font-size:.85rem;line-height:1.25}
thead th[title]{cursor:help}
tr>th:first-child{text-align:left;position:sticky;left:0;background:var(--paper);max-width:11rem;
overflow-wrap:break-word}
thead tr>th:first-child{background:var(--panel)}
td small{display:block;font-size:.7rem;line-height:1.3;white-space:nowrap}
tr.ours>*,tr.ours>th:first-child{background:var(--tint)}
tr.ours>*{font-weight:650;color:var(--ours)}
tr.ours small{font-weight:400}
tbody.person th{font-weight:400;text-align:left}
.mark{color:var(--soft);white-space:nowrap}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.grid{display:grid;gap:1rem 1.25rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr))}
.grid.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,23rem),1fr))}
figure{margin:0}
figcaption{font-size:.85rem;margin-bottom:.15rem}
figcaption b{color:var(--ink);font-weight:600}
svg{display:block;width:100%;max-width:24rem;height:auto}
.wide svg{max-width:34rem}
svg *{stroke-linejoin:round;stroke-linecap:butt}
svg text{font-family:inherit!important}
.legend span{margin-right:1.25rem;white-space:nowrap}
.legend i{display:inline-block;width:1.75rem;margin-right:.4rem;vertical-align:middle;border-top:2px solid var(--ink)}
.legend .ours i,.legend .outputs i{border-top:3px solid var(--ours)}
.legend .linear i{border-top:2px dashed var(--soft)}
.sheet{margin:.75rem 0 1.25rem}
.sheet .box{margin:0;width:fit-content;max-width:100%}
.sheet img{display:block;max-width:100%}
@media(max-width:44rem){.sheet img{max-width:none;width:44rem}}
summary{cursor:pointer;margin:1.5rem 0 .5rem;font-weight:600}
.glossary dt{font-weight:600;margin-top:.6rem}
.glossary dd{margin:0}
"""


def write_page(report: Mapping[str, Any], out: Path) -> Path:
    """Writes report.html into `out`; report is what report.json holds, its sheets are paths below `out`."""
    protocols: Mapping[str, Any] = report["protocols"]
    sections = [_protocol(report, name, number, out) for number, name in enumerate(protocols)]
    title = f"difftalk evaluation, model {escape(report['model'])}"
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n{_top(report)}</header>\n<main>\n"
        f"{''.join(sections)}{_glossary(report)}</main>\n</body>\n</html>\n"
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE
    # A file name that is not valid text becomes a question mark rather than an error.
    path.write_bytes(page.encode("utf-8", errors="replace"))
    return path


@dataclass(frozen=True)
class _Column:
    """One metric as it is shown; decimals are the same all the way down."""

    key: str
    title: str
    about: str
    better: str
    decimals: int

    def show(self, value: object) -> str:
        number = _number(value)
        if number is None:
            return DASH
        text = f"{number:.{self.decimals}f}"
        return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")

    @property
    def head(self) -> str:
        mark = ""
        if self.better in MARKS:
            spoken = f'<span class="hidden">({SPOKEN[self.better]})</span>'
            mark = f'&nbsp;<span class="mark" aria-hidden="true">{MARKS[self.better]}</span>{spoken}'
        return f'<th scope="col" title="{escape(self.about)}">{escape(self.title)}{mark}</th>'


def _number(value: object) -> float | None:
    """A finite number, else None: NaN, None and what is missing look the same to a reader."""
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def _finite(values: Iterable[object]) -> list[float]:
    return [number for number in map(_number, values) if number is not None]


def _columns(report: Mapping[str, Any], rows: Mapping[str, Any]) -> list[_Column]:
    """Every metric that a row has, in the report's order; one that the report does not explain stands last."""
    columns = []
    for key in _ordered(report["metrics"], (key for row in rows.values() for key in row)):
        medians = _finite(row[key].get("median") for row in rows.values() if key in row)
        said = {"title": key, "about": "", "better": "none"} | report["metrics"].get(key, {})
        columns.append(_Column(key, said["title"], said["about"], said["better"], _decimals(medians)))
    return columns


def _decimals(values: Iterable[float]) -> int:
    """As many as the largest value needs to be read to about a thousandth."""
    largest = max(map(abs, values), default=0.0)
    if 0 < largest < 0.1:
        return 4
    return next((decimals for decimals, limit in ((3, 10), (2, 100), (1, 1000)) if largest < limit), 0)


def _ordered(known: Iterable[str], found: Iterable[str]) -> list[str]:
    """What was found: the known first, in their order, then the others by name."""
    held, known = set(found), list(known)
    return [name for name in known if name in held] + sorted(held.difference(known))


def _top(report: Mapping[str, Any]) -> str:
    facts = {
        "Model": report["model"],
        "Code": report["code"],
        "Split": report["split"],
        "Clip length": f"{report['seconds']:g} s",
        "Made": report["made"],
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    notes = "".join(f"<li>{escape(line)}</li>" for line in report["notes"])
    links = "".join(f'<a href="#p{n}">{escape(name)}</a>' for n, name in enumerate(report["protocols"]))
    return (
        f'<dl class="facts">{listed}</dl>\n'
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
        + f'<nav aria-label="Protocols">{links}<a href="#glossary">Glossary</a></nav>\n'
    )


def _protocol(report: Mapping[str, Any], name: str, number: int, out: Path) -> str:
    protocol: Mapping[str, Any] = report["protocols"][name]
    columns = _columns(report, protocol["rows"])
    systems = _ordered(report["systems"], protocol["rows"])
    clips, people = len(protocol["clips"]), len(protocol["people"])
    return (
        f'<section aria-labelledby="p{number}">\n<h2 id="p{number}">{escape(name)}</h2>\n'
        f"<p>{escape(protocol['about'])}</p>\n"
        f'<p class="soft">{clips} {_plural(clips, "clip", "clips")} (list <code>{escape(protocol["list_hash"])}</code>)'
        f" of {people} {_plural(people, 'person', 'people')}</p>\n"
        + _systems_table(name, protocol, columns, systems)
        + _distributions(name, protocol, columns, systems)
        + _curves(name, protocol, columns)
        + _sheets(name, protocol, out)
        + _people_table(name, protocol, columns, _ordered(report["systems"], _systems_of_people(protocol)))
        + "</section>\n"
    )


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _systems_of_people(protocol: Mapping[str, Any]) -> Iterable[str]:
    return (system for rows in protocol["people"].values() for system in rows)


def _boxed(label: str, content: str) -> str:
    """Wide content scrolls inside its own box, by keyboard too."""
    return f'<div class="box" role="region" tabindex="0" aria-label="{escape(label)}">{content}</div>\n'


def _systems_table(name: str, protocol: Mapping[str, Any], columns: Sequence[_Column], systems: Sequence[str]) -> str:
    body = []
    for system in systems:
        mark = ' class="ours"' if system in MARKED else ""
        row = protocol["rows"][system]
        cells = "".join(_cell(column, row.get(column.key, {}), len(protocol["people"])) for column in columns)
        body.append(f'<tr{mark}><th scope="row">{escape(system)}</th>{cells}</tr>\n')
    head = "".join(column.head for column in columns)
    said = (
        "Each person's clips are averaged; median over people, beneath it the bootstrap 95 % interval by person. "
        "↑ higher is better, ↓ lower, →1 nearer to one."
    )
    return f'<p class="soft">{said}</p>\n' + _boxed(
        f"{name}: systems and metrics",
        f"<table><caption>{escape(name)}: medians over people</caption>\n"
        f'<thead><tr><th scope="col">System</th>{head}</tr></thead>\n<tbody>\n{"".join(body)}</tbody></table>',
    )


def _cell(column: _Column, figure: Mapping[str, Any], everyone: int) -> str:
    if _number(figure.get("median")) is None:
        return f"<td>{DASH}</td>"
    low, high = column.show(figure.get("low")), column.show(figure.get("high"))
    interval = DASH if DASH in (low, high) else f"{low} to {high}"
    people = figure.get("people", everyone)
    # Said only where it is not the count that stands above the table.
    fewer = "" if people == everyone else f"<small>{people} {_plural(people, 'person', 'people')}</small>"
    return f"<td>{column.show(figure['median'])}<small>{interval}</small>{fewer}</td>"


def _people_table(name: str, protocol: Mapping[str, Any], columns: Sequence[_Column], systems: Sequence[str]) -> str:
    body = []
    for person, rows in sorted(protocol["people"].items()):
        lines = []
        for system in (system for system in systems if system in rows):
            mark = ' class="ours"' if system in MARKED else ""
            cells = "".join(f"<td>{column.show(rows[system].get(column.key))}</td>" for column in columns)
            lines.append(f'<tr{mark}><th scope="row">{escape(system)}</th>{cells}</tr>\n')
        group = f'<tr><th scope="rowgroup" colspan="{len(columns) + 1}"><b>{escape(person)}</b></th></tr>\n'
        body.append(f'<tbody class="person">\n{group}{"".join(lines)}</tbody>\n')
    head = "".join(column.head for column in columns)
    table = (
        f"<table><caption>{escape(name)}: each person's clips, averaged</caption>\n"
        f'<thead><tr><th scope="col">System</th>{head}</tr></thead>\n{"".join(body)}</table>'
    )
    return f"<details><summary>Every person</summary>\n{_boxed(f'{name}: every person', table)}</details>\n"


def _distributions(name: str, protocol: Mapping[str, Any], columns: Sequence[_Column], systems: Sequence[str]) -> str:
    """Dots of the metrics that the marked system has: one plot a metric, one line a system, one dot a person."""
    ours = _marked(protocol["rows"])
    shown = [column for column in columns if _number(ours.get(column.key, {}).get("median")) is not None]
    if not shown:
        return ""
    plots = "".join(_dots(name, protocol, column, systems) for column in shown)
    said = "One dot a person, one line a system. The upright bar is the median, the band its 95 % interval."
    return f'<h3>Distribution over people</h3>\n<p class="soft">{said}</p>\n<div class="grid">\n{plots}</div>\n'


def _dots(name: str, protocol: Mapping[str, Any], column: _Column, systems: Sequence[str]) -> str:
    rows = []
    for system in systems:
        figure = protocol["rows"][system].get(column.key, {})
        median = _number(figure.get("median"))
        if median is not None:
            people = _finite(held.get(system, {}).get(column.key) for held in protocol["people"].values())
            rows.append(Row(system, people, median, _finite(figure.get(end) for end in ("low", "high"))))
    medians = "; ".join(f"{row.name} {column.show(row.median)}" for row in rows)
    label = f"{column.title}, medians: {medians}"
    drawing = dots(rows, label, salt=f"{name}/{column.key}", one=column.better == "one")
    mark = f" {MARKS[column.better]}" if column.better in MARKS else ""
    return _figure(f"<b>{escape(column.title)}</b>{mark}", drawing)


def _curves(name: str, protocol: Mapping[str, Any], columns: Sequence[_Column]) -> str:
    clips = _worst_and_best(protocol)
    if not clips:
        return ""
    by = next((column for column in columns if column.key == RANKED_BY), None)
    drawn = [system for system in DRAWN if any(system in protocol["curves"][clip] for clip in clips)]
    legend = "".join(f'<span class="{system}"><i></i>{system}</span>' for system in drawn)
    said = "Lip opening over seconds."
    if by is not None and _rank(protocol, clips[0]) is not None:
        said += f" Clips from the worst to the best by {by.title}"
        said += f", {EXTREMES} from either end." if len(protocol["curves"]) > len(clips) else "."
    plots = []
    for number, clip in enumerate(clips):
        rank = _rank(protocol, clip)
        value = "" if by is None or rank is None else f", {by.title} {by.show(rank)}"
        label = f"{clip}: lip opening of {', '.join(drawn)}{value}"
        drawing = curves(protocol["curves"][clip], label, salt=f"{name}/curves/{number}")
        plots.append(_figure(f"<b>{escape(clip)}</b>{escape(value)}", drawing))
    return (
        f'<h3>Opening curves</h3>\n<p class="soft">{escape(said)}</p>\n<p class="legend">{legend}</p>\n'
        f'<div class="grid wide">\n{"".join(plots)}</div>\n'
    )


def _rank(protocol: Mapping[str, Any], clip: str) -> float | None:
    return _number(_marked(protocol["figures"].get(clip, {})).get(RANKED_BY))


def _marked(rows: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures of the system that the report is about."""
    found: Mapping[str, Any] = next((rows[name] for name in MARKED if name in rows), {})
    return found


def _worst_and_best(protocol: Mapping[str, Any]) -> list[str]:
    """Clips whose curves are shown, worst first; where nothing ranks them, the first few."""
    ranks = {clip: rank for clip in protocol["curves"] if (rank := _rank(protocol, clip)) is not None}
    if not ranks:
        return list(protocol["curves"])[: 2 * EXTREMES]
    ordered = sorted(ranks, key=lambda clip: (ranks[clip], clip))
    return ordered if len(ordered) <= 2 * EXTREMES else ordered[:EXTREMES] + ordered[-EXTREMES:]


def _sheets(name: str, protocol: Mapping[str, Any], out: Path) -> str:
    shown = []
    for kind, where in protocol["sheets"].items():
        caption = f"<figcaption><b>{escape(kind)}</b></figcaption>"
        path = out / where
        if not path.is_file():
            shown.append(f'<figure class="sheet">{caption}<p>The sheet {escape(where)} is missing.</p></figure>\n')
            continue
        data = base64.b64encode(_as_jpeg(path)).decode("ascii")
        label = f"Contact sheet, {name}: {kind}"
        image = f'<img src="data:image/jpeg;base64,{data}" alt="{escape(label)}">'
        shown.append(f'<figure class="sheet">{caption}{_boxed(label, image)}</figure>\n')
    return f"<h3>Contact sheets</h3>\n{''.join(shown)}" if shown else ""


def _as_jpeg(path: Path) -> bytes:
    """A sheet as it is embedded: a tenth of its PNG's size, sharp enough to look at."""
    file = io.BytesIO()
    Pillow.open(path).convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _glossary(report: Mapping[str, Any]) -> str:
    metrics = []
    for key, said in report["metrics"].items():
        way = f" <small>({SPOKEN[said['better']]})</small>" if said["better"] in SPOKEN else ""
        metrics.append(
            f"<dt>{escape(said['title'])} <code>{escape(key)}</code>{way}</dt><dd>{escape(said['about'])}</dd>"
        )
    systems = [f"<dt>{escape(name)}</dt><dd>{escape(about)}</dd>" for name, about in report["systems"].items()]
    return (
        '<section class="glossary" aria-labelledby="glossary">\n<h2 id="glossary">Glossary</h2>\n'
        f"<h3>Metrics</h3>\n<dl>{''.join(metrics)}</dl>\n<h3>Systems</h3>\n<dl>{''.join(systems)}</dl>\n</section>\n"
    )


def _figure(caption: str, drawing: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{drawing}</figure>\n"
