"""The errors a caller can see.

    DifftalkError
    ├── InputError          a path, option or file that was given cannot be used
    │   ├── MediaError      unreadable or corrupt media, a missing track, no samples
    │   └── FaceError       no face that can be worked on
    ├── OutputError         the output cannot be written
    ├── ModelError          a model folder is missing, incomplete or of another kind
    ├── DataError           prepared data cannot be trained on or evaluated
    └── MissingExtraError   an optional dependency is not installed

A message is one line: what was given, what is allowed, what to do.
"""


class DifftalkError(Exception):
    """Root of every error that difftalk raises on purpose."""


class InputError(DifftalkError):
    """A path, option or file that was given cannot be used."""


class MediaError(InputError):
    """Media that cannot be read, lacks a track, or holds no samples."""


class FaceError(InputError):
    """No face that can be worked on."""


class OutputError(DifftalkError):
    """The output cannot be written."""


class ModelError(DifftalkError):
    """A model folder is missing, incomplete or of another kind."""


class DataError(DifftalkError):
    """Prepared data cannot be trained on or evaluated."""


class MissingExtraError(DifftalkError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed, and is needed here: pip install 'difftalk[{extra}]'")
