"""The record of flips, against the smallest of what it was shown."""

from __future__ import annotations

import torch

from imaseg.margins.voxel_flips import Flips
from imaseg.scores import encode

CEILING = (1.0, 2.0)


def test_each_voxel_keeps_the_smallest_size_within_the_ceiling_that_flipped_it():
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(2, 3, 6, generator=generator), torch.randint(-1, 3, (2, 6), generator=generator)
    flips = Flips(logits, encode(logits, label), torch.tensor(CEILING))
    right = (logits.argmax(1) == label) & (label >= 0)
    expected = torch.where(right, torch.inf, 0.0)
    for _ in range(8):
        samples = torch.randint(2, (3,), generator=generator).tolist()
        sizes, wrong = 3 * torch.rand(3, generator=generator), torch.rand(3, 6, generator=generator) < 0.3
        flips.record(samples, sizes, wrong)
        for sample, size, voxels in zip(samples, sizes.tolist(), wrong, strict=True):
            for voxel in voxels.nonzero()[:, 0].tolist():
                if size <= CEILING[sample]:
                    expected[sample, voxel] = min(expected[sample, voxel].item(), size)
    torch.testing.assert_close(flips.size, expected)
    assert torch.equal(flips.right, right)
    standing = expected == torch.inf
    assert standing.any()
    assert torch.equal(flips.standing, standing)
    torch.testing.assert_close(flips.margin, expected.where(~standing, torch.tensor(CEILING)[:, None]))


def test_a_size_on_the_sphere_up_to_rounding_counts_as_the_ceiling():
    logits, label = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[1]])
    flips = Flips(logits, encode(logits, label), torch.tensor([1.0]))
    flips.record([0], torch.tensor([1.0001]), torch.tensor([[True]]))
    assert flips.standing.all()
    flips.record([0], torch.tensor([1.000001]), torch.tensor([[True]]))
    assert flips.size.item() == 1.0
