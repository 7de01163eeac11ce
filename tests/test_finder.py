"""Detector, mesh and tracker on the demo portrait: found at any place and size, the largest first, then held."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.face.boxes import Box, other_way_up
from difftalk.face.finder import Detector, Face, FaceFinder, Found, roi_of
from difftalk.face.landmarks import POINTS
from difftalk.face.tracker import Tracker
from difftalk.model import Model
from drawn import SETTINGS, masked, without_face

SMILES = (44, 45)  # blendshapes
BLINKS = (9, 10)


def grey(height: int, width: int) -> Image:
    return np.full((height, width, 3), 128, np.uint8)


def placed(picture: Image, x: int, y: int, *, size: int, on: Image) -> Image:
    """The picture at `size` px with its corner at x, y."""
    out = on.copy()
    out[y : y + size, x : x + size] = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return out


@pytest.fixture(scope="module")
def find(model: Model) -> Callable[[Image], Face]:
    return lambda image: model.face_finder.find(image)[0].face


def test_one_face_with_its_eyes(model: Model, portrait: Image, face: Face) -> None:
    boxes = [found.box for found in model.face_finder.find(portrait)]
    assert len(boxes) == 1
    assert face.points.shape == (POINTS, 3)
    assert face.score > SETTINGS.finding.min_score
    assert 38 < face.eye_distance < 46
    for eye, corners in ((boxes[0].right_eye, (33, 133)), (boxes[0].left_eye, (362, 263))):
        assert np.hypot(*(face.points[list(corners), :2].mean(0) - eye)) < 6


def test_mesh_follows_the_picture(face: Face, portrait: Image, find: Callable[[Image], Face]) -> None:
    moved = placed(portrait, 31, 17, size=256, on=grey(400, 400))
    np.testing.assert_allclose(find(moved).points[:, :2] - [31, 17], face.points[:, :2], atol=1.5)
    twice = find(cv2.resize(portrait, (512, 512), interpolation=cv2.INTER_CUBIC).astype(np.uint8))
    np.testing.assert_allclose(twice.points[:, :2] / 2, face.points[:, :2], atol=1.5)


@pytest.mark.parametrize("angle", [-25, 60, 90, 120, 150, 180, 210, 240, 270])
def test_turned_face(face: Face, portrait: Image, find: Callable[[Image], Face], angle: float) -> None:
    turn = cv2.getRotationMatrix2D((128, 128), angle, 1.0)
    turn[:, 2] += 32
    tilted = cv2.warpAffine(portrait, turn, (320, 320), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
    expected = face.points[:, :2] @ turn[:, :2].T + turn[:, 2]
    assert np.abs(find(tilted).points[:, :2] - expected).mean() < 1.5


def test_an_upright_mesh_on_an_upside_down_face_is_not_believed(model: Model, portrait: Image) -> None:
    box = model.face_finder.find(portrait)[0].box
    assert model.face_finder._confirmed(portrait, box) is not None
    assert model.face_finder._confirmed(np.ascontiguousarray(portrait[::-1]), box) is None


def test_blendshapes_of_a_turned_face(model: Model, portrait: Image, face: Face) -> None:
    upside_down = model.face_finder.find(np.ascontiguousarray(np.rot90(portrait, 2)))[0].face
    scores, expected = (model.face_finder.blendshapes(one.points) for one in (upside_down, face))
    np.testing.assert_allclose(scores, expected, atol=0.15)


@pytest.mark.parametrize("quarters", [0, 2])
def test_eyes_as_near_as_promised_in_a_large_picture(model: Model, portrait: Image, quarters: int) -> None:
    size = round(256 * (SETTINGS.finding.min_eye_distance + 2) / 42)
    small = placed(portrait, 0, 0, size=size, on=grey(size, size))
    picture = grey(1200, 1600)
    picture[700 : 700 + size, 900 : 900 + size] = np.rot90(small, quarters)
    found = model.face_finder.find(picture)
    assert [
        SETTINGS.finding.min_eye_distance < one.face.eye_distance < SETTINGS.finding.min_eye_distance + 4
        for one in found
    ] == [True]
    x, y = found[0].face.points[:, :2].mean(0)
    assert 900 < x < 900 + size
    assert 700 < y < 700 + size


def test_a_masked_face_is_not_left_upside_down(model: Model, portrait: Image, face: Face) -> None:
    """Detector and mesh may take its forehead for a lower face; the mesh about its eyes the right way up is surer."""
    finder, picture = model.face_finder, masked(portrait, face.points)
    eyes = face.points[[33, 133, 362, 263], :2].mean(0)
    wrong = Face(np.concatenate([2 * eyes - face.points[:, :2], face.points[:, 2:]], 1), 1.0)
    one = finder.find(picture)[0]
    right = finder._righted(picture, Found(other_way_up(one.box), wrong, one.score))
    assert right is not None
    assert np.linalg.norm((right.face.points - one.face.points)[:, :2], axis=1).max() < 0.2 * face.eye_distance
    upside_down = np.ascontiguousarray(np.rot90(portrait, 2))
    assert finder._righted(upside_down, finder.find(upside_down)[0]) is None


def test_a_ball_with_spots_is_no_face(model: Model) -> None:
    """Detector and mesh agree on one, but the mesh is another in every square."""
    rng, ball = np.random.default_rng(248), np.full((240, 240), 20, np.float32)
    cv2.circle(ball, (120, 120), 70, 150.0, -1)
    for _ in range(5):
        x, y = rng.integers(75, 165, 2)
        cv2.circle(ball, (int(x), int(y)), int(rng.integers(4, 14)), float(rng.integers(60, 255)), -1)
    ball = np.asarray(cv2.GaussianBlur(ball, (0, 0), 4), np.float32)
    assert model.face_finder.find(np.repeat(ball.astype(np.uint8)[..., None], 3, axis=2)) == []


def test_a_picture_without_a_face_is_given_up_soon(model: Model) -> None:
    looks, detector = list[int](), Detector(model.graph("face_detector"), SETTINGS)

    def counted(image: Image) -> list[Box]:
        looks.append(max(image.shape))
        return detector(image)

    mesh, blendshapes = model.graph("face_mesh"), model.graph("face_blendshapes")
    finder = FaceFinder(detector=counted, mesh=mesh, blendshapes=blendshapes, settings=SETTINGS)
    assert finder.find(grey(1800, 2400)) == []
    assert len(looks) <= 4  # plain tiles are not looked at
    looks.clear()
    stripes = np.arange(2400, dtype=np.float32)[None, :, None] * np.ones((1800, 1, 3), np.float32)
    assert finder.find((stripes % 97).astype(np.uint8)) == []
    assert len(looks) < 1100  # 1,760 in tiles that overlap by half
    assert max(looks[4:]) == 128  # of a picture that is shrunk once, not tile by tile


def test_small_face_is_found_in_tiles(model: Model, portrait: Image) -> None:
    picture = placed(portrait, 700, 600, size=120, on=grey(1000, 1200))
    assert not Detector(model.graph("face_detector"), SETTINGS)(picture)
    boxes = [found.box for found in model.face_finder.find(picture)]
    assert len(boxes) == 1
    x, y = boxes[0].centre
    assert 700 < x < 820
    assert 600 < y < 720


def test_largest_first(model: Model, portrait: Image) -> None:
    picture = placed(portrait, 0, 0, size=180, on=placed(portrait, 200, 0, size=256, on=grey(256, 456)))
    boxes = [found.box for found in model.face_finder.find(picture)]
    assert [box.centre[0] > 200 for box in boxes] == [True, False]
    assert boxes[0].size > boxes[1].size


@pytest.mark.parametrize("shape", [(256, 256), (1, 1), (1, 4000), (3000, 2)])
def test_no_face(model: Model, shape: tuple[int, int]) -> None:
    assert model.face_finder.find(grey(*shape)) == []


def test_tracker_gives_none_without_a_face(model: Model, portrait: Image) -> None:
    assert Tracker(model.face_finder)(without_face(portrait)) is None


def test_blendshapes(model: Model, face: Face) -> None:
    scores = model.face_finder.blendshapes(face.points)
    assert scores.shape == (52,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert min(scores[list(SMILES)]) > 0.4
    assert max(scores[list(BLINKS)]) < 0.5


def test_next_square_holds_the_face(face: Face) -> None:
    x, y, size, angle = roi_of(face.points)
    assert np.hypot(*(face.points[:, :2] - [x, y]).T).max() < size * 0.75
    assert abs(angle) < 0.3


def test_tracker_takes_the_largest_and_holds_its_place(model: Model, portrait: Image) -> None:
    tracker = Tracker(model.face_finder)
    left = placed(portrait, 0, 0, size=256, on=placed(portrait, 300, 40, size=180, on=grey(256, 500)))
    right = placed(portrait, 30, 40, size=180, on=placed(portrait, 240, 0, size=256, on=grey(256, 500)))
    found = [tracker(image) for image in (left, grey(256, 500), right)]
    assert found[0] is not None
    assert found[0].points[:, 0].mean() < 250
    assert found[1] is None
    assert found[2] is not None
    assert found[2].points[:, 0].mean() < 250  # the other one is larger now
    assert tracker.faces_seen == 2


class Asked(FaceFinder):
    """A finder that tells how it was asked. gone: from now on it finds nothing, and every mesh is half as large."""

    def __init__(self, model: Model) -> None:
        detector = Detector(model.graph("face_detector"), SETTINGS)
        mesh, blendshapes = model.graph("face_mesh"), model.graph("face_blendshapes")
        super().__init__(detector=detector, mesh=mesh, blendshapes=blendshapes, settings=SETTINGS)
        self.looks = list[bool]()  # whether patient
        self.gone = False

    def find(self, image: Image, *, patient: bool = True) -> list[Found]:
        self.looks.append(patient)
        return [] if self.gone else super().find(image, patient=patient)

    def mesh(self, image: Image, roi: tuple[float, float, float, float]) -> Face:
        face = super().mesh(image, roi)
        middle = face.points.mean(0)
        return Face((face.points - middle) / 2 + middle, 0.99) if self.gone else face


def test_tracker_follows_without_searching(model: Model, portrait: Image) -> None:
    finder = Asked(model)
    tracker = Tracker(finder)
    first, second = (tracker(np.roll(portrait, x, axis=1)) for x in (0, 4))
    assert len(finder.looks) == 1
    assert first is not None
    assert second is not None
    np.testing.assert_allclose((second.points - first.points)[:, :2].mean(0), [4, 0], atol=0.5)


def test_tracker_is_patient_once_in_a_while(model: Model) -> None:
    """A long stretch without a face must not be searched thoroughly in every frame."""
    finder = Asked(model)
    tracker = Tracker(finder)
    for _ in range(SETTINGS.following.hurried_frames + 3):
        assert tracker(grey(256, 256)) is None
    assert finder.looks == [True] + [False] * SETTINGS.following.hurried_frames + [True, False]


def test_tracker_finds_the_face_again_after_a_cut(model: Model, portrait: Image) -> None:
    tracker = Tracker(model.face_finder)
    tracker(placed(portrait, 0, 0, size=256, on=grey(400, 700)))
    face = tracker(placed(portrait, 420, 120, size=256, on=grey(400, 700)))
    assert face is not None
    assert face.points[:, 0].mean() > 450


def test_tracker_believes_no_leap(model: Model, portrait: Image) -> None:
    """A mesh that shrinks by half within a frame is not followed; nothing else is found, so nothing is."""
    finder = Asked(model)
    tracker = Tracker(finder)
    assert tracker(portrait) is not None
    finder.gone = True
    assert tracker(portrait) is None
    assert len(finder.looks) == 2


def test_box_measures() -> None:
    box = Box(0.9, 10, 20, 40, 90, (15, 40), (35, 40))
    assert box.size == 70
    assert box.centre == (25, 55)
