"""What a kind of net is: all that the loop, a run and an export have to know of it. Knows no kind in particular."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from difftalk.errors import DataError, InputError
from difftalk.nets.lpips import LPIPS
from difftalk.settings import Settings
from difftalk.training.adversary import Adversary
from difftalk.training.average import follow
from difftalk.training.batches import Batch, FakeSource, Source
from difftalk.training.checkpoint import Checkpoint, load_checkpoint, load_state
from difftalk.training.data_choice import DataChoice
from difftalk.training.picture_loss import Loss
from difftalk.training.recipes import Recipe, record_of
from difftalk.training.validation import Validation

RecipeT = TypeVar("RecipeT", bound=Recipe)
NetT = TypeVar("NetT", bound=nn.Module)
BatchT = TypeVar("BatchT", bound=Batch)
ToolsT = TypeVar("ToolsT")
Opened = AbstractContextManager[Source]
Example = dict[str, Tensor]


@dataclass(frozen=True)
class GraphSpec:
    """One graph of a net: the part that is exported, an example of its inputs, the names of its outputs."""

    net: nn.Module
    inputs: Example
    outputs: tuple[str, ...]
    precision: Literal["f32", "bf16"]


class Part(nn.Module):
    """One of a net's functions as a net of its own."""

    def __init__(self, net: nn.Module, function: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(*inputs)


def load_average(net: nn.Module, path: Path) -> None:
    """The average of a run or of weights, into a net of the same sizes."""
    load_state(net, load_checkpoint(path).average, name=str(path))


def _as_it_is(net: nn.Module, source: Source, recipe: Recipe, start_from: Path | None) -> None:
    """Begins with random weights, or a run's."""
    if start_from is not None:
        load_average(net, start_from)


def _brought(recipe: Recipe, choice: DataChoice) -> Opened:
    raise InputError("whoever trains this kind of net brings its data")


def _no_critic(
    recipe: Recipe, tools: object, device: torch.device, autocast: torch.autocast | None = None
) -> Adversary[Any] | None:
    return None


def _no_graphs(net: nn.Module) -> dict[str, GraphSpec]:
    raise DataError(f"{type(net).__name__} is no net that a model folder holds")


def _not_amplified(net: nn.Module, data: Path | None, gain: float | None) -> None:
    pass


def _same(net: nn.Module, settings: Settings) -> Settings:
    return settings


@dataclass(frozen=True)
class Exported(Generic[NetT]):
    """What a net becomes in a model folder.

    graphs: by their names there. amplify: to a gain that is known or measured on prepared clips. settings: the
    folder's, from its base's. half: whether weights are stored in fp16 as a rule.
    """

    graphs: Callable[[NetT], dict[str, GraphSpec]] = _no_graphs
    amplify: Callable[[NetT, Path | None, float | None], None] = _not_amplified
    settings: Callable[[NetT, Settings], Settings] = _same
    half: bool = True


@dataclass(frozen=True)
class Kind(Generic[RecipeT, NetT, BatchT, ToolsT]):
    """name: in commands and checkpoints; kinds that share one differ in their recipes' class or in what they take.

    build: the untrained net. source: of batches, opened for a run. tools: what loss, validation and critic need besides
    net and batch. begin: fills a new net, also from a run to start from. follow: how the average follows the net.
    closed_form: whether a net is done once it has begun.
    """

    name: str
    recipe: type[RecipeT]
    recipes: Mapping[str, RecipeT]
    batch: type[BatchT]
    build: Callable[[RecipeT], NetT]
    tools: Callable[[RecipeT, torch.device], ToolsT]
    loss: Callable[[NetT, BatchT, RecipeT, ToolsT, torch.Generator], Loss]
    validation: Callable[[NetT, BatchT, ToolsT], Validation]
    source: Callable[[RecipeT, DataChoice], Opened] = _brought
    takes: Callable[[RecipeT], bool] = lambda recipe: True
    begin: Callable[[NetT, Source, RecipeT, Path | None], None] = _as_it_is
    critic: Callable[[RecipeT, ToolsT, torch.device, torch.autocast | None], Adversary[BatchT] | None] = _no_critic
    follow: Callable[[nn.Module, nn.Module, float], None] = follow
    closed_form: bool = False
    exported: Exported[NetT] = field(default_factory=Exported)

    def loss_of(self, net: NetT, batch: Batch, recipe: RecipeT, tools: ToolsT, random: torch.Generator) -> Loss:
        """The loss of one batch."""
        if not isinstance(batch, self.batch):
            raise DataError(f"{type(net).__name__} cannot learn from {type(batch).__name__}")
        return self.loss(net, batch, recipe, tools, random)

    def filled(self, checkpoint: Checkpoint, path: Path, *, average: bool = True) -> NetT:
        """The trained net (its average as a rule) in evaluation mode. path: named where it does not fit."""
        net = self.build(record_of(self.recipe, checkpoint.recipe))
        load_state(net, checkpoint.average if average else checkpoint.net, name=str(path))
        return net.eval()


def placed(net: NetT, device: torch.device) -> NetT:
    """On the device, its convolutions channels last, as batches are."""
    return net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def faked(data: str, recipe: Recipe, choice: DataChoice) -> Opened | None:
    """Made-up batches where a recipe for trying things out is given no data. data: which, see FakeSource."""
    if choice.folder is not None or not recipe.name.endswith("debug"):
        return None
    return nullcontext(FakeSource(data, batch_size=recipe.schedule.batch, seed=recipe.schedule.seed))


def shipped_lpips(device: torch.device, *, wanted: bool) -> LPIPS | None:
    """The tool of kinds that draw, for their losses and figures."""
    return placed(LPIPS.shipped(), device) if wanted else None
