from __future__ import annotations

import numpy as np
import pytest

from imaseg.data.preparation.intensity import normalise, shift_and_scale
from imaseg.errors import InputError

COHORT = {"percentile_00_5": -50.0, "percentile_99_5": 150.0, "mean": 40.0, "std": 20.0}


@pytest.fixture
def channel():
    values = np.random.default_rng(0).normal(1.7e6, 2e5, (12, 12, 12)).astype(np.float32)
    values[:4] = 0
    return values


def test_zscore_is_over_non_zero_voxels(channel):
    done, step = normalise(channel, "zscore", {}, "a")
    body = done[channel != 0].astype(np.float64)
    assert body.mean() == pytest.approx(0, abs=1e-5)
    assert body.std() == pytest.approx(1, abs=1e-5)
    assert step["mean"] == pytest.approx(channel[4:].astype(np.float64).mean())
    assert step["std"] == pytest.approx(channel[4:].astype(np.float64).std())
    np.testing.assert_allclose(done[:4], -step["mean"] / step["std"], rtol=1e-6)


def test_masked_zscore_leaves_zeros_at_zero(channel):
    done, step = normalise(channel, "masked-zscore", {}, "a")
    assert not done[channel == 0].any()
    body = channel[4:].astype(np.float64)
    np.testing.assert_allclose(done[4:], (body - body.mean()) / body.std(), atol=1e-5)
    assert shift_and_scale(step) == pytest.approx((body.mean(), body.std()))


def test_percentile_maps_to_zero_and_one_and_clips(channel):
    done, step = normalise(channel, "percentile", {}, "a")
    assert (done.min(), done.max()) == (0, 1)
    low, high = np.percentile(channel[4:], [0.5, 99.5])
    assert (step["low"], step["high"]) == pytest.approx((low, high))
    assert (done[channel != 0] == 1).mean() == pytest.approx(0.005, abs=0.001)


def test_ct_uses_the_figures_of_the_cohort():
    hu = np.array([-1000.0, 40, 60, 3000], np.float32)
    done, step = normalise(hu, "ct", COHORT, "a")
    np.testing.assert_allclose(done, [(-50 - 40) / 20, 0, 1, (150 - 40) / 20])
    assert step == {"method": "ct", "low": -50.0, "high": 150.0, "mean": 40.0, "std": 20.0}


def test_none_changes_nothing(channel):
    done, step = normalise(channel, "none", {}, "a")
    np.testing.assert_array_equal(done, channel)
    assert shift_and_scale(step) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"method": "zscore", "mean": 3.0, "std": 2.0}, (3.0, 2.0)),
        ({"method": "percentile", "low": 1.0, "high": 5.0}, (1.0, 4.0)),
        ({"method": "ct", "low": 0.0, "high": 9.0, "mean": 3.0, "std": 2.0}, (3.0, 2.0)),
    ],
)
def test_shift_and_scale(step, expected):
    assert shift_and_scale(step) == expected


@pytest.mark.parametrize("values", [[0, 7, 7], [0, 0, 0]])
@pytest.mark.parametrize("method", ["zscore", "percentile"])
def test_a_foreground_that_does_not_vary_is_refused(values, method):
    with pytest.raises(InputError, match="a: image must vary in its foreground, got"):
        normalise(np.array(values, np.float32), method, {}, "a")
