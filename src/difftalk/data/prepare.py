"""Clips -> samples: a pure function per clip, run over processes, resumable; every rejection has its reason.

    difftalk prepare CLIPS OUT [--set data.rights=open]

Needs the extra `train` (the index is parquet). Knows nothing of training.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.manifest import Entry, find_clips
from difftalk.data.offset import with_offset
from difftalk.data.sample import (
    FORMAT,
    FULL_SCALE,
    PICTURES,
    SPEECH_EXTRA,
    FrameWriter,
    Record,
    Sample,
    load_record,
    save_record,
)
from difftalk.errors import DifftalkError, FaceError, MediaError, MissingExtraError, OutputError
from difftalk.face.landmarks import CHIN
from difftalk.face.space import REGION_X, REGION_Y
from difftalk.face.tracker import Followed, Tracker, follow
from difftalk.media import audio, video
from difftalk.media.sheet import write_sheet
from difftalk.model import Model
from difftalk.process import end_with_parent
from difftalk.progress import Progress
from difftalk.settings import Settings
from difftalk.speech.features import features_of

THUMBNAIL: Final = 96  # px
COLUMNS: Final = 12

MIN_FRAMES: Final = 25
MIN_FACE_SHARE: Final = 0.5
JAW_MARGIN: Final = 12.0  # px, aligned
JAW_MARK: Final = 0.01  # share of frames over which a clip is marked
FADED: Final = 0.75  # of a clip's median contrast, under which frames at its ends fade in or out
EYES_TO_CHIN: Final = slice(72, 240), slice(72, 184)  # rows and columns of the aligned frame in which contrast is taken

ASKED: Final = ("face_detector", "face_mesh", "face_blendshapes", "speech_encoder", "linear")  # graphs, of a clip
ASKED_SETTINGS: Final = ("finding", "following", "mouths", "features")


@dataclass(frozen=True)
class Report:
    """What `prepare` did. records: one a clip, kept or not. resumed: how many stood there already."""

    records: list[Record]
    resumed: int


def prepare_clip(clip: Entry, out: Path, model: Model) -> Record:
    """One clip -> one sample folder under `out`, or a record that says why not. Depends on its arguments alone."""
    folder, half = out / clip.name, _half(clip, out)
    mark = fingerprint(clip, model)
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        record = _fill(clip, half, model, mark)
    except DifftalkError as error:
        shutil.rmtree(half)
        half.mkdir()
        record = _rejected(clip, str(error), mark)
    save_record(record, half)
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)
    return record


def _half(clip: Entry, out: Path) -> Path:
    """Where its folder is made."""
    return out / f".{clip.name}.part"


def fingerprint(clip: Entry, model: Model) -> str:
    """Changes with the source file, the clip's row, the format, and what of the model is asked about a clip."""
    state = clip.path.stat() if clip.path.exists() else None
    row = [
        clip.person,
        clip.split,
        clip.rights,
        clip.offset,
        clip.language,
        FORMAT,
        model.hash_of(ASKED, ASKED_SETTINGS),
        state and state.st_size,
        state and int(state.st_mtime),
    ]
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16]


def _rejected(clip: Entry, reason: str, mark: str) -> Record:
    return Record(
        clip.name,
        str(clip.path.resolve()),
        clip.person,
        clip.split,
        clip.rights,
        False,
        reason,
        0,
        0.0,
        0.0,
        clip.offset or 0,
        clip.offset_r,
        0.0,
        0.0,
        0.0,
        0,
        0.0,
        mark,
        clip.language,
    )


