"""Recipes: everything that decides a training run but the data, as frozen records in one table per kind.

    recipe = RECIPES["painter"]["default"]
    recipe = override(recipe, ["optimiser.lr=1e-4", "lpips=false"])

Knows nothing of data or nets' insides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from difftalk.engine import Precision
from difftalk.errors import InputError
from difftalk.nets import sizes
from difftalk.nets.published import PAPER, PAPER_FIRST_STAGE, PaperFirstStageSizes, PaperSizes
from difftalk.nets.sizes import CriticSizes, DenoiserSizes, FirstStageSizes, MotionSizes, PainterSizes, SyncSizes


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


@dataclass(frozen=True)
class PainterRecipe:
    """lpips: whether the loss has an LPIPS term."""

    name: str
    size: PainterSizes
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    lpips: bool = True


@dataclass(frozen=True)
class FirstStageRecipe:
    name: str
    size: FirstStageSizes
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    lpips: bool = True


@dataclass(frozen=True)
class DenoiserRecipe:
    """first_stage: run or weights of the first stage whose latents are denoised; none: the one that is started from.

    along: whether the first stage's decoder and composite path learn as well, on the denoiser's own latents.
    critic: weight of the adversarial loss on the inner mouth; 0 is none. region_every: LPIPS sees the whole region of
    every n-th sample only.
    """

    name: str
    size: DenoiserSizes
    first_stage_size: FirstStageSizes
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    lpips: bool = True
    first_stage: str = ""
    along: bool = False
    critic: float = 0.0
    critic_size: CriticSizes = field(default_factory=CriticSizes)
    region_every: int = 1


@dataclass(frozen=True)
class MotionLoss:
    """Weights, see `motion_loss`. opening to rounding: of 1 - r."""

    shape: float = 1.0
    velocity: float = 0.0
    components: float = 1.0
    opening: float = 1.0
    width: float = 0.5
    jaw: float = 0.5
    rounding: float = 0.5
    closure: float = 0.0  # square error of the opening, in its spreads, where the mouth is closed
    closed_under: float = 0.25  # of the opening's spread over the neutral's: what counts as closed
    expert: float = 0.3  # the sync expert's, where the recipe names one


@dataclass(frozen=True)
class MotionRecipe:
    """network: False trains nothing but the closed form. ridge is per sample, for features of spread 1.

    expert: run or weights of a sync expert that judges what is generated; none: no such loss. expert_members: how many
    of the network's members heed it: it gains in width and rounding and costs a little in opening.
    """

    name: str
    size: MotionSizes
    network: bool = True
    ridge: float = 0.03
    network_ridge: float = 0.3  # of the network's own regression
    fit_batches: int = 6  # batches from which regression and whitening are fitted
    speeds: bool = False  # whether clips are played at other speeds as well
    rooms: int = 0  # in how many other rooms each clip is heard as well
    optimiser: Optimiser = Optimiser(lr=2e-3, weight_decay=0.1, warm_up=30, ema=0.99)
    schedule: Schedule = Schedule(steps=150, batch=256, precision="f32", validate_every=50)
    loss: MotionLoss = MotionLoss()
    expert: str = ""
    expert_members: int = 1


@dataclass(frozen=True)
class SyncRecipe:
    """fit_batches, speeds: as a motion's."""

    name: str
    size: SyncSizes
    fit_batches: int = 48
    speeds: bool = True
    optimiser: Optimiser = Optimiser(lr=1e-3, weight_decay=0.1, warm_up=50, ema=0.99)
    schedule: Schedule = Schedule(steps=400, batch=96, precision="f32", validate_every=50)


@dataclass(frozen=True)
class PaperFirstStageRecipe:
    """The published first stage's, VQ (Rombach et al. 2022): L1, LPIPS, a patch critic, the codebook's.

    picture: px. critic, codebook: weights.
    """

    name: str
    size: PaperFirstStageSizes
    picture: int = 256
    optimiser: Optimiser = Optimiser(lr=3.6e-5, warm_up=1, final_share=1.0, beta2=0.9, weight_decay=0.0)
    schedule: Schedule = Schedule(precision="f32")
    lpips: bool = True
    critic: float = 0.75
    codebook: float = 1.0
    critic_size: CriticSizes = field(default_factory=CriticSizes)


@dataclass(frozen=True)
class PaperRecipe:
    """The published system's (docs/paper.md). first_stage: run or weights of its first stage.

    checkpointing: whether the denoiser's blocks are computed again on the way back, for less memory. unit_latents:
    whether the first stage is scaled to latents of unit spread; the published one's are used as they are.
    """

    name: str
    size: PaperSizes
    optimiser: Optimiser = Optimiser(lr=6.4e-5, warm_up=1, final_share=1.0, beta2=0.999, clip=0.1, ema=0.9999)
    schedule: Schedule = Schedule(steps=1_000_000, batch=64, parts=8, precision="f32")
    first_stage: str = ""
    checkpointing: bool = True
    unit_latents: bool = False


