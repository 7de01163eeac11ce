"""The kinds of nets, by name and by recipe; and what is trained, from its path alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from torch import nn

from difftalk.errors import DataError, InputError
from difftalk.training.checkpoint import Checkpoint, load_checkpoint
from difftalk.training.kinds.denoiser import DENOISER
from difftalk.training.kinds.first_stage import FIRST_STAGE
from difftalk.training.kinds.folds import FOLDS
from difftalk.training.kinds.head import HEAD
from difftalk.training.kinds.kind import Kind
from difftalk.training.kinds.motion import LINEAR, MOTION
from difftalk.training.kinds.painter import PAINTER
from difftalk.training.kinds.published import PUBLISHED, PUBLISHED_FIRST_STAGE
from difftalk.training.kinds.sync import SYNC
from difftalk.training.recipes import Recipe, record_of

AnyKind: TypeAlias = Kind[Any, Any, Any, Any]
# Of those that share a name the first is that of weights from before there were several.
KINDS: Final[tuple[AnyKind, ...]] = (
    PAINTER,
    FOLDS,
    FIRST_STAGE,
    DENOISER,
    MOTION,
    LINEAR,
    SYNC,
    HEAD,
    PUBLISHED_FIRST_STAGE,
    PUBLISHED,
)
RECIPES: Final[Mapping[str, Mapping[str, Recipe]]] = {
    name: {key: recipe for kind in KINDS if kind.name == name for key, recipe in kind.recipes.items()}
    for name in dict.fromkeys(kind.name for kind in KINDS)
}


def recipe_named(kind: str, name: str) -> Recipe:
    """RECIPES[kind][name], or a clear error."""
    if kind not in RECIPES:
        raise InputError(f"{kind!r} cannot be trained; allowed: {', '.join(RECIPES)}")
    if name not in RECIPES[kind]:
        raise InputError(f"{kind} has no recipe {name!r}; it has {', '.join(RECIPES[kind])}")
    return RECIPES[kind][name]


def kind_of(recipe: Recipe) -> AnyKind:
    """The kind that a recipe is for."""
    return next(kind for kind in KINDS if kind.recipe is type(recipe) and kind.takes(recipe))


def recipe_of(checkpoint: Checkpoint) -> Recipe:
    """The recipe that a checkpoint holds."""
    types = {kind.recipe.__name__: kind.recipe for kind in KINDS if kind.name == checkpoint.kind}
    if not types:
        raise DataError(f"a {checkpoint.kind!r} net is not known here; known are {', '.join(RECIPES)}")
    name = checkpoint.recipe.get("type", next(iter(types)))
    if name not in types:
        raise InputError(f"the recipe's type {name!r} is not known to this version")
    recipe: Recipe = record_of(types[name], checkpoint.recipe)
    return recipe


def load_net(path: Path, *, average: bool = True) -> tuple[Checkpoint, nn.Module]:
    """The trained net (its average as a rule) in evaluation mode."""
    checkpoint = load_checkpoint(path)
    net: nn.Module = kind_of(recipe_of(checkpoint)).filled(checkpoint, path, average=average)
    return checkpoint, net
