"""Records within records: from names and texts to values of the kinds that stand there, and back.

Knows nothing of what the values are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from difftalk.errors import InputError

RecordT = TypeVar("RecordT")


def filled(record: RecordT, values: Mapping[str, Any]) -> RecordT:
    """The record with other values; lists become the tuples that they were."""
    assert is_dataclass(record)
    known = {one.name for one in fields(record)}
    if unknown := values.keys() - known:
        raise TypeError(f"unknown settings {', '.join(sorted(unknown))}")
    made = {name: _like(getattr(record, name), value) for name, value in values.items()}
    return replace(record, **made)  # type: ignore[type-var]


def _like(now: Any, value: Any) -> Any:
    if is_dataclass(now):
        return filled(now, value)
    if isinstance(now, tuple):
        return tuple(_like(one, other) for one, other in zip(now, value, strict=True))
    return value


def parsed(text: str, value: str, now: Any) -> Any:
    """A value of the kind that stands there now."""
    parts = value.split(",")
    wanted = now if isinstance(now, tuple) else (now,)
    if len(parts) == len(wanted) and not any(isinstance(one, tuple) for one in wanted):
        try:
            made = tuple(type(one)(part.strip()) for one, part in zip(wanted, parts, strict=True))
        except ValueError:
            made = ()
        if made and all(one == one for one in made):
            return made if isinstance(now, tuple) else made[0]
    kind = ",".join(type(one).__name__ for one in wanted)
    raise InputError(f"setting {text!r}: its value must be {kind}; it is {_shown(now)} now")


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Of records within records: every value by its dotted name."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return out