Recipe = (
    PainterRecipe | FirstStageRecipe | DenoiserRecipe | MotionRecipe | SyncRecipe | PaperFirstStageRecipe | PaperRecipe
)
Kind = Literal["painter", "first-stage", "denoiser", "motion", "sync"]

_DEBUG: Final = Schedule(steps=8, batch=2, precision="f32", validate_every=4, rows=16)

PAINTER: Final = {
    "debug": PainterRecipe("debug", sizes.PAINTER["debug"], schedule=_DEBUG, lpips=False),
    "default": PainterRecipe("default", sizes.PAINTER["default"]),
}
FIRST_STAGE: Final[Mapping[str, FirstStageRecipe | PaperFirstStageRecipe]] = {
    "debug": FirstStageRecipe("debug", sizes.FIRST_STAGE["debug"], schedule=_DEBUG, lpips=False),
    "default": FirstStageRecipe("default", sizes.FIRST_STAGE["default"]),
    "paper": PaperFirstStageRecipe("paper", PAPER_FIRST_STAGE["paper"]),
    "paper-512": PaperFirstStageRecipe("paper-512", PAPER_FIRST_STAGE["paper-512"], picture=512),
    "paper-small": PaperFirstStageRecipe(
        "paper-small",
        PAPER_FIRST_STAGE["paper-small"],
        picture=128,
        optimiser=Optimiser(lr=8e-4, beta2=0.95, weight_decay=0.0),
        schedule=Schedule(batch=4),
        critic=0.0,
    ),
    "paper-debug": PaperFirstStageRecipe(
        "paper-debug", PAPER_FIRST_STAGE["paper-debug"], picture=64, schedule=_DEBUG, lpips=False, critic=0.0
    ),
}
DENOISER: Final[Mapping[str, DenoiserRecipe | PaperRecipe]] = {
    "debug": DenoiserRecipe(
        "debug", sizes.DENOISER["debug"], sizes.FIRST_STAGE["debug"], schedule=_DEBUG, lpips=False, along=True
    ),
    "default": DenoiserRecipe(
        "default", sizes.DENOISER["default"], sizes.FIRST_STAGE["default"], schedule=Schedule(batch=16)
    ),
    "joint": DenoiserRecipe(
        "joint",
        sizes.DENOISER["default"],
        sizes.FIRST_STAGE["default"],
        optimiser=Optimiser(lr=2e-4),
        schedule=Schedule(batch=12),
        along=True,
    ),
    "sharp": DenoiserRecipe(
        "sharp",
        sizes.DENOISER["default"],
        sizes.FIRST_STAGE["default"],
        optimiser=Optimiser(lr=2e-4),
        schedule=Schedule(batch=8),
        along=True,
        critic=0.2,
    ),
    "paper": PaperRecipe("paper", PAPER["paper"]),
    "paper-512": PaperRecipe("paper-512", PAPER["paper-512"]),
    "paper-small": PaperRecipe(
        "paper-small",
        PAPER["paper-small"],
        optimiser=Optimiser(lr=5e-4, clip=1.0),
        schedule=Schedule(batch=8),
        checkpointing=False,
        unit_latents=True,
    ),
    "paper-debug": PaperRecipe("paper-debug", PAPER["paper-debug"], schedule=_DEBUG, unit_latents=True),
}
MOTION: Final = {
    "debug": MotionRecipe("debug", sizes.MOTION["debug"], schedule=_DEBUG, fit_batches=20),
    "linear": MotionRecipe("linear", sizes.MOTION["default"], network=False),
    "default": MotionRecipe("default", sizes.MOTION["default"], speeds=True, rooms=1),
}
SYNC: Final = {
    "debug": SyncRecipe("debug", sizes.SYNC["debug"], schedule=_DEBUG, fit_batches=20),
    "default": SyncRecipe("default", sizes.SYNC["default"]),
}
RECIPES: Final[Mapping[Kind, Mapping[str, Recipe]]] = {
    "painter": PAINTER,
    "first-stage": FIRST_STAGE,
    "denoiser": DENOISER,
    "motion": MOTION,
    "sync": SYNC,
}


def recipe_named(kind: str, name: str) -> Recipe:
    """RECIPES[kind][name], or a clear error."""
    for known, table in RECIPES.items():
        if known == kind:
            if name not in table:
                raise InputError(f"{kind} has no recipe {name!r}; it has {', '.join(table)}")
            return table[name]
    raise InputError(f"{kind!r} cannot be trained; allowed: {', '.join(RECIPES)}")


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
    """Plain values for a checkpoint; the inverse of `from_dict`."""
    return dataclasses.asdict(recipe) | {"type": type(recipe).__name__}


def from_dict(kind: Kind, values: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote."""
    types = {type(recipe).__name__: type(recipe) for recipe in RECIPES[kind].values()}
    own = next(iter(types))  # of weights from before there were several
    fields = {name: value for name, value in values.items() if name != "type"}
    if values.get("type", own) not in types:
        raise InputError(f"the recipe's type {values['type']!r} is not known to this version")
    recipe: Recipe = _build(types[values.get("type", own)], fields)
    return recipe


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
