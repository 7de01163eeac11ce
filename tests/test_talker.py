"""The talker: a file is the stream run to its end, what lies under the mask is never seen, and time is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Image
from difftalk.face.head import HeadPose
from difftalk.face.landmarks import UPPER
from difftalk.face.space import align
from difftalk.media import audio, video
from difftalk.model import Model
from difftalk.render.head_field import HeadField
from difftalk.render.warp import inner_mouth
from difftalk.settings import Settings
from difftalk.speech.head_motion import HeadMotion
from difftalk.talk import talker as talkers
from difftalk.talk.footage import Footage
from difftalk.talk.identity import Fit, Identity, Manner, Shot
from difftalk.talk.portrait import Portrait
from difftalk.talk.session import Session, TalkingFrame
from difftalk.talk.talker import Talker
from drawn import DEMO, SETTINGS, SHARED, draw_clip, images, moving, packets, weight_in, without_face, write_wav

Wave = NDArray[np.float32]
PIECE = SAMPLE_RATE // 50


def pieces(waveform: Wave, length: int) -> Iterator[Wave]:
    return (waveform[i : i + length] for i in range(0, len(waveform), length))


def pictures(frames: Iterable[TalkingFrame]) -> NDArray[np.uint8]:
    return np.stack([frame.image for frame in frames])


@pytest.fixture(scope="module", params=["painter", "denoiser"])
def either(request: pytest.FixtureRequest, painter_model: Model, denoiser_model: Model) -> Talker:
    return Talker({"painter": painter_model, "denoiser": denoiser_model}[request.param])


@pytest.fixture(scope="module", params=["still", "clip"])
def identity(request: pytest.FixtureRequest, still_identity: Portrait, clip_identity: Footage) -> Identity:
    return {"still": still_identity, "clip": clip_identity}[request.param]


# --- the stream -------------------------------------------------------------------------------------------------------


def test_pieces_are_the_whole(either: Talker, identity: Identity, waveform: Wave) -> None:
    whole = pictures(either.stream(identity, [waveform]))
    assert len(whole) == 25
    np.testing.assert_array_equal(pictures(either.stream(identity, pieces(waveform, PIECE))), whole)
    assert (np.diff(whole.astype(int), axis=0) != 0).any((1, 2, 3)).all()


def test_frames_come_while_the_audio_still_does(talker: Talker, still_identity: Portrait, waveform: Wave) -> None:
    taken = list[int]()

    def live() -> Iterator[Wave]:
        for number, piece in enumerate(pieces(waveform, PIECE)):
            taken.append(number)
            yield piece

    first = next(talker.stream(still_identity, live()))
    assert first.seconds == 0
    assert len(taken) * PIECE / SAMPLE_RATE <= 0.72  # the look-ahead, and what makes up its last block


def test_one_seed_one_result(painter_model: Model, denoiser_model: Model, identity: Identity, waveform: Wave) -> None:
    short = waveform[:8000]
    for model in (painter_model, denoiser_model):
        one, other = (pictures(Talker(model, seed=3).stream(identity, [short])) for _ in range(2))
        np.testing.assert_array_equal(one, other)


def test_seed_changes_a_still(painter_model: Model, still_identity: Portrait, waveform: Wave) -> None:
    sound = waveform[:6400]
    one, other = (pictures(Talker(painter_model, seed=s).stream(still_identity, [sound])) for s in (0, 1))
    assert (one != other).any()


def test_articulation_turned_off_closes_the_case(
    painter_model: Model, still_identity: Portrait, waveform: Wave
) -> None:
    """Without articulation and head motion every frame is the same; with it the mouth moves."""
    none, some = (
        pictures(
            Talker(painter_model, articulation=gain).stream(still_identity, [waveform[:6400]], head_motion=0, blinks=0)
        )
        for gain in (0.0, 1.0)
    )
    assert (none == none[0]).all()
    assert (some != some[0]).any()


@pytest.mark.parametrize(("samples", "rate"), [(6719, 25), (6720, 25), (6721, 25), (5000, Fraction(30_000, 1001))])
def test_count_of_frames(
    talker: Talker, still_identity: Portrait, waveform: Wave, samples: int, rate: Fraction | int
) -> None:
    frames = list(
        talker.stream(still_identity, [waveform[:samples]], frame_rate=Fraction(rate), head_motion=0, blinks=0)
    )
    assert len(frames) == round(samples * Fraction(rate) / 16_000)
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(len(frames)) / float(rate))


def test_no_audio_no_frames(talker: Talker, still_identity: Portrait) -> None:
    assert list(talker.stream(still_identity, [])) == []


# --- what may be seen of a frame --------------------------------------------------------------------------------------


def test_still_keeps_every_byte_outside_the_mask(either: Talker, still_identity: Portrait, waveform: Wave) -> None:
    source = still_identity.image
    weight = weight_in(source, still_identity.people[0].references[0].alignment)
    for frame in either.stream(still_identity, [waveform[:4800]], head_motion=0, blinks=0):
        np.testing.assert_array_equal(frame.image[weight == 0], source[weight == 0])
        assert (frame.image[weight == 1] != source[weight == 1]).any()


def test_dub_keeps_every_byte_outside_the_mask(
    either: Talker, clip_identity: Footage, clip: Path, waveform: Wave
) -> None:
    source = images(clip)
    frames = list(either.stream(clip_identity, [waveform[:8000]]))
    for frame, before, tracked in zip(frames, source, clip_identity.frames, strict=False):
        assert tracked is not None
        weight = weight_in(before, tracked.alignment)
        np.testing.assert_array_equal(frame.image[weight == 0], before[weight == 0])
        assert (frame.image[weight == 1] != before[weight == 1]).any()


class Spoiled(Footage):
    """After tracking, noise for every frame's core and for every point below the nose."""

    def shots(
        self, manner: Manner, head: HeadMotion | None, settings: Settings, first: int = 0
    ) -> Generator[Shot, None, None]:
        rng = np.random.default_rng(0)
        for shot in super().shots(manner, head, settings, first):
            assert shot.sitter is not None
            image, core = shot.image.copy(), core_of(shot)
            image[core] = rng.integers(0, 256, (int(core.sum()), 3), np.uint8)
            points = rng.uniform(0, 256, shot.sitter.upper.shape).astype(np.float32)
            points[UPPER] = shot.sitter.upper[UPPER]
            yield dataclasses.replace(shot, image=image, sitter=dataclasses.replace(shot.sitter, upper=points))


