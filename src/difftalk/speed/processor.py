"""The machine that a figure was measured on: its processor, and how much memory this process has had."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from difftalk.process import cores

TOLD: Final = re.compile(r"avx2|avx512\w*|avx_vnni|amx\w*|f16c|fma|asimd|asimddp|i8mm|bf16|sve\w*")  # flags that matter


@dataclass(frozen=True)
class Processor:
    """cores: that this process may run on. flags: of those that say how quickly nets are computed."""

    name: str
    cores: int
    flags: tuple[str, ...]

    @classmethod
    def here(cls, told: Path = Path("/proc/cpuinfo")) -> Processor:
        """This machine's; where the system does not tell its flags, none."""
        facts: dict[str, str] = (
            dict(re.findall(r"^([\w ]+?)\s*:[ \t]*(.*)$", told.read_text(), re.MULTILINE)) if told.is_file() else {}
        )
        flags = str(facts.get("flags") or facts.get("Features") or "").split()
        name = facts.get("model name") or platform.processor() or platform.machine()
        return cls(name, cores(), tuple(sorted(flag for flag in set(flags) if TOLD.fullmatch(flag))))


def peak_bytes(told: Path = Path("/proc/self/status")) -> int:
    """The most memory that this process has held at once."""
    if told.is_file():  # Linux counts a parent's memory in `ru_maxrss` of the processes that it begins
        found = re.search(r"^VmHWM:\s*(\d+) kB", told.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
