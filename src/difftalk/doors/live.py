"""The command `live`: sound comes in by a pipe or a microphone, a film goes out while it is made.

    arecord -q -f S16_LE -r 16000 | difftalk live me.jpg | ffplay -
    difftalk live me.jpg --rate 24000 -o tcp:8090 < speech.pcm      # then: ffplay tcp://127.0.0.1:8090

SIGUSR1 breaks off what is being said.
"""

from __future__ import annotations

import io
import json
import math
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final, Optional, cast

import typer

from difftalk.errors import InputError, OutputError
from difftalk.process import ENDING
from difftalk.ranges import MAX_RATE

if TYPE_CHECKING:
    from difftalk.talk.live import Live

STANDARD: Final = "-"
PORT: Final = "tcp:"
HERE: Final = "127.0.0.1"  # nobody else can reach it


def live(
    source: Annotated[Path, typer.Argument(help="A portrait or a video.")],
    sound: Annotated[str, typer.Argument(help="A pipe or a file of WAV or samples; - for standard input.")] = STANDARD,
    out: Annotated[
        str, typer.Option("-o", "--out", help="A file, - for standard output, tcp:PORT for this machine's.")
    ] = STANDARD,
    kind: Annotated[str, typer.Option(help="Of samples: s16le, s32le, f32le or u8. WAV says it itself.")] = "s16le",
    rate: Annotated[int, typer.Option(help="Of samples, Hz.")] = 16_000,
    channels: Annotated[int, typer.Option(help="Of samples.")] = 1,
    microphone: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A device instead, as FFmpeg names it here: alsa:default."),
    ] = None,
    paced: Annotated[bool, typer.Option("--paced/--unpaced", help="By the clock, or as fast as sound comes.")] = True,
    frame_rate: Annotated[float, typer.Option(help="Of a portrait.")] = 25.0,
    size: Annotated[Optional[int], typer.Option(help="Long side, px, to which a larger picture is shrunk.")] = None,  # noqa: UP045
    head_motion: Annotated[float, typer.Option(help="How far a portrait's head moves, 0 to 2.")] = 1.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    seed: Annotated[int, typer.Option(help="Fixes noise, head motion and blinks.")] = 0,
    model: Annotated[Optional[str], typer.Option(help="A model's name or folder.")] = None,  # noqa: UP045
    precision: Annotated[str, typer.Option(help="auto (whatever is fastest here), int8, bf16 or f32.")] = "auto",
    settings: Annotated[Optional[list[str]], typer.Option("--set", help="A setting, a.b=value.")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON, on standard error.")] = False,
) -> None:
    """Speaks while sound comes in: fragmented mp4, made and sent picture by picture."""
    from difftalk.media import pcm
    from difftalk.media.fragments import Fragments
    from difftalk.talk.live import Live
    from difftalk.talk.talker import COMMENT, Talker

    form = pcm.Form(kind, rate, channels)
    if not math.isfinite(frame_rate):
        raise InputError(f"`frame_rate` was {frame_rate}; allowed are rates over 0, up to {MAX_RATE} frames/s")
    talker = Talker.from_pretrained(model, precision=precision, seed=seed, settings=settings or [])
    identity = talker.identity(source, size=size)
    session = talker.session(identity, head_motion=head_motion, frame_rate=Fraction(frame_rate).limit_denominator(1001))
    width, height = identity.size
    with _opened(sound if microphone is None else None) as given, _written(out, overwrite) as place, session:
        sample_rate, pieces = pcm.read(given, form) if microphone is None else pcm.microphone(microphone)
        film = Fragments(
            place,
            width=width,
            height=height,
            frame_rate=session.frame_rate,
            sample_rate=sample_rate,
            comment=COMMENT,
        )
        one = Live(session, film, sample_rate=sample_rate, clock=time.monotonic if paced else None)
        with film, _signalled(one):
            done = one.run(pieces)
    text = f"{done.frames} frames, {done.seconds:.2f} s; the latest by {done.late:.2f} s; {done.idle:.2f} s of silence"
    print(json.dumps(vars(done)) if as_json else text, file=sys.stderr)


@contextmanager
def _signalled(one: Live) -> Iterator[None]:
    """Ctrl-C and the like end it between two frames: what they raise inside a library's call would be lost."""
    reasons = {number: SystemExit(128 + number) for number in ENDING} | {signal.SIGINT: KeyboardInterrupt()}
    before = {number: signal.signal(number, lambda number, _: one.stop(reasons[number])) for number in reasons}
    if hasattr(signal, "SIGUSR1"):
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: one.interrupt())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _opened(sound: str | None) -> Iterator[BinaryIO]:
    """Without a buffer: what has come is there at once, and a thread that waits for more holds nobody up at the end."""
    if sound is None:
        yield io.BytesIO()
        return
    if sound == STANDARD and (sys.stdin is None or sys.stdin.isatty()):
        raise InputError("standard input: nothing is piped into it; pipe sound in, or give a file or --microphone")
    name = sys.stdin.fileno() if sound == STANDARD else sound
    if isinstance(name, str) and not Path(name).exists():
        raise InputError(f"{sound}: there is no such file")
    with open(name, "rb", buffering=0, closefd=sound != STANDARD) as raw:
        yield cast("BinaryIO", raw)


@contextmanager
def _written(out: str, overwrite: bool) -> Iterator[BinaryIO]:
    if out == STANDARD:
        if sys.stdout.isatty():
            raise OutputError("standard output is a terminal; pipe it into a player, or give -o")
        yield sys.stdout.buffer
    elif out.startswith(PORT):
        with _listener(out) as listener:
            connection, _ = listener.accept()
            with connection, connection.makefile("wb") as sent:
                yield cast("BinaryIO", sent)
    else:
        if Path(out).is_file() and not overwrite:
            raise OutputError(f"{out}: exists already; give another name or `overwrite=True`")
        with open(out, "wb") as file:
            yield file


def _listener(out: str) -> socket.socket:
    number = out[len(PORT) :]
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise OutputError(f"{out}: is no port; give tcp: and a number from 1 to 65535")
    try:
        return socket.create_server((HERE, int(number)))
    except OSError as error:
        raise OutputError(f"{out}: cannot be listened on ({error.strerror})") from None
