"""Integers for a model folder: its nets are shown frames of training people, and kept so where that costs little.

    for judged in add_integers(Path("MODEL"), Path("DATA")):
        print(judged)

Ranges are seen on some people, and what integers cost is judged on those kept aside: pictures beside the true ones,
with one net at a time in integers. A net that costs more stays as it is. Knows nothing of how a graph is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from difftalk.arrays import Array
from difftalk.data.sample import Sample
from difftalk.engine import Graph, load
from difftalk.face.mouth import Geometry
from difftalk.graphs import LATENT_SHAPE
from difftalk.model import Model, int8_path
from difftalk.nets.lpips import LPIPS
from difftalk.training.data_choice import DataChoice
from difftalk.training.quantise import Example, quantise
from difftalk.training.render_data import RenderSource, Row

NETS: Final = ("folds", "composite_path", "denoiser", "decoder")  # in the order of a frame
SHOWN: Final = 96  # frames on which ranges are seen
JUDGED: Final = 64
MOST_LOSS: Final = 1.02  # LPIPS in integers over that in f32
HALF_LEVELS: Final = 127.5  # grey levels for 1 of [-1, 1]


@dataclass(frozen=True)
class Judged:
    """What a net costs in integers. loss: LPIPS over that in f32. levels: mean difference from f32, grey levels."""

    net: str
    loss: float
    levels: float

    @property
    def fits(self) -> bool:
        return self.loss <= MOST_LOSS


@dataclass(frozen=True)
class Drawn:
    """What the nets were given for a frame. mouth: (3, 128, 176), skin: (3, 72, 88), what they made of it."""

    examples: dict[str, Example]
    mouth: Array
    skin: Array

    def shown(self, net: str) -> Array:
        """The picture in which a net shows."""
        return self.skin if net == "folds" else self.mouth


def add_integers(folder: Path, data: Path) -> list[Judged]:
    """Writes NAME.int8.onnx beside those graphs of a model folder that lose little by it; what each of NETS loses.

    data: prepared clips, or a pack. Raises DataError.
    """
    model = Model.load(folder, precision="f32")
    paths = {name: folder / model.graphs[name].file for name in NETS}
    people, aside = DataChoice(folder=data, aside=True).parts()
    graphs = {name: model.graph(name) for name in (*NETS, "encoder")}
    given = [drawn(row, graphs).examples for row in _rows(people, model.geometry, SHOWN)]
    for name, path in paths.items():
        quantise(path, int8_path(path), [examples[name] for examples in given])
    done = list(_judged(paths, graphs, list(_rows(aside or people, model.geometry, JUDGED))))
    for judged in done:
        if not judged.fits:
            int8_path(paths[judged.net]).unlink()
    return done


def drawn(row: Row, graphs: Mapping[str, Graph]) -> Drawn:
    """A frame as it is drawn in use, in one step from noise that is always the same."""
    composite, sharpness, shape = (row[name][None] for name in ("composite", "sharpness", "shape"))
    noise = np.random.default_rng(0).standard_normal(LATENT_SHAPE).astype(np.float32)
    seen: dict[str, Example] = {
        "folds": {"composite": row["warped"][None], "shape": shape},
        "composite_path": {"composite": composite, "sharpness": sharpness},
    }
    features = graphs["composite_path"](**seen["composite_path"])
    seen["denoiser"] = {
        "noisy": noise,
        "time": np.ones(1, np.float32),
        "composite": features["eighth"],
        "reference": graphs["encoder"](picture=row["reference"][None])["latent"],
        "previous": row["has_previous"] * graphs["encoder"](picture=row["previous"][None])["latent"],
        **{name: row[name][None] for name in ("audio", "landmarks", "shape")},
    }
    latent = noise - graphs["denoiser"](**seen["denoiser"])["velocity"]
    seen["decoder"] = {"latent": latent, "composite": composite, **features}
    picture = graphs["decoder"](**seen["decoder"])["picture"][0]
    skin = row["warped"][:3] + graphs["folds"](**seen["folds"])["change"][0]
    return Drawn(seen, np.clip(picture, -1, 1), np.clip(skin, -1, 1))


def _rows(samples: Sequence[Sample], geometry: Geometry, count: int) -> Iterator[Row]:
    source = RenderSource(samples, geometry, batch_size=1)
    return (source.row(number) for number in range(count))


def _judged(paths: Mapping[str, Path], graphs: Mapping[str, Graph], rows: Sequence[Row]) -> Iterator[Judged]:
    eyes = LPIPS.shipped().eval()
    plain = [drawn(row, graphs) for row in rows]
    for name, path in paths.items():
        changed = {**graphs, name: load(int8_path(path), precision="int8")}
        pictures = [drawn(row, changed).shown(name) for row in rows]
        before = [one.shown(name) for one in plain]
        truths = [row["skin" if name == "folds" else "target"] for row in rows]
        loss = _distance(pictures, truths, eyes) / max(_distance(before, truths, eyes), 1e-9)
        apart = float(np.mean([np.abs(a - b).mean() for a, b in zip(pictures, before, strict=True)]))
        yield Judged(name, loss, HALF_LEVELS * apart)


@torch.no_grad()
def _distance(pictures: Sequence[Array], truths: Sequence[Array], eyes: LPIPS) -> float:
    """Mean LPIPS."""
    pairs = zip(pictures, truths, strict=True)
    return float(np.mean([float(eyes(torch.from_numpy(a)[None], torch.from_numpy(b)[None])) for a, b in pairs]))