class Moved(Footage):
    """The upper face lies elsewhere."""

    def shots(
        self, manner: Manner, head: HeadMotion | None, settings: Settings, first: int = 0
    ) -> Generator[Shot, None, None]:
        for shot in super().shots(manner, head, settings, first):
            assert shot.sitter is not None
            sitter = dataclasses.replace(shot.sitter, upper=shot.sitter.upper + np.float32(2))
            yield dataclasses.replace(shot, sitter=sitter)


def core_of(shot: Shot) -> NDArray[np.bool_]:
    assert shot.sitter is not None
    return np.asarray(weight_in(shot.image, shot.sitter.alignment) == 1)


def test_dub_never_looks_under_its_mask(either: Talker, clip_identity: Footage, waveform: Wave) -> None:
    """Noise there changes no bit of the core."""
    plain = list(either.stream(clip_identity, [waveform[:8000]]))
    noisy = list(either.stream(Spoiled(**vars(clip_identity)), [waveform[:8000]]))
    shots = clip_identity.shots(Manner(), None, SETTINGS)
    assert len(noisy) == len(plain) == 12
    for one, other, shot in zip(plain, noisy, shots, strict=False):
        core = core_of(shot)
        assert core.sum() > 4000
        np.testing.assert_array_equal(one.image[core], other.image[core])
    shots.close()


def test_dub_follows_the_upper_face(denoiser_model: Model, clip_identity: Footage, waveform: Wave) -> None:
    talker = Talker(denoiser_model)
    plain, moved = (
        pictures(talker.stream(one, [waveform[:3200]])) for one in (clip_identity, Moved(**vars(clip_identity)))
    )
    assert (moved != plain).any()


