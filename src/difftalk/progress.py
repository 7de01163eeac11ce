"""How work that takes long says how far it is: one shape everywhere."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much
