"""Settings: kept with the model whatever they are, changed by name, and all of a frame's numbers are among them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from difftalk import ranges
from difftalk.errors import InputError, ModelError
from difftalk.model import Model
from difftalk.settings import Settings
from drawn import SETTINGS


def test_what_json_makes_of_them_is_taken_back() -> None:
    changed = SETTINGS.changed(
        ["renderer=painter", "life.blink_seconds=0.2,0.4,0.8", "mouths.press=0.02", "cover.least=5"]
    )
    assert Settings.of(json.loads(json.dumps(dataclasses.asdict(changed)))) == changed
    assert Settings.of({}) == SETTINGS
    assert hash(Settings.of(dataclasses.asdict(changed))) == hash(changed)


def test_values_by_name() -> None:
    changed = SETTINGS.changed(["loudness.quiet=-40", "warp.rings=1.1, 1.3,1.7", "steps=2"])
    assert (changed.loudness.quiet, changed.warp.rings, changed.steps) == (-40.0, (1.1, 1.3, 1.7), 2)
    assert changed.differing(SETTINGS) == {"loudness.quiet": -40.0, "warp.rings": (1.1, 1.3, 1.7), "steps": 2}
    assert SETTINGS.differing(SETTINGS) == {}
    assert {"loudness.quiet", "warp.rings", "steps", "renderer"} <= set(SETTINGS.names())


@pytest.mark.parametrize("text", ["loudness.quiet", "loudness.silence=1", "loudness=1", "loudness.quiet.x=1"])
def test_unknown_names_of_a_group_are_said(text: str) -> None:
    with pytest.raises(InputError, match=r"is not known; allowed are NAME=VALUE of loudness\.\S+, .*loudness\.quiet,"):
        SETTINGS.changed([text])


@pytest.mark.parametrize("text", ["quiet=-40", "=3", ".", ""])
def test_unknown_groups_are_said(text: str) -> None:
    with pytest.raises(InputError, match=r"is not known; allowed are NAME=VALUE of renderer, .*loudness\.\*, own_way"):
        SETTINGS.changed([text])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("loudness.quiet=soft", "float; it is -47.0 now"),
        ("loudness.quiet=nan", "float"),
        ("life.blink_seconds=1,2", "float,float,float; it is 0.08,0.05,0.14 now"),
        ("steps=1.5", "int"),
    ],
)
def test_values_of_another_kind_are_said(text: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"its value must be {kind}"):
        SETTINGS.changed([text])


def test_renderers_and_motions_that_there_are_none_of() -> None:
    with pytest.raises(InputError, match="allowed are 1 to 1000"):
        SETTINGS.changed(["steps=0"])
    for text in ("renderer=camera", "motion=none"):
        with pytest.raises(ModelError, match="is not known; allowed"):
            SETTINGS.changed([text])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("references.max_mouths=0", "is 0; allowed are 1 to 120"),
        ("life.blink_gap=0,0", "is 0,0; allowed are 0.22 to 22, 0.55 to 55"),
        ("life.blink_gap=3,2.5", "3,2.5; each must be less than the next"),
        ("lips.shut=2.304", "lips.shut and lips.parted: 2.304,2.304; each must be less"),
        ("life.lid_room=-1", "is -1; allowed are 0 to 1.4"),
        ("loudness.quiet=inf", "is inf; allowed are -470 to 0"),
        ("watching.wary=1" + 400 * "0", "is inf; allowed are 1 to 80"),
        ("head.strain=2", "is 2; allowed are 0.01 to 1"),
        ("surroundings.patch=30,5", "is 30,5; allowed are 1 to 29, 1 to 7"),
        ("still.size=-5", "is -5; allowed are 64 to 8192"),
    ],
)
def test_values_that_nothing_can_come_of_are_said(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SETTINGS.changed([text])


def test_ranges_are_of_settings_that_there_are() -> None:
    named = [*ranges.NEVER_ZERO, *ranges.OTHER, *(name for names in ranges.RISING for name in names)]
    assert not set(named) - set(SETTINGS.names())


def test_values_of_another_kind_in_a_folder_are_said() -> None:
    assert Settings.of({"life": {"lid_room": 1}}).life.lid_room == 1
    for wrong in ({"life": {"lid_room": "1"}}, {"steps": 1.5}, {"steps": True}, {"life": {"lid_room": None}}):
        with pytest.raises(TypeError, match="by default"):
            Settings.of(wrong)


def test_a_setting_is_heeded(painter_model: Model) -> None:
    """From the model to where it is used, in a record that does not know the model."""
    patient = dataclasses.replace(painter_model, settings=painter_model.settings.changed(["finding.min_score=0.9"]))
    assert patient.face_finder.settings.finding.min_score == 0.9
    assert patient.geometry.settings is patient.settings
    assert painter_model.face_finder.settings.finding.min_score == 0.5


def test_every_setting_changes_the_models_hash(painter_model: Model) -> None:
    def moved(name: str, value: Any) -> str:
        texts = {"renderer": "denoiser", "motion": "linear" if value == "motion" else "motion"}
        if name in texts:
            return f"{name}={texts[name]}"
        parts = value if isinstance(value, tuple) else (value,)
        return f"{name}={','.join(str(part + 1 if isinstance(part, int) else 0.99 * part) for part in parts)}"

    flat = {name: _at(painter_model.settings, name) for name in SETTINGS.names() if name != "finding.steady_squares"}
    hashes = {
        dataclasses.replace(painter_model, settings=painter_model.settings.changed([moved(name, value)])).hash
        for name, value in flat.items()
    }
    assert len(hashes | {painter_model.hash}) == len(flat) + 1


def _at(record: object, name: str) -> Any:
    for part in name.split("."):
        record = getattr(record, part)
    return record
