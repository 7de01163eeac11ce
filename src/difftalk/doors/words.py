"""The command line's words for what messages and notes name as Python does: `keep_tail=True` is --keep-tail there."""

from __future__ import annotations

import re
from typing import Final

OPTIONS: Final = {
    "articulation": "--articulation",
    "blinks": "--blinks",
    "chosen": "--protocol",
    "fit": "--fit",
    "head_from": "--head-from",
    "head_motion": "--head-motion",
    "i3d": "--i3d",
    "inception": "--inception",
    "keep_tail": "--keep-tail",
    "overwrite": "--overwrite",
    "own_way": "--own-way",
    "precision": "--precision",
    "recipe": "--recipe",
    "seconds": "--seconds",
    "seed": "--seed",
    "settings": "--set",
    "size": "--size",
    "steps": "--steps",
    "write_hdtf": "difftalk prepare --layout hdtf",
    "write_tasks": "difftalk evaluate --tasks",
}

_NAMED: Final = re.compile(r"`(\w+)(?:=([^`]*))?`")


def typed(text: str) -> str:
    """A message as somebody reads it who types commands; names that no option has stay."""
    return _NAMED.sub(_option, text)


def _option(found: re.Match[str]) -> str:
    name, value = found.groups()
    if name not in OPTIONS:
        return found[0]
    return OPTIONS[name] if value in (None, "True") else f"{OPTIONS[name]} {value}"
