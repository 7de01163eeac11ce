"""`difftalk live`: sound by a pipe, a film by a pipe, a file or a port; it ends cleanly however it ends."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from difftalk.media import audio
from drawn import images

COMMAND = [sys.executable, "-m", "difftalk", "live"]


def frames(data: bytes) -> int:
    with av.open(io.BytesIO(data), "r") as container:
        return len(list(container.decode(video=0)))


def test_from_pipe_to_pipe(still: Path, voice: Path, model_folder: Path) -> None:
    done = subprocess.run(
        [*COMMAND, still, "--unpaced", "--model", model_folder],
        input=voice.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert frames(done.stdout) == 25
    assert done.stderr.startswith(b"25 frames, 1.00 s")


def test_samples_into_a_file(still: Path, voice: Path, model_folder: Path, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw, out = tmp_path / "raw", tmp_path / "out.mp4"
    raw.write_bytes(np.rint(audio.read(voice) * 32767).astype("<i2").tobytes())
    given = ("live", still, raw, "--unpaced", "--json", "-o", out, "--model", model_folder)
    code, printed, said = run(*given)
    assert (code, printed) == (0, ""), said
    assert '"frames": 25' in said
    assert len(images(out)) == 25
    heard, told = audio.read(out), audio.read(voice)
    assert np.corrcoef(heard[2000:15000], told[2000:15000])[0, 1] > 0.95
    code, _, said = run(*given)
    assert code == 1
    assert "exists already; give another name or --overwrite" in said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--kind", "mp3"), "--kind was 'mp3'; allowed are"),
        (("--frame-rate", "nan"), "--frame-rate was nan; allowed are rates over 0"),
        (("-o", "tcp:no"), "tcp:no: is no port"),
        (("-o", "/nowhere/out.mp4"), "/nowhere/out.mp4"),
        (("--microphone", "nosuch:thing", "-o", "out"), "no such device"),
    ],
)
def test_what_cannot_be(  # type: ignore[no-untyped-def]
    still: Path, voice: Path, model_folder: Path, run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    given: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, _, said = run("live", still, voice, "--model", model_folder, *given)
    assert code == 1
    assert words in said
    assert said.count("\n") == 1


def test_no_such_sound(still: Path, model_folder: Path, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, _, said = run("live", still, tmp_path / "none.wav", "-o", tmp_path / "out.mp4", "--model", model_folder)
    assert (code, said.count("\n")) == (1, 1)
    assert "there is no such file" in said


def begun(still: Path, model_folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """One that has begun to speak, and waits for sound."""
    return subprocess.Popen(
        [*COMMAND, still, "--model", model_folder, *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_stopped_while_nobody_speaks(still: Path, model_folder: Path) -> None:
    """By the clock it goes on without sound; SIGUSR1 stops nothing, Ctrl-C stops all, and the film is whole."""
    one = begun(still, model_folder)
    assert one.stdin is not None
    assert one.stdout is not None
    one.stdin.write(b"\0\0" * 100)
    one.stdin.flush()
    head = one.stdout.read(40_000)
    one.send_signal(signal.SIGUSR1)
    head += one.stdout.read(4_000)
    one.send_signal(signal.SIGINT)
    rest, said = one.communicate(timeout=60)
    assert (one.returncode, said) == (130, b"difftalk: stopped\n")
    assert frames(head + rest) > 5


def test_nobody_reads_any_more(still: Path, model_folder: Path) -> None:
    one = begun(still, model_folder)
    assert one.stdin is not None
    assert one.stdout is not None
    one.stdin.write(b"\0\0" * 100)
    one.stdin.flush()
    one.stdout.read(20_000)
    one.stdout.close()
    assert one.stderr is not None
    assert one.stderr.read() == b""
    assert one.wait(60) == 1
    one.stdin.close()
    one.stderr.close()


def test_a_port(still: Path, voice: Path, model_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = subprocess.Popen(
        [*COMMAND, still, voice, "--unpaced", "--model", model_folder, "-o", f"tcp:{port}"], stderr=subprocess.DEVNULL
    )
    found = bytearray()

    def read() -> None:
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", port)) as there:
                    while data := there.recv(4096):
                        found.extend(data)
                return
            except ConnectionRefusedError:
                time.sleep(0.1)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert one.wait(60) == 0
    assert frames(bytes(found)) == 25
