"""Voxels near a structure, against distances of every pair of voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from imaseg import L2, PGD, Linf, LogitMargin
from imaseg.perturbations import millimetres, near


def _by_pairs(labelled, mm, spacing):
    """Every voxel against every labelled one."""
    places = np.argwhere(np.ones(labelled.shape)) * spacing
    found = [np.linalg.norm(places - place * spacing, axis=1) <= mm for place in np.argwhere(labelled)]
    return np.any(found, axis=0).reshape(labelled.shape)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((40,), (1.3,)), ((11, 14), (1.0, 2.3)), ((9, 8, 7), (0.7, 1.9, 3.1)), ((9, 8, 7), (4.0, 1.0, 0.5))],
)
@pytest.mark.parametrize("mm", [0.3, 2.2, 4.7, 50.0])
def test_it_is_the_euclidean_distance_between_centres(shape, spacing, mm):
    rng = np.random.default_rng(3)
    labels = np.stack([rng.random(shape) > chance for chance in (0.97, 0.99)])
    labels[:, *(0,) * len(shape)] = [True, False]
    labels[1, *(-1,) * len(shape)] = True
    found = near(torch.from_numpy(labels.astype(np.int64)), mm, spacing)
    assert found.shape == (2, 1, *shape)
    for label, mask in zip(labels, found[:, 0].numpy(), strict=True):
        assert np.array_equal(mask, _by_pairs(label, mm, np.array(spacing)))
        assert np.array_equal(mask, distance_transform_edt(~label, sampling=spacing) <= mm)


def test_a_distance_that_voxels_meet_exactly_is_within():
    label = torch.zeros(1, 1, 5, 9, dtype=torch.long)
    label[0, 0, 2, 0] = 2
    assert near(label, 0.3, (0.1, 0.1))[0, 0, 2].tolist() == [True] * 4 + [False] * 5


def test_each_sample_has_its_own_mask_and_one_without_a_structure_has_all():
    label = torch.zeros(3, 6, dtype=torch.long)
    label[0, 0], label[1, 5] = 1, 3
    label[2, 2] = -1  # ignored, no structure
    assert near(label, 1.0, [1.0]).int().tolist() == [[[1, 1, 0, 0, 0, 0]], [[0, 0, 0, 0, 1, 1]], [[1] * 6]]


def test_regions_count_together():
    regions = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    regions[0, 0, 0, 0] = regions[0, 1, 3, 3] = True
    assert near(regions, 0.5, (1.0, 1.0)).nonzero().tolist() == [[0, 0, 0, 0], [0, 0, 3, 3]]


@pytest.mark.parametrize(
    ("mm", "spacing", "text"),
    [
        (0.0, (1.0, 1.0), "must be > 0, got 0.0"),
        (3.0, (1.0, 0.0), r"must be > 0, got 3.0 and \[1.0, 0.0\]"),
        (float("inf"), (1.0, 1.0), "must be > 0, got inf"),
        (3.0, (1.0, 1.0, 1.0, 1.0), r"one size per axis of the label \(1, 4, 4\)"),
    ],
)
def test_what_is_no_distance_is_refused(mm, spacing, text):
    with pytest.raises(ValueError, match=text):
        near(torch.ones(1, 4, 4, dtype=torch.long), mm, spacing)


@pytest.mark.parametrize(("text", "mm"), [("20 mm", 20.0), ("7.5mm", 7.5), (3, 3.0), (None, None), (" .5 mm ", 0.5)])
def test_distances_are_read(text, mm):
    assert millimetres(text) == mm


@pytest.mark.parametrize("text", ["20", "2 cm", "-3 mm", "0 mm", 0, -1.0, True, "mm", float("nan"), [20]])
def test_other_lengths_are_refused(text):
    with pytest.raises(ValueError, match=r"within must be a distance above 0 in mm, got .*within: 20 mm"):
        millimetres(text)


@pytest.mark.parametrize("kind", [lambda: L2(0.1, unit="rms"), lambda: L2(0.5), lambda: Linf(0.1)])
def test_a_linear_model_loses_what_the_gradient_holds_there(kind):
    """The best change of a linear score is known: the steepest one of the voxels that may change."""
    shape = (1, 1, 7, 6)
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(1, 7, 6, dtype=torch.long)
    label[0, 3, 2] = 1
    mask = near(label, 3.0, (1.0, 2.0))
    assert 5 < int(mask.sum()) < 40

    def score(image):
        value = (image * weight).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(value), 10 - value], 1)

    found = PGD(kind().within(mask), steps=30, objective=LogitMargin())(
        score, torch.zeros(shape), torch.ones(1, dtype=torch.long)
    ).image
    inside = weight * mask
    if isinstance(kind(), Linf):
        best = 0.1 * inside.abs().sum()
    else:
        best = (0.1 * mask.sum().sqrt() if kind().unit == "rms" else 0.5) * inside.norm()
    assert float((found * weight).sum()) == pytest.approx(float(best), rel=1e-3)
    assert bool((found[~mask] == 0).all())
