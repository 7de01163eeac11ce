"""Identities: what is found of a picture or a video, what is said about it, and what cannot be worked on."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from difftalk.arrays import Array, Image
from difftalk.errors import FaceError, InputError
from difftalk.face.finder import Face
from difftalk.face.landmarks import CHIN, LIP_BOTTOM, LIP_TOP, LIPS, LOWER_LIP, UPPER, UPPER_LIP
from difftalk.face.mouth import opening
from difftalk.face.recognition import Run, runs
from difftalk.face.space import REGION_Y, align
from difftalk.face.tracker import Followed
from difftalk.model import Model
from difftalk.talk.footage import Footage
from difftalk.talk.identity import Manner
from difftalk.talk.person import Offers
from difftalk.talk.portrait import Portrait, of_still
from difftalk.talk.watching import Watch, of_video, recogniser_of
from drawn import SETTINGS, SHARED, draw_clip, moving, without_face


def save(path: Path, image: Image) -> Path:
    Pillow.fromarray(image).save(path)
    return path


def scaled(image: Image, factor: float) -> Image:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def test_of_a_still(still_identity: Portrait, portrait: Image, face: Face) -> None:
    one = still_identity
    np.testing.assert_array_equal(one.image, portrait)
    np.testing.assert_allclose(one.points, face.points, atol=0.01)
    assert one.people[0].references == one.people[0].mouths
    assert one.people[0].mouth_shapes.shape == (1, 16)
    assert one.notes == []
    assert opening(one.people[0].neutral) < 0.15  # she smiles with open lips


def test_large_picture_is_shrunk_and_that_is_said(model: Model, still: Path) -> None:
    one = of_still(still, model, size=200)
    assert one.image.shape == (200, 200, 3)
    assert one.notes == ["shrunk from 256 x 256 to 200 x 200; `size` sets the long side"]
    whole = of_still(still, model, size=None)
    assert whole.image is not None
    assert whole.image.shape == (256, 256, 3)


def in_large_photo(portrait: Image, eyes: float) -> Image:
    """(1500, 2000, 3): the portrait with its eyes so many px apart."""
    small = scaled(portrait, eyes / 42)
    return np.pad(
        small, ((700, 800 - len(small)), (1100, 900 - len(small)), (0, 0)), mode="constant", constant_values=128
    )


@pytest.mark.parametrize(("eyes", "side", "after"), [(20, 2000, 20), (50, 1280, 32)])
def test_a_small_face_in_a_large_photo_keeps_its_pixels(
    model: Model, portrait: Image, tmp_path: Path, eyes: float, side: int, after: float
) -> None:
    one = of_still(save(tmp_path / "large.png", in_large_photo(portrait, eyes)), model, size=400)
    assert max(one.image.shape) == pytest.approx(side, rel=0.05)
    assert one.pose.scale == pytest.approx(after, rel=0.1)
    assert one.notes[-1].endswith("px apart; crop the picture for a closer view")


@pytest.mark.parametrize(("across", "width", "height"), [(False, 1920, 1440), (True, 1920, 1080)])
def test_a_small_face_in_a_huge_photo_is_cut_to_its_surroundings(
    model: Model, portrait: Image, tmp_path: Path, across: bool, width: int, height: int
) -> None:
    photo = in_large_photo(portrait, 20)
    photo = np.pad(photo, ((0, 0 if across else 1350), (0, 1800), (0, 0)), mode="edge")
    path = save(tmp_path / "huge.png", photo)
    one = of_still(path, model, size=1080)
    assert one.image.shape == (height, width, 3)
    assert one.pose.scale == pytest.approx(20, rel=0.1)  # its own pixels
    x, y = one.pose.shift[:2]
    assert 0.2 * width < x < 0.8 * width
    assert 0.2 * height < y < 0.8 * height
    assert one.notes[0] == (
        f"cut to {width} x {height} px about the face; `size=3800` keeps more of the picture, and takes longer"
    )
    whole = of_still(path, model, size=3800)
    assert whole.image is not None
    assert whole.image.shape == photo.shape


def test_a_face_that_is_small_even_at_full_size(model: Model, portrait: Image, tmp_path: Path) -> None:
    with pytest.raises(FaceError, match=r"no face found|px apart; at least 16 are needed; come"):
        of_still(save(tmp_path / "large.png", in_large_photo(portrait, 13)), model, size=400)


@pytest.mark.parametrize("name", ["some.png", "some.mp4"])
def test_upside_down(model: Model, portrait: Image, tmp_path: Path, name: str) -> None:
    one = found(shown(tmp_path / name, np.ascontiguousarray(np.rot90(portrait, 2))), model)
    shots = one.shots(Manner(), None, SETTINGS)
    sitter = next(shots).sitter
    shots.close()
    assert sitter is not None
    assert abs(sitter.pose.roll) > 165
    assert opening(one.people[0].neutral) < 0.15


def test_several_faces_in_a_still(model: Model, portrait: Image, tmp_path: Path) -> None:
    pair = np.concatenate([np.pad(scaled(portrait, 0.75), ((0, 64), (0, 0), (0, 0))), portrait], axis=1)
    one = of_still(save(tmp_path / "pair.png", pair), model, size=None)
    assert one.points is not None
    assert one.points[:, 0].mean() > 192
    assert len(one.notes) == 1
    assert one.notes[0].startswith("2 faces: took the largest, at x 3")


def shown(path: Path, image: Image) -> Path:
    """A picture, or a video of five times that picture."""
    return save(path, image) if path.suffix == ".png" else draw_clip(path, [image] * 5)


def found(path: Path, model: Model) -> Portrait | Footage:
    return of_still(path, model, size=None) if path.suffix == ".png" else of_video(path, model)


@pytest.mark.parametrize("name", ["some.png", "some.mp4"])
def test_no_face(model: Model, portrait: Image, tmp_path: Path, name: str) -> None:
    path = shown(tmp_path / name, without_face(portrait))
    with pytest.raises(FaceError, match="face"):
        found(path, model)


def test_sliver_of_a_picture(model: Model, tmp_path: Path) -> None:
    with pytest.raises(FaceError, match="no face found"):
        of_still(save(tmp_path / "sliver.png", np.zeros((2, 4000, 3), np.uint8)), model, size=64)


@pytest.mark.parametrize("name", ["some.png", "some.mp4"])
def test_eyes_too_near_each_other(model: Model, portrait: Image, tmp_path: Path, name: str) -> None:
    path = shown(tmp_path / name, np.pad(scaled(portrait, 0.3), ((20, 21), (20, 21), (0, 0)), mode="edge"))
    with pytest.raises(FaceError, match=r"eyes are 1\d px apart; at least 16 are needed"):
        found(path, model)


@pytest.mark.parametrize("name", ["some.png", "some.mp4"])
def test_turned_away(model: Model, portrait: Image, tmp_path: Path, name: str) -> None:
    """The portrait looks into the camera: the limit is moved instead of the head."""
    path = shown(tmp_path / name, portrait)
    strict = dataclasses.replace(model, settings=model.settings.changed(["finding.max_yaw=0"]))
    with pytest.raises(FaceError, match=r"head is turned by|must look towards the camera"):
        found(path, strict)


def test_of_a_video(clip_identity: Footage, face: Face) -> None:
    one = clip_identity
    assert len(one.frames) == one.info.frame_count == 28
    assert 1 <= len(one.people[0].references) <= SETTINGS.people.max_references
    assert one.people[0].turns.shape == (len(one.people[0].references), 2)
    assert one.notes == []
    for number, tracked in enumerate(one.frames):
        assert tracked is not None
        assert tracked.upper.shape == (len(UPPER), 3)  # no point below the nose is kept
        assert tracked.zoom == 1
        np.testing.assert_allclose((tracked.upper - face.points[UPPER])[:, 0].mean(), number, atol=1)


def test_faceless_frames_are_told(model: Model, portrait: Image, tmp_path: Path) -> None:
    frames = moving(portrait, 12)
    frames[4:6] = [without_face(portrait)] * 2
    one = of_video(draw_clip(tmp_path / "gap.mp4", frames), model)
    assert [tracked is None for tracked in one.frames] == [n in (4, 5) for n in range(12)]


def test_mouth_outside_the_picture(model: Model, portrait: Image, face: Face, tmp_path: Path) -> None:
    """The picture slides down until its lower border cuts the mouth off."""
    end, cut = (round(float(face.points[point, 1])) // 2 * 2 for point in (152, 0))
    slid = np.pad(portrait[:cut], ((end - cut, 0), (0, 0), (0, 0)), mode="edge")
    frames = [np.ascontiguousarray(portrait[:end])] * 3 + [slid] * 3
    one = of_video(draw_clip(tmp_path / "cut.mp4", frames), model)
    assert [tracked is None for tracked in one.frames] == [False] * 3 + [True] * 3


def of_changed(path: Path, model: Model, change: Callable[[int, Followed], Followed]) -> Footage:
    """A video's identity if its faces were seen otherwise; change: of a frame's number and the frame."""
    watch = Watch(path, model)
    frames = itertools.starmap(change, enumerate(watch.followed()))
    for frame, run in runs(frames, recogniser_of(model), model.settings):
        watch.take(frame, run)
    watch.finish()
    return watch.footage()


def test_the_mask_grows_where_the_chin_is_beyond_it(model: Model, clip: Path) -> None:
    lowest = list[Array]()

    def longer(number: int, frame: Followed) -> Followed:
        """One face has its chin an eye distance lower."""
        assert frame.face is not None
        points = frame.face.points.copy()
        points[CHIN, 1] += 42 * (number == 14)
        lowest.append(points)
        return dataclasses.replace(frame, face=dataclasses.replace(frame.face, points=points))

    one = of_changed(clip, model, longer)
    assert one.notes == ["in 1 frame(s) the chin reaches beyond the mask; there and around the mask is larger"]
    frames = [tracked for tracked in one.frames if tracked is not None]
    for tracked, points in zip(frames, lowest, strict=True):
        placed = tracked.alignment.points(points)[CHIN]
        assert placed[:, 1].max() <= REGION_Y[1] - SETTINGS.watching.jaw_margin + 1e-3
        eyes = tracked.alignment.points(tracked.pose.shift[None])[0]
        np.testing.assert_allclose(eyes[:2], [128, 72], atol=3)
    scales = np.array([tracked.alignment.scale for tracked in frames])
    assert scales[14] < 0.95 * scales[-1]
    assert np.abs(np.diff(np.log(scales))).max() < 0.02  # no jump


def test_references_are_the_most_frequent_turns(model: Model, clip: Path) -> None:
    turns = [0] * 10 + [16] * 7 + [-16] * 6 + [-32] * 1 + [24] * 4  # degrees, of the clip's 28 frames

    def turning(number: int, frame: Followed) -> Followed:
        assert frame.pose is not None
        c, s = np.cos(np.radians(turns[number])), np.sin(np.radians(turns[number]))
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        return dataclasses.replace(frame, pose=dataclasses.replace(frame.pose, rotation=turn))

    few = dataclasses.replace(model, settings=model.settings.changed(["people.max_references=4"]))
    one = of_changed(clip, few, turning)
    assert len(one.frames) == len(turns)
    np.testing.assert_allclose(one.people[0].turns, [[0, 0], [16, 0], [-16, 0], [24, 0]], atol=1e-6)


def test_pressed_lips_are_no_reference(model: Model, clip: Path) -> None:
    def pressing(number: int, frame: Followed) -> Followed:
        """All mouths are open a little but two: frame 5 is closed, frame 9 pressed, its lips rolled in."""
        assert frame.face is not None
        points = frame.face.points.copy()
        points[LIP_BOTTOM] = points[LIP_TOP] + [0, 0.5 if number in (5, 9) else 8, 0]
        if number == 9:
            points[LIP_BOTTOM] = points[LIP_TOP]
            points[[UPPER_LIP, LOWER_LIP]] = points[LIP_TOP] + [[0, -1, 0], [0, 1, 0]]
        return dataclasses.replace(frame, face=dataclasses.replace(frame.face, points=points))

    found = of_changed(clip, model, pressing)
    reference = found.people[0].references[0]
    middle = float(reference.alignment.inverse[0, 2])
    closed = found.frames[5]
    assert closed is not None
    assert middle == pytest.approx(float(closed.alignment.inverse[0, 2]), abs=0.01)


def test_several_faces_in_a_video(model: Model, portrait: Image, tmp_path: Path) -> None:
    pair = np.concatenate([np.pad(scaled(portrait, 0.75), ((0, 64), (0, 0), (0, 0))), portrait], axis=1)
    one = of_video(draw_clip(tmp_path / "pair.mp4", [pair] * 8), model)
    assert one.notes == ["up to 2 faces: took the largest"]
    assert all(tracked is not None and tracked.pose.shift[0] > 192 for tracked in one.frames)


def test_progress_is_told(model: Model, clip: Path) -> None:
    told = list[tuple[str, int, int]]()
    of_video(clip, model, progress=lambda *parts: told.append(parts))
    assert told == [("looking", number, 28) for number in range(1, 29)]


@pytest.fixture(scope="module")
def moving_picture(portrait: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("moving") / "moving.gif"
    first, *others = [Pillow.fromarray(image) for image in moving(portrait, 6)]
    first.save(path, save_all=True, append_images=others, duration=80)
    return path


def test_a_moving_picture_is_a_video(model: Model, moving_picture: Path) -> None:
    one = of_video(moving_picture, model)
    assert len(one.frames) == 6
    assert None not in one.frames


def test_a_moving_picture_as_a_portrait(model: Model, moving_picture: Path) -> None:
    one = of_still(moving_picture, model, size=None)
    assert one.notes == ["a moving picture: took its first frame; dub takes them all"]


def test_a_picture_is_no_video(model: Model, still: Path) -> None:
    with pytest.raises(InputError, match="use animate"):
        of_video(still, model)


@pytest.fixture(scope="module")
def two(portrait: Image, media: Path) -> Path:
    """One face, then one with other colours in its place, then the first again: 14, 14 and 8 frames."""
    first, second = moving(portrait, 36), moving(np.ascontiguousarray(portrait[..., ::-1]), 36)
    return draw_clip(media / "two.mp4", [*first[:14], *second[14:28], *first[28:]])


def test_everybody_is_drawn_from_their_own_frames(two: Path, painter_model: Model) -> None:
    """Faces are told apart by their colour."""
    found = of_video(two, painter_model)
    assert [t.person if t is not None else None for t in found.frames] == [0] * 14 + [1] * 14 + [0] * 8
    assert len(found.people) == 2
    for number, person in enumerate(found.people):
        for reference in [*person.references, *person.mouths]:
            red, _, blue = reference.image.mean((0, 1))
            assert (blue > red) == bool(number)
    assert any("2 people one after the other" in note for note in found.notes)
    assert found.own_way is None


def test_one_person_is_nobody_else(clip: Path, model: Model) -> None:
    found = of_video(clip, model)
    assert len(found.people) == 1
    assert all(t is None or t.person == 0 for t in found.frames)
    assert not any("people" in note for note in found.notes)


def test_a_model_that_knows_no_faces_takes_all_for_one(two: Path, model: Model) -> None:
    graphs = {name: entry for name, entry in model.graphs.items() if name != "face_identity"}
    found = of_video(two, dataclasses.replace(model, graphs=graphs))
    assert len(found.people) == 1
    assert all(frame is not None for frame in found.frames)


def test_nobody_is_drawn_while_one_face_becomes_another(model: Model, tmp_path: Path) -> None:
    """With the net itself: one face, a dissolve, another."""
    other = SHARED.parent / "assets" / "portraits"
    if not other.is_dir():
        pytest.skip("needs two portraits of ../shared/assets")
    one, another = (aligned_face(other / name, model) for name in ("grace_hopper.jpg", "astronaut.png"))
    shares = np.linspace(0, 1, 14)[1:-1]
    blend = [np.asarray(cv2.addWeighted(one, 1 - share, another, share, 0), np.uint8) for share in shares]
    path = draw_clip(tmp_path / "dissolve.mp4", [*[one] * 16, *blend, *[another] * 16])
    found = of_video(path, model)
    whose = [t.person if t is not None else None for t in found.frames]
    assert whose[:16] == [0] * 16
    assert set(whose[-14:]) == {1}
    assert None in whose[16:28]
    assert whose[16:28].count(None) >= 8
    assert None not in [*whose[:16], *whose[-14:]]


def test_nobody_is_drawn_from_a_dissolve(portrait: Image, face: Face, model: Model) -> None:
    """Of the frames near one, which show two, a reference is taken only where there is no other; at a cut, any."""

    def grey(dissolve: bool, count: int) -> list[int]:
        offers, alone, other = Offers(SETTINGS), Run(np.ones(128), 1), Run(-np.ones(128), 1)
        pose = model.geometry.pose(face.points)
        for number in range(2 * count):
            image = np.full_like(portrait, number)
            followed = Followed(image, number / 25, face, pose, align(pose))
            free = pose.remove(face.points)
            free[LIPS, 1] *= 1 + 0.01 * min(number, 2 * count - number)  # the nearer to the change, the fuller
            run, cut = alone if number < count else other, not dissolve and number == count
            offers.take(run, followed, free, for_neutral=True, cover=None, cut=cut)
        people = [candidates.person(model.geometry) for _, candidates in offers.finish().known]
        return [int(np.median(reference.image)) for one in people for reference in one.references]

    early, late = grey(True, 30)
    assert early < 30 - SETTINGS.people.near_change
    assert late >= 30 + SETTINGS.people.near_change
    assert grey(False, 30) == [29, 30]
    assert len(grey(True, 8)) == 2


def aligned_face(path: Path, model: Model) -> Image:
    """(256, 256, 3): the picture's face where the others' are."""
    found = of_still(path, model, size=1080)
    assert found.image is not None
    assert found.pose is not None
    return align(found.pose).crop(found.image)
