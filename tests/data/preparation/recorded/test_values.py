"""A clip and a line, found in values and chained, next to the functions that made them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imaseg.data.preparation.recorded.values import Scale, fitted

VALUES = np.r_[np.zeros(20), np.random.default_rng(0).normal(40, 120, 3000)].astype(np.float32)


def nonzero_zscore(x):
    inside = x[x != 0]
    return np.where(x != 0, (x - inside.mean()) / inside.std(), 0).astype(np.float32)


CHAINS = {
    "nothing": [lambda x: x],
    "a line": [lambda x: x / 7 - 3],
    "a window": [lambda x: (x.clip(-57, 164) + 57) / 221],
    "clipped below": [lambda x: np.maximum(x, -20)],
    "clipped above": [lambda x: np.minimum(x, 90) * 2 + 1],
    "two windows": [lambda x: x.clip(-57, 164) / 100, lambda x: x.clip(-0.2, 9)],
    "a window inside another": [lambda x: x.clip(-20, 60), lambda x: x.clip(-100, 100) / 3],
    "a window, then a z-score": [lambda x: (x.clip(-57, 164) + 57) / 221, lambda x: (x - x.mean()) / x.std()],
    "nonzero": [nonzero_zscore],
    "nonzero, then a range": [nonzero_zscore, lambda x: (x - x.min()) / np.ptp(x) * 2 - 1],
    "a window, then nonzero": [lambda x: (x.clip(-57, 164) + 57) / 221, nonzero_zscore],
    "nonzero twice": [nonzero_zscore, lambda x: np.where(x != 0, x * 2, 0), nonzero_zscore],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_the_chain_that_is_found_does_what_its_parts_do(chain):
    done, scale = VALUES, Scale()
    for part in chain:
        after = part(done).astype(np.float32)
        scale = scale.then(fitted(done, after))
        done = after
    mine = np.array([scale.of(float(value)) for value in VALUES])
    if scale.background is not None and math.isfinite(scale.low):
        mine = np.where(scale.low >= VALUES, scale.becomes, mine)
    np.testing.assert_allclose(mine, done, atol=2e-4 * np.ptp(done))


def test_the_record_names_limits_and_background():
    window = (VALUES.clip(-57, 164) + 57) / 221
    record = fitted(VALUES, window.astype(np.float32)).record()
    assert record == {"method": "line", "mean": pytest.approx(-57, abs=0.01), "std": pytest.approx(221, rel=1e-4),
                      "low": pytest.approx(-57, abs=0.01), "high": pytest.approx(164, abs=0.01)}  # fmt: skip
    record = fitted(VALUES, nonzero_zscore(VALUES)).record()
    assert (record["background"], record["becomes"]) == (0, 0)
    assert record["std"] == pytest.approx(VALUES[VALUES != 0].std(), rel=1e-3)
    assert fitted(VALUES, VALUES).record() == {"method": "line", "mean": 0, "std": 1}


@pytest.mark.parametrize(
    "function",
    [np.square, np.negative, np.abs, np.sin, lambda x: x * 0, lambda x: np.where(x < 50, 0, x), np.cumsum],
    ids=["square", "negative", "absolute", "sine", "nothing left", "holes", "not by voxel"],
)
def test_what_is_no_rising_line_has_no_scale(function):
    assert fitted(VALUES, function(VALUES).astype(np.float32)) is None


def test_a_constant_image_has_no_scale_but_that_of_nothing():
    flat = np.full(9, 3, np.float32)
    assert fitted(flat, flat) == Scale()
    assert fitted(flat, flat - 3) is None


def test_two_backgrounds_are_one_too_many():
    first = Scale(background=0.0, becomes=-5.0)
    assert first.then(Scale(background=0.0, becomes=1.0)) is None
    assert first.then(Scale(background=-5.0, becomes=1.0)).becomes == 1.0
