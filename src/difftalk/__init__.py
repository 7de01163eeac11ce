"""Make a portrait speak.

    talker = difftalk.Talker.from_pretrained()

The public list is `Talker`, the types that go into and come out of it, and the errors; everything else is for reading.
Importing this package imports nothing heavy: a name is looked up when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from difftalk.engine import Graph
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
    from difftalk.media.fragments import Fragments
    from difftalk.model import Model
    from difftalk.talk.footage import Footage
    from difftalk.talk.identity import Identity, Manner
    from difftalk.talk.live import Live, Spoken
    from difftalk.talk.portrait import Portrait
    from difftalk.talk.session import Session, TalkingFrame
    from difftalk.talk.talker import Result, Talker

__all__ = [
    "DataError",
    "DifftalkError",
    "FaceError",
    "Footage",
    "Fragments",
    "Graph",
    "Identity",
    "InputError",
    "Live",
    "Manner",
    "MediaError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "OutputError",
    "Portrait",
    "Result",
    "Session",
    "Spoken",
    "Talker",
    "TalkingFrame",
    "__version__",
]

__version__ = "0.1.0"

_MODULES = {
    "Footage": "talk.footage",
    "Fragments": "media.fragments",
    "Graph": "engine",
    "Identity": "talk.identity",
    "Live": "talk.live",
    "Manner": "talk.identity",
    "Model": "model",
    "Portrait": "talk.portrait",
    "Result": "talk.talker",
    "Session": "talk.session",
    "Spoken": "talk.live",
    "Talker": "talk.talker",
    "TalkingFrame": "talk.session",
}  # the others are errors


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
