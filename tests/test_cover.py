"""Covers: what the net finds before a drawn face, what of it lasts in a video, and how it stays in front."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from difftalk.arrays import Image
from difftalk.face.finder import Face
from difftalk.face.landmarks import OVAL
from difftalk.face.space import Alignment
from difftalk.model import Model
from difftalk.render.cover import Cover, Lookout, filled_in, mouth_hidden, pieces, settled
from difftalk.render.paste import put_before
from difftalk.talk.footage import Footage
from difftalk.talk.portrait import of_still
from difftalk.talk.talker import Talker
from drawn import SETTINGS, draw_clip, images, masked, with_microphone

Drawing = Callable[[Image, NDArray[np.floating]], Image]
PLAIN = Alignment(np.eye(2, 3))
LOWER = [117, 346, *OVAL[8:29]]  # cheeks and jaw


@pytest.fixture(scope="module")
def lookout(model: Model) -> Lookout:
    return Lookout(model.graph("cover"), SETTINGS)


def cover(first: int = 10, mouth: float = 0.0, alignment: Alignment = PLAIN) -> Cover:
    """Over eight columns of cells."""
    shares = np.zeros((36, 44), np.uint8)
    shares[10:20, first : first + 8] = 255
    return Cover(shares, alignment, mouth)


def hand(image: Image, points: NDArray[np.floating]) -> Image:
    """Three fingers of the face's own skin over the mouth."""
    out, eye = image.copy(), float(np.linalg.norm(points[263, :2] - points[33, :2]))
    x, y = points[13, :2]
    skin = np.array(image[tuple(np.round(points[151, 1::-1]).astype(int))], float)
    for finger in (-1, 0, 1):
        at = round(y + 0.2 * finger * eye)
        ends = (round(x - 0.3 * eye), at), (round(x + 1.5 * eye), at + round(0.3 * eye))
        cv2.line(out, *ends, (0.55 * skin).tolist(), round(0.22 * eye))
        cv2.line(out, *ends, (0.9 * skin).tolist(), round(0.17 * eye))
    return out


def caption(image: Image, points: NDArray[np.floating]) -> Image:
    """A black bar with yellow letters over lips and chin."""
    out, y = image.copy(), round(float(points[13, 1]))
    cv2.rectangle(out, (0, y), (image.shape[1], round(float(points[152, 1]))), (0, 0, 0), -1)
    cv2.putText(out, "SUBSCRIBE", (20, y + 18), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 0), 2)
    return out


