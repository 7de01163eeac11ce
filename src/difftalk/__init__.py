"""Make a portrait speak.

    talker = difftalk.Talker.from_pretrained()

`Talker` and the errors are the public list; everything else is for reading. Importing this package imports nothing
heavy: a name is looked up when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from difftalk.errors import (
        DataError,
        DifftalkError,
        FaceError,
        InputError,
        MediaError,
        MissingExtraError,
        ModelError,
        OutputError,
    )
    from difftalk.talk.talker import Talker

__all__ = [
    "DataError",
    "DifftalkError",
    "FaceError",
    "InputError",
    "MediaError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "Talker",
    "__version__",
]

__version__ = "0.1.0"

_MODULES = {"Talker": "difftalk.talk.talker"}  # the others are errors


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, "difftalk.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
