"""Stored weights: the folder `weights` of the source, no part of the package: training and evaluation use it."""

from __future__ import annotations

import os
from pathlib import Path

from difftalk.errors import DataError

VARIABLE = "DIFFTALK_WEIGHTS"  # of the environment, names the folder where the package is not run from its source


def stored(name: str) -> Path:
    """The file of this name. Raises DataError."""
    folder = Path(os.environ.get(VARIABLE) or Path(__file__).parents[3] / "weights")
    if not (folder / name).is_file():
        raise DataError(f"{name} is not in {folder}; clone the repository, and let {VARIABLE} name its folder weights")
    return folder / name
