"""The shelf: a batch follows from its step however one comes there, rows are replaced, processes make the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.face.space import PATCH_SIZE
from difftalk.model import Model
from difftalk.nets.sizes import AUDIO_TOKENS, FOLDS_SIZE, SHARPNESS
from difftalk.speech.features import FEATURE_SIZE
from difftalk.training.batches import RenderBatch
from difftalk.training.render_data import RenderSource
from difftalk.training.shelf import CRATE, Shelf, _unpacked, crate


@pytest.fixture(scope="module")
def source(sample: Sample, model: Model) -> RenderSource:
    return RenderSource([sample], model.geometry, batch_size=3, seed=4, validation=[sample])


@pytest.fixture
def shelf(source: RenderSource) -> Iterator[Shelf]:
    with Shelf(source, batch_size=4, rows=2 * CRATE, uses=1, workers=0) as made:
        yield made


def same(one: RenderBatch, other: RenderBatch) -> bool:
    names = [field.name for field in dataclasses.fields(one)]
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_a_batch_is_a_function_of_its_step(source: RenderSource, shelf: Shelf) -> None:
    unbroken = [shelf.batch(step) for step in range(7)]
    with Shelf(source, batch_size=4, rows=2 * CRATE, uses=1, workers=0) as resumed:
        assert all(same(resumed.batch(step), unbroken[step]) for step in (5, 6, 1, 4, 0))
        resumed.close()
        assert same(resumed.batch(3), unbroken[3])
    assert not same(unbroken[0], unbroken[1])


def test_rows_are_used_as_often_as_asked_and_then_replaced(source: RenderSource) -> None:
    with Shelf(source, batch_size=8, rows=2 * CRATE, uses=2, workers=0) as shelf:
        made = [shelf.batch(step) and shelf._next for step in range(9)]
    assert made == [2, 2, 3, 3, 4, 4, 5, 5, 6]  # crates: 8 samples drawn are 4 new rows


def test_shapes_and_ranges(shelf: Shelf) -> None:
    batch = shelf.batch(0)
    assert batch.target.shape == (4, 3, *PATCH_SIZE)
    assert batch.composite.shape == (4, 5, *PATCH_SIZE)
    assert batch.skin.shape == (4, 3, *FOLDS_SIZE)
    assert batch.warped.shape == (4, 5, *FOLDS_SIZE)
    assert batch.sharpness.shape == (4, SHARPNESS)
    assert batch.audio.shape == (4, AUDIO_TOKENS, FEATURE_SIZE)
    assert {getattr(batch, field.name).dtype for field in dataclasses.fields(batch)} == {torch.float32}
    for layers in (batch.composite, batch.warped):
        assert float(layers.abs().max()) <= 1 + 1e-6
        assert float(layers[:, 3:].min()) >= 0
    assert [len(b) for b in shelf.validation()] == [3]


def test_bytes_are_the_pictures(source: RenderSource) -> None:
    held = crate(source, 1)
    row = source.row(CRATE)
    for kind, names in {
        "mouths": ("target", "reference", "previous", "composite"),
        "regions": ("skin", "warped"),
    }.items():
        pictures = np.concatenate([row[name] for name in names])
        colours = len(pictures) - 2
        scale = np.array([127.5] * colours + [255] * 2, np.float32)[:, None, None]
        shift = np.array([1] * colours + [0] * 2, np.float32)[:, None, None]
        np.testing.assert_allclose(held[kind][0], (pictures + shift) * scale, atol=0.51)
        assert held[kind].dtype == np.uint8
    np.testing.assert_array_equal(held["audio"][0], row["audio"])
    np.testing.assert_array_equal(held["sharpness"][0], row["sharpness"])
    row_bytes = sum(values[0].nbytes for values in held.values())
    assert row_bytes < 0.42e6  # as the module says


def test_bytes_come_back_as_the_pictures(source: RenderSource) -> None:
    held = {name: torch.from_numpy(values) for name, values in crate(source, 0).items()}
    batch = _unpacked(held)
    for i, row in enumerate(source.row(number) for number in range(3)):
        for field in dataclasses.fields(batch):
            atol = 2e-3 if field.name == "audio" else 0.0041
            np.testing.assert_allclose(getattr(batch, field.name)[i].numpy(), row[field.name], atol=atol)


def test_processes_make_the_same_rows(source: RenderSource, shelf: Shelf) -> None:
    with Shelf(source, batch_size=4, rows=2 * CRATE, uses=1, workers=1) as other:
        assert same(other.batch(2), shelf.batch(2))


@pytest.mark.parametrize(("rows", "uses"), [(3, 1), (8, 0)])
def test_a_shelf_too_small_is_refused(source: RenderSource, rows: int, uses: int) -> None:
    with pytest.raises(InputError, match="at least a batch"):
        Shelf(source, batch_size=4, rows=rows, uses=uses, workers=0)
