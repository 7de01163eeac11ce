"""The shelf: a batch follows from its step however one comes there, rows are replaced, processes make the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.face.space import REGION_SIZE
from difftalk.model import Model
from difftalk.nets.sizes import AUDIO_TOKENS
from difftalk.speech.features import FEATURE_SIZE
from difftalk.training.batches import RenderBatch
from difftalk.training.render_data import RenderSource
from difftalk.training.shelf import CRATE, Shelf, crate


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
    assert batch.target.shape == (4, 3, *REGION_SIZE)
    assert batch.composite.shape == (4, 5, *REGION_SIZE)
    assert batch.audio.shape == (4, AUDIO_TOKENS, FEATURE_SIZE)
    assert {getattr(batch, field.name).dtype for field in dataclasses.fields(batch)} == {torch.float32}
    assert float(batch.composite.abs().max()) <= 1 + 1e-6
    assert float(batch.composite[:, 3:].min()) >= 0
    assert [len(b) for b in shelf.validation()] == [3]


def test_bytes_are_the_pictures(source: RenderSource) -> None:
    held = crate(source, 1)
    row = source.row(CRATE)
    pictures = np.concatenate([row[name] for name in ("target", "reference", "previous", "composite")])
    scale = np.array([127.5] * 12 + [255] * 2, np.float32)[:, None, None]
    shift = np.array([1] * 12 + [0] * 2, np.float32)[:, None, None]
    np.testing.assert_allclose(held["pictures"][0], (pictures + shift) * scale, atol=0.51)
    np.testing.assert_array_equal(held["audio"][0], row["audio"])


def test_processes_make_the_same_rows(source: RenderSource, shelf: Shelf) -> None:
    with Shelf(source, batch_size=4, rows=2 * CRATE, uses=1, workers=1) as other:
        assert same(other.batch(2), shelf.batch(2))


@pytest.mark.parametrize(("rows", "uses"), [(3, 1), (8, 0)])
def test_a_shelf_too_small_is_refused(source: RenderSource, rows: int, uses: int) -> None:
    with pytest.raises(InputError, match="at least a batch"):
        Shelf(source, batch_size=4, rows=rows, uses=uses, workers=0)
