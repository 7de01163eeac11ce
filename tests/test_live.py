"""Live: what comes in is spoken in its own time, silence lives, and what is broken off closes the mouth."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.media.fragments import Fragments
from difftalk.model import Model
from difftalk.speech.listener import Voice
from difftalk.talk.identity import Identity, Manner
from difftalk.talk.live import TURN, Live
from difftalk.talk.portrait import Portrait
from difftalk.talk.session import Session

Wave = NDArray[np.float32]
RATE = 16_000


class Kept(Fragments):
    """Remembers what was shown and heard."""

    def __init__(self, identity: Identity, rate: int = RATE) -> None:
        self.shown, self.sound = list[tuple[NDArray[np.uint8], float, int]](), list[Wave]()
        width, height = identity.size
        super().__init__(io.BytesIO(), width=width, height=height, frame_rate=Manner().frame_rate, sample_rate=rate)

    def show(self, image: NDArray[np.uint8], seconds: float) -> None:
        self.shown.append((image, seconds, sum(map(len, self.sound))))
        super().show(image, seconds)

    def hear(self, samples: Wave) -> None:
        self.sound.append(samples.copy())
        super().hear(samples)


def pieces(waveform: Wave, length: int = 1000) -> Iterator[Wave]:
    return (waveform[i : i + length] for i in range(0, len(waveform), length))


def test_sound_that_comes_is_spoken(denoiser_model: Model, still_identity: Portrait, waveform: Wave) -> None:
    """Frames are those of a session, and each comes with its own sound."""
    session = Session(denoiser_model, still_identity)
    expected = [frame.image for frame in [*session.push(waveform), *session.finish()]]
    film = Kept(still_identity)
    with film, Session(denoiser_model, still_identity) as session:
        done = Live(session, film, sample_rate=RATE, clock=None).run(pieces(waveform))
    assert (done.frames, done.seconds, done.idle) == (25, 1.0, 0)
    np.testing.assert_array_equal(np.concatenate(film.sound), waveform)
    for (image, seconds, heard), other in zip(film.shown, expected, strict=True):
        np.testing.assert_array_equal(image, other)
        assert abs(heard / RATE - seconds) < 0.04


def test_another_rate(denoiser_model: Model, still_identity: Portrait, waveform: Wave) -> None:
    film = Kept(still_identity, 48_000)
    with film, Session(denoiser_model, still_identity) as session:
        done = Live(session, film, sample_rate=48_000, clock=None).run(pieces(np.repeat(waveform, 3)))
    assert done.frames == 25
    assert sum(map(len, film.sound)) == 48_000


class Clock:
    """Goes on by a turn whenever it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += TURN / 2
        return self.now


def test_where_no_sound_comes_there_is_silence(denoiser_model: Model, still_identity: Portrait, waveform: Wave) -> None:
    """A second of sound all at once; then nothing until two seconds have passed."""
    clock, over = Clock(), threading.Event()

    def come() -> Iterator[Wave]:
        yield waveform
        over.wait()

    film = Kept(still_identity)
    with film, Session(denoiser_model, still_identity) as session:
        live = Live(session, film, sample_rate=RATE, clock=clock)

        def shown(image: NDArray[np.uint8], seconds: float, plain=film.show) -> None:  # type: ignore[no-untyped-def]
            plain(image, seconds)
            if seconds >= 1.6:
                over.set()

        film.show = shown  # type: ignore[method-assign]
        done = live.run(come())
    assert done.seconds >= 1.64
    assert done.idle > 0.5
    sound = np.concatenate(film.sound)
    begins = int(np.flatnonzero(sound)[0]) - int(np.flatnonzero(waveform)[0])  # a turn of silence may have come before
    assert 0 <= begins < 0.5 * RATE
    np.testing.assert_array_equal(sound[begins : begins + len(waveform)], waveform)
    assert not sound[begins + len(waveform) :].any()
    seconds = np.array([at for _, at, _ in film.shown])
    np.testing.assert_allclose(np.diff(seconds), 0.04, atol=1e-6)


