"""Budgets in native and range units end up as the change they promise."""

from __future__ import annotations

import pytest
import torch

from imaseg import FGSM, Linf
from imaseg.perturbations import eps_of_native, eps_of_range
from tests.attacks.models import trained_model


def test_a_share_of_the_range_is_what_the_result_states():
    model, image, label = trained_model()
    result = FGSM(Linf(eps_of_range(0.05, image)))(model, image, label)
    changed = result.size > 0
    assert changed.any()
    torch.testing.assert_close(result.sizes["range"][changed], torch.full_like(result.size[changed], 0.05))


def test_hounsfield_units_move_the_scan_by_that_many():
    model, image, label = trained_model()
    scan, scale = image * 150.0 - 40.0, torch.linspace(100.0, 200.0, len(image))
    normalised = (scan + 40.0) / scale.view(-1, 1, 1, 1)
    result = FGSM(Linf(eps_of_native(12.0, scale)))(model, normalised, label)
    native = (result.image - normalised) * scale.view(-1, 1, 1, 1)
    assert native.abs().amax().item() == pytest.approx(12.0, rel=1e-4)


def test_a_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="scale must be > 0"):
        eps_of_native(1.0, torch.tensor([1.0, 0.0]))
