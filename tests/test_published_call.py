"""One call of the published denoiser: a small one takes some time, in this process and apart."""

from __future__ import annotations

from difftalk.evaluation.published_call import published_call_seconds
from difftalk.speed.apart import ask
from difftalk.speed.yardstick import PUBLISHED


def test_a_call_takes_some_time() -> None:
    assert 0 < published_call_seconds("paper-debug") < 60


def test_the_bench_asks_for_it_by_name() -> None:
    assert 0 < ask(PUBLISHED, {"size": "paper-debug"}, {}) < 60
