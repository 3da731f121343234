"""Splines against scipy; weights that are convex; which control points a mask confines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from imaseg.perturbations.bspline import confined, evaluate, grid_shape

CASES = [((9,), (4.0,)), ((12, 7), (3.0, 2.5)), ((1, 6), (8.0, 0.7)), ((6, 9, 5), (2.0, 3.3, 8.0))]
cases = pytest.mark.parametrize(("shape", "spacing"), CASES)


def _control(shape, spacing, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, *grid_shape(shape, spacing), generator=generator, dtype=torch.float64)


@cases
def test_field_equals_scipy(shape, spacing):
    control = _control(shape, spacing)
    expected = control.numpy()
    for axis, (size, step) in enumerate(zip(shape, spacing, strict=True)):
        points = expected.shape[axis + 2]
        # Knot k lies at (k - 3) control spacings, so that the spline's domain begins at voxel 0.
        spline = BSpline(np.arange(points + 4) - 3, np.moveaxis(expected, axis + 2, 0), 3)
        expected = np.moveaxis(spline(np.arange(size) / step), 0, axis + 2)
    torch.testing.assert_close(evaluate(control, shape, spacing), torch.from_numpy(expected))


@cases
def test_the_field_never_exceeds_its_control_points(shape, spacing):
    ones = torch.ones_like(_control(shape, spacing))
    torch.testing.assert_close(evaluate(ones, shape, spacing), torch.ones(2, 3, *shape, dtype=torch.float64))
    impulses = torch.eye(ones[0, 0].numel(), dtype=torch.float64).view(1, -1, *ones.shape[2:])
    assert evaluate(impulses, shape, spacing).min() >= 0


def test_the_grid_reaches_one_point_beyond_the_image_and_no_further():
    assert grid_shape((17,), (8.0,)) == (5,)
    assert grid_shape((18,), (8.0,)) == (6,)
    # 8 mm over 0.8 mm is not exactly 10 voxels in floating point.
    assert grid_shape((31,), (8.0 / 0.8 * (1 - 1e-15),)) == (6,)


def test_half_precision_regions_leave_the_field_alone():
    control = _control((12, 7), (3.0, 2.5)).float()
    with torch.autocast("cpu", torch.bfloat16):
        field = evaluate(control, (12, 7), (3.0, 2.5))
    assert torch.equal(field, evaluate(control, (12, 7), (3.0, 2.5)))


@cases
def test_confined_control_points_are_those_whose_impulse_stays_inside(shape, spacing):
    mask = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(3)) > 0.1
    grid = grid_shape(shape, spacing)
    impulses = torch.eye(int(np.prod(grid)), dtype=torch.float64).view(1, -1, *grid)
    felt = evaluate(impulses, shape, spacing) > 0
    expected = (felt & mask).flatten(2).any(2) & ~(felt & ~mask).flatten(2).any(2)
    assert torch.equal(confined(mask, spacing).flatten(), expected.flatten())
