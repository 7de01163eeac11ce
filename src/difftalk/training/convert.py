"""Checkpoints of others -> a folder to train on from and to export: the published layout, and CompVis's vq-f4 files.

    convert(Path("last.ckpt"), Path("runs/published"))

Reads tensors and nothing else: whatever else a file holds is neither run nor kept. Every tensor has to be one that is
known, and none may be missing.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

from difftalk.errors import DataError, OutputError
from difftalk.nets.published import LATENT, PaperFirstStageSizes, PaperSizes, PublishedDiffTalk
from difftalk.nets.published_layout import DENOISER, FIRST_STAGE, expected, from_published, published_name
from difftalk.training.checkpoint import Checkpoint, code_version, save_converted
from difftalk.training.kinds.published import PUBLISHED, PUBLISHED_FIRST_STAGE, PaperFirstStageRecipe, PaperRecipe
from difftalk.training.recipes import Recipe, to_dict

IGNORED: Final = ("loss.",)  # what a first stage's file holds of its training
_TENSORS: Final = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


def convert(file: Path, out: Path) -> str:
    """Writes OUT/checkpoint.safetensors and says in a line what it holds. Raises DataError, OutputError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder; give a new one")
    state = read_state(file)
    if any(name.startswith(DENOISER) for name in state):
        checkpoint, what = _whole(state, file), "the published system"
    elif "encoder.conv_in.weight" in state:
        checkpoint, what = _first_stage(state, file), "a first stage"
    else:
        raise DataError(
            f"{file}: its {len(state)} tensors are neither the published DiffTalk's nor a VQ first stage's; nothing is "
            "known of other layouts"
        )
    save_converted(checkpoint, out)
    return f"{what}: {sum(value.numel() for value in checkpoint.net.values()):,} numbers: {out}"


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch or Lightning wrote, by name; those of its `state_dict`, where it has one."""
    if not file.is_file():
        raise DataError(f"{file} does not exist; give a checkpoint")
    try:
        content = torch.load(
            file,
            map_location="cpu",
            weights_only=False,  # the reader below makes nothing but tensors
            mmap=zipfile.is_zipfile(file),
            pickle_module=_tensors_only(),
        )
    except Exception as error:  # torch raises half a dozen kinds for a broken file
        raise DataError(f"{file} is no checkpoint or is cut off ({type(error).__name__}); fetch it again") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise DataError(f"{file} holds no table of tensors; give a checkpoint with a state_dict")
    return dict(state)


class _Nothing:
    """Stands for any object that is no tensor."""

    def __init__(self, *given: object, **named: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None: ...

    def extend(self, values: object) -> None: ...

    def __reduce__(self) -> Any:
        raise TypeError("not to be written")


def _tensors_only() -> ModuleType:
    """A module like pickle whose reader makes tensors and tables, and nothing of any other class."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in _TENSORS or (module == "torch" and name.endswith("Storage")):
                return super().find_class(module, name)
            return type(name, (_Nothing,), {})

    made = ModuleType("tensors_only")
    made.Unpickler = Unpickler  # type: ignore[attr-defined]
    made.load = lambda file, **named: Unpickler(file, **named).load()  # type: ignore[attr-defined]
    made.loads = lambda data, **named: Unpickler(io.BytesIO(data), **named).load()  # type: ignore[attr-defined]
    return made


def _whole(state: Mapping[str, Tensor], file: Path) -> Checkpoint:
    sizes = _sizes(state, file)
    shapes = _own_shapes(sizes)
    _check(state, expected(shapes, sizes), file)
    net, average = from_published(state, shapes, sizes)
    updates = int(state["model_ema.num_updates"])
    return _checkpoint(PUBLISHED.name, PaperRecipe("converted", sizes), net, average, updates)


def _first_stage(state: Mapping[str, Tensor], file: Path) -> Checkpoint:
    prefixed = {FIRST_STAGE + name: value for name, value in state.items() if not name.startswith(IGNORED)}
    sizes = PaperSizes(first_stage=_first_stage_sizes(prefixed, file))
    shapes = {name: shape for name, shape in _own_shapes(sizes).items() if name.startswith("first_stage.")}
    wanted = {name: shape for name, shape in expected(shapes, sizes).items() if name.startswith(FIRST_STAGE)}
    _check(prefixed, wanted, file)
    net = {
        own.removeprefix("first_stage."): prefixed[published_name(own, sizes)].reshape(shape)
        for own, shape in shapes.items()
    }
    return _checkpoint(PUBLISHED_FIRST_STAGE.name, PaperFirstStageRecipe("converted", sizes.first_stage), net, net, 0)


def _checkpoint(kind: str, recipe: Recipe, net: dict[str, Tensor], average: dict[str, Tensor], step: int) -> Checkpoint:
    return Checkpoint(kind, to_dict(recipe), net, average, {}, step, 0.0, {}, code_version())


def _own_shapes(sizes: PaperSizes) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: value.shape for name, value in PublishedDiffTalk(sizes).state_dict().items()}


def _check(state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], file: Path) -> None:
    missing, foreign = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    odd = [name for name in wanted if name in state and tuple(state[name].shape) != wanted[name]]
    for names, what in ((missing, "lacks"), (foreign, "holds what is not known:"), (odd, "has another shape of")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise DataError(f"{file} {what} {names[0]}{more}; {len(wanted)} tensors are expected")


def _width(state: Mapping[str, Tensor], name: str, file: Path) -> int:
    """First length of a tensor."""
    if name not in state or not state[name].dim():
        raise DataError(f"{file} lacks {name}; the whole checkpoint is needed")
    return int(state[name].shape[0])


def _sizes(state: Mapping[str, Tensor], file: Path) -> PaperSizes:
    """As the shapes tell them. They do not tell the norms' groups: 32, as published, or a narrow net's base."""
    base = _width(state, f"{DENOISER}input_blocks.0.0.weight", file)
    levels = 0
    while f"{DENOISER}input_blocks.{1 + 3 * levels}.0.in_layers.2.weight" in state:
        levels += 1
    widths = [_width(state, f"{DENOISER}input_blocks.{1 + 3 * i}.0.in_layers.2.weight", file) for i in range(levels)]
    first_stage = _first_stage_sizes(state, file)
    picture = 64 << (len(first_stage.multipliers) - 1)
    return PaperSizes(base, tuple(width // base for width in widths), min(32, base), picture, first_stage)


def _first_stage_sizes(state: Mapping[str, Tensor], file: Path) -> PaperFirstStageSizes:
    encoder = f"{FIRST_STAGE}encoder."
    base, levels = _width(state, f"{encoder}conv_in.weight", file), 0
    while f"{encoder}down.{levels}.block.0.conv1.weight" in state:
        levels += 1
    widths = [_width(state, f"{encoder}down.{i}.block.0.conv1.weight", file) for i in range(levels)]
    codes = state.get(f"{FIRST_STAGE}quantize.embedding.weight")
    if codes is None or codes.dim() != 2 or codes.shape[1] != LATENT:
        raise DataError(f"{file} has no codebook of {LATENT} channels; VQ-f4 with embed_dim 3 is what is read")
    return PaperFirstStageSizes(base, tuple(width // base for width in widths), min(32, base), len(codes))
