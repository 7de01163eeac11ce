"""What the published system sees: landmarks, windows of audio, the mask."""

from __future__ import annotations

import numpy as np

from difftalk.face.finder import Face
from difftalk.graphs import BEFORE, CONTEXT
from difftalk.media import audio
from difftalk.model import Model
from difftalk.render.published import (
    CHARACTERS,
    EMPTY,
    LANDMARKS_68,
    NOSE,
    SEEN,
    characters_of,
    landmarks_68,
    mask_of,
    masked,
    rows_around,
    windows_of,
)
from difftalk.speech.features import features_of
from drawn import DEMO, SETTINGS


def test_landmarks(face: Face) -> None:
    found = landmarks_68(face.points)
    assert found.shape == (68, 2)
    assert len(set(LANDMARKS_68.tolist())) == 68
    assert len(SEEN) == 39
    chin, nose, lips = found[8], found[NOSE], found[48:68]
    assert nose[1] < lips[:, 1].min() < lips[:, 1].max() < chin[1]
    assert found[36:42, 0].max() < nose[0] < found[42:48, 0].min()  # the right eye is on the picture's left
    assert found[0, 0] < found[4, 0] < chin[0] < found[12, 0] < found[16, 0]


def test_windows_lie_around_the_frame() -> None:
    """A feature that counts time: window 4 is the frame's own, 16 steps about its position, 2 steps a frame."""
    rows = rows_around(100.2)
    assert len(rows) == CONTEXT
    assert rows[BEFORE] == 100
    windows = windows_of(np.repeat(rows[:, None], CHARACTERS, 1).astype(np.float32))[..., 0]
    assert windows.shape == (8, 16)
    np.testing.assert_array_equal(windows[4], np.arange(92, 108))
    np.testing.assert_array_equal(windows[:, 0], 92 + 2 * np.arange(-4, 4))


def test_characters_are_of_unit_size(model: Model) -> None:
    """On real speech, of a voice that none of the principal components was fitted on."""
    features = features_of(audio.read(DEMO / "voice.wav"), model.graph("speech_encoder"), SETTINGS)
    found = characters_of(features.astype(np.float16))
    assert found.shape == (len(features), CHARACTERS)
    assert found.dtype == np.float32
    spread = found.std(0)
    assert 0.7 < np.median(spread) < 1.3
    assert 0.4 < spread.min() < spread.max() < 2
    np.testing.assert_allclose(characters_of(features[:5]), found[:5], atol=2e-3)


def test_the_mask_is_all_below_the_nose(face: Face) -> None:
    landmarks = landmarks_68(face.points)
    mask = mask_of(landmarks, 256)
    row = round(float(landmarks[NOSE, 1]))
    assert (mask[:row] == 0).all()
    assert (mask[row:] == 1).all()
    picture = np.random.default_rng(0).uniform(-0.9, 0.9, (3, 256, 256)).astype(np.float32)
    seen = masked(picture, mask)
    np.testing.assert_array_equal(seen[:, :row], picture[:, :row])
    assert (seen[:, row:] == EMPTY).all()
    assert mask_of(landmarks + 1000, 256)[-1].all()  # a nose outside the picture leaves a row
