"""The report: people count alike, intervals hold the median, a run goes on where it stopped; tasks and outputs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from difftalk.data.clip import Clip
from difftalk.data.prepare import prepare
from difftalk.data.sample import load_samples
from difftalk.errors import InputError
from difftalk.evaluation.protocols.bench import Bench, Outcome, donors_of
from difftalk.evaluation.report import report
from difftalk.evaluation.report.glossary import ABOUT, METRICS, RANKED, SYSTEMS
from difftalk.model import Model
from difftalk.talk.talker import Talker


@pytest.fixture(scope="module")
def folder(clip: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, prepared; each is the drawn clip."""
    source, out = tmp_path_factory.mktemp("clips"), tmp_path_factory.mktemp("prepared")
    for name in ("a_one", "b_two"):
        (source / name).mkdir()
        (source / name / f"{name}.mp4").write_bytes(clip.read_bytes())
    (source / "manifest.csv").write_text(
        "path,person,split,rights\na_one/a_one.mp4,anna,val,open\nb_two/b_two.mp4,bert,val,open\n"
    )
    (source / "offsets.csv").write_text(
        "path,offset_frames,r_at_offset\na_one/a_one.mp4,0,0.9\nb_two/b_two.mp4,0,0.9\n"
    )
    prepare(source, out, model=model, workers=1)
    return out


def test_every_protocol_and_metric_is_explained() -> None:
    assert set(ABOUT) == set(RANKED) == set(report.PROTOCOLS)
    assert {metric for metric, _ in RANKED.values()} <= set(METRICS)
    assert {"truth", "held", "composite", "painter", "linear", "ceiling", "ours"} <= set(SYSTEMS)


def test_donors_are_of_another_data_set_and_always_the_same(folder: Path, model: Model) -> None:
    clips = [Clip.of(sample, model.geometry) for sample in load_samples(folder)]
    donors = donors_of(clips)
    assert {name: [d.sample.record.name for d in found] for name, found in donors.items()} == {
        "a_one_a_one": ["b_two_b_two"],
        "b_two_b_two": ["a_one_a_one"],
    }


@pytest.mark.parametrize("protocol", ["strict", "teacher", "reconstruction", "swap", "silence", "cross"])
def test_a_protocol_measures_its_systems(protocol: str, folder: Path, model: Model) -> None:
    clips = [Clip.of(sample, model.geometry) for sample in load_samples(folder)]
    found = report.PROTOCOLS[protocol](clips[0], Bench(model, 1.0, donors_of(clips)))
    assert "ours" in found.figures
    assert set(found.figures) <= set(SYSTEMS)
    known = {name for row in found.figures.values() for name in row}
    assert known <= set(METRICS)
    assert RANKED[protocol][0] in found.figures["ours"]
    if protocol == "teacher":
        assert found.figures["ceiling"]["psnr"] > found.figures["zeros"]["psnr"]
        assert {"held", "composite", "painter"} <= set(found.figures)
    assert found.strips


def test_a_report_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    calls, rng = list[str](), np.random.default_rng(0)

    def fake(clip: Clip, bench: Bench) -> Outcome:
        calls.append(clip.sample.record.name)
        figures = {"truth": {"r": 1.0}, "ours": {"r": 0.5, "shift": np.nan}}
        crowd = {
            name: {"fid": rng.normal(mean, 1, (9, 3)).astype(np.float32)} for name, mean in (("truth", 0), ("ours", 5))
        }
        return Outcome(figures, {"truth": np.arange(50) / 50}, crowd=crowd)

    def judged(seconds: float) -> report.Report:
        return report.evaluate(folder, tmp_path, chosen=["strict"], seconds=seconds, protocols={"strict": fake})

    first, again = judged(1), judged(1)
    assert calls == ["a_one_a_one", "b_two_b_two"]
    assert first.content | {"made": ""} == again.content | {"made": ""}
    judged(2)
    assert len(calls) == 4  # another length is another measurement
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["protocols"]["strict"]["rows"]["ours"]["r"]["median"] == 0.5
    assert content["protocols"]["strict"]["figures"]["a_one_a_one"]["ours"]["shift"] is None
    fid = content["protocols"]["strict"]["rows"]["ours"]["fid"]
    assert 20 < fid["median"] < 200
    assert (fid["low"], fid["people"]) == (None, 2)
    assert all(len(mark) == 12 for mark in content["clips"].values())
    assert "Luck" in content["notes"][0]
    assert "a_one_a_one" in (tmp_path / "report.html").read_text()


def test_another_tool_is_judged_by_its_videos(folder: Path, model: Model, tmp_path: Path) -> None:
    """The tool here is this one: its strict rows must be what they are from within."""
    count = report.write_tasks(folder, tmp_path / "r", tmp_path / "tasks", chosen=["strict"], seconds=1)
    with (tmp_path / "tasks" / "tasks.csv").open(newline="") as file:
        tasks = list(csv.DictReader(file))
    assert [task["name"] for task in tasks] == ["a_one_a_one", "b_two_b_two"]
    assert count == 2
    made = tmp_path / "made"
    (made / "strict").mkdir(parents=True)
    for task in tasks:
        Talker(model).animate(
            task["source"], task["sound"], made / "strict" / f"{task['name']}.mp4", head_motion=0, blinks=0
        )
    judged = report.evaluate(folder, tmp_path / "r", chosen=["strict"], seconds=1, outputs=made).content
    own = report.evaluate(folder, tmp_path / "r", chosen=["strict"], seconds=1).content
    theirs, ours = (
        content["protocols"]["strict"]["rows"][system] for content, system in ((judged, "outputs"), (own, "ours"))
    )
    assert theirs["spread"]["median"] == pytest.approx(ours["spread"]["median"], rel=0.15)
    assert theirs["identity"]["median"] < 0.4
    assert judged["model"] == "made"


def test_what_cannot_be_measured_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="protocol 'nonsense' is not known here; allowed: strict"):
        report.evaluate(folder, tmp_path, chosen=["nonsense"])
    with pytest.raises(InputError, match="'teacher' is not known here"):
        report.evaluate(folder, tmp_path, chosen=["teacher"], outputs=tmp_path)
    with pytest.raises(InputError, match="holds no video a_one_a_one"):
        report.evaluate(folder, tmp_path, chosen=["strict"], outputs=tmp_path / "none")
    with pytest.raises(InputError, match="`seconds` was 0"):
        report.evaluate(folder, tmp_path, seconds=0)
