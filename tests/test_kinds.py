"""The table of kinds: every recipe finds its kind, and a checkpoint its recipe."""

from __future__ import annotations

import dataclasses
import json

import pytest

from difftalk.errors import DataError, DifftalkError, InputError
from difftalk.training.checkpoint import Checkpoint
from difftalk.training.data_choice import DataChoice
from difftalk.training.kinds.first_stage import FIRST_STAGE, FirstStageRecipe
from difftalk.training.kinds.motion import LINEAR, MOTION
from difftalk.training.kinds.painter import PAINTER
from difftalk.training.kinds.sync import SYNC
from difftalk.training.kinds.table import KINDS, RECIPES, kind_of, recipe_named, recipe_of
from difftalk.training.recipes import to_dict


def held(kind: str, recipe: dict[str, object]) -> Checkpoint:
    return Checkpoint(kind, json.loads(json.dumps(recipe)), {}, {}, {}, 0, 0.0, {}, "")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_of_one_kind_and_survives_a_checkpoint(name: str) -> None:
    for key, recipe in RECIPES[name].items():
        assert recipe.name == key
        assert [kind.name for kind in KINDS if kind.recipe is type(recipe) and kind.takes(recipe)] == [name]
        assert recipe_of(held(name, to_dict(recipe))) == recipe


def test_a_motion_without_a_network_is_another_kind() -> None:
    recipe = MOTION.recipes["debug"]
    assert kind_of(recipe) is MOTION
    assert kind_of(dataclasses.replace(recipe, network=False)) is LINEAR
    assert kind_of(recipe_named("motion", "linear")) is LINEAR


def test_weights_from_before_recipes_named_their_type() -> None:
    old = {name: value for name, value in to_dict(FIRST_STAGE.recipes["default"]).items() if name != "type"}
    assert isinstance(recipe_of(held("first-stage", old)), FirstStageRecipe)


def test_what_this_version_does_not_know() -> None:
    values = to_dict(PAINTER.recipes["debug"])
    for kind, recipe, said in (
        ("voice", values, "'voice' net is not known"),
        ("painter", {**values, "type": "Other"}, "'Other' is not known to this version"),
        ("painter", {**values, "more": 1}, "'more' is not known to this version"),
    ):
        with pytest.raises(DifftalkError, match=said):
            recipe_of(held(kind, recipe))


def test_what_no_model_folder_holds() -> None:
    with pytest.raises(DataError, match="SyncExpert is no net that a model folder holds"):
        SYNC.exported.graphs(SYNC.build(SYNC.recipes["debug"]))


def test_data_is_asked_for_by_all_but_recipes_for_trying_out() -> None:
    for kind in KINDS:
        for recipe in kind.recipes.values():
            if recipe.name.endswith("debug"):
                with kind.source(recipe, DataChoice()) as source:
                    batch = source.batch(0)
                assert isinstance(batch, kind.batch)
                assert len(batch) == recipe.schedule.batch
            else:
                with pytest.raises(InputError, match="no data was given"):
                    kind.source(recipe, DataChoice())


def test_settings_of_the_data() -> None:
    choice, others = DataChoice.of(["data.rights=open", "lpips=false", "data.aside=true"])
    assert (choice.rights, choice.aside, others) == ("open", True, ["lpips=false"])
    for wrong in ("data.aside=maybe", "data.right=open"):
        with pytest.raises(InputError, match="allowed are data"):
            DataChoice.of([wrong])
