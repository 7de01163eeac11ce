"""The command line's words for what messages and notes name as Python does: `keep_tail=True` is --keep-tail there."""

from __future__ import annotations

import re
from typing import Final

from difftalk.errors import InputError

OPTIONS: Final = {
    "articulation": "--articulation",
    "blinks": "--blinks",
    "channels": "--channels",
    "chosen": "--protocol",
    "fit": "--fit",
    "frame_rate": "--frame-rate",
    "head_from": "--head-from",
    "head_motion": "--head-motion",
    "i3d": "--i3d",
    "inception": "--inception",
    "kind": "--kind",
    "keep_tail": "--keep-tail",
    "overwrite": "--overwrite",
    "own_way": "--own-way",
    "precision": "--precision",
    "rate": "--rate",
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


def gains_of(texts: list[str]) -> dict[str, float]:
    """'motion=1.4' and the like."""
    gains = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            gains[name] = float(number)
        except ValueError:
            gains[name] = 0.0
        if name not in ("motion", "linear") or gains[name] <= 0:
            raise InputError(f"--gain {text}: allowed are motion=NUMBER and linear=NUMBER, over 0")
    return gains


def only(settings: list[str] | None, name: str) -> str | None:
    """The value of the one setting that a command knows."""
    value = None
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        if key != name or not equals:
            raise InputError(f"--set {setting}: allowed here is {name}=VALUE")
        value = text
    return value
