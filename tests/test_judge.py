"""The sync judge: syncnet_python's definitions, a drawn mouth's shift, gates, files of weights, the official net."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.sample import PICTURES, FrameWriter, Record, save_record
from difftalk.errors import DataError
from difftalk.evaluation.judge.data import SyncClip, SyncSource
from difftalk.evaluation.judge.gates import Gates, falls, gates
from difftalk.evaluation.judge.judge import Judge, SyncScores, distances, mean_curve, view, window_offsets
from difftalk.evaluation.judge.net import TRAITS, JudgeNet, JudgeSizes
from difftalk.evaluation.judge.syncnet import EMBEDDING, OfficialJudge, SyncNet, mfcc
from difftalk.evaluation.judge.training import JUDGE, JudgeRecipe, judge_of, train_judge
from difftalk.model import Model
from difftalk.speech.features import log_mel
from difftalk.training.loop import train
from difftalk.training.recipes import Schedule

TINY = JudgeSizes(stem=8, widths=(12, 16, 24), ears=(8, 16, 24), hidden=32, embedding=16, dropout=0.0)
SECONDS = 5
A_FRAME = 640  # samples


# --- definitions ------------------------------------------------------------------------------------------------------


def syncnet_curve(video: Array, audio: Array) -> NDArray[np.float64]:
    """As syncnet_python works it out: window by window, the audio padded with zeros."""
    padded = np.pad(audio, ((15, 15), (0, 0)))
    rows = [np.linalg.norm(video[i] - padded[i : i + 31], axis=1) for i in range(len(video))]
    return np.asarray(np.mean(rows, 0), np.float64)


def test_definitions_are_those_of_syncnet_python() -> None:
    random = np.random.default_rng(0)
    audio = random.normal(0, 1, (60, 8)).astype(np.float32)
    video = np.roll(audio, -4, 0) + random.normal(0, 0.2, (60, 8)).astype(np.float32)  # video[i] is audio[i + 4]
    curve = syncnet_curve(video, audio)
    scores = SyncScores.of(mean_curve(distances(video, audio, padded=True)))
    np.testing.assert_allclose(scores.curve, curve, rtol=1e-5)
    assert scores.offset == curve.argmin() - 15 == 4
    assert scores.distance == pytest.approx(curve.min(), rel=1e-5)
    assert scores.confidence == pytest.approx(np.median(curve) - curve.min(), rel=1e-5)


def test_windows_without_sound_are_left_out() -> None:
    video, audio = np.ones((3, 2), np.float32), np.ones((2, 2), np.float32)
    table = distances(video, audio, padded=False)
    assert np.isfinite(table).sum(1).tolist() == [2, 2, 2]
    curve = mean_curve(table)
    assert np.flatnonzero(np.isfinite(curve)).tolist() == [13, 14, 15, 16]
    with pytest.raises(DataError, match="no full window"):
        SyncScores.of(np.full(31, np.nan))


def test_shifts_of_stretches() -> None:
    audio = np.random.default_rng(1).normal(0, 1, (120, 8)).astype(np.float32)
    found = window_offsets(distances(audio[2:110], audio, padded=False), 25)
    assert found.tolist() == [2, 2, 2]
    assert not len(window_offsets(np.zeros((40, 31)), 25))


# --- a drawn mouth ----------------------------------------------------------------------------------------------------


def drawn_mouth(seed: int) -> tuple[list[Image], Array]:
    """A face of one colour with an opening ellipse, and a sound that is louder and brighter the wider it is."""
    import cv2

    random = np.random.default_rng(seed)
    count = SECONDS * 25
    curve = np.convolve(random.uniform(0, 1, count + 4), np.ones(5) / 5, mode="valid")
    curve = np.clip((curve - curve.min()) / (curve.max() - curve.min()), 0, 1)
    frames = []
    for value in curve:
        frame = np.full((256, 256, 3), (200, 150, 130), np.uint8)
        cv2.ellipse(frame, (128, 155), (30, 3 + round(16 * value)), 0, 0, 360, (60, 20, 20), -1)
        frames.append(frame)
    loud = np.interp(np.arange(count * A_FRAME) / A_FRAME, np.arange(count) + 0.5, curve)
    noise = random.normal(0, 1, (2, count * A_FRAME + 1))
    sound = 0.02 * noise[0, 1:] + 0.2 * loud**2 * (noise[1, 1:] - noise[1, :-1])
    return frames, sound.astype(np.float32)


def drawn_clip(seed: int) -> SyncClip:
    frames, sound = drawn_mouth(seed)
    views, shapes = np.stack([view(frame) for frame in frames]), np.zeros((len(frames), TRAITS), np.float32)
    return SyncClip(f"c{seed}", f"p{seed}", 0, views, log_mel(sound).astype(np.float16), shapes)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Trained for seconds on drawn mouths."""
    schedule = Schedule(steps=60, batch=3, seed=0)
    recipe = JudgeRecipe(sizes=TINY, schedule=schedule, traits=0.0)
    recipe = dataclasses.replace(recipe, optimiser=dataclasses.replace(recipe.optimiser, lr=6e-3, warm_up=5, ema=0.9))
    source = SyncSource([drawn_clip(seed) for seed in range(3)], batch_size=schedule.batch, seed=0)
    done = train(JUDGE, source, recipe, tmp_path_factory.mktemp("judge"))
    assert done.step == 60
    return judge_of(done, {"data": "drawn"})