def test_drawn_region_goes_with_the_head(painter_model: Model, still_identity: Portrait, waveform: Wave) -> None:
    """With the portrait's own mouth drawn, a moved head is the moved picture, but for the inside of the mouth."""
    neutral = still_identity.pose.remove(still_identity.points).astype(np.float32)
    own = dataclasses.replace(still_identity, people=[dataclasses.replace(still_identity.people[0], neutral=neutral)])
    inner = inner_mouth(own.people[0].references[0].points).sum() / align(own.pose).scale ** 2
    head = HeadPose.about_neck(7, 3, -2)
    change = HeadField.of(own.image, own.points, own.pose, SETTINGS).moved(head)
    assert change is not None
    moved = change(own.image)
    assert (np.abs(moved.astype(int) - own.image).max(-1) > 16).sum() > 3 * inner
    with Session(painter_model, own, Manner(articulation=0, blinks=0, heads=(head,))) as session:
        for frame in [*session.push(waveform), *session.finish()]:
            different = np.abs(frame.image.astype(int) - moved).max(-1) > 16
            assert different.sum() < 1.6 * inner


def test_head_motion_and_blinks_are_apart(painter_model: Model, still_identity: Portrait, waveform: Wave) -> None:
    """Without either the eyes are the picture's; each alone changes them."""
    sound, eyes = np.tile(waveform, 4), still_identity.points[[33, 133, 362, 263], :2]
    (x0, y0), (x1, y1) = (eyes.min(0) - 6).astype(int), (eyes.max(0) + 6).astype(int)
    still = still_identity.image[y0:y1, x0:x1]
    for head_motion, blinks in ((0.0, 0.0), (0.0, 2.0), (1.0, 0.0)):
        frames = Talker(painter_model).stream(still_identity, [sound], head_motion=head_motion, blinks=blinks)
        changed = any((frame.image[y0:y1, x0:x1] != still).any() for frame in frames)
        assert changed == (head_motion + blinks > 0)


def test_frames_without_a_face_pass_through(
    either: Talker, portrait: Image, voice: Path, waveform: Wave, tmp_path: Path
) -> None:
    """In the middle of a dub: untouched, counted, and what follows is drawn as at a beginning."""
    frames = moving(portrait, 25)
    frames[10:13] = [without_face(portrait)] * 3
    clip = draw_clip(tmp_path / "gap.mp4", frames)
    one = either.identity(clip)
    spoken, source = list(either.stream(one, [waveform])), images(clip)
    assert [frame.drawn for frame in spoken] == [number not in (10, 11, 12) for number in range(25)]
    for number in (10, 11, 12):
        np.testing.assert_array_equal(spoken[number].image, source[number])
    result = either.dub(clip, voice, tmp_path / "out.mp4")
    assert (result.frames, result.passed_through) == (25, 3)
    assert "3 frames passed through untouched: no face, turned away, or one face becoming another" in result.notes


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def animated(talker: Talker, still: Path, voice: Path, media: Path) -> talkers.Result:
    return talker.animate(still, voice, media / "animated.mp4")


def test_animated_file(animated: talkers.Result, talker: Talker, waveform: Wave) -> None:
    info = video.probe(animated.path)
    assert (info.width, info.height, info.frame_rate, info.frame_count) == (256, 256, Fraction(25), 25)
    assert info.has_audio
    assert (animated.frames, animated.seconds, animated.passed_through) == (25, 1.0, 0)
    assert animated.notes == []
    assert animated.model == talker.model.hash
    assert animated.first_frame_seconds > 0
    assert animated.look_ahead == pytest.approx(0.52)
    with av.open(str(animated.path)) as container:
        assert container.metadata["comment"] == talkers.COMMENT
    heard = audio.read(animated.path)[: len(waveform)]
    assert np.corrcoef(heard, waveform[: len(heard)])[0, 1] > 0.98


def test_file_is_the_stream_run_to_its_end(
    animated: talkers.Result, talker: Talker, still_identity: Portrait, waveform: Wave
) -> None:
    streamed = pictures(talker.stream(still_identity, pieces(waveform, PIECE)))
    written = images(animated.path)
    assert np.abs(written.astype(int) - streamed).mean() < 2


def test_a_sound_without_a_voice_is_said(talker: Talker, still: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 16_000).astype(np.float32)
    result = talker.animate(still, write_wav(tmp_path / "noise.wav", noise), tmp_path / "out.mp4")
    assert result.notes == ["no voice was heard in the sound: the mouth stays closed"]