def test_nothing_lies_before_a_plain_face(lookout: Lookout, portrait: Image, face: Face, alignment: Alignment) -> None:
    grey = np.repeat(portrait.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    for picture in (portrait, portrait // 3, grey):
        assert lookout(picture, alignment, face.points) is None


@pytest.mark.parametrize(
    ("drawing", "hides"), [(masked, True), (hand, True), (with_microphone, False), (caption, None)]
)
def test_what_is_drawn_before_a_face_is_found(
    lookout: Lookout, portrait: Image, face: Face, alignment: Alignment, drawing: Drawing, hides: bool | None
) -> None:
    picture = drawing(portrait, face.points)
    found = lookout(picture, alignment, face.points)
    assert found is not None
    assert hides is None or found.hides_mouth(SETTINGS) == hides
    shown = put_before(np.zeros_like(picture), np.full_like(picture, 255), found, SETTINGS)[..., 0] > 127
    drawn, within = (picture != portrait).any(2), np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(within, [cv2.convexHull(np.round(face.points[LOWER, :2]).astype(np.int32))], 1)
    both, either = (shown & drawn)[within > 0].sum(), (shown | drawn)[within > 0].sum()
    assert both > 0.6 * either


def test_pieces_are_large_and_sure() -> None:
    shares = np.zeros((36, 44), np.float32)
    shares[2:4, 12:14] = 0.99  # small
    shares[2:8, 20:26] = 0.6  # not sure
    assert not pieces(shares, SETTINGS).any()
    shares[12:20, 15:36] = 0.99
    kept = pieces(shares, SETTINGS)
    assert (kept[12:20, 15:36] == shares[12:20, 15:36]).all()
    assert kept.sum() == pytest.approx(0.99 * 8 * 21)


def test_a_large_piece_need_not_be_as_sure() -> None:
    bar = np.zeros((36, 44), np.float32)
    bar[24:31] = 0.88  # of a dark caption, from side to side
    assert (pieces(bar, SETTINGS)[24:31] == bar[24:31]).all()
    bar[:, 20:] = 0
    assert not pieces(bar, SETTINGS).any()


def test_beside_the_face_is_not_before_it(lookout: Lookout, portrait: Image, face: Face, alignment: Alignment) -> None:
    picture = portrait.copy()
    beside = int(face.points[:, 0].max()) + 4
    picture[int(face.points[1, 1]) :, beside : beside + 25] = (20, 20, 20)
    found = lookout(picture, alignment, face.points)
    assert found is None or not found.on_face


def test_covers_of_a_moment_are_left_out_and_gaps_closed() -> None:
    covers: list[Cover | None] = [None, cover(), *[None] * 4, cover(), cover(11), None, cover(), cover(), None, None]
    alignments: list[Alignment | None] = [PLAIN] * 12 + [None]
    found = settled(covers, alignments, SETTINGS)
    assert [one is not None for one in found] == [False] * 6 + [True] * 5 + [False] * 2
    assert found[6] is not None
    assert found[6].shares[12].nonzero()[0].tolist() == list(range(10, 19))  # as far as in the next frame
    assert found[8] is not None
    assert found[8].shares.any()


def test_a_covered_mouth_is_steady() -> None:
    there, not_there = [cover(mouth=0.9)], [cover(mouth=0.2)]
    assert not mouth_hidden([*not_there * 5, *there * 2, None], SETTINGS).any()
    flickers = [*there * 4, None, None, *there * 3, *not_there * 3, *there * 5, *not_there * 9]
    assert mouth_hidden(flickers, SETTINGS).tolist() == [True] * 17 + [False] * 9


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_a_cover_stays_before_what_is_drawn(scale: float) -> None:
    """Inside it the source's bytes, outside the drawn ones, at any size of the face and wherever the head is."""
    matrix = np.array([[scale, 0, 3.0], [0, scale, -5.0]])
    rng, size = np.random.default_rng(0), round(270 / scale)
    drawn, source = (rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(2))
    out = put_before(drawn, source, cover(alignment=Alignment(matrix)), SETTINGS)
    y, x = np.mgrid[:size, :size]
    cell_x, cell_y = (scale * x + 3 - 40 + 0.5) / 4, (scale * y - 5 - 96 + 0.5) / 4
    inside = (cell_x > 11) & (cell_x < 17) & (cell_y > 11) & (cell_y < 19)
    outside = (cell_x < 9) | (cell_x > 19) | (cell_y < 9) | (cell_y > 21)
    assert inside.any()
    np.testing.assert_array_equal(out[inside], source[inside])
    np.testing.assert_array_equal(out[outside], drawn[outside])


def test_what_is_behind_a_cover_is_guessed_from_around_it() -> None:
    plain = np.full((256, 256, 3), (200, 150, 120), np.uint8)
    picture = plain.copy()
    picture[96 + 38 : 96 + 82, 40 + 38 : 40 + 74] = (20, 20, 20)
    np.testing.assert_allclose(filled_in(picture, cover(), SETTINGS), plain, atol=5)


def test_frames_with_the_mouth_covered_pass_through(
    talker: Talker, portrait: Image, face: Face, voice: Path, waveform: NDArray[np.float32], tmp_path: Path
) -> None:
    """Untouched, counted in their own words, and not drawn from."""
    frames = [portrait] * 25
    frames[8:16] = [masked(portrait, face.points)] * 8
    clip = draw_clip(tmp_path / "mask.mp4", frames)
    one = talker.identity(clip)
    assert isinstance(one, Footage)
    spoken, source = list(talker.stream(one, [waveform])), images(clip)
    assert [frame.drawn for frame in spoken] == [number not in range(8, 16) for number in range(25)]
    for number in range(8, 16):
        np.testing.assert_array_equal(spoken[number].image, source[number])
    for reference in [*one.people[0].references, *one.people[0].mouths]:
        lips = reference.aligned[150:190, 100:156].reshape(-1, 3).mean(0)
        assert lips[0] > lips[2]  # skin, not the mask's blue
    result = talker.dub(clip, voice, tmp_path / "out.mp4")
    assert result.passed_through == 8
    assert "8 frames passed through untouched: something covers the mouth" in result.notes
    assert not any("no face" in note for note in result.notes)


def test_a_mouth_that_is_always_covered(
    talker: Talker, portrait: Image, face: Face, voice: Path, tmp_path: Path
) -> None:
    clip = draw_clip(tmp_path / "mask.mp4", [masked(portrait, face.points)] * 8)
    result = talker.dub(clip, voice, tmp_path / "out.mp4")
    assert result.passed_through == result.frames == 25


def test_what_lies_before_the_chin_stays_there(
    talker: Talker, portrait: Image, face: Face, waveform: NDArray[np.float32], tmp_path: Path
) -> None:
    """Of a still and in a video: its own pixels, while the mouth above it is drawn."""
    picture = with_microphone(portrait, face.points)
    Pillow.fromarray(picture).save(tmp_path / "still.png")
    clip = draw_clip(tmp_path / "clip.mp4", [picture] * 8)
    core = cv2.erode((picture != portrait).any(2).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    still, video = talker.identity(tmp_path / "still.png"), talker.identity(clip)
    assert still.notes == ["something lies before the lower face; it stays there, and what is behind it is guessed"]
    for one, source in ((still, picture), (video, images(clip)[0])):
        frames = list(talker.stream(one, [waveform], head_motion=0, blinks=0))
        assert all(frame.drawn for frame in frames)
        for frame in frames:
            np.testing.assert_allclose(frame.image[core].astype(int), source[core], atol=8)
        assert (frames[3].image[~core] != source[~core]).any()


def test_a_still_with_its_mouth_covered_says_so(
    talker: Talker, portrait: Image, face: Face, voice: Path, tmp_path: Path
) -> None:
    Pillow.fromarray(masked(portrait, face.points)).save(tmp_path / "mask.png")
    result = talker.animate(tmp_path / "mask.png", voice, tmp_path / "out.mp4")
    assert [note for note in result.notes if note.startswith("something covers the mouth")]


def test_a_model_without_covers(painter_model: Model, portrait: Image, face: Face, tmp_path: Path) -> None:
    """Draws as if nothing were there."""
    graphs = {name: entry for name, entry in painter_model.graphs.items() if name != "cover"}
    Pillow.fromarray(masked(portrait, face.points)).save(tmp_path / "mask.png")
    one = of_still(tmp_path / "mask.png", dataclasses.replace(painter_model, graphs=graphs), size=None)
    assert one.cover is None
    assert one.notes == []