def test_a_shift_of_3_is_found_as_3(judge: Judge) -> None:
    frames, sound = drawn_mouth(10)
    true = judge.scores(frames, sound)
    late = judge.scores(frames[3:], sound[: -3 * A_FRAME])  # frame i goes with the sound of frame i + 3
    early = judge.scores(frames[:-3], sound[3 * A_FRAME :])
    assert (true.offset, late.offset, early.offset) == (0, 3, -3)
    swapped = judge.scores(frames, drawn_mouth(11)[1])
    assert swapped.confidence < 0.6 * true.confidence
    assert swapped.distance > true.distance


def test_a_step_gives_the_same_batch() -> None:
    clips = [drawn_clip(seed) for seed in range(2)]
    one, again = (SyncSource(clips, batch_size=2, seed=3).batch(5) for _ in range(2))
    assert torch.equal(one.mouths, again.mouths)
    assert torch.equal(one.mel, again.mel)
    with pytest.raises(DataError, match="give more data"):
        SyncSource(clips[:1], batch_size=2, seed=3)


def test_weights_come_back_as_they_were_saved(judge: Judge, tmp_path: Path) -> None:
    judge.save(tmp_path / "judge.safetensors")
    loaded = Judge.load(tmp_path / "judge.safetensors")
    frames, sound = drawn_mouth(4)
    np.testing.assert_allclose(loaded.hear(sound), judge.hear(sound), atol=0.02)
    np.testing.assert_allclose(loaded.see(frames[:8]), judge.see(frames[:8]), atol=0.02)
    assert loaded.header["data"] == "drawn"