def test_sound_is_copied_where_mp4_allows(talker: Talker, still: Path, clip: Path, tmp_path: Path) -> None:
    result = talker.animate(still, clip, tmp_path / "out.mp4")
    assert packets(result.path) == packets(clip)


def test_odd_size_is_padded_and_that_is_said(talker: Talker, portrait: Image, voice: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "odd.png"), portrait[:255, :253, ::-1])
    result = talker.animate(tmp_path / "odd.png", voice, tmp_path / "out.mp4", head_motion=0, blinks=0)
    assert (result.width, result.height) == (254, 256)
    assert result.notes == ["padded to the even size 254 x 256 by one repeated row or column"]


def test_call_chooses_by_what_it_is_given(talker: Talker, still: Path, clip: Path, voice: Path, tmp_path: Path) -> None:
    for number, source in enumerate((still, clip)):
        result = talker(source, voice, tmp_path / f"{number}.mp4")
        assert result.frames == 25
    assert np.abs(images(tmp_path / "1.mp4")[20].astype(int) - images(clip)[20]).mean() < 3


@pytest.mark.parametrize(("fit", "order"), [("bounce", [9, 9, 8, 7]), ("loop", [9, 0, 1, 2]), ("hold", [9, 9, 9, 9])])
def test_fit(talker: Talker, portrait: Image, voice: Path, tmp_path: Path, fit: Fit, order: list[int]) -> None:
    """Audio longer than the video: whose frame it is is read in a corner that the mask does not reach."""
    frames = moving(portrait, 10)
    for number, frame in enumerate(frames):
        frame[:16, :16] = 20 + 20 * number
    clip = draw_clip(tmp_path / "short.mp4", frames)
    result = talker.dub(clip, voice, tmp_path / "out.mp4", fit=fit)
    corners = images(result.path)[:, 2:14, 2:14].mean((1, 2, 3))
    assert np.rint((corners[9:13] - 20) / 20).astype(int).tolist() == order
    assert result.frames == 25
    assert result.notes == [f"the audio is longer than the video (1.0 s, 0.4 s): `fit={fit}`"]


def test_variable_rate_keeps_its_times(talker: Talker, portrait: Image, voice: Path, tmp_path: Path) -> None:
    times = np.cumsum([0, *([0.04, 0.03, 0.05, 0.02] * 8)])
    clip = draw_clip(tmp_path / "variable.mp4", moving(portrait, 33), times=times.tolist())
    result = talker.dub(clip, voice, tmp_path / "out.mp4")
    written = [frame.seconds for frame in video.read(result.path)]
    np.testing.assert_allclose(written, times[times < 1.0], atol=1e-4)


def test_source_rate_is_kept(talker: Talker, portrait: Image, voice: Path, tmp_path: Path) -> None:
    rate = Fraction(30_000, 1001)
    clip = draw_clip(tmp_path / "ntsc.mp4", moving(portrait, 30), rate=rate)
    result = talker.dub(clip, voice, tmp_path / "out.mp4")
    assert video.probe(result.path).frame_rate == rate
    assert result.frames == 30


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared clips are not beside this checkout")
def test_damaged_packets(talker: Talker, tmp_path: Path) -> None:
    """A real file with broken packets is dubbed, and its frames stay at their times: the mouth stays with the sound."""
    broken = SHARED / "odd/broken_audio_packet.mpg"
    result = talker.dub(broken, DEMO / "voice.wav", tmp_path / "out.mp4", fit="hold")
    times, written = ([frame.seconds for frame in video.read(path)] for path in (broken, result.path))
    assert all(np.abs(np.array(written) - time).min() < 1e-3 for time in times)
    assert max(np.diff(written)) < 0.06 < max(np.diff(times))
    assert result.seconds == pytest.approx(3.095, abs=0.05)
    assert result.passed_through == 0


def test_saved_and_loaded(talker: Talker, still_identity: Portrait, waveform: Wave, tmp_path: Path) -> None:
    talker.save_pretrained(tmp_path / "copy")
    both = (Talker.from_pretrained(folder) for folder in (talker.model.folder, tmp_path / "copy"))
    one, other = (pictures(each.stream(still_identity, [waveform[:3200]])) for each in both)
    np.testing.assert_array_equal(one, other)
