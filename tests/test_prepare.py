"""Preparing clips: what a sample holds, why a clip is dropped, and that work once done is not done again."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.data.manifest import Entry, find_clips
from difftalk.data.offset import MAX_OFFSET, MIN_OFFSET_R, measure_offset
from difftalk.data.prepare import Report, _resumable, fingerprint, prepare, prepare_clip, unfaded
from difftalk.data.sample import SPEECH_EXTRA, Sample, load_samples
from difftalk.errors import DataError, InputError, OutputError
from difftalk.face.finder import Face
from difftalk.face.space import Alignment
from difftalk.media import audio, picture
from difftalk.model import Model
from drawn import DEMO, draw_clip, moving, without_face, write_wav

ROWS = {
    "clips/good.mp4": ("ann", "train", "open"),
    "clips/text.mp4": ("ann", "train", "open"),
    "clips/mute.mp4": ("bob", "train", "research"),
    "clips/gone.mp4": ("bob", "val", "research"),
    "clips/empty.mp4": ("cat", "val", "research"),
    "clips/short.mp4": ("cat", "val", "research"),
}
REASONS = {
    "text": "text.mp4",
    "mute": "no audio track",
    "gone": "no such file",
    "empty": "a face in 0 of 5 frames; at least half are needed",
    "short": "10 frames; at least 25 are needed",
}


def write_manifest(folder: Path, rows: dict[str, tuple[str, str, str]]) -> None:
    lines = ["path,person,split,rights", *(",".join((path, *row)) for path, row in rows.items())]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, clip: Path, voice: Path, portrait: Image) -> Path:
    """A manifest of one good clip and all kinds of bad ones."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "clips").mkdir()
    shutil.copyfile(clip, folder / "clips/good.mp4")
    (folder / "clips/text.mp4").write_text("this is not a video\n")
    draw_clip(folder / "clips/mute.mp4", moving(portrait, 5))
    draw_clip(folder / "clips/empty.mp4", [without_face(portrait)] * 5, sound=voice)
    draw_clip(folder / "clips/short.mp4", moving(portrait, 10), sound=voice)
    write_manifest(folder, ROWS)
    (folder / "offsets.csv").write_text("path,offset_frames,r_at_offset\nclips/good.mp4,-1,0.7\n")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared") / "out"


@pytest.fixture(scope="module")
def report(clips: Path, out: Path, model: Model) -> Report:
    return prepare(clips, out, model=model, workers=2)


@pytest.fixture(scope="module")
def sample(report: Report, out: Path) -> Sample:
    return load_samples(out)[0]


def test_bad_clips_are_reported_and_skipped(report: Report) -> None:
    assert [record.name for record in report.records] == ["good", *REASONS]
    assert [record.kept for record in report.records] == [True, False, False, False, False, False]
    assert report.resumed == 0
    for record in report.records[1:]:
        assert REASONS[record.name] in record.reason
        assert "\n" not in record.reason


def test_index_report_and_sheet(report: Report, out: Path) -> None:
    rows = parquet.read_table(out / "index.parquet").to_pylist()
    assert [(row["name"], row["person"], row["split"], row["rights"]) for row in rows] == [
        (Path(path).stem, *row) for path, row in ROWS.items()
    ]
    summary = json.loads((out / "report.json").read_text())
    assert (summary["clips"], summary["kept"], summary["people"], summary["frames"]) == (6, 1, 1, 28)
    assert summary["dropped"].keys() == REASONS.keys()
    sheet = picture.read(out / "contact_sheet.png")
    assert sheet.shape == (14 + 96 + 5 * (14 + 1), 12 * 96, 3)
    assert sheet[14:110, :96].std() > 20


def test_nothing_half_done_is_left(report: Report, out: Path) -> None:
    assert sorted(path.name for path in (out / "samples").iterdir()) == sorted(["good", *REASONS])
    for name in REASONS:
        assert [path.name for path in (out / "samples" / name).iterdir()] == ["sample.json"]