def test_what_is_broken_off_is_not_heard(denoiser_model: Model, still_identity: Portrait, waveform: Wave) -> None:
    """Neither what waits nor what was not shown yet; what comes later is."""
    film, later = Kept(still_identity), np.float32(0.5) * np.sign(waveform[:4000])
    with film, Session(denoiser_model, still_identity) as session:
        live = Live(session, film, sample_rate=RATE, clock=None)
        live._hear(waveform, 0.0)
        shown = len(film.shown)
        live._incoming.waiting.append(waveform)
        live._break_off()
        done = live.run([later])
    sound = np.concatenate(film.sound)
    edge = round(shown * 0.04 * RATE)
    np.testing.assert_array_equal(sound[:edge], waveform[:edge])
    assert not sound[edge + 160 : len(waveform)].any()
    np.testing.assert_array_equal(sound[len(waveform) :], later)
    assert done.interrupted == 1


def test_the_mouth_closes_in_a_fifth_of_a_second(model: Model, waveform: Wave) -> None:
    """And opens again for what comes later, wherever silence ends."""
    voice, usual = Voice(model), Voice(model)
    for one in (voice, usual):
        one.push(waveform)
    voice.hush(0.2)
    voice.push(np.zeros(2000, np.float32))
    usual.push(np.zeros(2000, np.float32))
    for one in (voice, usual):
        one.push(waveform)
        one.finish()
    row = model.geometry.opening_row()
    at = np.arange(50) / 25
    made, plain = (np.array([float(np.abs(one.at(t).shape @ row)) for t in at]) for one in (voice, usual))
    assert plain[10:20].max() > 0.02
    np.testing.assert_array_equal(made[at <= 0.2], plain[at <= 0.2])
    assert made[(at >= 0.4) & (at < 1.12)].max() == 0
    np.testing.assert_array_equal(made[at > 1.2], plain[at > 1.2])


@pytest.mark.parametrize("how", ["interrupt", "flush"])
def test_a_session_that_was_broken_off_is_kept(
    denoiser_model: Model, still_identity: Portrait, waveform: Wave, how: str
) -> None:
    with Session(denoiser_model, still_identity, Manner(head_motion=0, blinks=0)) as session:
        count = len(list(session.push(waveform)))
        if how == "flush":
            assert len(list(session.flush())) + count >= 25
        else:
            session.interrupt()
        state = session.state()
        rest = [frame.image for frame in session.push(np.zeros(RATE, np.float32))]
    with Session.from_state(denoiser_model, still_identity, state) as session:
        again = [frame.image for frame in session.push(np.zeros(RATE, np.float32))]
    np.testing.assert_array_equal(rest, again)


def test_what_goes_wrong_with_the_sound_is_told(denoiser_model: Model, still_identity: Portrait) -> None:
    def come() -> Iterator[Wave]:
        yield np.zeros(1000, np.float32)
        raise OSError(5, "Input/output error")

    with Kept(still_identity) as film, Session(denoiser_model, still_identity) as session:
        with pytest.raises(OSError, match="Input/output"):
            Live(session, film, sample_rate=RATE, clock=None).run(come())
        film.show(still_identity.image, 0.0)


def test_it_is_a_film(denoiser_model: Model, still_identity: Portrait, waveform: Wave) -> None:
    out = io.BytesIO()
    width, height = still_identity.size
    film = Fragments(out, width=width, height=height, frame_rate=Manner().frame_rate, sample_rate=RATE)
    with film, Session(denoiser_model, still_identity) as session:
        Live(session, film, sample_rate=RATE, clock=None).run(pieces(waveform))
    with av.open(io.BytesIO(out.getvalue()), "r") as container:
        assert len(list(container.decode(video=0))) == 25
