"""The body in an image: what belongs to it and what lies beside it."""

from __future__ import annotations

import numpy as np
import pytest

from imaseg.data.preparation.body import body_mask

SHAPE = (40, 36, 12)


def _scan(air, tissue, lung, table):
    """A cylinder with a hole in it, over a bar that does not touch it; and where the cylinder is."""
    x, y, _ = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    body = (x - 19.5) ** 2 + (y - 15.5) ** 2 < 12**2
    z = np.arange(SHAPE[2])
    hollow = ((x - 19.5) ** 2 + (y - 15.5) ** 2 < 5**2) & (z > 2) & (z < 9)
    channel = np.full(SHAPE, float(air))
    channel[body], channel[hollow] = tissue, lung
    channel[:, 31:34] = table
    channel += np.random.default_rng(0).normal(0, 0.02 * abs(tissue - air), SHAPE)
    return channel.astype(np.float32), body


@pytest.mark.parametrize(
    ("hounsfield", "air", "tissue", "lung", "table"),
    [
        (True, -1000, 40, -850, -300),
        (True, -1000, -100, -850, -300),  # fat: far below 0, far above air
        (False, 0, 300, 20, 280),
        (False, 1000, 4000, 1100, 4000),
    ],
)
def test_it_is_the_largest_piece_with_its_hollows_and_without_the_table(hounsfield, air, tissue, lung, table):
    channel, body = _scan(air, tissue, lung, table)
    found = body_mask(channel, hounsfield=hounsfield)
    assert found.shape == SHAPE
    assert 2 * (found & body).sum() / (found.sum() + body.sum()) > 0.98
    assert not found[:, 31:34].any()
    assert found[19, 15].all()


def test_specks_that_an_opening_removes_are_still_better_than_nothing():
    channel = np.full(SHAPE, -1000, np.float32)
    channel[3, 3, 3] = 40
    assert np.argwhere(body_mask(channel, hounsfield=True)).tolist() == [[3, 3, 3]]
