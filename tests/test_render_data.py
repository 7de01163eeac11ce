"""Training data of pictures and of motion from a prepared clip: same number, same row; references are far."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from difftalk.data.clip import Clip, ClipFrame, References
from difftalk.data.sample import Sample
from difftalk.face.space import PATCH_SIZE, REGION, crop_region, patch_of
from difftalk.model import Model
from difftalk.nets.sizes import FOLDS_SIZE, SHARPNESS
from difftalk.render.drawing import Choice
from difftalk.render.renderer import halved, unit
from difftalk.render.warp import inner_mouth
from difftalk.speech.features import FEATURE_SIZE, silence_features
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES
from difftalk.training.motion_data import MotionSource, _cut, _stretch, curve_of
from difftalk.training.render_data import BLURRED_TRUST, MOST_OF_ONE, RenderSource, chances, trust_in
from drawn import SETTINGS


@pytest.fixture(scope="module")
def source(sample: Sample, model: Model) -> RenderSource:
    return RenderSource([sample], model.geometry, batch_size=3, validation=[sample])


def test_a_row_is_a_function_of_its_number(sample: Sample, model: Model) -> None:
    one, again = (RenderSource([sample], model.geometry, batch_size=3, seed=4) for _ in range(2))
    one.row(3)
    np.testing.assert_array_equal(one.row(7)["composite"], again.row(7)["composite"])
    assert not np.array_equal(one.row(7)["composite"], one.row(8)["composite"])


def test_shapes_and_ranges(source: RenderSource) -> None:
    row = source.row(0)
    assert row["target"].shape == row["reference"].shape == row["previous"].shape == (3, *PATCH_SIZE)
    assert row["composite"].shape == (5, *PATCH_SIZE)
    assert row["skin"].shape == (3, *FOLDS_SIZE)
    assert row["warped"].shape == (5, *FOLDS_SIZE)
    assert row["sharpness"].shape == (SHARPNESS,)
    assert row["audio"].shape == (20, FEATURE_SIZE)
    assert float(np.abs(row["composite"]).max()) <= 1
    assert [len(b) for b in source.validation()] == [3]


def test_a_composite_is_near_its_target_outside_the_mouth(source: RenderSource) -> None:
    """The drawn clip moves as a whole: warped from a far frame, the composite is the frame itself."""
    batch = source.validation()[0]
    for composite, target in ((batch.composite, batch.target), (batch.warped, batch.skin)):
        outside = 1 - composite[:, 3:4]
        difference = ((composite[:, :3] - target).abs() * outside)[:, :, 12:-12, 12:-12]
        assert float(difference.mean()) < 0.04


def test_a_row_shows_its_frames_mouth_and_skin(source: RenderSource, sample: Sample, model: Model) -> None:
    """The target is the frame's close-up at the patch of its mesh, the skin its region at half the size."""
    clip = Clip.of(sample, model.geometry)
    batch, order = source.validation()[0], np.argsort(clip.openings)
    for number, share in enumerate((0.3, 0.7, 0.95)):
        index = int(order[int(share * (len(order) - 1))])
        truth, patch = clip.reference(index), patch_of(clip.meshes[index])
        np.testing.assert_array_equal(batch.target[number].numpy(), unit(truth.close_at(patch)))
        np.testing.assert_array_equal(batch.skin[number].numpy(), halved(unit(crop_region(truth.aligned))))
        inner = inner_mouth(clip.meshes[index], patch)
        np.testing.assert_array_equal(batch.composite[number, 3].numpy(), inner)
        assert REGION.points(np.array(patch.corner)).min() > 0


def test_a_row_knows_how_many_pixels_there_are(source: RenderSource, sample: Sample) -> None:
    """The drawn clip's eyes are some 42 px apart: 1.6 halvings from 128."""
    expected = np.log2(sample.record.eye_distance / 128)
    for number in range(3):
        assert source.row(number)["sharpness"][0] == pytest.approx(expected, abs=0.05)


def test_references_are_far(sample: Sample, model: Model) -> None:
    clip = Clip.of(sample, model.geometry)
    assert (np.abs(clip.far_frames(3) - 3) >= 22).all()  # 28 frames: the farthest there are
    near, bank = clip.near_reference(27), clip.mouths(27)
    assert min(abs(near - 27), np.abs(bank - 27).min()) >= 24
    assert len({tuple(way) for way in clip.ways[bank]}) == len(bank) <= SETTINGS.references.max_mouths
    chosen = clip.mouth_reference(27, clip.shapes[bank[-1]])
    assert chosen in bank
    assert clip.openings[near] <= np.median(clip.openings[clip.far_frames(27)])


class Gapped(Sample):
    """Every fifth frame of a longer clip."""

    @property
    def numbers(self) -> NDArray[np.int64]:
        return 5 * np.arange(28)


