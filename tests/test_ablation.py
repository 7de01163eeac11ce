"""Variants that are trained anew: each really lacks its part, and the table tells them apart."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from difftalk.data.sample import Sample
from difftalk.face.space import PATCH_SIZE
from difftalk.model import Model
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.lpips import LPIPS
from difftalk.nets.sizes import LATENT_SIZE, SHARPNESS, FirstStageSizes
from difftalk.training.ablation import COLUMNS, VARIANTS, ablate, table
from difftalk.training.batches import FakeSource, RenderBatch
from difftalk.training.kinds.denoiser import DENOISER
from difftalk.training.render_data import RenderSource


def test_every_variant_is_trained_and_goes_on(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    text = ablate(None, tmp_path, minutes=5, recipe="debug", steps=4, progress=lambda *parts: told.append(parts))
    total = 2 * len(VARIANTS)
    assert [(done, of) for _, done, of in told] == [(number, total) for number in range(1, total + 1)]
    assert told[0][0].startswith("whole, first-stage: ")
    assert len(text.splitlines()) == 2 + len(VARIANTS)
    found = json.loads((tmp_path / "ablation.json").read_text())
    assert {row["step"] for row in found.values()} == {4}
    assert found["whole"]["val_l1"] != found["no composite path"]["val_l1"]
    assert ablate(None, tmp_path, minutes=5, recipe="debug", steps=4) == text


def test_the_table_leaves_out_what_was_not_measured() -> None:
    text = table({"whole": {"step": 3, "val_lpips": 0.1}, "no warp": {"step": 3, "val_lpips": 0.2}})
    assert text.splitlines()[0] == "| variant | what | steps | lpips |"
    assert "0.2000" in text.splitlines()[3]


def test_its_columns_are_what_validation_says() -> None:
    recipe, batch = DENOISER.recipes["debug"], FakeSource("denoiser").batch(0)
    assert isinstance(batch, RenderBatch)
    with torch.no_grad():
        figures = DENOISER.validation(DENOISER.build(recipe).eval(), batch, LPIPS.shipped()).figures
    assert {name.removeprefix("val_") for name in COLUMNS} <= figures.keys()


def test_without_the_composite_path_the_latent_says_all() -> None:
    torch.manual_seed(0)
    net = FirstStage(FirstStageSizes((8, 8, 8), (8, 8, 8), conditional=False)).eval()
    latent, composites, sharp = (
        torch.randn(1, 8, *LATENT_SIZE),
        torch.rand(2, 1, 5, *PATCH_SIZE),
        torch.zeros(1, SHARPNESS),
    )
    with torch.no_grad():
        one, other = (net.decode(latent, composite, sharp) for composite in composites)
        assert torch.equal(one, other)
        assert not torch.equal(one, net.decode(latent + 1, composites[0], sharp))


def test_without_the_warp_the_reference_stays(sample: Sample, model: Model) -> None:
    def made(*, warped: bool) -> torch.Tensor:
        source = RenderSource([sample], model.geometry, batch_size=3, validation=[sample], warped=warped)
        return source.validation()[0].composite

    with_warp, without = made(warped=True), made(warped=False)
    assert torch.equal(with_warp[:, 3], without[:, 3])  # the mouth's place is the frame's in both
    inner = without[:, 3] == 1
    assert not without[:, :3].permute(0, 2, 3, 1)[inner].any()
    assert not torch.equal(with_warp[:, :3], without[:, :3])
