"""A checkpoint: one file that explains itself, written whole or not at all.

Holds the net, its average (EMA), the optimiser, the step, the seconds trained, random states, the recipe, the
version of the code, the adversary where there is one. `save_checkpoint` and `load_checkpoint` are inverses.
`save_weights` writes what is worth keeping of one, the average in fp16, as safetensors: enough to start or export from.
A run keeps both. Knows no kind of net: a recipe is kept as plain values.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from difftalk.errors import DataError
from difftalk.training.recipes import Recipe, record_of, to_dict

FORMAT: Final = 1
FILE: Final = "checkpoint.pt"
CONVERTED: Final = "checkpoint.safetensors"
WEIGHTS: Final = "weights.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """kind: its name. recipe: as `to_dict` gives it. net, average, optimiser: state dicts.

    step: steps done; seconds: spent on them.
    """

    kind: str
    recipe: dict[str, Any]
    net: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    step: int
    seconds: float
    random: dict[str, Tensor]
    code: str
    adversary: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(checkpoint: Checkpoint, run: Path) -> None:
    """Writes RUN/checkpoint.pt and RUN/weights.safetensors, each beside itself first: a crash leaves the one before."""
    content = {held.name: getattr(checkpoint, held.name) for held in fields(checkpoint)}
    content |= {"format": FORMAT}
    temporary = run / f".{FILE}.{os.getpid()}"
    try:
        torch.save(content, temporary)
        os.replace(temporary, run / FILE)
    finally:
        temporary.unlink(missing_ok=True)
    save_weights(checkpoint, run / WEIGHTS)


def save_weights(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the average as safetensors: large floats in fp16, kind and recipe in the header."""
    average = {
        name: value.half().contiguous() if value.is_floating_point() and value.numel() > 1024 else value.contiguous()
        for name, value in checkpoint.average.items()
    }
    _write(average, path, checkpoint)


def _write(tensors: dict[str, Tensor], path: Path, checkpoint: Checkpoint) -> None:
    from safetensors.torch import save_file

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, temporary, metadata=_header(checkpoint))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _header(checkpoint: Checkpoint) -> dict[str, str]:
    return {
        "kind": checkpoint.kind,
        "recipe": json.dumps(checkpoint.recipe),
        "step": str(checkpoint.step),
        "seconds": str(checkpoint.seconds),
        "code": checkpoint.code,
    }


def save_converted(checkpoint: Checkpoint, run: Path) -> None:
    """Writes RUN/checkpoint.safetensors: net and average bit for bit, to start or export from, not to resume."""
    run.mkdir(parents=True, exist_ok=True)
    tensors = {f"net.{name}": value.contiguous() for name, value in checkpoint.net.items()}
    tensors |= {
        f"average.{name}": value.contiguous()
        for name, value in checkpoint.average.items()
        if value.data_ptr() != checkpoint.net[name].data_ptr()
    }
    _write(tensors, run / CONVERTED, checkpoint)


def _load_weights(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        kind, recipe = header["kind"], json.loads(header["recipe"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} holds no weights of difftalk or is damaged ({type(error).__name__})") from None
    net = _under("net.", tensors) or tensors
    return Checkpoint(
        kind,
        recipe,
        net,
        net | _under("average.", tensors),
        {},
        int(header["step"]),
        float(header["seconds"]),
        {},
        header["code"],
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_checkpoint(path: Path) -> Checkpoint:
    """From a checkpoint file, the run's folder that holds one, or weights as safetensors. Raises DataError."""
    if path.suffix == ".safetensors" and path.is_file():
        return _load_weights(path)
    if (path / CONVERTED).is_file() and not (path / FILE).is_file():
        return _load_weights(path / CONVERTED)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{path} holds no {FILE}; give the folder of a training run")
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        found = content.pop("format")
    except Exception as error:  # torch raises half a dozen kinds for a broken file
        raise DataError(f"{file} is not a checkpoint or is damaged ({type(error).__name__})") from None
    if found != FORMAT:
        raise DataError(f"{file} has format {found}, this version reads {FORMAT}; train again or use the older version")
    return Checkpoint(**content)


def load_state(net: nn.Module, state: Mapping[str, Tensor], *, name: str) -> None:
    """Strict, with one line for what does not fit."""
    own = net.state_dict()
    odd = sorted(set(own) ^ set(state)) or sorted(key for key in own if own[key].shape != state[key].shape)
    if odd:
        raise DataError(f"{name} does not fit the net of this recipe: {odd[0]} and {len(odd) - 1} more; use its recipe")
    net.load_state_dict(dict(state))


def check_resumable(found: Checkpoint, kind: str, recipe: Recipe, run: Path) -> None:
    """A run goes on only as what it was: same kind, same recipe but for its length and how often it reports."""
    if found.kind != kind:
        raise DataError(f"{run} holds a {found.kind} run, not {kind}; give another folder")
    before, now = found.recipe, to_dict(recipe)
    if before.get("type", now["type"]) == now["type"]:  # what a newer version has beside it is as it was
        before = to_dict(record_of(type(recipe), before))
    before, now = _comparable(before), _comparable(now)
    changed = [key for key in before if before[key] != now.get(key)]
    if changed:
        raise DataError(f"{run} was trained with another {', '.join(changed)}; resume with its recipe or start from it")


def _comparable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    free = ("steps", "validate_every", "checkpoint_minutes")
    return {**recipe, "schedule": {name: value for name, value in recipe["schedule"].items() if name not in free}}


@lru_cache(maxsize=1)
def code_version() -> str:
    """The package's version and a hash of the sources that decide training."""
    from importlib.metadata import PackageNotFoundError, version

    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted([*(root / "nets").glob("*.py"), *(root / "training").rglob("*.py")]):
        digest.update(path.read_bytes())
    try:
        number = version("difftalk")
    except PackageNotFoundError:
        number = "0"
    return f"{number}+{digest.hexdigest()[:12]}"
