"""The published data layout: what is written is what is read; no holes; nothing half-finished; clear errors."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.data import hdtf
from difftalk.data.hdtf import AUDIO_SHAPE, Hdtf, read_hdtf, write_hdtf
from difftalk.data.sample import Sample
from difftalk.errors import DataError, InputError, OutputError
from difftalk.render.published import LANDMARKS_68, characters_of, rows_around, windows_of


def as_clip(sample: Sample, name: str, split: str = "train", offset: int = 0) -> Sample:
    """The sample under another name."""
    return Sample(sample.folder, dataclasses.replace(sample.record, name=name, split=split, offset=offset))


def draw_folder(folder: Path, counts: Sequence[int], *, size: int = 64, tested: int | None = None) -> Path:
    """A user's own folder: random pictures, landmarks and arrays; the last class, or `tested`, is the test's."""
    rng = np.random.default_rng(0)
    for part in hdtf.PARTS:
        (folder / part).mkdir(parents=True)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for c, count in enumerate(counts, 1):
        for f in range(1, count + 1):
            stem = f"{c}_{f}"
            blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "images" / f"{stem}.jpg"), cv2.resize(blocks, (size, size)))
            points = rng.uniform(0.4 * size, 0.6 * size, (68, 2))
            np.savetxt(folder / "landmarks" / f"{stem}.lms", points, "%.18e")
            np.save(folder / "audio_smooth" / f"{stem}.npy", rng.standard_normal(AUDIO_SHAPE))
            lists["test" if c == (tested or len(counts)) else "train"].append(stem)
    (folder / "data.txt").write_text("".join(f"clip{c} {count}\n" for c, count in enumerate(counts, 1)))
    for split, stems in lists.items():
        (folder / f"data_{split}.txt").write_text("\n".join(stems))
    return folder


@pytest.fixture(scope="module")
def written(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hdtf") / "out"
    write_hdtf([as_clip(sample, "one"), as_clip(sample, "and two", offset=3)], out)
    return out


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "own", [3, 2])


def test_lists_and_counts(written: Path) -> None:
    assert (written / "data.txt").read_text() == "one 28\nand_two 28\n"
    train, test = read_hdtf(written, "train"), read_hdtf(written, "test")
    assert train.counts == test.counts == {1: 28, 2: 28}
    assert train.frames == [(1, f) for f in range(1, 29)]
    assert test.frames == [(2, f) for f in range(1, 29)]
    for part, suffix in hdtf.PARTS.items():
        assert {p.name for p in (written / part).iterdir()} == {
            f"{c}_{f}{suffix}" for c in (1, 2) for f in range(1, 29)
        }
    assert len((written / "speech.txt").read_text().splitlines()) == 1


def test_a_frame_comes_back(written: Path, sample: Sample) -> None:
    data = read_hdtf(written, "test")
    characters = characters_of(sample.speech)
    for f in (1, 15, 28):
        picture = data.picture(2, f)
        assert picture.dtype == np.uint8
        assert picture.shape == (256, 256, 3)
        difference = np.abs(picture.astype(int) - sample.frame(f - 1))
        assert difference.mean() < 1.5
        assert difference.max() < 40
        mesh = sample.aligned_mesh(f - 1)
        np.testing.assert_allclose(data.landmarks(2, f), mesh[LANDMARKS_68, :2], atol=0.01)
        rows = np.clip(rows_around((sample.seconds[f - 1] + 3 / 25) * 50), 0, len(characters) - 1)
        np.testing.assert_array_equal(data.audio(2, f), windows_of(characters[rows]))
    assert data.audio(2, 1).dtype == data.landmarks(2, 1).dtype == np.float32


def test_the_picture_s_colours_are_not_exchanged(written: Path, sample: Sample) -> None:
    shown, truth = read_hdtf(written, "train").picture(1, 1), sample.frame(0)
    np.testing.assert_allclose(shown.mean((0, 1)), truth.mean((0, 1)), atol=1)
    assert np.ptp(truth.mean((0, 1))) > 5


def test_speech_before_the_clip_repeats_the_edge(written: Path, sample: Sample) -> None:
    first = read_hdtf(written, "train").audio(1, 1)
    np.testing.assert_array_equal(first[0], np.repeat(characters_of(sample.speech)[:1], 16, 0))


def lists_of(samples: Sequence[Sample], out: Path) -> tuple[set[str], set[str]]:
    """The classes of both lists."""
    report = write_hdtf(samples, out)
    lines = [(out / f"data_{split}.txt").read_text().split() for split in ("train", "test")]
    assert [len(x) for x in lines] == [report.train, report.test]
    one, other = ({line.split("_")[0] for line in x} for x in lines)
    return one, other


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["val", "train", "test"], ({"2"}, {"1", "3"})),
        (["train", "train", "train"], ({"1", "2"}, {"3"})),
        (["train"], ({"1"}, set())),
        (["val"], (set(), {"1"})),
    ],
)
def test_who_is_tested(sample: Sample, splits: list[str], expected: object, tmp_path: Path) -> None:
    samples = [as_clip(sample, f"clip{i}", split) for i, split in enumerate(splits)]
    assert lists_of(samples, tmp_path / "out") == expected


# --- moments ----------------------------------------------------------------------------------------------------------


class Retimed(Sample):
    """Its frames at other times."""

    times: NDArray[np.float64]

    @property
    def seconds(self) -> NDArray[np.float64]:
        return self.times


def retimed(sample: Sample, seconds: NDArray[np.float64]) -> Sample:
    out = Retimed(sample.folder, sample.record)
    object.__setattr__(out, "times", seconds)
    return out


def test_a_hole_ends_a_class_and_the_longest_stretch_stays(sample: Sample, tmp_path: Path) -> None:
    times = np.arange(28) / 25
    times[10:] += 1.0
    report = write_hdtf([retimed(sample, times)], tmp_path / "out")
    assert report.counts == {1: 19}  # frames 10 to 27, and the moment before them
    assert report.left_out == 53 - 19
    data = read_hdtf(tmp_path / "out", "train")
    assert data.frames == [(1, f) for f in range(1, 20)]
    np.testing.assert_allclose(data.landmarks(1, 19), sample.aligned_mesh(27)[LANDMARKS_68, :2], atol=0.01)
    np.testing.assert_allclose(data.landmarks(1, 2), sample.aligned_mesh(10)[LANDMARKS_68, :2], atol=0.01)


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [
        (np.arange(5) / 25, [0, 1, 2, 3, 4]),
        (np.arange(5).astype(np.float32) / 25 + 700, [0, 1, 2, 3, 4]),
        (np.array([0, 1, 3, 4]) / 25, [0, 1, 1, 2, 3]),  # a single missing frame is bridged
        (np.arange(9) / 50, [0, 2, 4, 6, 8]),
        (np.arange(6) / 30, [0, 1, 2, 4, 5]),
        (np.arange(3) / 12.5, [0, 0, 1, 1, 2]),
        (np.array([0.4]), [0]),
        (np.array([0, 1, 9, 10, 11]) / 25, [2, 2, 3, 4]),
    ],
)
def test_moments_show_the_nearest_frame(seconds: NDArray[np.float64], frames: list[int]) -> None:
    chosen = hdtf._longest_stretch(hdtf._nearest_frames(seconds.astype(np.float64)))
    assert chosen.tolist() == frames


def test_a_clip_between_two_moments_is_refused(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no frame near any k / 25 s"):
        write_hdtf([retimed(sample, np.linspace(0.01, 0.03, 28))], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# --- nothing half-finished --------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_empty_is_refused(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        write_hdtf([sample], tmp_path)
    with pytest.raises(InputError, match="is not empty"):
        write_hdtf([sample], tmp_path / "notes.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.part" / "images").mkdir(parents=True)  # of a run that was killed
    assert write_hdtf([sample], tmp_path / "out").counts == {1: 28}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_no_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sample"):
        write_hdtf([], tmp_path / "out")


@pytest.mark.parametrize(("raised", "seen"), [(OSError(28, "No space left"), OutputError), (KeyboardInterrupt, None)])
def test_a_failure_half_way_leaves_nothing(
    sample: Sample, tmp_path: Path, raised: BaseException, seen: type[Exception] | None
) -> None:
    class Failing(Sample):
        """A sample whose twelfth frame cannot be had."""

        def frame(self, index: int) -> Image:
            if index == 11:
                assert (tmp_path / ".out.part" / "audio_smooth" / "2_11.npy").is_file()
                raise raised
            return super().frame(index)

    with pytest.raises(seen or KeyboardInterrupt):
        write_hdtf([sample, Failing(sample.folder, sample.record)], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_sample_that_is_not_whole_leaves_nothing(sample: Sample, tmp_path: Path) -> None:
    damaged, out = tmp_path / "damaged", tmp_path / "there" / "out"
    shutil.copytree(sample.folder, damaged)
    (damaged / "frames.jpgs").unlink()
    out.parent.mkdir()
    with pytest.raises(OutputError, match="see that the samples are whole"):
        write_hdtf([sample, Sample(damaged, sample.record)], out)
    assert list(out.parent.iterdir()) == []


# --- reading a user's own folder --------------------------------------------------------------------------------------


def test_a_user_s_own_folder(own: Path) -> None:
    data = read_hdtf(own, "train")
    assert data.frames == [(1, 1), (1, 2), (1, 3)]
    assert data.picture(1, 2).shape == (64, 64, 3)
    stored = np.load(own / "audio_smooth" / "1_3.npy")
    assert stored.dtype == np.float64
    np.testing.assert_array_equal(data.audio(1, 3), stored.astype(np.float32))
    np.testing.assert_allclose(data.landmarks(1, 1), np.loadtxt(own / "landmarks" / "1_1.lms"), rtol=1e-6)


def test_far_frames() -> None:
    data = Hdtf(Path(), [], {1: 150, 2: 70, 3: 1})
    assert data.far_frames(1, 61).tolist() == [1, *range(121, 151)]
    assert data.far_frames(1, 1).tolist() == list(range(61, 151))
    assert data.far_frames(2, 40).tolist() == [1]  # 39 away: the farthest
    assert data.far_frames(3, 1).tolist() == [1]


def remove(part: str) -> Callable[[Path], None]:
    return lambda folder: (folder / part).unlink() if (folder / part).is_file() else shutil.rmtree(folder / part)


def put(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "split", "message"),
    [
        (remove("data.txt"), "train", r"data\.txt cannot be read \(No such file"),
        (remove("data_test.txt"), "test", r"data_test\.txt cannot be read"),
        (remove("landmarks"), "train", r"landmarks is missing; a folder of \*\.lms"),
        (remove("images/1_3.jpg"), "train", r"images/1_3\.jpg is missing"),
        (remove("landmarks/2_1.lms"), "test", r"landmarks/2_1\.lms is missing"),
        (remove("audio_smooth/2_2.npy"), "test", r"audio_smooth/2_2\.npy is missing"),
        (put("data.txt", "clip1 3\nclip2"), "train", r"data\.txt, line 2: 'clip2'; `name frame_count` is expected"),
        (put("data.txt", "clip1 3\nclip2 none"), "train", r"line 2: 'clip2 none'"),
        (put("data_train.txt", "1_1\n3_1"), "train", r"line 2: '3_1'; data\.txt has the classes 1 to 2"),
        (put("data_train.txt", "1_1\n1_4"), "train", r"line 2: '1_4'; data\.txt has the frames 1 to 3 of this class"),
        (put("data_train.txt", "1_0"), "train", r"line 1: '1_0'"),
        (put("data_train.txt", "1_1\n1-2"), "train", r"line 2: '1-2'; `class_frame` is expected"),
        (put("data_train.txt", "\n"), "train", r"data_train\.txt names no frame"),
        (put("data.txt", ""), "train", r"data\.txt has the classes"),
    ],
)
def test_a_folder_that_does_not_hold_together(
    own: Path, change: Callable[[Path], None], split: Literal["train", "test"], message: str
) -> None:
    change(own)
    with pytest.raises(DataError, match=message) as error:
        read_hdtf(own, split)
    assert "\n" not in str(error.value)


def test_a_training_needs_no_files_of_the_test(own: Path) -> None:
    for path in (own / "images").glob("2_*"):
        path.unlink()
    assert len(read_hdtf(own, "train").frames) == 3


def test_malformed_landmarks(own: Path) -> None:
    data, path = read_hdtf(own, "train"), own / "landmarks" / "1_1.lms"
    lines = path.read_text().splitlines()
    for changed, message in (
        (lines[:-1], "has 67 lines; 68 lines `x y` are expected"),
        ([*lines[:-1], "1 2 3"], "two numbers a line"),
        ([line + " 0" for line in lines], "two numbers a line"),
        ([*lines[:-1], "left right"], "two numbers a line"),
        ([*lines[:-1], "nan 1"], "two numbers a line"),
    ):
        path.write_text("\n".join(changed))
        with pytest.raises(DataError, match=f"1_1.lms .*{message}"):
            data.landmarks(1, 1)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not a text"):
        data.landmarks(1, 1)


def test_malformed_audio(own: Path) -> None:
    data, path = read_hdtf(own, "train"), own / "audio_smooth" / "1_1.npy"
    for array, message in (
        (np.zeros((16, 29)), r"shape \(16, 29\); \(8, 16, 29\) is expected"),
        (np.full(AUDIO_SHAPE, np.nan), "finite numbers"),
        (np.full(AUDIO_SHAPE, "a"), "finite numbers"),
        (np.full(AUDIO_SHAPE, None), r"is not a \.npy file"),
    ):
        np.save(path, array)
        with pytest.raises(DataError, match=message):
            data.audio(1, 1)
    for junk in (b"", b"PK\x03\x04", b"nothing"):
        path.write_bytes(junk)
        with pytest.raises(DataError, match=r"is not a \.npy file"):
            data.audio(1, 1)


def test_malformed_pictures(own: Path) -> None:
    data, path = read_hdtf(own, "train"), own / "images" / "1_1.jpg"
    cv2.imwrite(str(path), np.zeros((64, 48, 3), np.uint8))
    with pytest.raises(DataError, match="is 48 x 64; a square picture is expected"):
        data.picture(1, 1)
    for junk in (b"", b"nothing"):
        path.write_bytes(junk)
        with pytest.raises(DataError, match="is not a picture"):
            data.picture(1, 1)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        data.picture(1, 1)
