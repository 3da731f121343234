"""Surface distances against brute force over all pairs of voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imaseg.auditing.metrics.surfaces import surface_scores


def _edge(mask):
    """Voxels of a mask with a face outside it, one by one."""
    inside = {tuple(place) for place in np.argwhere(mask)}
    edge = []
    for place in inside:
        beside = [
            tuple(p + step * (a == axis) for a, p in enumerate(place)) for axis in range(mask.ndim) for step in (-1, 1)
        ]
        if not inside.issuperset(beside):
            edge.append(place)
    return np.array(edge, dtype=float)


def _brute(found, truth, spacing):
    edges = [_edge(found), _edge(truth)]
    scores = []
    for scale in (np.ones(found.ndim), np.asarray(spacing)):
        pairs = np.linalg.norm((edges[0][:, None] - edges[1][None]) * scale, axis=2)
        scores.append((pairs.min(1), pairs.min(0)))
    voxels, mm = scores
    share = [np.concatenate(voxels) <= 1, np.concatenate(mm) <= 2 + 1e-4]
    return share[0].mean(), share[1].mean(), max(np.percentile(d, 95) for d in mm), np.concatenate(mm).mean()


maps = arrays(np.int64, st.tuples(*[st.integers(2, 6)] * 3), elements=st.sampled_from([0, 0, 1, 1, 2]))
spacings = st.tuples(*[st.sampled_from([0.4, 1.0, 1.5, 3.0])] * 3)


@settings(max_examples=60, deadline=None)
@given(maps, spacings, st.randoms(use_true_random=False))
def test_equals_brute_force(truth, spacing, random):
    found = truth.copy()
    for _ in range(random.randrange(12)):
        found[tuple(random.randrange(n) for n in found.shape)] = random.randrange(3)
    classes = [k for k in (1, 2) if (found == k).any() and (truth == k).any()]
    scores = surface_scores(found, truth, spacing=spacing, classes=classes)
    assert list(scores) == classes
    for k in classes:
        assert scores[k] == pytest.approx(_brute(found == k, truth == k, spacing), rel=1e-4)


def test_one_voxel_is_a_slice_through_plane_and_a_pixel_within():
    truth = np.zeros((12, 12, 8), dtype=int)
    truth[3:8, 3:8, 2:5] = 1
    spacing = (1.0, 1.0, 5.0)
    scores = {
        shift: surface_scores(np.roll(truth, shift, (0, 1, 2)), truth, spacing=spacing, classes=[1])[1]
        for shift in ((1, 0, 0), (2, 0, 0), (0, 0, 1))
    }
    assert scores[1, 0, 0].surface_dice == 1
    assert scores[0, 0, 1].surface_dice == 1
    assert scores[2, 0, 0].surface_dice < 1
    assert scores[2, 0, 0].surface_dice_2mm == 1
    assert scores[0, 0, 1].surface_dice_2mm < 1
    assert scores[0, 0, 1].hd95 == 5


def test_two_millimetres_hold_for_voxel_sizes_from_float32_headers():
    truth = np.zeros((16, 8), dtype=int)
    truth[3:6, 2:6] = 1
    step = float(np.nextafter(np.float32(0.4), np.float32(1)))
    assert surface_scores(np.roll(truth, 5, 0), truth, spacing=(step, 1.0), classes=[1])[1].surface_dice_2mm == 1


def test_both_dimensions_of_a_picture_count():
    truth = np.zeros((9, 9), dtype=int)
    truth[4, 4] = 1
    found = np.roll(truth, 3, 1)
    assert surface_scores(found, truth, spacing=(1.0, 2.0), classes=[1])[1] == (0, 0, 6, 6)
