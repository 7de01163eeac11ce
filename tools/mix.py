"""Weights between two of the same net.

    python tools/mix.py BEFORE AFTER SHARE OUT    OUT = BEFORE + SHARE (AFTER - BEFORE), a .safetensors

What was trained on long from BEFORE draws its own people better and strangers often worse; between the two lies what
draws strangers better than either (WiSE-FT, Wortsman et al. 2022). BEFORE and AFTER are runs or .safetensors.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from difftalk.errors import DifftalkError, InputError
from difftalk.training.checkpoint import Checkpoint, load_checkpoint, load_state, save_weights
from difftalk.training.kinds.table import load_net


def mixed(before: Path, after: Path, share: float) -> Checkpoint:
    """As AFTER, with its average and net between the two. share: 0 is BEFORE, 1 AFTER."""
    if not 0 <= share <= 1:
        raise InputError(f"a share of {share}: allowed are 0 to 1")
    checkpoint, net = load_net(after)
    start = load_checkpoint(before).average
    load_state(net, start, name=str(before))
    between = {
        name: start[name] + share * (value - start[name]) if value.is_floating_point() else value
        for name, value in checkpoint.average.items()
    }
    return replace(checkpoint, net=between, average=between)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    before, after, share, out = arguments
    try:
        save_weights(mixed(Path(before), Path(after), float(share)), Path(out))
    except (DifftalkError, ValueError) as error:
        print(f"mix: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
