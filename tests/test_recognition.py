"""Faces are told apart, and frames fall into runs of one face each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.face.finder import Face
from difftalk.face.recognition import Recogniser, Run, runs
from difftalk.face.space import align
from difftalk.face.tracker import Followed
from difftalk.model import Model
from drawn import SETTINGS


@pytest.fixture(scope="module")
def recogniser(model: Model) -> Recogniser:
    return Recogniser(model.graph("face_identity"))


class Fake:
    """Stands for the net: who is seen is the picture's grey; between two greys a face is somebody between."""

    def __init__(self) -> None:
        self.looks = 0

    def embed(self, picture: Image, points: object) -> np.ndarray:
        self.looks += 1
        return np.full(128, float(picture.mean()) / 255 / np.sqrt(128))


def frames(face: Face, model: Model, greys: Sequence[float]) -> Iterator[Followed]:
    pose = model.geometry.pose(face.points)
    for number, grey in enumerate(greys):
        picture = np.full((64, 64, 3), grey, np.uint8)
        yield Followed(picture, number / 25, face, pose, align(pose))


def told(face: Face, model: Model, greys: Sequence[float], fake: Fake | None = None) -> list[int | None]:
    """Numbers of the frames' runs, in the order in which they are met."""
    met: list[Run] = []
    out: list[int | None] = []
    for _, run in runs(frames(face, model, greys), fake or Fake(), SETTINGS):  # type: ignore[arg-type]
        if run is not None and not any(run is one for one in met):
            met.append(run)
        out.append(None if run is None else next(i for i, one in enumerate(met) if one is run))
    return out


def test_the_same_face_is_near_itself_and_far_from_another(
    model: Model, recogniser: Recogniser, portrait: Image, face: Face
) -> None:
    one = recogniser.embed(portrait, face.points)
    assert one.shape == (128,)
    darker = np.clip(portrait * 0.7 + 10, 0, 255).astype(np.uint8)
    smaller = np.asarray(cv2.resize(portrait, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA), np.uint8)
    assert np.linalg.norm(recogniser.embed(darker, face.points) - one) < SETTINGS.recognition.same
    assert np.linalg.norm(recogniser.embed(smaller, face.points * 0.4) - one) < SETTINGS.recognition.same
    wide = face.points.copy()
    middle = wide[:, 0].mean()
    wide[:, 0] = middle + (wide[:, 0] - middle) * 0.45  # seen through another's features
    squeeze = np.array([[0.45, 0, 0.55 * middle], [0, 1, 0]])
    narrow = cv2.warpAffine(portrait, squeeze, portrait.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    assert np.linalg.norm(recogniser.embed(np.asarray(narrow, np.uint8), wide) - one) > SETTINGS.recognition.same


def test_one_face_is_one_run_and_seldom_looked_at(model: Model, face: Face) -> None:
    fake = Fake()
    assert told(face, model, [200] * 60, fake) == [0] * 60
    assert fake.looks <= 60 / SETTINGS.recognition.every + 1


@pytest.mark.parametrize("at", [5, SETTINGS.recognition.every, 17, 30])
def test_a_cut_between_two_faces_in_one_place(model: Model, face: Face, at: int) -> None:
    """Nothing but the face tells them apart: place, size and turn stay, and a plain grey has no glance."""
    assert told(face, model, [220] * at + [20] * (48 - at)) == [0] * at + [1] * (48 - at)


def test_a_dissolve_is_nobodys(model: Model, face: Face) -> None:
    found = told(face, model, [240] * 20 + list(np.linspace(240, 0, 10)) + [0] * 30)
    assert found[:20] == [0] * 20
    assert set(found[-28:]) == {1}
    assert None in found[20:30]
    assert sorted(found[20:30], key=lambda run: {0: 0, None: 1, 1: 2}[run]) == found[20:30]


def test_frames_without_a_face_are_nobodys(model: Model, face: Face) -> None:
    given = list(frames(face, model, [200] * 30))
    empty = [Followed(f.image, f.seconds, None, None, None) if 10 <= i < 14 else f for i, f in enumerate(given)]
    found = [run for _, run in runs(empty, Fake(), SETTINGS)]  # type: ignore[arg-type]
    assert [run is None for run in found] == [10 <= i < 14 for i in range(30)]
    assert len({id(run) for run in found if run is not None}) == 1
    assert [f.seconds for f, _ in runs(iter(empty), Fake(), SETTINGS)] == [f.seconds for f in empty]  # type: ignore[arg-type]


def test_what_counts_as_another() -> None:
    run = Run()
    run.add(np.zeros(128))
    assert run.shows(np.full(128, 0.99 * SETTINGS.recognition.changed / np.sqrt(128)), SETTINGS)
    assert not run.shows(np.full(128, 1.01 * SETTINGS.recognition.changed / np.sqrt(128)), SETTINGS)