def test_references_are_far_in_a_clip_with_gaps(sample: Sample, model: Model) -> None:
    clip = Clip.of(Gapped(sample.folder, sample.record), model.geometry)
    assert clip.far_frames(0).tolist() == list(range(12, 28))
    assert clip.far_frames(14).tolist() == [0, 1, 2, 26, 27]


def test_frames_in_a_row_keep_what_they_chose(sample: Sample, model: Model) -> None:
    clip = Clip.of(sample, model.geometry)
    pictures, before, alone, chosen = References(clip), None, list[Choice](), list[Choice]()
    for index in range(len(clip)):
        frame = ClipFrame(pictures, index, model.geometry)
        alone.append(frame.choose(clip.shapes[index], None))
        before = frame.choose(clip.shapes[index], before)
        chosen.append(before)
    assert chosen[0] == alone[0]
    for kept, jumpy in ((changes(chosen, part), changes(alone, part)) for part in ("reference", "mouth")):
        assert kept <= jumpy
    assert chosen != alone
    index = next(i for i in range(1, len(clip)) if chosen[i] != alone[i])
    now, last = chosen[index], chosen[index - 1]
    assert now.reference == last.reference or now.mouth == last.mouth


def changes(choices: list[Choice], part: str) -> int:
    return sum(getattr(a, part) != getattr(b, part) for a, b in itertools.pairwise(choices))


def test_a_gap_in_a_clip_is_a_cut(sample: Sample, model: Model) -> None:
    clip = Clip.of(sample, model.geometry)
    assert not any(clip.cut(index, index + 1) or clip.cut(index, index) for index in range(27))
    assert clip.cut(0, 5)
    assert not clip.cut(0, 5, apart=5)


def test_motion_plays_clips_at_other_speeds(sample: Sample, painter_model: Model) -> None:
    """Where the mouth is slower the sound is as well: both are read at the same places."""
    silences = silence_features(painter_model.graph("speech_encoder"), SETTINGS)
    source = MotionSource([sample], painter_model.geometry, batch_size=4, silences=silences, speeds=True)
    batch = source.batch(0)
    assert batch.features.shape == (4, 2 * batch.shape.shape[1] + 38, FEATURE_SIZE)
    torch.testing.assert_close(source.batch(0).features, batch.features)
    stretch = _stretch(sample, curve_of(sample, painter_model.geometry))
    ramp = np.arange(len(stretch.features), dtype=np.float16)[:, None]
    stretch = dataclasses.replace(
        stretch, features=ramp, shapes=(ramp[PAST_FEATURES::2].astype(np.float32) - PAST_FEATURES) / np.float32(2)
    )
    for speed in (0.9, 1.0, 1.1):
        features, shapes, _, mask, *_ = _cut(stretch, 2, 10, speed)
        np.testing.assert_allclose(
            features[PAST_FEATURES:-FUTURE_FEATURES:2, 0] - PAST_FEATURES, 2 * shapes[:, 0], atol=1e-4
        )
        np.testing.assert_allclose(shapes[:, 0], 2 + speed * np.arange(10), atol=1e-4)
        assert mask.all()


def test_no_person_is_drawn_too_often() -> None:
    people = ["much", "much", *map(str, range(60))]
    chance = chances([4000, 4000, *[50] * 60], people)
    assert chance.sum() == pytest.approx(1)
    assert chance[:2].sum() == pytest.approx(MOST_OF_ONE, rel=1e-3)
    assert chance[0] == pytest.approx(chance[1])
    few = chances([4000, 100], ["a", "b"], np.array([1.0, 0.5]))
    assert few[0] > few[1] > 0


def test_clips_that_show_texture_are_drawn_more_often(sample: Sample, model: Model) -> None:
    sharp = dataclasses.replace(sample.record, sharpness=9.0, eye_distance=90.0)
    assert trust_in(sharp) == 1
    assert trust_in(dataclasses.replace(sharp, eye_distance=1.0)) == pytest.approx(BLURRED_TRUST, abs=1e-3)
    assert trust_in(dataclasses.replace(sharp, sharpness=3.0)) == pytest.approx(BLURRED_TRUST + (1 - BLURRED_TRUST) / 4)
    records = [sharp, dataclasses.replace(sharp, eye_distance=27.0)]
    source = RenderSource([Sample(sample.folder, record) for record in records], model.geometry, batch_size=1)
    assert source._chance[0] / source._chance[1] == pytest.approx(1 / (BLURRED_TRUST + (1 - BLURRED_TRUST) * 0.09))


def test_trust_is_kept_where_one_person_is_capped() -> None:
    """Who would be drawn too often is not, and their own clips keep their proportion; others share what is left."""
    people = ["sharp", "sharp", *map(str, range(60))]
    trusts = np.array([1.0, 0.25, *[0.1] * 60])
    chance = chances([500] * 62, people, trusts)
    assert chance.sum() == pytest.approx(1)
    assert chance[:2].sum() == pytest.approx(MOST_OF_ONE, rel=1e-3)
    assert chance[0] == pytest.approx(4 * chance[1])
    np.testing.assert_allclose(chance[2:], chance[2])
