"""Settings: kept with the model whatever they are, changed by name, and all of a frame's numbers are among them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from difftalk.errors import InputError, ModelError
from difftalk.model import Model
from difftalk.settings import Settings
from drawn import SETTINGS


def test_what_json_makes_of_them_is_taken_back() -> None:
    changed = SETTINGS.changed(["renderer=painter", "life.periods=2,4,8", "mouths.press=0.02", "cover.least=5"])
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
        ("life.periods=1,2", "float,float,float; it is 3.1,5.3,8.9 now"),
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
        return f"{name}={','.join(str(type(part)(part + 1)) for part in parts)}"

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