def test_what_cannot_be_judged(judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no weights")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(DataError, match="is not a judge"):
            Judge.load(path)
    frames, sound = drawn_mouth(5)
    for few, short in ((frames[:4], sound), (frames[:9], sound[:100]), ([], sound)):
        with pytest.raises(DataError, match="judged"):
            judge.scores(few, short)


def test_the_shipped_judge_says_what_trained_it() -> None:
    shipped = Judge.shipped()
    assert {"data", "training", "code", "sizes"} <= shipped.header.keys()
    frames, sound = drawn_mouth(6)
    scores = shipped.scores(frames[:30], sound)
    assert scores.curve.shape == (31,)
    assert 0 <= scores.distance <= 2


# --- gates and training on prepared samples ---------------------------------------------------------------------------


def draw_sample(data: Path, number: int, split: str, model: Model) -> dict[str, object]:
    """A prepared sample without a face finder: drawn frames, a mesh that opens and shuts, features of noise."""
    from safetensors.numpy import save_file

    name = f"{split}{number}"
    folder = data / "samples" / name
    folder.mkdir(parents=True)
    frames, sound = drawn_mouth(20 + number)
    for pictures in PICTURES:
        writer = FrameWriter(folder, pictures)
        for frame in frames:
            writer.write(frame)
        writer.close()
    count = len(frames)
    meshes = np.repeat(model.geometry.canonical[None] * 64 + 128, count, 0).astype(np.float32)
    meshes[:, 14, 1] += np.random.default_rng(number).uniform(0, 8, count).astype(np.float32)
    alignments = np.repeat(np.eye(2, 3, dtype=np.float32)[None], count, 0)
    blendshapes, seconds = np.zeros((count, 52), np.float32), (np.arange(count) / 25).astype(np.float32)
    track: dict[str, NDArray[np.float32]] = {
        "meshes": meshes,
        "blendshapes": blendshapes,
        "alignments": alignments,
        "seconds": seconds,
    }
    save_file(track, folder / "track.safetensors")
    np.save(folder / "audio.npy", (np.clip(sound, -1, 1) * 32767).astype(np.int16))
    np.save(folder / "speech.npy", np.random.default_rng(number).normal(0, 1, (2 * count, 1152)).astype(np.float16))
    record = Record(
        name, "drawn", f"{split} {number}", split, "open", True, "", count, 25.0, SECONDS, 0, 1.0, 64, 9, 0, 0, 0, ""
    )
    save_record(record, folder)
    return {"name": name, "kept": True, "split": split}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, painter_model: Model) -> Path:
    import pyarrow
    import pyarrow.parquet

    out = tmp_path_factory.mktemp("prepared")
    rows = [draw_sample(out, number, split, painter_model) for split in ("train", "val") for number in range(2)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out / "index.parquet")
    return out


def test_gates_of_a_judge_that_hears(judge: Judge, data: Path, painter_model: Model) -> None:
    found = gates(data, judge, painter_model)
    assert (found.people, found.stretches) == (2, 6)
    assert found.found == found.steady == 1
    assert found.margins[0] > 3 * max(found.margins[4:])
    assert found.swapped < found.own
    assert found.main == "judge", found.text()
    assert "main judge: judge" in found.text()


def test_gates_of_a_judge_that_guesses(data: Path, painter_model: Model) -> None:
    torch.manual_seed(1)
    found = gates(data, Judge(JudgeNet(TINY).eval().requires_grad_(False), {}), painter_model)
    assert not found.passed
    assert found.main == "lip curve"
    assert "not passed" in found.text()


def test_the_main_judge_is_the_better_one() -> None:
    good = Gates(14, 90, 0.95, 0.92, 0.9, 0.9, (0.3, 0.2, 0.1, 0.0, 0.01, 0.0, 0.0), (0.3, 0.2, 0.1, 0.05), 0.3, 0.1)
    assert good.main == "judge"
    assert dataclasses.replace(good, found_lips=0.96).main == "lip curve"
    assert dataclasses.replace(good, found=0.84, found_lips=0.8).main == "lip curve"
    assert dataclasses.replace(good, swapped=0.4).main == "lip curve"
    assert not falls((0.3, 0.1, 0.2))


def test_training_writes_a_judge(data: Path, tmp_path: Path) -> None:
    recipe = JudgeRecipe(sizes=TINY, schedule=Schedule(steps=1000, batch=2))
    made = train_judge(data, tmp_path / "run", minutes=1e-4, seed=7, threads=torch.get_num_threads(), recipe=recipe)
    assert "2 people, 2 clips" in made.header["data"]
    loaded = Judge.load(tmp_path / "run" / "judge.safetensors")
    assert loaded.header["training"] == made.header["training"]