def test_what_a_sample_holds(sample: Sample, face: Face, portrait: Image, alignment: Alignment) -> None:
    record = sample.record
    assert (record.frames, record.frame_rate, record.missing) == (28, 25, 0)
    assert (record.offset, record.offset_r) == (-1, 0.7)
    assert record.eye_distance == pytest.approx(42, abs=3)
    assert sample.meshes.shape == (28, 478, 3)
    assert sample.blendshapes.shape == (28, 52)
    np.testing.assert_allclose(sample.seconds, np.arange(28) / 25, atol=1e-3)
    np.testing.assert_allclose(sample.meshes[20][:, :2] - face.points[:, :2], [[20, 0]] * 478, atol=2)
    assert np.abs(sample.aligned_mesh(20)[:, :2] - alignment.points(face.points)[:, :2]).mean() < 1
    shown, mesh = moving(portrait, 21)[20], sample.aligned_mesh(20)
    assert np.abs(sample.frame(20).astype(int) - sample.alignment(20).crop(shown)).mean() < 3
    close, corner = sample.alignment(20).close_up(shown, mesh)
    np.testing.assert_array_equal(sample.close_corner(20), corner)
    assert np.abs(sample.close_up(20).astype(int) - close).mean() < 3


def test_sound_of_a_sample(sample: Sample, waveform: NDArray[np.float32], model: Model) -> None:
    heard = sample.waveform.astype(np.float32) / 32767
    assert len(heard) == pytest.approx(len(waveform), abs=2048)  # AAC comes in blocks
    assert np.corrcoef(heard[:15000], waveform[:15000])[0, 1] > 0.98
    assert sample.speech.shape == (-(-len(heard) // 320) + SPEECH_EXTRA, 1152)
    assert sample.speech.dtype == np.float16


def test_what_stands_there_is_left_as_it_is(clips: Path, out: Path, model: Model, report: Report) -> None:
    before = (out / "samples/good/frames.jpgs").stat().st_mtime_ns
    told = list[str]()
    again = prepare(clips, out, model=model, progress=lambda what, *_: told.append(what))
    assert again == Report(report.records, resumed=6)
    assert told == []
    assert (out / "samples/good/frames.jpgs").stat().st_mtime_ns == before


def test_what_has_changed_is_done_again(clips: Path, out: Path, model: Model, report: Report) -> None:
    one, samples = find_clips(clips)[0], out / "samples"
    assert _resumable(one, samples, model) == report.records[0]
    assert _resumable(dataclasses.replace(one, person="else"), samples, model) is None
    assert _resumable(dataclasses.replace(one, name="never"), samples, model) is None
    keener = dataclasses.replace(model, settings=model.settings.changed(["finding.min_score=0.6"]))
    assert _resumable(one, samples, keener) is None
    other = dataclasses.replace(model, graphs=model.graphs | {"face_mesh": model.graphs["face_detector"]})
    assert _resumable(one, samples, other) is None
    bolder = dataclasses.replace(
        model, settings=model.settings.changed(["life.lid_room=0.1"])
    )  # asks nothing of a clip
    assert _resumable(one, samples, bolder) == report.records[0]


def test_what_an_earlier_version_prepared_is_done_again(
    clips: Path, out: Path, report: Report, model: Model, tmp_path: Path
) -> None:
    """Without close-ups: said where it is read, made anew where it is prepared."""
    folder = tmp_path / "samples" / "good"
    shutil.copytree(out / "samples" / "good", folder)
    shutil.copyfile(out / "index.parquet", tmp_path / "index.parquet")
    record = json.loads((folder / "sample.json").read_text())
    (folder / "sample.json").write_text(json.dumps(record | {"format": 3}))
    with pytest.raises(DataError, match="has format 3, this version reads 4; run difftalk prepare again"):
        load_samples(tmp_path)
    assert _resumable(find_clips(clips)[0], tmp_path / "samples", model) is None


def test_fingerprint_changes_with_file_and_row(clips: Path, model: Model) -> None:
    one = find_clips(clips)[0]
    marks = {
        fingerprint(one, model),
        fingerprint(Entry(one.path, one.name, "else", one.split, one.rights, one.offset), model),
    }
    copy = shutil.copyfile(one.path, one.path.with_name("copy.mkv"))
    copy.write_bytes(copy.read_bytes() + b"more")
    marks.add(fingerprint(Entry(copy, one.name, one.person, one.split, one.rights, one.offset), model))
    copy.unlink()
    assert len(marks) == 3


def test_clip_is_a_pure_function_of_its_arguments(clips: Path, tmp_path: Path, sample: Sample, model: Model) -> None:
    """A broken-off attempt is cleared away, and the same clip gives the same sample here as in a worker."""
    (tmp_path / ".good.part" / "rubbish").mkdir(parents=True)
    record = prepare_clip(find_clips(clips)[0], tmp_path, model)
    assert record == sample.record
    assert [path.name for path in tmp_path.iterdir()] == ["good"]
    for name in ("frames.jpgs", "closes.jpgs", "audio.npy"):
        assert (tmp_path / "good" / name).read_bytes() == (sample.folder / name).read_bytes()
    assert not (tmp_path / "good" / "rubbish").exists()


@pytest.mark.parametrize(("start", "kept"), [(0, True), (8000, False)])
def test_unknown_offset_is_measured(
    portrait: Image, painter_model: Model, tmp_path: Path, start: int, kept: bool
) -> None:
    """With one part of the demo's voice the tiny motion goes along with the lips, with another it does not."""
    sound = write_wav(tmp_path / "part.wav", audio.read(DEMO / "voice.wav")[start : start + 16000])
    clip = draw_clip(tmp_path / "clip.mp4", moving(portrait, 28), sound=sound)
    record = prepare_clip(Entry(clip, "clip", "ann"), tmp_path, painter_model)
    sample = Sample.load(tmp_path / "clip")
    assert sample.record == record
    best, r = measure_offset(sample, painter_model, reach=MAX_OFFSET)
    assert (r >= MIN_OFFSET_R) == kept
    assert (record.kept, record.offset_r) == (kept, r)
    assert record.offset == (best if kept else 0)
    assert record.reason == ("" if kept else f"lips and audio do not go together (r {r:.2f} at best)")


def test_rights(clips: Path) -> None:
    assert [clip.name for clip in find_clips(clips, rights="open")] == ["good", "text"]
    with pytest.raises(InputError, match="no clip with rights 'mine'; it has open / train, research / train"):
        find_clips(clips, rights="mine")
    assert {clip.split for clip in find_clips(clips, split="val")} == {"val"}
    with pytest.raises(InputError, match="no clip with rights 'open' and split 'val'"):
        find_clips(clips, rights="open", split="val")


def test_offsets_are_those_of_the_list(clips: Path) -> None:
    found = {clip.name: clip.offset for clip in find_clips(clips)}
    assert found == {"good": -1, **dict.fromkeys(REASONS)}


def test_paths_that_cannot_be_used(clips: Path, tmp_path: Path, model: Model) -> None:
    (tmp_path / "file").write_text("")
    for source in (tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="is not a folder"):
            find_clips(source)
    with pytest.raises(OutputError, match="cannot be written"):
        prepare(clips, tmp_path / "file", model=model)


def test_faded_ends_are_left_out() -> None:
    """Presenters' clips come out of white and go back to it."""
    clear = [60.0, 58.0, 61.0, 20.0, 60.0, 59.0, 57.0, 60.0]  # one flat frame inside stays
    assert unfaded([5.0, 20.0, 40.0, *clear, 30.0, 10.0]) == slice(3, 11)
    assert unfaded(clear) == slice(0, 8)
    assert unfaded([]) == slice(None)


def test_names_that_are_no_text(clip: Path, model: Model, tmp_path: Path) -> None:
    """A clip whose name is no text, a bad one beside it, into a folder of that kind."""
    clips, out = (tmp_path / os.fsdecode(name) for name in (b"clips-\xff", b"out-\xff"))
    clips.mkdir()
    shutil.copyfile(clip, clips / os.fsdecode(b"\xff.mp4"))
    (clips / os.fsdecode(b"\xfe.mp4")).write_text("this is not a video\n")
    report = prepare(clips, out, model=model, workers=1)
    assert len(report.records) == 2
    with (out / "index.parquet").open("rb") as file:
        assert {row["person"] for row in parquet.read_table(file).to_pylist()} == {"?"}
