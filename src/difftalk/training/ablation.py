"""Ablations that have to be trained anew: the same small nets, without a part, for the same time.

    difftalk ablate DATA -o runs/ablation --minutes 60

Each variant is a first stage and the denoiser of its latents, from random weights, half of the time each. Judged by the
trainer's own validation, so for the shipped sizes with this little training: beside each other, not beside a release.
A run that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from difftalk.progress import Progress
from difftalk.training.run import train_kind

COLUMNS: Final = ("val_lpips", "val_tint", "val_texture", "val_lpips_own")


@dataclass(frozen=True)
class Variant:
    """settings: of the first stage; the denoiser's holds the same under first_stage_size."""

    about: str
    settings: tuple[str, ...] = ()
    warped: bool = True


VARIANTS: Final[Mapping[str, Variant]] = {
    "whole": Variant("nothing left out"),
    "no warp": Variant("the reference as it is, no mesh carries it and no mouth bank fills it", warped=False),
    "no composite path": Variant("the decoder sees the latent alone", ("size.conditional=false",)),
}


def ablate(
    data: Path | None,
    out: Path,
    *,
    minutes: float,
    recipe: str = "default",
    threads: int = 0,
    steps: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Trains every variant and writes OUT/ablation.json and OUT/ablation.md; returns the table."""
    found: dict[str, dict[str, float]] = {}
    for name, variant in VARIANTS.items():
        folder = out / name.replace(" ", "-")
        coder, denoiser = folder / "first-stage", folder / "denoiser"
        carried = [f"first_stage_{setting}" for setting in variant.settings]
        kinds = (
            ("first-stage", coder, list(variant.settings)),
            ("denoiser", denoiser, [*carried, f"first_stage={coder}"]),
        )
        for number, (kind, run, settings) in enumerate(kinds, 1):
            done = train_kind(
                kind,
                data,
                run,
                recipe=recipe,
                settings=settings,
                minutes=minutes / 2,
                steps=steps,
                threads=threads,
                warped=variant.warped,
            )
            if progress is not None:
                progress(f"{name}, {kind}: {done}", len(kinds) * len(found) + number, len(kinds) * len(VARIANTS))
        found[name] = last_figures(denoiser)
    (out / "ablation.json").write_text(json.dumps(found, indent=1) + "\n")
    text = table(found)
    (out / "ablation.md").write_text(text + "\n", encoding="utf-8")
    return text


def last_figures(run: Path) -> dict[str, float]:
    """The last validation of a run."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    judged = [row for row in rows if any(name.startswith("val_") for name in row)]
    return {name: value for name, value in judged[-1].items() if name.startswith("val_") or name == "step"}


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """As Markdown."""
    columns = [name for name in COLUMNS if any(name in row for row in found.values())]
    heads = ["variant", "what", "steps", *(name.removeprefix("val_") for name in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, row in found.items():
        cells = [f"{row[column]:.4f}" if column in row else "–" for column in columns]
        lines.append("| " + " | ".join([name, VARIANTS[name].about, f"{row['step']:.0f}", *cells]) + " |")
    return "\n".join(lines)
