"""The command line as it is typed: what it prints, and one line for everything that cannot be done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from conftest import Run
from difftalk import __version__
from difftalk.arrays import Image
from difftalk.doors.printing import progress_bar
from difftalk.media import video
from difftalk.model import Model
from drawn import draw_clip, moving, without_face, write_wav

PATIENCE = 120  # s: how long a loaded machine may take
JSON_KEYS = {
    "path", "frames", "seconds", "frames_per_second", "first_frame_seconds", "look_ahead", "width", "height",
    "frame_rate", "passed_through", "model", "steps", "seed", "precision", "settings", "notes",
}  # fmt: skip


# --- what works -------------------------------------------------------------------------------------------------------


def test_animate_says_what_it_wrote(run: Run, still: Path, voice: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    code, said, err = run("animate", still, voice, "-o", out, "--model", model_folder, "--size", 200)
    assert (code, err) == (0, "")
    shrunk, last = said.splitlines()
    assert shrunk == "shrunk from 256 x 256 to 200 x 200; --size sets the long side"
    assert last.startswith(f"{out}: 25 frames, 1.00 s, 200 x 200, ")
    assert last.endswith(f"model {Model.load(model_folder).hash}")


def test_dub_prints_one_object(run: Run, clip: Path, voice: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    code, said, err = run("dub", clip, voice, "-o", out, "--model", model_folder, "--json", "--keep-tail", "--seed", 4)
    assert (code, err) == (0, "")
    result = json.loads(said)
    assert result.keys() == JSON_KEYS
    assert (result["frames"], result["passed_through"]) == (28, 0)
    assert (result["width"], result["height"], result["frame_rate"]) == (256, 256, 25)
    assert result["path"] == str(out)
    assert video.probe(out).frame_count == 28


def test_dub_of_a_moving_picture(run: Run, portrait: Image, voice: Path, model_folder: Path, tmp_path: Path) -> None:
    first, *others = [Pillow.fromarray(image) for image in moving(portrait, 6)]
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=80)
    code, said, err = run("dub", tmp_path / "a.gif", voice, "-o", tmp_path / "out.mp4", "--model", model_folder)
    assert (code, err) == (0, "")
    assert "passed through" not in said
    assert video.probe(tmp_path / "out.mp4").frame_rate == 25  # 12.5 a second is slower than a mouth


def test_options_reach_the_talker(run: Run, still: Path, voice: Path, model_folder: Path, tmp_path: Path) -> None:
    """Without articulation and head motion the picture stands still."""
    out, options = tmp_path / "out.mp4", ("--articulation", 0, "--head-motion", 0, "--blinks", 0, "--steps", 2)
    assert run("animate", still, voice, "-o", out, "--model", model_folder, *options)[0] == 0
    written = np.stack([frame.image for frame in video.read(out)]).astype(int)
    assert np.abs(np.diff(written, axis=0)).mean() < 0.3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_print(
    still: Path, voice: Path, model_folder: Path, tmp_path: Path, encoding: str
) -> None:
    out = tmp_path / os.fsdecode("bild-ü-☃-".encode() + b"\xff.mp4")
    arguments = ("animate", still, voice, "-o", out, "--model", model_folder, "--size", 200)
    command = [sys.executable, "-m", "difftalk", *map(str, arguments)]
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[-1].startswith(str(out).encode(encoding, "replace") + b": 25 frames")
    assert out.is_file()


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_sound_may_come_through_a_pipe(
    still: Path, voice: Path, model_folder: Path, tmp_path: Path, name: str
) -> None:
    out, temporary = tmp_path / "out.mp4", tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "difftalk", "animate", still, name, "-o", out, "--model", model_folder, "--json"]
    for given, code in ((voice.read_bytes(), 0), (b"no sound\n" * 50, 1), (b"", 1)):
        done = subprocess.run(
            [*map(str, command)], env={**os.environ, "TMPDIR": str(temporary)}, input=given,
            capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        command.append("--overwrite")
        shown = "standard input" if name == "-" else name
        assert done.stderr == b"" if code == 0 else done.stderr.startswith(f"difftalk: {shown}: is ".encode())
        assert done.stderr.count(b"\n") == code
    assert video.probe(out).frame_count == 25
    assert not list(temporary.iterdir())


def test_prepare_keeps_what_is_asked_for(run: Run, clip: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "good.mp4").write_bytes(clip.read_bytes())
    rows = ["good.mp4,ann,train,open", "gone.mp4,ann,train,open", "other.mp4,bob,train,research"]
    (clips / "manifest.csv").write_text("\n".join(["path,person,split,rights", *rows]))
    (clips / "offsets.csv").write_text("path,offset_frames,r_at_offset\ngood.mp4,0,0.9\n")
    arguments = ("prepare", clips, tmp_path / "out", "--set", "data.rights=open", "--workers", 1)
    code, said, err = run(*arguments)
    assert (code, err) == (0, "")
    dropped, last = said.splitlines()
    assert dropped.startswith("dropped gone: ")
    assert last == f"1 of 2 clips kept (0 stood there already): {tmp_path / 'out'}"
    for name in ("index.parquet", "report.json", "contact_sheet.png"):
        assert (tmp_path / "out" / name).is_file()
    assert "(2 stood there already)" in run(*arguments)[1]


def test_help_names_every_command(run: Run) -> None:
    code, said, _ = run("--help")
    assert code == 0
    for name in ("animate", "dub", "prepare", "train", "export", "evaluate"):
        assert name in said


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"difftalk {__version__}\n", "")


def test_progress_on_a_terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar(False) as progress:
        progress("looking", 1, 2)
        progress("speaking", 3, 10)
    assert "speaking" in capfd.readouterr().err
    with progress_bar(True) as progress:
        progress("speaking", 3, 10)
    assert capfd.readouterr().err == ""


# --- what does not ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, portrait: Image, still: Path, clip: Path, voice: Path) -> Path:
    """A folder of files that cannot be used, and of some that can."""
    folder = tmp_path_factory.mktemp("bad")
    small = np.array(Pillow.fromarray(portrait).resize((76, 76), Pillow.Resampling.BOX))
    small = np.pad(small, ((30, 30), (30, 30), (0, 0)), mode="edge")
    Pillow.fromarray(without_face(portrait)).save(folder / "faceless.png")
    Pillow.fromarray(small).save(folder / "small.png")
    draw_clip(folder / "faceless.mp4", [without_face(portrait)] * 4)
    draw_clip(folder / "small.mp4", [small] * 4)
    draw_clip(folder / "mute.mp4", moving(portrait, 4))
    (folder / "text.mp4").write_text("I am no video.\n" * 50)
    (folder / "text.png").write_text("I am no picture.\n" * 50)
    (folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHëllo\n" * 50)
    (folder / "page.wav").write_text("<!DOCTYPE html><html><body>Sign in to confirm</body></html>")
    os.mkfifo(folder / "pipe")
    for path in (still, clip, voice):
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / f"empty{path.suffix}").write_bytes(b"")
        (folder / f"cut{path.suffix}").write_bytes(path.read_bytes()[:30])
    (folder / "half.png").write_bytes(still.read_bytes()[:20_000])
    write_wav(folder / "hollow.wav", np.zeros(0, np.float32))
    write_wav(folder / "blink.wav", np.zeros(100, np.float32))
    (folder / "taken.mp4").write_bytes(b"mine")
    (folder / "folder.mp4").mkdir()
    return folder


ANIMATE = [
    ("faceless.png voice.wav new.mp4", "no face found"),
    ("small.png voice.wav new.mp4", "px apart; at least 16 are needed"),
    ("empty.png voice.wav new.mp4", "is empty"),
    ("cut.png voice.wav new.mp4", "cut.png"),
    ("half.png voice.wav new.mp4", "half.png"),
    ("text.png voice.wav new.mp4", "text.png"),
    ("text.mp4 voice.wav new.mp4", "text.mp4"),
    ("clip.mp4 voice.wav new.mp4", "use dub"),
    ("gone.png voice.wav new.mp4", "no such file"),
    ("folder.mp4 voice.wav new.mp4", "is a folder"),
    ("portrait.png gone.wav new.mp4", "no such file"),
    ("portrait.png empty.wav new.mp4", "is empty"),
    ("portrait.png cut.wav new.mp4", "cut.wav"),
    ("portrait.png hollow.wav new.mp4", "hollow.wav"),
    ("portrait.png blink.wav new.mp4", "blink.wav: holds 6 ms of sound; at 25 frames/s more than 20 ms are needed"),
    ("portrait.png mute.mp4 new.mp4", "no audio track"),
    ("portrait.png text.mp4 new.mp4", "text.mp4"),
    ("portrait.png portrait.png new.mp4", "portrait.png is a picture; give a sound there"),
    ("voice.wav portrait.png new.mp4", "voice.wav is a sound and portrait.png a picture: give the picture first"),
    ("clip.mp4 portrait.png new.mp4", "clip.mp4 is a video and portrait.png a picture: give the picture first"),
    ("voice.wav clip.mp4 new.mp4", "voice.wav is a sound; give a picture first, then the sound"),
    ("portrait.png words.srt new.mp4", "words.srt: is a text file"),
    ("portrait.png page.wav new.mp4", "page.wav: is a text file"),
    ("portrait.png text.mp4 new.mp4", "text.mp4: is a text file"),
    ("portrait.png folder.mp4 new.mp4", "folder.mp4: is a folder"),
    ("portrait.png /dev/zero new.mp4", "/dev/zero: is a pipe or a device"),
    ("- voice.wav new.mp4", "standard input was given for the picture; give a file"),
    ("pipe voice.wav new.mp4", "pipe: is a pipe or a device; give a file"),
    ("https://example.org/me.jpg voice.wav new.mp4", "https://example.org/me.jpg: is an address; download it first"),
    ("portrait.png rtmp://example.org/live new.mp4", "rtmp://example.org/live: is an address; download it first"),
    ("portrait.png youtu.be/dQw4w9WgXcQ new.mp4", "youtu.be/dQw4w9WgXcQ: is an address; download it first"),
    ("portrait.png voice.wav new.mp4 --head-from portrait.png", "is a picture; --head-from needs a video"),
    ("portrait.png voice.wav new.mp4 --head-from gone.mp4", "gone.mp4: no such file"),
    ("portrait.png voice.wav new.mp4 --blinks 3", "--blinks was 3.0; allowed are 0 (off) to 2"),
    ("portrait.png voice.wav taken.mp4", "exists already"),
    ("portrait.png voice.wav folder.mp4", "is a folder"),
    ("portrait.png voice.wav new.avi", "ends in .mp4"),
    ("portrait.png voice.wav nowhere/new.mp4", "does not exist"),
    ("portrait.png voice.wav /proc/new.mp4", "cannot be written"),
    ("portrait.png voice.wav new.mp4 --steps 0", "steps was 0"),
    ("portrait.png voice.wav new.mp4 --seed -1", "seed was -1"),
    ("portrait.png voice.wav new.mp4 --size 5", "size was 5"),
    ("portrait.png voice.wav new.mp4 --model nowhere", "nowhere is neither a model's folder nor a model's name"),
]
DUB = [
    ("faceless.mp4 voice.wav new.mp4", "no usable face in any of its 4 frames"),
    ("small.mp4 voice.wav new.mp4", "px apart; at least 16 are needed"),
    ("empty.mp4 voice.wav new.mp4", "is empty"),
    ("cut.mp4 voice.wav new.mp4", "cut.mp4"),
    ("text.mp4 voice.wav new.mp4", "text.mp4"),
    ("gone.mp4 voice.wav new.mp4", "no such file"),
    ("voice.wav voice.wav new.mp4", "voice.wav is a sound; give a video first, then the sound"),
    ("voice.wav clip.mp4 new.mp4", "voice.wav is a sound and clip.mp4 a video: give the video first, then the sound"),
    ("clip.mp4 portrait.png new.mp4", "portrait.png is a picture; give a sound there"),
    ("portrait.png clip.mp4 new.mp4", "portrait.png is a picture, not a video; use animate for pictures"),
    ("clip.mp4 blink.wav new.mp4", "blink.wav: holds 6 ms of sound; at 25 frames/s more than 20 ms are needed"),
    ("https://www.youtube.com/watch?v=dQw4w9WgXcQ voice.wav new.mp4", "is an address; download it first"),
    ("file:///films/a%20b.mp4 voice.wav new.mp4", "is an address; give the file's path: /films/a b.mp4"),
    ("clip.mp4 file://localhost/voice.wav new.mp4", "is an address; give the file's path: /voice.wav"),
    ("clip.mp4 voice.wav file:///films/new.mp4", "is an address; videos are written to files; give a path"),
    ("portrait.png voice.wav new.mp4", "use animate"),
    ("clip.mp4 hollow.wav new.mp4", "hollow.wav"),
    ("clip.mp4 mute.mp4 new.mp4", "no audio track"),
    ("clip.mp4 voice.wav taken.mp4", "exists already"),
    ("clip.mp4 voice.wav /proc/new.mp4", "cannot be written"),
    ("clip.mp4 voice.wav new.mp4 --fit stretch", "allowed are bounce, loop, hold"),
]


@pytest.mark.parametrize(
    ("command", "line", "reason"),
    [*(("animate", *case) for case in ANIMATE), *(("dub", *case) for case in DUB)],
    ids=lambda part: str(part).replace(" ", "+"),
)
def test_bad_input_is_one_line(
    run: Run, bad: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, line: str, reason: str
) -> None:
    monkeypatch.chdir(bad)
    source, sound, out, *options = line.split()
    before = {path: path.stat().st_mtime_ns for path in bad.iterdir()}
    model = [] if "--model" in options else ["--model", model_folder]
    code, said, err = run(command, source, sound, "-o", out, *options, *model)
    assert code in (1, 2)
    assert said == ""
    assert reason in err
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in bad.iterdir()} == before


def test_overwrite_must_be_asked_for(run: Run, still: Path, voice: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    arguments = ("animate", still, voice, "-o", out, "--model", model_folder)
    assert run(*arguments)[0] == 1
    assert out.read_bytes() == b"mine"
    assert run(*arguments, "--overwrite")[0] == 0
    assert video.probe(out).frame_count == 25


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nowhere", "out"), "nowhere is not a folder"),
        ((".", "out"), "no clip"),
        ((".", "out", "--set", "data.person=ann"), "allowed here is data.rights=VALUE"),
    ],
)
def test_bad_prepare_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said, err = run("prepare", *arguments)
    assert (code, said, err.count("\n")) == (1, "", 1)
    assert reason in err
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_two(run: Run) -> None:
    for arguments in (("animate",), ("sing",), ("dub", "a.mp4", "b.wav", "-o", "c.mp4", "--steps", "many")):
        code, _, err = run(*arguments)
        assert code == 2
        assert "Traceback" not in err


@contextmanager
def running(*arguments: object, until: Callable[[], bool]) -> Iterator[subprocess.Popen[str]]:
    """`difftalk ARGUMENTS`, begun and let run until it has come so far; killed in the end if it still runs."""
    # What starts the tests in the background may have left Ctrl-C, or the terminal's end, ignored for all below it.
    heeded = "import signal; signal.signal(2, signal.default_int_handler); signal.signal(1, signal.SIG_DFL)"
    code = f"{heeded}; from difftalk.doors.cli import main; main()"
    command, started = [sys.executable, "-c", code, *map(str, arguments)], time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not until():
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() - started < PATIENCE
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


@pytest.fixture
def speaking(
    still: Path, model_folder: Path, waveform: NDArray[np.float32], tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    """A portrait that speaks into tmp_path/out.mp4 for long; its first frames are written."""
    sound = write_wav(tmp_path / "long.wav", np.tile(waveform, 90))

    def begun() -> bool:
        return sum(part.stat().st_size for part in tmp_path.glob(".*.part")) > 20_000

    arguments = ("animate", still, sound, "-o", tmp_path / "out.mp4", "--model", model_folder)
    with running(*arguments, until=begun) as process:
        yield process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_stopped_half_way(speaking: subprocess.Popen[str], tmp_path: Path, number: int, code: int) -> None:
    """After the first frames: nothing stays, and one line says so."""
    speaking.send_signal(number)
    out, err = speaking.communicate(timeout=PATIENCE)
    assert (speaking.returncode, out, err) == (code, "", "difftalk: stopped\n")
    assert [path.name for path in tmp_path.iterdir()] == ["long.wav"]


def test_what_is_left_of_one_that_was_killed_goes(
    speaking: subprocess.Popen[str], run: Run, still: Path, voice: Path, model_folder: Path, tmp_path: Path
) -> None:
    """By the next run into the folder, which leaves alone what one that still runs is writing."""
    arguments = ("animate", still, voice, "--model", model_folder, "-o")
    assert run(*arguments, tmp_path / "beside.mp4")[0] == 0
    assert len(list(tmp_path.glob(".*.part"))) == 1
    speaking.kill()
    speaking.wait(PATIENCE)
    assert run(*arguments, tmp_path / "after.mp4")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"long.wav", "beside.mp4", "after.mp4"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_prepare(still: Path, portrait: Image, tmp_path: Path, number: int) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    sound = write_wav(tmp_path / "sound.wav", np.zeros(16_000 * 60, np.float32))
    draw_clip(clips / "long.mp4", [portrait] * 1500, sound=sound)
    arguments = ("prepare", clips, out, "--workers", 1)
    with running(*arguments, until=lambda: any(out.glob("samples/.*.part/*"))) as process:
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)  # until nobody holds its output open any more
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert not list(out.glob("samples/*"))


def test_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "difftalk", "dub", "gone.mp4", "gone.wav", "-o", "out.mp4", "--model", "gone"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
