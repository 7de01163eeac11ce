"""Clips heard in other rooms say the same words at the same time."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.arrays import SAMPLE_RATE
from difftalk.data.sample import Sample
from difftalk.model import Model
from difftalk.training import rooms
from difftalk.training.motion_data import ROOM_SHARE, MotionSource
from difftalk.training.rooms import in_a_room, rooms_of


def test_rooms_are_encoded_once(sample: Sample, painter_model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    first = rooms_of([sample], 1, model=painter_model, pitches=(1.0, 1.0))
    assert "encoding 1 clips" in capsys.readouterr().err
    assert first[0][0].shape == sample.speech.shape
    own, there = (np.asarray(f, np.float32).ravel() for f in (sample.speech, first[0][0]))
    assert 0.5 < np.corrcoef(own, there)[0, 1] < 0.999
    (kept,) = sample.folder.glob("speech-room-*.npy")
    written = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(rooms_of([sample], 1)[0][0], first[0][0])
    assert (capsys.readouterr().err, kept.stat().st_mtime_ns) == ("", written)  # not encoded again
    assert rooms_of([sample], 0) == []


def test_a_higher_voice_keeps_its_pace() -> None:
    """Whatever is played faster is read more slowly: a ramp stays one."""
    ramp = np.arange(200, dtype=np.float32)[:, None].repeat(2, 1)
    for pitch in rooms.PITCHES:
        played = ramp[: int(199 / pitch)] * np.float32(pitch)  # feature i of it stands for i * pitch of the clip
        np.testing.assert_allclose(rooms._at_pace(played, pitch, 150), ramp[:150], atol=1e-3)


def test_a_room_is_noise_echo_and_tone() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    voice = (0.3 * np.sin(2 * np.pi * 220 * time) * (np.sin(2 * np.pi * 3 * time) > 0)).astype(np.float32)
    heard = [in_a_room(voice, np.random.default_rng(seed)) for seed in range(8)]
    for sound in heard:
        assert sound.shape == voice.shape
        assert np.abs(sound).max() <= 1
        assert np.corrcoef(sound, voice)[0, 1] > 0.5
    assert len({round(float(sound.std()), 4) for sound in heard}) == len(heard)
    np.testing.assert_array_equal(heard[3], in_a_room(voice, np.random.default_rng(3)))


def test_motion_hears_other_rooms_part_of_the_time(sample: Sample, painter_model: Model) -> None:
    silences = np.zeros((0, 0, 0), np.float32)
    elsewhere = [[np.full_like(sample.speech, 7)]]
    source = MotionSource([sample], painter_model.geometry, batch_size=200, silences=silences, rooms=elsewhere)
    share = float((source.batch(0).features[:, 30, 0] == 7).float().mean())
    assert abs(share - ROOM_SHARE) < 0.12
