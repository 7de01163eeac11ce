"""Recipes: everything that decides a training run but the data, as frozen records.

    recipe = override(recipe_named("painter", "default"), ["optimiser.lr=1e-4", "lpips=false"])

What all kinds share, and how a recipe is changed and kept. A kind's own record and its named recipes lie in its file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from difftalk.engine import Precision
from difftalk.errors import InputError


@dataclass(frozen=True)
class Optimiser:
    """AdamW; the rate warms up, then falls by a cosine over `Schedule.steps` (or the run's minutes)."""

    lr: float = 4e-4
    warm_up: int = 200  # steps
    final_share: float = 0.03  # of lr at the end
    beta2: float = 0.98
    weight_decay: float = 0.01
    clip: float = 1.0  # of the gradient's norm
    ema: float = 0.999  # reached by warm-up: min(ema, (1 + step) / (10 + step))


@dataclass(frozen=True)
class Schedule:
    """steps: over which the rate falls. batch: samples a step, for whoever makes the source.

    rows, uses: of the shelf that kinds which paint learn from: how many are kept, how often one is drawn.
    """

    steps: int = 20_000
    batch: int = 8
    seed: int = 0
    parts: int = 1  # into which a batch is split; gradients add up, memory is that of one part
    precision: Precision = "bf16"  # f32 on processors without it
    validate_every: int = 500  # steps
    checkpoint_minutes: float = 5.0
    rows: int = 1024
    uses: int = 4


class Recipe(Protocol):
    """What the loop needs of any kind's recipe, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...

    @property
    def optimiser(self) -> Optimiser: ...

    @property
    def schedule(self) -> Schedule: ...


# Of recipes for trying things out.
DEBUG: Final = Schedule(steps=8, batch=2, precision="f32", validate_every=4, rows=16)

RecipeT = TypeVar("RecipeT", bound=Recipe)


def override(recipe: RecipeT, settings: Sequence[str]) -> RecipeT:
    """The recipe with values such as 'optimiser.lr=1e-4' put in their place, each parsed as its field's type."""
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"`settings` {setting}: give it as a.b=value")
        recipe = _put(recipe, path.split("."), text, setting)
    return recipe


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain values for a checkpoint; the inverse of `record_of`."""
    return dataclasses.asdict(recipe) | {"type": type(recipe).__name__}


def record_of(recipe: type[RecipeT], values: Mapping[str, Any]) -> RecipeT:
    """The recipe that `to_dict` wrote."""
    made: RecipeT = _build(recipe, {name: value for name, value in values.items() if name != "type"})
    return made


def _build(record: type[Any], values: Mapping[str, Any]) -> Any:
    hints, out = get_type_hints(record), {}
    for name, value in values.items():
        if name not in hints:
            raise InputError(f"the recipe's {name!r} is not known to this version")
        nested = dataclasses.is_dataclass(hints[name])
        out[name] = _build(hints[name], value) if nested else tuple(value) if isinstance(value, list) else value
    return record(**out)


def _put(record: Any, path: list[str], text: str, setting: str) -> Any:
    names = [held.name for held in dataclasses.fields(record)]
    if path[0] not in names:
        raise InputError(f"`settings` {setting}: {path[0]!r} is not known here; allowed: {', '.join(names)}")
    held = getattr(record, path[0])
    if dataclasses.is_dataclass(held):
        if len(path) == 1:
            inside = ", ".join(f"{path[0]}.{field.name}" for field in dataclasses.fields(held))
            raise InputError(f"`settings` {setting}: name one value of it: {inside}")
        value = _put(held, path[1:], text, setting)
    elif len(path) > 1:
        raise InputError(f"`settings` {setting}: {path[0]} is a value and has nothing inside")
    else:
        value = _parse(get_type_hints(type(record))[path[0]], text, setting)
    return dataclasses.replace(record, **{path[0]: value})


def _parse(wanted: Any, text: str, setting: str) -> Any:
    origin = get_origin(wanted)
    if origin is Literal:
        if text not in get_args(wanted):
            raise InputError(f"`settings` {setting}: allowed are {', '.join(get_args(wanted))}")
        return text
    if origin is tuple:
        return tuple(_parse(get_args(wanted)[0], part, setting) for part in text.strip("()").split(",") if part.strip())
    if wanted is bool:
        truth = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in truth:
            raise InputError(f"`settings` {setting}: {text!r} is not true or false")
        return truth[text.lower()]
    try:
        return wanted(text)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}.get(wanted, wanted.__name__)
        raise InputError(f"`settings` {setting}: {text!r} is not {kind}") from None