def _fill(clip: Entry, folder: Path, model: Model, mark: str) -> Record:
    info = video.probe(clip.path)
    waveform = audio.read(clip.path, from_video_start=True)
    frames = ((frame.image, frame.seconds) for frame in video.read(clip.path))
    writers = [FrameWriter(folder, name) for name in PICTURES]
    kept, corners, sharpness, contrast, total = [], [], [], [], 0
    for followed in follow(frames, Tracker(model.face_finder), model.geometry.canonical, model.settings):
        total += 1
        if followed.alignment is None or followed.face is None:
            continue
        aligned = followed.alignment.crop(followed.image)
        close, corner = followed.alignment.close_up(followed.image, followed.alignment.points(followed.face.points))
        for writer, picture in zip(writers, (aligned, close), strict=True):
            writer.write(picture)
        corners.append(corner)
        sharpness.append(_sharpness(aligned))
        contrast.append(float(aligned[EYES_TO_CHIN].std()))
        kept.append(replace(followed, image=aligned[:1, :1]))  # the picture itself is not held
    shown = unfaded(contrast)
    for writer in writers:
        writer.close(shown)
    kept, corners = kept[shown], corners[shown]
    _check(kept, total, model.settings)
    meshes = np.stack([f.face.points for f in kept if f.face is not None])
    _save_track(folder, kept, meshes, np.stack(corners), model)
    speech = features_of(waveform, model.graph("speech_encoder"), extra=SPEECH_EXTRA, settings=model.settings)
    np.save(folder / "speech.npy", speech.astype(np.float16))
    np.save(folder / "audio.npy", (np.clip(waveform, -1, 1) * FULL_SCALE).astype(np.int16))
    poses = [f.pose for f in kept if f.pose is not None]
    jaw_out = _jaw_out(kept, meshes)
    note = f"marked: the jaw comes near the region's border in {jaw_out:.0%} of frames" if jaw_out > JAW_MARK else ""
    record = Record(
        clip.name,
        str(clip.path.resolve()),
        clip.person,
        clip.split,
        clip.rights,
        True,
        note,
        len(kept),
        float(info.frame_rate),
        kept[-1].seconds - kept[0].seconds,
        clip.offset or 0,
        clip.offset_r,
        float(np.median([p.scale for p in poses])),
        float(np.median(sharpness[shown])),
        float(np.max([abs(p.yaw) for p in poses])),
        total - len(kept),
        jaw_out,
        mark,
        clip.language,
    )
    save_record(record, folder)
    return record if clip.offset is not None else with_offset(Sample.load(folder), model)


def _check(kept: Sequence[Followed], total: int, settings: Settings) -> None:
    if len(kept) < max(1, MIN_FACE_SHARE * total):
        raise FaceError(f"a face in {len(kept)} of {total} frames; at least half are needed")
    if len(kept) < MIN_FRAMES:
        raise MediaError(f"{len(kept)} frames; at least {MIN_FRAMES} are needed")
    distance = float(np.median([f.face.eye_distance for f in kept if f.face is not None]))
    if distance < settings.finding.min_eye_distance:
        raise FaceError(f"eyes {distance:.0f} px apart; at least {settings.finding.min_eye_distance:.0f} are needed")


def unfaded(contrast: Sequence[float]) -> slice:
    """The frames between those that fade in from, or out to, an even picture; all where there are none."""
    clear = np.flatnonzero(np.asarray(contrast) >= FADED * np.median(contrast or [0.0]))
    return slice(int(clear[0]), int(clear[-1]) + 1) if len(clear) else slice(None)


def _sharpness(aligned: Image) -> float:
    region = aligned[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]].astype(np.float32).mean(2)
    return float(np.abs(np.diff(region, axis=0)).mean() + np.abs(np.diff(region, axis=1)).mean())


def _save_track(
    folder: Path, kept: Sequence[Followed], meshes: Array, corners: NDArray[np.int64], model: Model
) -> None:
    from safetensors.numpy import save_file

    arrays: dict[str, NDArray[Any]] = {
        "meshes": meshes.astype(np.float32),
        "blendshapes": np.stack([model.face_finder.blendshapes(points) for points in meshes]),
        "alignments": np.stack([f.alignment.matrix for f in kept if f.alignment is not None]),
        "seconds": np.array([f.seconds for f in kept]),
        "close_corners": corners.astype(np.int32),
    }
    save_file(arrays, folder / "track.safetensors")


def _jaw_out(kept: Sequence[Followed], meshes: Array) -> float:
    """Share of frames in which chin or jaw comes within 12 px of the region's border."""
    from difftalk.face.landmarks import OVAL

    low = np.concatenate([CHIN, OVAL[10:27]])
    out = 0
    for frame, points in zip(kept, meshes, strict=True):
        assert frame.alignment is not None
        xy = frame.alignment.points(points)[low, :2]
        inside_x = (xy[:, 0] > REGION_X[0] + JAW_MARGIN) & (xy[:, 0] < REGION_X[1] - JAW_MARGIN)
        out += bool((~inside_x).any() or (xy[:, 1] > REGION_Y[1] - JAW_MARGIN).any())
    return out / len(kept)


_worker_model: Model | None = None


def _start_worker(folder: Path) -> None:
    from cv2 import setNumThreads
    from threadpoolctl import threadpool_limits

    global _worker_model
    end_with_parent()
    os.nice(5)
    setNumThreads(1)
    threadpool_limits(1)  # small products on many threads spend their time on waking each other
    _worker_model = Model.load(folder, threads=1)


def _work(clip: Entry, out: Path) -> Record:
    assert _worker_model is not None
    return prepare_clip(clip, out, _worker_model)


