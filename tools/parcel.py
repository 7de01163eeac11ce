"""What a training run on another machine sends back, and how it is put together again.

    python parcel.py send RUNS OUT PART      weights of RUNS/PART in pieces; an archive of what tells of all runs
    python parcel.py join OUT FOLDER         the pieces as whole files again, checked, and the archive unpacked
    python parcel.py table RUNS              a line a run

A piece is small enough for any way back. A run whose weights lie inside another's is not sent beside it. Needs nothing
but Pillow; knows of the package that a run holds weights.safetensors, metrics.jsonl and samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any, Final

PIECE: Final = 15 << 20  # bytes
WEIGHTS: Final = ".safetensors"
REPORT: Final = "report.tgz"
SUMMARY: Final = "summary.json"
BEFORE: Final = ("first-stage", "denoiser")  # whose weights lie inside those of what is trained from them
CONTAINED: Final = {"denoiser": BEFORE[:1], "joint": BEFORE, "sharp": BEFORE}
JPEG_QUALITY: Final = 90
SHOWN: Final = ("val_lpips", "val_tint", "val_texture", "val_l1", "val_l1_warp", "val_opening_r")


def send(runs: Path, out: Path, part: str, *, piece: int = PIECE) -> None:
    """Copies what RUNS/PART has so far to OUT, weights in pieces of so many bytes; each file is replaced whole."""
    weights = runs / part / f"weights{WEIGHTS}"
    if weights.is_file():
        content = weights.read_bytes()
        for number, start in enumerate(range(0, len(content), piece)):
            _write(content[start : start + piece], out / f"{part}{WEIGHTS}.{number}")
        for other in CONTAINED.get(part, ()):
            for sent in out.glob(f"{other}{WEIGHTS}.*"):
                sent.unlink()
        (runs / part / SUMMARY).write_text(json.dumps(_summary(content)))
    _send_report(runs, out)


def _summary(weights: bytes) -> dict[str, Any]:
    """What the header of safetensors says of the run, and the file's hash."""
    length = int.from_bytes(weights[:8], "little")
    said = json.loads(weights[8 : 8 + length])["__metadata__"]
    batch = json.loads(said["recipe"])["schedule"]["batch"]
    digest = hashlib.sha256(weights).hexdigest()
    return {"step": int(said["step"]), "seconds": float(said["seconds"]), "batch": batch, "sha256": digest}


def _write(content: bytes, path: Path) -> None:
    half = path.with_name(f".{path.name}")
    half.write_bytes(content)
    os.replace(half, path)


def _send_report(runs: Path, out: Path) -> None:
    """Logs, figures, curves, and of every run the newest sheet."""
    (runs / "table.txt").write_text(table(runs) + "\n")
    half = out / f".{REPORT}"
    with tarfile.open(half, "w:gz") as archive:
        for path in [*runs.glob("*.txt"), *runs.glob("*.log")]:
            archive.add(path, path.name)
        for run in (path for path in runs.iterdir() if path.is_dir()):
            for name in (SUMMARY, "metrics.jsonl", "loss.png"):
                if (run / name).is_file():
                    archive.add(run / name, f"{run.name}/{name}")
            for sheet in sorted(run.glob("samples/*.png"))[-1:]:
                archive.add(_as_jpeg(sheet), f"{run.name}/{sheet.stem}.jpg")
    os.replace(half, out / REPORT)


def _as_jpeg(sheet: Path) -> Path:
    from PIL import Image

    small = sheet.with_suffix(".jpg")
    if not small.is_file():
        Image.open(sheet).convert("RGB").save(small, quality=JPEG_QUALITY)
    return small


def join(out: Path, folder: Path) -> list[str]:
    """Puts everything of OUT together in FOLDER; returns the weights that arrived damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out / REPORT) as archive:
        archive.extractall(folder, filter="data")
    damaged = []
    for first in sorted(out.glob(f"*{WEIGHTS}.0")):
        pieces = sorted(out.glob(f"{first.stem}.*"), key=lambda path: int(path.suffix[1:]))
        content = b"".join(piece.read_bytes() for piece in pieces)
        (folder / first.stem).write_bytes(content)
        summary = json.loads((folder / first.stem.removesuffix(WEIGHTS) / SUMMARY).read_text())
        if hashlib.sha256(content).hexdigest() != summary["sha256"]:
            damaged.append(first.stem)
    return damaged


def table(runs: Path) -> str:
    """Steps, seconds, samples/s, and the first and the last of each validation figure, a line a run."""
    lines = [f"{'run':12} {'steps':>7} {'seconds':>8} {'samples/s':>10}  first -> last validation"]
    for path in sorted(runs.glob(f"*/{SUMMARY}"), key=os.path.getmtime):
        held = json.loads(path.read_text())
        rate = held["step"] * held["batch"] / max(held["seconds"], 1e-9)
        figures = _figures(path.with_name("metrics.jsonl"))
        shown = ", ".join(f"{name[4:]} {figures[name]}" for name in SHOWN if name in figures)
        lines.append(f"{path.parent.name:12} {held['step']:7} {held['seconds']:8.1f} {rate:10.1f}  {shown}")
    return "\n".join(lines)


def _figures(metrics: Path) -> dict[str, str]:
    lines = metrics.read_text().split("\n")[:-1] if metrics.is_file() else []  # without one that is being written
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    judged = [row for row in rows if any(name.startswith("val_") for name in row)]
    if not judged:
        return {}
    return {name: f"{judged[0][name]:.4f} -> {judged[-1][name]:.4f}" for name in judged[0] if name != "step"}


def main(arguments: list[str]) -> int:
    match arguments:
        case ["send", runs, out, part]:
            send(Path(runs), Path(out), part)
        case ["table", runs]:
            print(table(Path(runs)))
        case ["join", out, folder]:
            damaged = join(Path(out), Path(folder))
            print(f"{folder}: " + ", ".join(path.name for path in sorted(Path(folder).glob(f"*{WEIGHTS}"))))
            for name in damaged:
                print(f"{name} is damaged: its pieces do not belong together", file=sys.stderr)
            return 1 if damaged else 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
