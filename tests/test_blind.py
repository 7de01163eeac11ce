"""The blind look and the sheets of mouths, on a drawn clip with tiny graphs."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from difftalk.data.clip import Clip
from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.media import video
from difftalk.model import Model
from drawn import images

TOOLS = Path(__file__).parents[1] / "tools"


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def size(path: Path) -> tuple[int, int]:
    with Pillow.open(path) as picture:
        return picture.size


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Films of 10 frames."""
    module = tool("blind")
    monkeypatch.setattr(module, "SECONDS", 0.4)
    monkeypatch.setattr(module, "FRAMES", 10)
    return module


@pytest.fixture
def drawn_clip(sample: Sample, painter_model: Model) -> Clip:
    return Clip.of(sample, painter_model.geometry)


def test_takes_are_of_all_people_and_of_other_moments(blind: ModuleType, drawn_clip: Clip) -> None:
    record = dataclasses.replace(drawn_clip.sample.record, person="another")
    other = dataclasses.replace(drawn_clip, sample=Sample(drawn_clip.sample.folder, record))
    takes = blind.takes_of([drawn_clip, other], 4, np.random.default_rng(0))
    people = [take.clip.sample.record.person for take in takes]
    assert people == ["someone", "another", "someone", "another"]
    assert {take.start for take in takes[::2]} == {0.0, 0.4}
    assert all(len(take.indices) == 10 for take in takes)
    with pytest.raises(InputError, match="9 pairs were asked for; these clips have 4"):
        blind.takes_of([drawn_clip, other], 9, np.random.default_rng(0))


def test_pairs_differ_in_the_mouth_alone(
    blind: ModuleType, drawn_clip: Clip, painter_model: Model, tmp_path: Path
) -> None:
    takes = blind.takes_of([drawn_clip], 2, np.random.default_rng(0))
    assert len(list(blind.write_pairs(takes, painter_model, tmp_path, kind="dub", seed=1))) == 2
    key = json.loads((tmp_path / "key.json").read_text())
    assert set(key) == {"0", "1"}
    a, b = (images(tmp_path / f"pair_00_{name}.mp4").astype(int) for name in "AB")
    assert a.shape == b.shape == (10, 512, 512, 3)
    apart = np.abs(a - b).mean((0, 3))
    assert apart[256:].max() > 10 > apart[:100].max()
    assert video.probe(tmp_path / "pair_00_A.mp4").has_audio
    assert size(tmp_path / "pair_01.png") == (4 * 512, 4 * (512 + 14))
    assert size(tmp_path / "pair_01_mouths.png") == (4 * 256, 4 * (192 + 14))


def test_the_true_film_is_where_the_key_says(
    blind: ModuleType, drawn_clip: Clip, painter_model: Model, tmp_path: Path
) -> None:
    take = blind.takes_of([drawn_clip], 1, np.random.default_rng(0))[0]
    true, made = blind.films(take, painter_model, "dub")
    list(blind.write_pairs([take], painter_model, tmp_path, kind="dub", seed=0))
    shown = {name: images(tmp_path / f"pair_00_{name}.mp4").astype(int) for name in "AB"}
    found = {
        kind: min(shown, key=lambda name: float(np.abs(shown[name] - np.stack(film.frames)).mean()))
        for kind, film in (("true", true), ("made", made))
    }
    assert found["made"] == json.loads((tmp_path / "key.json").read_text())["0"]["made"] != found["true"]


def test_a_still_has_the_true_films_framing(blind: ModuleType, drawn_clip: Clip, painter_model: Model) -> None:
    take = blind.takes_of([drawn_clip], 1, np.random.default_rng(0))[0]
    true, made = blind.films(take, painter_model, "still")
    assert len(true.frames) == len(made.frames) == 10
    face = painter_model.face_finder
    eyes = [face.find(film.frames[5])[0].face.points[[33, 263], :2] for film in (true, made)]
    assert np.abs(eyes[0] - eyes[1]).max() < 20


def test_notes_are_scored(blind: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(json.dumps({"0": {"made": "A"}, "1": {"made": "B"}, "2": {"made": "A"}}))
    notes = tmp_path / "notes.csv"
    notes.write_text("pair,made,why\n0,A,teeth blurred; tint\n1,A,tint\n2,A,tint\n")
    told = blind.reveal(notes, tmp_path / "key.json")
    assert told.splitlines() == [
        "2 of 3 named rightly; by luck as many or more: 0.5",
        "wrongly: 1",
        "  2  tint",
        "  1  teeth blurred",
    ]
    notes.write_text("pair,made,why\n7,A,\n")
    with pytest.raises(InputError, match="pair '7'"):
        blind.reveal(notes, tmp_path / "key.json")


def test_a_cut_keeps_the_middle_and_shrinks_evenly(blind: ModuleType) -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    cv2.circle(image, (200, 100), 20, (255, 255, 255), -1)
    cut = blind._cut(image, np.array([200, 100]), 2.0, (100, 80))
    assert cut.shape == (80, 100, 3)
    y, x = np.argwhere(cut[..., 0] > 128).mean(0)
    assert (x, y) == pytest.approx((49.5, 39.5), abs=0.3)
    assert (cut[..., 0] > 128).sum() == pytest.approx(np.pi * 100, rel=0.1)


def test_sheets_of_mouths(drawn_clip: Clip, denoiser_model: Model, tmp_path: Path) -> None:
    tool("mouths").write_mouths(drawn_clip, denoiser_model, tmp_path / "someone.png", said=False)
    assert size(tmp_path / "someone.png") == (8 * 160, 8 * (112 + 14))