def prepare(
    source: Path,
    out: Path,
    *,
    model: Model,
    rights: str | None = None,
    split: str | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Prepares every clip of `source` into `out`; what stands there already is left as it is.

    rights, split: only these. workers: processes, 0 for one a core.
    """
    clips = find_clips(source, rights=rights, split=split)
    samples = out / "samples"
    try:
        import pyarrow.parquet  # noqa: F401  before the work, not after it

        samples.mkdir(parents=True, exist_ok=True)
    except ImportError:
        raise MissingExtraError("pyarrow", "train") from None
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); give a folder") from None
    done = {clip.name: record for clip in clips if (record := _resumable(clip, samples, model)) is not None}
    todo = [clip for clip in clips if clip.name not in done]
    records = dict(done)
    for record in _run(todo, samples, model, workers or os.cpu_count() or 1):
        records[record.name] = record
        if progress is not None:
            progress("preparing", len(records), len(clips))
    ordered = [records[clip.name] for clip in clips]
    write_index(ordered, out)

    prepared_sheet(ordered, out)
    return Report(ordered, len(done))


def _resumable(clip: Entry, samples: Path, model: Model) -> Record | None:
    folder = samples / clip.name
    if not (folder / "sample.json").is_file():
        return None
    try:
        record = load_record(folder)
    except DifftalkError:
        return None
    return (
        record
        if record.fingerprint == fingerprint(clip, model) and (record.kept or not record.reason.startswith("crashed"))
        else None
    )


def _run(clips: Sequence[Entry], samples: Path, model: Model, workers: int) -> Iterator[Record]:
    if not clips:
        return
    others = active_children()
    # Not forked: an engine that the parent has started does not survive a fork.
    with ProcessPoolExecutor(
        min(workers, len(clips)), get_context("spawn"), initializer=_start_worker, initargs=(model.folder,)
    ) as pool:
        jobs: dict[Future[Record], Entry] = {pool.submit(partial(_work, clip, samples)): clip for clip in clips}
        try:
            for job in as_completed(jobs):
                error = job.exception()
                clip = jobs[job]
                yield (
                    job.result()
                    if error is None
                    else _rejected(clip, f"crashed: {type(error).__name__}: {error}", fingerprint(clip, model))
                )
        except BaseException:  # a clip may take minutes
            for worker in active_children():
                if worker not in others:
                    worker.kill()
            pool.shutdown(wait=True, cancel_futures=True)
            for clip in clips:
                shutil.rmtree(_half(clip, samples), ignore_errors=True)
            raise


def write_index(records: Sequence[Record], out: Path) -> None:
    """index.parquet and report.json."""
    import pyarrow
    import pyarrow.parquet as parquet

    rows = [
        {name: _in_unicode(value) if isinstance(value, str) else value for name, value in asdict(record).items()}
        for record in records
    ]
    with (out / "index.parquet").open("wb") as file:  # pyarrow takes no path that is no text
        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    kept = [record for record in records if record.kept]
    summary = {
        "clips": len(records),
        "kept": len(kept),
        "people": len({record.person for record in kept}),
        "minutes": round(sum(record.seconds for record in kept) / 60, 2),
        "frames": sum(record.frames for record in kept),
        "dropped": {record.name: record.reason for record in records if not record.kept},
        "marked": {record.name: record.reason for record in kept if record.reason},
    }
    (out / "report.json").write_text(json.dumps(summary, indent=1) + "\n")


def _in_unicode(text: str) -> str:
    """Bytes of a file's name that are no text become question marks."""
    return text.encode("utf-8", "replace").decode()


def prepared_sheet(records: Sequence[Record], out: Path) -> None:
    """OUT/contact_sheet.png: a frame of every kept clip, then the dropped ones with their reasons."""
    import cv2

    from difftalk.data.sample import Sample

    pictures, names = [], []
    for record in records:
        if record.kept:
            frame = Sample.load(out / "samples" / record.name).frame(record.frames // 2)
            pictures.append(
                np.asarray(cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8)
            )
            names.append(record.name)
    rows = [pictures[i : i + COLUMNS] for i in range(0, len(pictures), COLUMNS)]
    captions = [
        f"kept: {names[i * COLUMNS]} to {names[min((i + 1) * COLUMNS, len(names)) - 1]}" for i in range(len(rows))
    ]
    blank = np.zeros((1, THUMBNAIL * COLUMNS, 3), np.uint8)
    for record in records:
        if not record.kept:
            rows.append([blank])
            captions.append(f"dropped: {record.name}: {record.reason}")
    write_sheet(out / "contact_sheet.png", rows or [[blank]], captions or ["no clips"])
