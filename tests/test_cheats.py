"""Cheats: outputs that a person would see through at once must not win. The shipped model's demo plays the truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.evaluation.metrics.curves import best_shift, follow_figures, rest_figures
from difftalk.evaluation.metrics.take import Performance, flicker, look_figures, look_of, of_frames
from difftalk.evaluation.protocols.bench import held_from
from difftalk.evaluation.protocols.stills import quiet_waveforms
from difftalk.media import audio
from difftalk.model import Model
from difftalk.render.warp import inner_mouth
from difftalk.talk.portrait import of_still
from difftalk.talk.talker import Talker
from drawn import DEMO

Wave = NDArray[np.float32]


def speaking(model: Model, waveform: Wave) -> Performance:
    talker = Talker(model)
    identity = of_still(DEMO / "portrait.jpg", model, size=512)
    frames = [frame.image for frame in talker.stream(identity, [waveform], head_motion=0, blinks=0)]
    return of_frames(frames, model, identity.people[0].references[0].alignment)


@pytest.fixture(scope="module")
def voice() -> Wave:
    return audio.read(DEMO / "voice.wav")


@pytest.fixture(scope="module")
def truth(model: Model, voice: Wave) -> Performance:
    return speaking(model, voice)


@pytest.fixture(scope="module")
def cheats(truth: Performance, model: Model, voice: Wave) -> dict[str, Performance]:
    opening = truth.curves(model.geometry).opening
    shuffled, late = np.random.default_rng(0).permutation(len(truth)), np.maximum(np.arange(len(truth)) - 3, 0)
    return {
        "truth": truth,
        "shut": held_from(truth, int(opening.argmin())),
        "open": held_from(truth, int(opening.argmax())),
        "flapping": Performance([truth.frames[i] for i in shuffled], truth.meshes[shuffled]),
        "late": Performance([truth.frames[i] for i in late], truth.meshes[late]),
        "other": speaking(model, np.ascontiguousarray(voice[::-1])),
        "blurred": Performance([blurred(f, m) for f, m in zip(truth.frames, truth.meshes, strict=True)], truth.meshes),
    }


def blurred(frame: Image, mesh: NDArray[np.float32]) -> Image:
    weight = np.zeros((256, 256, 1), np.float32)
    weight[96:240, 40:216, 0] = cv2.dilate(inner_mouth(mesh), np.ones((5, 5)))
    return (weight * cv2.GaussianBlur(frame, (0, 0), 4) + (1 - weight) * frame).astype(np.uint8)


@pytest.fixture(scope="module")
def follow(cheats: dict[str, Performance], truth: Performance, model: Model) -> dict[str, dict[str, float]]:
    true = truth.curves(model.geometry)
    return {name: follow_figures(true, made.curves(model.geometry), 0) for name, made in cheats.items()}


def test_they_are_ranked_as_a_person_would(follow: dict[str, dict[str, float]]) -> None:
    r = {name: figures["r"] for name, figures in follow.items()}
    assert r["truth"] == pytest.approx(1)
    assert r["blurred"] == pytest.approx(1)  # its words are right; texture tells it apart
    assert r["late"] < 0.9
    for name in ("flapping", "other", "shut", "open"):
        assert r[name] < min(0.5, r["late"]), name
    distance = {name: figures["lip_distance"] for name, figures in follow.items()}
    assert distance["truth"] == 0 < distance["late"] < distance["other"]
    assert follow["shut"]["spread"] == pytest.approx(0, abs=1e-9)
    assert follow["open"]["spread"] == pytest.approx(0, abs=1e-9)
    assert follow["open"]["closure_recall"] == 0 or np.isnan(follow["open"]["closure_recall"])


def test_three_frames_are_said_as_three(cheats: dict[str, Performance], truth: Performance, model: Model) -> None:
    curves = {name: cheats[name].curves(model.geometry).opening for name in ("truth", "late")}
    assert best_shift(curves["truth"], curves["late"])[0] == 3
    assert best_shift(curves["truth"], curves["truth"])[0] == 0


def test_the_blur_is_caught_by_texture(cheats: dict[str, Performance], truth: Performance, model: Model) -> None:
    true = look_of(truth, model.geometry)
    look = {
        name: look_figures(true, look_of(cheats[name], model.geometry)) for name in ("truth", "blurred", "shut", "open")
    }
    assert look["truth"]["texture"] == pytest.approx(1)
    assert look["blurred"]["texture"] < 0.6
    assert look["truth"]["open_area"] == pytest.approx(1)
    assert look["open"]["open_area"] > 1.3
    assert look["shut"]["open_area"] < 0.7
    assert look["truth"]["identity"] == 0
    for name in ("shut", "open"):  # a frozen mouth does not flicker: that is as far from the truth as one can be
        assert look[name]["flicker_mouth"] == 0
        assert abs(look[name]["flicker_mouth"] - 1) > abs(look["truth"]["flicker_mouth"] - 1)


def test_flapping_flickers(cheats: dict[str, Performance]) -> None:
    assert flicker(cheats["flapping"])[1] > 1.2 * flicker(cheats["truth"])[1]


def test_no_frozen_mouth_wins_silence(cheats: dict[str, Performance], model: Model, voice: Wave) -> None:
    """Rest counts only beside speech: what never moves is not at rest."""
    waveforms = quiet_waveforms(voice)
    ours = {name: speaking(model, waveforms[name]).curves(model.geometry).opening for name in ("speech", "zeros")}
    neutral = float(ours["zeros"].mean())
    rows = {"ours": rest_figures(ours["zeros"], ours["speech"], neutral)}
    for name in ("shut", "open"):
        frozen = cheats[name].curves(model.geometry).opening
        rows[name] = rest_figures(frozen, frozen, neutral)
    assert rows["ours"]["rest_spread"] < 0.2
    for name in ("shut", "open"):
        assert rows[name]["rest_spread"] > rows["ours"]["rest_spread"]
    assert rows["open"]["rest_open"] > 1


def test_no_frozen_mouth_wins_swap(follow: dict[str, dict[str, float]]) -> None:
    """Its correlation with any voice is nothing."""
    assert follow["shut"]["r"] == follow["open"]["r"] == 0
    assert follow["shut"]["shift_found"] == follow["open"]["shift_found"] == 0
