"""Numbers made small and back: integers exactly, rows by their share."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.data.codec import Components, Foretold, expand, in_steps, squeeze


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64])
@pytest.mark.parametrize("alike", [True, False])
def test_integers_come_back(kind: type, alike: bool) -> None:
    reach = np.iinfo(kind)
    values = np.random.default_rng(0).integers(reach.min, reach.max, (5, 3, 2), kind, endpoint=True)
    values[0, 0], values[1, 0] = reach.min, reach.max
    back = expand(squeeze(values, alike=alike), kind, (-1, 3, 2), alike=alike)
    assert back.dtype == kind
    np.testing.assert_array_equal(back, values)


def test_what_changes_little_is_small() -> None:
    rows = np.cumsum(np.random.default_rng(0).integers(-2, 3, (400, 30)), 0).astype(np.int16)
    assert len(squeeze(rows)) < 0.2 * rows.nbytes


def test_steps_stay_within_the_integers() -> None:
    np.testing.assert_array_equal(in_steps(np.array([0.24, -9e9, 9e9]), 0.1), [2, -32768, 32767])


def test_components_explain_what_they_can() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 6)) * [9, 6, 4, 3, 2, 1] @ rng.standard_normal((6, 40)) + 5
    voice = Components.fit([rows[:100], rows[100:]], 20)
    assert len(voice.spread) == 6  # as many directions as there are
    steps = voice.of(rows)
    assert float(((voice.rows(steps) - rows) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum()) < 0.02
    white = voice.whitened(steps)
    np.testing.assert_allclose(white.std(0)[:3], 1, atol=0.05)
    made = white * voice.spread @ voice.basis.astype(np.float32) + voice.mean
    np.testing.assert_allclose(made, voice.rows(steps), rtol=1e-3, atol=1e-2)


def test_foretold_rows_come_back_exactly() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((60, 4)) * 900 @ rng.standard_normal((4, 90)) + rng.standard_normal((60, 90))) * 2
    whole = np.rint(rows).astype(np.int16)
    kept = Foretold.of(whole, 8)
    np.testing.assert_array_equal(kept.rows(), whole)
    assert np.abs(kept.rest).mean() < 0.02 * np.abs(whole).mean()
