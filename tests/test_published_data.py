"""Training data of the published nets: same step, same batch; the lower half empty; references far away."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from difftalk.data.hdtf import Hdtf, read_hdtf, write_hdtf
from difftalk.data.sample import Sample
from difftalk.render.published import NOSE, SEEN
from difftalk.training.batches import FakeSource, PaperBatch
from difftalk.training.published_data import PaperSource, validation_pairs
from test_hdtf import draw_folder

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes of 90, 5 and 4 frames of 96 px; the last is the test's."""
    return draw_folder(tmp_path_factory.mktemp("paper") / "own", [90, 5, 4], size=96)


@pytest.fixture(scope="module")
def data(folder: Path) -> Hdtf:
    return read_hdtf(folder, "train")


@pytest.fixture(scope="module")
def source(data: Hdtf) -> PaperSource:
    return PaperSource(data, batch_size=6, picture_size=SIZE)


def planes(data: Hdtf, c: int, f: int) -> torch.Tensor:
    """A frame's picture as a batch should show it."""
    resized = cv2.resize(data.picture(c, f), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(resized).permute(2, 0, 1) / 127.5 - 1


def found(data: Hdtf, shown: torch.Tensor) -> tuple[int, int]:
    """Which frame of the folder a picture is."""
    frames = [(c, f) for c, count in data.counts.items() for f in range(1, count + 1)]
    distance = [float((planes(data, c, f) - shown).abs().max()) for c, f in frames]
    assert min(distance) < 1e-5
    return frames[int(np.argmin(distance))]


def same(one: PaperBatch, other: PaperBatch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_a_batch_is_a_function_of_seed_and_step(data: Hdtf) -> None:
    one, again, other = (PaperSource(data, batch_size=4, picture_size=SIZE, seed=seed) for seed in (4, 4, 5))
    one.batch(0)
    assert same(one.batch(7), again.batch(7))
    assert not same(one.batch(7), one.batch(8))
    assert not same(one.batch(7), other.batch(7))


def test_shapes_and_ranges(source: PaperSource) -> None:
    batch = source.batch(0)
    assert len(batch) == 6
    for picture in (batch.picture, batch.masked, batch.reference):
        assert picture.shape == (6, 3, SIZE, SIZE)
        assert -1 <= float(picture.min()) < float(picture.max()) <= 1
    assert batch.audio.shape == (6, 8, 16, 29)
    assert batch.landmarks.shape == (6, 39, 2)
    assert {getattr(batch, name).dtype for name in vars(batch)} == {torch.float32}


def test_a_row_is_one_frame_and_a_far_reference(data: Hdtf, source: PaperSource) -> None:
    batch, classes = source.batch(3), set()
    for i in range(len(batch)):
        c, f = found(data, batch.picture[i])
        np.testing.assert_array_equal(batch.audio[i], data.audio(c, f))
        np.testing.assert_allclose(batch.landmarks[i], data.landmarks(c, f)[SEEN] * SIZE / 96, rtol=1e-6)
        there, reference = found(data, batch.reference[i])
        farthest = max(f - 1, data.counts[c] - f)
        assert there == c
        assert abs(reference - f) >= min(60, farthest)
        classes.add(c)
    assert classes <= {1, 2}


def test_every_listed_frame_is_as_likely(data: Hdtf) -> None:
    """5 of 95 frames are of class 2; its pictures' arrays are known."""
    batches = [PaperSource(data, batch_size=100, picture_size=8).batch(step) for step in range(2)]
    short = [torch.from_numpy(data.audio(2, f)) for f in range(1, 6)]
    share = np.mean([any(torch.equal(heard, s) for s in short) for batch in batches for heard in batch.audio])
    assert 0.01 < share < 0.12


def test_rows_below_the_nose_are_empty(data: Hdtf, source: PaperSource) -> None:
    batch = source.batch(1)
    for i in range(len(batch)):
        nose = data.landmarks(*found(data, batch.picture[i]))[NOSE, 1] * SIZE / 96
        row = round(float(nose))
        assert 0.35 * SIZE < row < 0.65 * SIZE
        assert (batch.masked[i, :, row:] == -1).all()
        assert torch.equal(batch.masked[i, :, :row], batch.picture[i, :, :row])


def test_validation_is_of_the_held_out(folder: Path, data: Hdtf) -> None:
    held_out = read_hdtf(folder, "test")
    source = PaperSource(data, batch_size=6, picture_size=SIZE, held_out=held_out)
    (batch,) = source.validation()
    assert len(batch) == 2
    assert [found(held_out, picture)[0] for picture in batch.picture] == [3, 3]
    source.batch(9)
    assert same(batch, source.validation()[0])


def test_validation_looks_at_the_training_s_where_nothing_is_held_out(data: Hdtf) -> None:
    batches = PaperSource(data, batch_size=3, picture_size=SIZE).validation()
    assert [len(batch) for batch in batches] == [3, 1]
    assert [found(data, picture)[0] for batch in batches for picture in batch.picture] == [1, 1, 2, 2]


def test_validation_spreads_over_twelve_classes() -> None:
    counts = dict.fromkeys(range(1, 31), 300)
    pairs = validation_pairs(Hdtf(Path(), [(c, f) for c in counts for f in range(1, 301)], counts))
    classes = [pair.c for pair in pairs]
    assert len(pairs) == 24
    assert len(set(classes)) == 12
    assert (classes[0], classes[-1]) == (1, 30)
    assert {pair.frame for pair in pairs} == {101, 201}
    assert all(abs(pair.frame - pair.reference) >= 60 for pair in pairs)


def test_a_written_sample_trains(sample: Sample, tmp_path: Path) -> None:
    """28 frames: references are the farthest there are; at 256 px landmarks are the stored ones."""
    write_hdtf([sample], tmp_path / "out")
    data = read_hdtf(tmp_path / "out", "train")
    batch = PaperSource(data, batch_size=3, picture_size=256).batch(0)
    assert batch.picture.shape == (3, 3, 256, 256)
    listed = [torch.from_numpy(data.landmarks(1, f)[SEEN]) for f in range(1, 29)]
    for points in batch.landmarks:
        assert any(torch.equal(points, known) for known in listed)
    hidden = (batch.masked == -1).all(1).all(2).float().mean(1)
    assert ((hidden > 0.3) & (hidden < 0.7)).all()  # the rows below a nose at about the middle


def test_the_fake_source_has_them_too() -> None:
    one, again = FakeSource("paper").batch(3), FakeSource("paper").batch(3)
    assert isinstance(one, PaperBatch)
    assert isinstance(again, PaperBatch)
    assert same(one, again)
    assert one.picture.shape == one.masked.shape == one.reference.shape == (2, 3, 64, 64)
    assert one.audio.shape == (2, 8, 16, 29)
    assert one.landmarks.shape == (2, 39, 2)
    assert 0 <= float(one.landmarks.min()) < float(one.landmarks.max()) <= 64
    assert (one.masked[:, :, 32:] == -1).all()
    assert torch.equal(one.masked[:, :, :32], one.picture[:, :, :32])
    assert len(one.to(torch.device("cpu"))) == 2
