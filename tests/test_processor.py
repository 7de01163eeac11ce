"""The machine: what it tells of itself, and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from difftalk.speed.processor import Processor, peak_bytes

TOLD = "processor\t: 0\nmodel name\t: A Maker's 7\nflags\t\t: fpu avx2 avx512f avx512_bf16 pse\n\nprocessor\t: 1\n"


def test_flags_are_those_that_matter(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(TOLD)
    here = Processor.here(told)
    assert (here.name, here.flags) == ("A Maker's 7", ("avx2", "avx512_bf16", "avx512f"))
    assert here.cores >= 1


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    here = Processor.here(tmp_path / "missing")
    assert here.name
    assert here.flags == ()


def test_peak_grows_with_what_is_held(tmp_path: Path) -> None:
    before = peak_bytes()
    held = np.ones(before // 8 + 8_000_000)
    assert peak_bytes() - before > 50_000_000
    assert held.all()
    assert peak_bytes(tmp_path / "missing") > 50_000_000
