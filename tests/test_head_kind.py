"""The head's net on drawn ways: the regression finds a linear truth, the flow what it leaves; silence is not heard."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch

from difftalk.nets.head import HeadNetwork
from difftalk.speech.head_motion import KNOT_FRAMES, KNOT_SIZE, PAST_KNOTS, VOICE_FRAMES, VOICE_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES
from difftalk.training.batches import Batch, FakeSource, HeadBatch, drawn
from difftalk.training.kinds.head import HEAD, HeadRecipe, fit_regression, head_loss, known_of, rolled
from difftalk.training.kinds.sync import fit_whitening
from difftalk.training.kinds.table import load_net, recipe_named
from difftalk.training.loop import train
from difftalk.training.recipes import override

KNOTS = 12
DEBUG = cast("HeadRecipe", recipe_named("head", "debug"))


class Nodding:
    """Each knot is 0.7 of the one before, and noise of spread 0.5 where the first component is heard, else of 0.05."""

    def batch(self, step: int) -> HeadBatch:
        random = torch.Generator().manual_seed(step)
        loud = (torch.rand(16, KNOTS, generator=random) > 0.5).float()
        noise = torch.randn(16, PAST_KNOTS + KNOTS, KNOT_SIZE, generator=random)
        noise[:, PAST_KNOTS:] *= 0.05 + 0.45 * loud[..., None]
        knots = [noise[:, 0]]
        for i in range(1, PAST_KNOTS + KNOTS):
            knots.append(0.7 * knots[-1] + noise[:, i])
        features = 0.1 * torch.randn(16, 8 * KNOTS + PAST_FEATURES + FUTURE_FEATURES, 1152, generator=random)
        own = slice(PAST_FEATURES, PAST_FEATURES + 8 * KNOTS)
        features[:, own, :64] += 3 * loud.repeat_interleave(8, 1)[..., None]
        voice = torch.ones(16, VOICE_FRAMES + KNOT_FRAMES * (KNOTS - 1), VOICE_SIZE)
        return HeadBatch(features, voice, torch.stack(knots, 1), torch.ones(16, KNOTS))

    def validation(self) -> list[Batch]:
        return [self.batch(77)]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> HeadNetwork:
    sets = ["optimiser.lr=0.01", "optimiser.ema=0.95", "optimiser.warm_up=5", "size.width=32", "size.steps=5"]
    quiet = ["size.dropout=0", "size.ear_dropout=0", "size.noise=0", "size.past_noise=0"]
    recipe = override(DEBUG, [*sets, *quiet, "schedule.steps=250", "schedule.validate_every=250", "fit_batches=6"])
    folder = tmp_path_factory.mktemp("head")
    train(HEAD, Nodding(), recipe, folder)
    net = load_net(folder)[1]
    assert isinstance(net, HeadNetwork)
    return net


def test_the_regression_finds_a_linear_truth() -> None:
    net = HeadNetwork(DEBUG.size)
    fit_regression(net, drawn(Nodding(), HeadBatch, 24), DEBUG)
    last = net.follow[-KNOT_SIZE:]
    torch.testing.assert_close(last.diagonal(), torch.full((KNOT_SIZE,), 0.7), atol=0.1, rtol=0)
    assert float(net.follow[:-KNOT_SIZE].abs().max()) < 0.2
    errors = torch.cat([known_of(net, Nodding().batch(step))[1] for step in range(20, 28)])
    torch.testing.assert_close(errors.T @ errors / len(errors), torch.eye(KNOT_SIZE), atol=0.25, rtol=0)


def test_an_untrained_net_draws_the_regressions_noise() -> None:
    net = HeadNetwork(DEBUG.size).eval()
    fit_regression(net, drawn(Nodding(), HeadBatch, 6), DEBUG)
    past, noise = torch.randn(5, PAST_KNOTS, KNOT_SIZE), torch.randn(5, KNOT_SIZE)
    heard = torch.randn(5, sum(net.sizes))
    with torch.no_grad():
        found = net.drawn(heard, past, noise)
    wanted = net.spread * ((past / net.spread).flatten(1) @ net.follow + net.stirred(heard) * (noise @ net.error.T))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_regression_finds_what_stirs_a_head() -> None:
    net, batch = HeadNetwork(DEBUG.size), Nodding().batch(9)
    batches = drawn(Nodding(), HeadBatch, 12)
    fit_whitening(net, batches)
    fit_regression(net, batches, DEBUG)
    stirred = net.stirred(net.heard(batch.features, batch.voice).flatten(0, 1))[:, 0]
    loud = batch.features[:, PAST_FEATURES::8, :64].mean(2)[:, :KNOTS].flatten() > 1.5
    assert float(stirred[loud].mean()) > 2 * float(stirred[~loud].mean())
    errors = known_of(net, batch)[1] / stirred[:, None]
    assert float(errors.pow(2).mean()) == pytest.approx(1, abs=0.3)
    assert float(errors[loud].pow(2).mean()) < 2.5 * float(errors[~loud].pow(2).mean())


def test_what_is_heard_decides_how_much_a_head_moves(learnt: HeadNetwork) -> None:
    batch = Nodding().batch(99)
    with torch.no_grad():
        ways = rolled(learnt, batch, torch.Generator().manual_seed(0))
    loud = batch.features[:, PAST_FEATURES::8, :64].mean(2)[:, :KNOTS] > 1.5
    before = torch.cat([torch.zeros(len(ways), 1, KNOT_SIZE), ways[:, :-1]], 1)
    jumps = (ways - 0.7 * before).pow(2).mean(2).sqrt()
    assert float(jumps[loud].mean()) > 1.8 * float(jumps[~loud].mean())
    assert 0.3 < float(jumps[loud].mean()) < 0.7


def test_where_nobody_speaks_no_feature_is_heard(learnt: HeadNetwork) -> None:
    features = torch.randn(2, PAST_FEATURES + 8 + FUTURE_FEATURES, 1152)
    silent = torch.zeros(2, VOICE_FRAMES, VOICE_SIZE)
    with torch.no_grad():
        assert torch.equal(learnt.heard(features, silent), learnt.heard(0 * features, silent))
        assert not torch.equal(learnt.heard(features, silent + 1), learnt.heard(0 * features, silent + 1))


def test_the_loss_stops_at_the_mask() -> None:
    batch, net = Nodding().batch(5), HeadNetwork(DEBUG.size).eval()
    mask = torch.ones(16, KNOTS)
    mask[:, 6:] = 0
    wild = batch.knots.clone()
    wild[:, PAST_KNOTS + 6 :] = 99
    losses = [
        head_loss(
            net, HeadBatch(batch.features, batch.voice, knots, mask), DEBUG, torch.Generator().manual_seed(1)
        ).total
        for knots in (batch.knots, wild)
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_amplified_it_moves_farther(learnt: HeadNetwork) -> None:
    past, noise = torch.zeros(1, PAST_KNOTS, KNOT_SIZE), torch.ones(1, KNOT_SIZE)
    heard = torch.zeros(1, sum(learnt.sizes))
    with torch.no_grad():
        before = learnt.drawn(heard, past, noise)
        HEAD.exported.amplify(learnt, None, 2.0)
        after = learnt.drawn(heard, past, noise)
        HEAD.exported.amplify(learnt, None, 0.5)
    torch.testing.assert_close(after, 2 * before)


def test_the_debug_recipe_runs(tmp_path: Path) -> None:
    assert train(HEAD, FakeSource("head"), DEBUG, tmp_path, steps=2).step == 2
