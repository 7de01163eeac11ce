"""Packs read: what a packed clip gives is what the sample gave, and training from either is the same."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from difftalk.arrays import Image
from difftalk.data.pack import TOP, PackedSample, decode_frame, encode_frame, pack_at, samples_of
from difftalk.data.packer import Options, pack_samples
from difftalk.data.sample import Sample
from difftalk.errors import DataError
from difftalk.face.space import CLOSE_SIZE, REGION_X, REGION_Y
from difftalk.model import Model
from difftalk.training.batches import RenderBatch
from difftalk.training.kinds.table import kind_of, recipe_named
from difftalk.training.motion_data import MotionSource
from difftalk.training.render_data import RenderSource
from difftalk.training.run import train_kind
from difftalk.training.shelf import Shelf


@pytest.fixture(scope="module")
def folder(sample: Sample, painter_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn clip with all of its frames, without loss: OpenCV's quality 101."""
    out = tmp_path_factory.mktemp("packs") / "whole"
    pack_samples(
        [sample],
        out,
        model=painter_model,
        options=Options(megabytes=5, quality=101, frame_quality=101, mesh_components=8),
    )
    return out


@pytest.fixture(scope="module")
def packed(folder: Path) -> PackedSample:
    found = samples_of(folder)[0]
    assert isinstance(found, PackedSample)
    return found


def test_pictures_come_back(portrait: Image) -> None:
    back = decode_frame(np.frombuffer(encode_frame(portrait, 90), np.uint8))
    assert back.shape == portrait.shape
    rows = slice(*REGION_Y), slice(*REGION_X)
    error = np.mean((back[rows].astype(float) - portrait[rows]) ** 2)
    assert 10 * np.log10(255**2 / error) > 36
    assert (back[:TOP] == back[TOP]).all()


def test_a_packed_clip_is_the_clip(sample: Sample, packed: PackedSample) -> None:
    assert packed.record == dataclasses.replace(sample.record, source="clip.mp4")
    np.testing.assert_array_equal(packed.numbers, np.arange(28))
    np.testing.assert_array_equal(packed.seconds, sample.seconds)
    np.testing.assert_allclose(packed.alignments, sample.alignments, rtol=1e-6)
    for i in (0, 13, 27):
        np.testing.assert_allclose(packed.aligned_mesh(i), sample.aligned_mesh(i), atol=1 / 64)
        difference = np.abs(packed.frame(i)[TOP:].astype(int) - sample.frame(i)[TOP:])
        assert difference.mean() < 2
        assert packed.close_up(i).shape == (*CLOSE_SIZE, 3)
        assert np.abs(packed.close_up(i).astype(int) - sample.close_up(i)).mean() < 2
        np.testing.assert_array_equal(packed.close_corner(i), sample.close_corner(i))
    for read in (packed.frame, packed.close_up, packed.close_corner):
        np.testing.assert_array_equal(read(-1), read(27))
    scale = np.hypot(*sample.alignments[0, 0, :2])
    np.testing.assert_allclose(packed.meshes, sample.meshes, atol=1 / 32 / scale)


def test_speech_is_nearly_the_clip_s(sample: Sample, packed: PackedSample) -> None:
    truth = np.asarray(sample.speech, np.float32)
    assert packed.speech.shape == truth.shape
    apart = ((packed.speech - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()
    assert apart < 0.1
    rows = np.arange(-3, 20)
    np.testing.assert_allclose(packed.features(rows), packed.speech[np.clip(rows, 0, None)], rtol=2e-3, atol=2e-3)
    voice = packed.pack.voice
    made = packed.components * voice.spread @ voice.basis.astype(np.float32) + voice.mean
    np.testing.assert_allclose(made, packed.speech, rtol=2e-3, atol=5e-3)


def test_a_packed_clip_goes_to_other_processes(packed: PackedSample) -> None:
    packed.frame(0)
    sent = pickle.dumps(packed)
    assert len(sent) < 5000
    np.testing.assert_array_equal(pickle.loads(sent).frame(5), packed.frame(5))


def test_what_a_pack_has_not(packed: PackedSample) -> None:
    for name in ("waveform", "blendshapes"):
        with pytest.raises(DataError, match=f"is a pack, which has no {name}s?; give the folder of difftalk prepare"):
            getattr(packed, name)


@pytest.mark.parametrize("kind", ["painter", "denoiser", "folds"])
def test_losses_are_those_of_the_samples(kind: str, sample: Sample, packed: PackedSample, model: Model) -> None:
    sources = [RenderSource([s], model.geometry, batch_size=3, validation=[s]) for s in (sample, packed)]
    recipe = recipe_named(kind, "debug")
    net, found = kind_of(recipe).build(recipe), []
    for source in sources:
        with Shelf(source, batch_size=3, rows=8, uses=1, workers=0) as shelf:
            batches: list[RenderBatch] = [*source.validation(), shelf.batch(0)]
        with torch.no_grad():
            losses = [
                kind_of(recipe).loss_of(net, batch, recipe, None, torch.Generator().manual_seed(0)) for batch in batches
            ]
        found.append([float(loss.total) for loss in losses])
    assert found[1] == pytest.approx(found[0], rel=0.01, abs=1e-4)


def test_rows_are_those_of_the_samples(sample: Sample, packed: PackedSample, model: Model) -> None:
    sources = [RenderSource([s], model.geometry, batch_size=1) for s in (sample, packed)]
    for number in range(6):
        one, other = (source.row(number) for source in sources)
        np.testing.assert_allclose(other["landmarks"], one["landmarks"], atol=1e-3)
        np.testing.assert_allclose(other["shape"], one["shape"], atol=0.02)
        for name in ("has_previous", "weight"):
            np.testing.assert_array_equal(other[name], one[name])
        np.testing.assert_allclose(other["sharpness"], one["sharpness"], rtol=0.02)
        for name in ("target", "composite", "reference", "previous", "skin", "warped"):
            assert np.abs(other[name] - one[name]).mean() < 0.02, name


def test_motion_learns_from_every_frame(sample: Sample, painter_model: Model, folder: Path) -> None:
    found = pack_at(folder)
    assert found is not None
    assert found.silences.shape[2] == 1152
    sources = [
        MotionSource([s], painter_model.geometry, batch_size=4, silences=found.silences, validation=[s])
        for s in (sample, found.samples[0])
    ]
    one, other = (source.batch(1) for source in sources)
    torch.testing.assert_close(other.shape, one.shape, rtol=0, atol=1e-3)
    torch.testing.assert_close(other.opening, one.opening, rtol=0, atol=1e-4)
    torch.testing.assert_close(other.mask, one.mask)


@pytest.mark.parametrize("kind", ["painter", "folds", "motion"])
def test_training_takes_a_pack(kind: str, folder: Path, tmp_path: Path) -> None:
    assert train_kind(kind, folder, tmp_path, recipe="debug", steps=1).startswith("1 steps")


def test_a_pack_of_another_format(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "pack.json").read_text())
    (tmp_path / "pack.json").write_text(json.dumps(index | {"format": 0}))
    with pytest.raises(DataError, match="has format 0, this version reads 2; run difftalk pack again"):
        samples_of(tmp_path)
    (tmp_path / "pack.json").write_text("[]")
    with pytest.raises(DataError, match="is not a pack's index"):
        samples_of(tmp_path)


def test_a_pack_without_validation_people(folder: Path) -> None:
    assert len(samples_of(folder, split="train")) == 1
    with pytest.raises(DataError, match="is a pack that holds no clip of split val"):
        samples_of(folder, split="val")