def test_a_judge_goes_on_exactly_where_it_was(tmp_path: Path) -> None:
    """Nobody is looked at on the way."""
    recipe = JudgeRecipe(sizes=dataclasses.replace(TINY, dropout=0.1), schedule=Schedule(batch=2, validate_every=1))
    source = SyncSource([drawn_clip(seed) for seed in range(2)], batch_size=2, seed=0)
    whole = train(JUDGE, source, recipe, tmp_path / "whole", steps=4)
    train(JUDGE, source, recipe, tmp_path / "halves", steps=2)
    halves = train(JUDGE, source, recipe, tmp_path / "halves", steps=4)
    for one, other in ((whole.net, halves.net), (whole.average, halves.average)):
        assert all(torch.equal(one[name], other[name]) for name in one)
    moved = [name for name, value in whole.average.items() if not torch.equal(value, whole.net[name])]
    assert any(name.endswith("running_mean") for name in moved)


def test_held_out_people_are_looked_at(tmp_path: Path) -> None:
    clips = [drawn_clip(seed) for seed in range(3)]
    recipe = JudgeRecipe(sizes=TINY, schedule=Schedule(batch=2))
    train(JUDGE, SyncSource(clips[:2], batch_size=2, seed=0, looked_at=clips[2:]), recipe, tmp_path, steps=1)
    assert '"val_found"' in (tmp_path / "metrics.jsonl").read_text()


# --- the official net -------------------------------------------------------------------------------------------------

PUBLISHED = {  # shapes in syncnet_v2.model
    "netcnnaud.0.weight": (64, 1, 3, 3),
    "netcnnaud.4.weight": (192, 64, 3, 3),
    "netcnnaud.18.weight": (512, 256, 5, 4),
    "netfcaud.3.weight": (1024, 512),
    "netfclip.1.running_var": (512,),
    "netcnnlip.0.weight": (96, 3, 5, 7, 7),
    "netcnnlip.4.weight": (256, 96, 1, 5, 5),
    "netcnnlip.18.weight": (512, 256, 1, 6, 6),
}


def test_the_official_file_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = SyncNet().state_dict()
    assert {name: tuple(weights[name].shape) for name in PUBLISHED} == PUBLISHED
    weights = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    torch.save(weights, tmp_path / "syncnet_v2.model")
    judge = OfficialJudge.load(tmp_path / "syncnet_v2.model")
    frames, sound = drawn_mouth(7)
    video, audio = judge.see(frames[:8]), judge.hear(sound[: 8 * A_FRAME])
    assert (video.shape, audio.shape) == ((4, EMBEDDING), (3, EMBEDDING))
    np.testing.assert_allclose(judge.see(frames[2:7])[0], video[2], atol=1e-4)
    scores = judge.scores(frames[:8], sound[: 8 * A_FRAME])
    expected = SyncScores.of(syncnet_curve(video[:3], audio))
    assert scores.offset == expected.offset
    assert scores.distance == pytest.approx(expected.distance, rel=1e-4)
    with pytest.raises(DataError, match="more than 5 frames"):
        judge.scores(frames[:5], sound)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.model"
    path.write_text("no weights")
    with pytest.raises(DataError, match="not a file of torch weights"):
        OfficialJudge.load(path)
    torch.save(JudgeSizes(), path)  # an object: never unpickled
    with pytest.raises(DataError, match="not a file of torch weights"):
        OfficialJudge.load(path)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="does not hold SyncNet's weights"):
        OfficialJudge.load(path)
    torch.save(SyncNet().state_dict() | {"netfclip.3.bias": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="another net"):
        OfficialJudge.load(path)


def test_mfcc_are_those_of_python_speech_features() -> None:
    """Its column 3 of a tone, version 0.6."""
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(1600) / 16000)).astype(np.float32)
    column = [20.5, 26.044, 9.433, -7.563, -21.884, -29.19, -25.887, -15.188, -0.209, 12.49, 19.972, 19.125, 12.259]
    np.testing.assert_allclose(mfcc(tone)[:, 3], column, atol=2e-3)
    assert mfcc(tone).shape == (13, 9)
