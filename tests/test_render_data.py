"""Training data of pictures and of motion from a prepared clip: same step, same batch; mirrored and lit alike."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from difftalk.align import ALIGNED_SIZE, EYE_DISTANCE, EYE_LINE, REGION_SIZE, REGION_X, REGION_Y
from difftalk.model import Model
from difftalk.mouth import COMPONENTS
from difftalk.mouth_bank import MAX_MOUTHS
from difftalk.sample import Sample
from difftalk.speech import FEATURE_SIZE, silence_features
from difftalk.training.export import articulation_of
from difftalk.training.motion_data import SPEEDS, MotionSource
from difftalk.training.render_data import Clip, Follower, Look, Mirror, RenderSource


@pytest.fixture(scope="module")
def source(sample: Sample, model: Model) -> RenderSource:
    return RenderSource([sample], model.geometry, batch_size=3, validation=[sample])


def test_a_batch_is_a_function_of_its_step(sample: Sample, model: Model) -> None:
    one, again = (RenderSource([sample], model.geometry, batch_size=3, seed=4) for _ in range(2))
    torch.testing.assert_close(one.batch(7).composite, again.batch(7).composite, rtol=0, atol=0)
    assert not torch.equal(one.batch(7).composite, one.batch(8).composite)


def test_shapes_and_ranges(source: RenderSource) -> None:
    batch = source.batch(0)
    assert batch.target.shape == (3, 3, *REGION_SIZE)
    assert batch.audio.shape == (3, 20, FEATURE_SIZE)
    assert float(batch.composite.abs().max()) <= 1
    assert [len(b) for b in source.validation()] == [3]


def test_a_composite_is_near_its_target_outside_the_mouth(source: RenderSource) -> None:
    """The drawn clip moves as a whole: warped from a far frame, the composite is the frame itself."""
    batch = source.validation()[0]
    outside = 1 - batch.composite[:, 3:4]
    difference = ((batch.composite[:, :3] - batch.target).abs() * outside)[:, :, 12:-12, 12:-12]
    assert float(difference.mean()) < 0.04


def test_references_are_far(sample: Sample, model: Model) -> None:
    clip = Clip.of(sample, model.geometry)
    assert (np.abs(clip.far_frames(3) - 3) >= 22).all()  # 28 frames: the farthest there are
    near, bank = clip.near_reference(27), clip.mouths(27)
    assert min(abs(near - 27), np.abs(bank - 27).min()) >= 24
    assert len({tuple(way) for way in clip.ways[bank]}) == len(bank) <= MAX_MOUTHS
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


def test_a_follower_keeps_what_it_chose(sample: Sample, model: Model) -> None:
    clip = Clip.of(sample, model.geometry)
    follower, alone, chosen = Follower(clip), [], []
    for index in range(len(clip)):
        alone.append((clip.near_reference(index), clip.mouth_reference(index, clip.shapes[index])))
        chosen.append(follower.at(index, clip.shapes[index]))
    assert chosen[0] == alone[0]
    for part in (0, 1):
        kept, jumpy = (sum(a[part] != b[part] for a, b in itertools.pairwise(row)) for row in (chosen, alone))
        assert kept <= jumpy
    assert chosen != alone
    index = next(i for i in range(1, len(clip)) if chosen[i] != alone[i])
    assert chosen[index][0] == chosen[index - 1][0] or chosen[index][1] == chosen[index - 1][1]


def test_mirroring_twice_is_nothing(model: Model) -> None:
    mirror = Mirror.of(model.geometry)
    assert (mirror.upper[mirror.upper] == np.arange(len(mirror.upper))).all()
    shape = np.random.default_rng(0).standard_normal(COMPONENTS).astype(np.float32)
    twice = shape @ mirror.shape @ mirror.shape
    np.testing.assert_allclose(twice[:8], shape[:8], atol=0.15)  # the last ones lean on components that were cut off


def test_a_look_is_the_same_for_every_picture() -> None:
    picture = np.random.default_rng(0).uniform(-0.5, 0.5, (3, *REGION_SIZE)).astype(np.float32)
    look, other = Look.random(np.random.default_rng(1)), picture[::-1].copy()
    assert np.abs(look.gain - 1).max() > 0.01
    assert np.abs(look.move - Look.plain().move).max() > 0.01
    np.testing.assert_allclose(
        look.picture(picture) - look.picture(other), look.placed(look.gain * (picture - other)), atol=1e-5
    )
    np.testing.assert_allclose(Look.plain(mirrored=True).picture(picture), picture[..., ::-1], atol=1e-6)


def test_points_go_where_the_picture_goes() -> None:
    """A bright spot, in eye distances: found again where `points` says."""
    spot = np.array([[0.3, 1.4]], np.float32)
    x, y = (spot[0] * EYE_DISTANCE + [ALIGNED_SIZE / 2 - REGION_X[0], EYE_LINE - REGION_Y[0]]).tolist()
    rows, columns = np.mgrid[: REGION_SIZE[0], : REGION_SIZE[1]]
    picture = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18).astype(np.float32)[None]
    for seed in range(4):
        look = dataclasses.replace(Look.random(np.random.default_rng(seed)), mirrored=False)
        weight = look.placed(picture)[0]
        found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        expected = look.points(spot)[0] * EYE_DISTANCE + [ALIGNED_SIZE / 2 - REGION_X[0], EYE_LINE - REGION_Y[0]]
        np.testing.assert_allclose(found, expected, atol=0.2)


def test_motion_hears_every_clip_at_other_speeds_once(sample: Sample, painter_model: Model) -> None:
    encoder = painter_model.graph("speech_encoder")
    source = MotionSource(
        [sample],
        painter_model.geometry,
        batch_size=4,
        silences=silence_features(encoder),
        validation=[sample],
        encoder=encoder,
    )
    kept = sorted(path.name for path in sample.folder.glob("speech_*.npy"))
    assert kept == sorted(f"speech_{speed:g}.npy" for speed in SPEEDS)
    batch = source.batch(0)
    assert batch.features.shape == (4, 2 * batch.shape.shape[1] + 38, FEATURE_SIZE)
    torch.testing.assert_close(source.batch(0).features, batch.features)


def test_articulation_makes_spreads_equal(sample: Sample, painter_model: Model) -> None:
    from difftalk.motion import opening_of, pressed, shapes_of
    from difftalk.mouth import clip_shapes, opening

    gain = articulation_of(painter_model, "linear", [sample])
    shapes = np.float32(gain) * shapes_of(sample.speech, painter_model.graph("linear"))[:27]
    made = opening_of(pressed(shapes, painter_model.geometry), painter_model.geometry)
    truth = opening(clip_shapes(painter_model.geometry, sample.meshes).free)
    assert made.std() == pytest.approx(truth.std(), rel=0.02)
