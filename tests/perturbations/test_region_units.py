"""RMS is a mean over the image: padding is not the patient."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pad

from imaseg import L2, PGD, Deformation, Linf, UniformNoise


def _net(image):
    """Class 1 where the image is above 0.5; each voxel by itself."""
    return torch.cat([torch.zeros_like(image), image - 0.5], 1)


@pytest.fixture
def padded():
    """A case of 3 x 5 voxels, and the same with zeros around it, 8 x 8, with its mask."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 3, 5, generator=generator)
    label = (image[:, 0] > 0.5).long()
    wide, wide_label = (pad(volume, (2, 1, 4, 1), value=value) for volume, value in ((image, 0), (label, -1)))
    return (image, label), (wide, wide_label, (wide_label >= 0)[:, None])


def test_the_norm_of_an_rms_is_that_of_the_voxels_inside():
    inside = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    inside[0, :, :2], inside[1, :, 0, 0] = True, True  # 8 voxels, 1 voxel
    change = L2(0.5, unit="rms").within(inside).project(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
    assert change.flatten(1).norm(dim=1).tolist() == pytest.approx([0.5 * 8**0.5, 0.5])
    assert L2(0.5, unit="rms").within(inside).size(change).tolist() == pytest.approx([0.5, 0.5])
    # Each sample keeps its own count when the batch shrinks, and another budget keeps it too.
    second = L2(0.5, unit="rms").within(inside).take(torch.tensor([1])).with_eps(0.25)
    assert float(second.project(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)).norm()) == pytest.approx(0.25)


def test_channels_count_each():
    inside = torch.zeros(1, 1, 4, dtype=torch.bool)
    inside[..., :2] = True
    change = L2(1.0, unit="rms").within(inside).project(torch.zeros(1, 3, 4), 9 * torch.ones(1, 3, 4))
    assert float(change.norm()) == pytest.approx(6**0.5)


def test_a_padded_case_is_attacked_as_it_is_without_padding(padded):
    (image, label), (wide, wide_label, inside) = padded
    plain = PGD(L2(0.2, unit="rms"), steps=6)(_net, image, label, start=torch.zeros_like(image))
    result = PGD(L2(0.2, unit="rms").within(inside), steps=6)(_net, wide, wide_label, start=torch.zeros_like(wide))
    assert torch.allclose(result.image[..., 4:7, 2:7], plain.image, atol=1e-6)
    assert torch.equal(result.image[~inside], wide[~inside])
    for unit in ("rms", "l2", "linf"):
        assert float(result.sizes[unit]) == pytest.approx(float(plain.sizes[unit]), abs=1e-6)


def test_a_mask_narrows_a_region_and_leaves_the_set_as_it_was(padded):
    _, (wide, _, inside) = padded
    half = torch.zeros_like(inside)
    half[..., :4] = True
    given = L2(0.2, unit="rms", region=half)
    both = given.within(inside)
    assert torch.equal(both.region, half & inside)
    assert float(both.share) == pytest.approx(15 / 64)  # what may not change counts all the same
    assert given.region is half
    assert given.share is None
    assert Linf(0.1).within(None).region is None
    noisy = UniformNoise(Linf(0.1).within(inside), steps=1)(_net, wide, torch.zeros(1, 8, 8, dtype=torch.long))
    assert torch.equal(noisy.image[~inside], wide[~inside])


def test_a_deformation_moves_padding_along():
    moving = Deformation(1.0)
    assert moving.within(torch.zeros(1, 1, 8, 8, dtype=torch.bool)) is moving
