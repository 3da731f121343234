"""Batches of training say where an image was padded."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from imaseg.data import Case, CaseSet
from imaseg.runs.batches import training_loader
from imaseg.runs.config import TrainConfig


@pytest.fixture
def cases(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for name, shape in (("small", (6, 9, 8)), ("large", (12, 10, 9))):
        files = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_label.nii.gz"
        nib.save(nib.Nifti1Image(rng.uniform(1, 2, shape).astype(np.float32), np.eye(4)), files[0])
        nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), files[1])
        made.append(Case(name, (files[0],), files[1]))
    return CaseSet(tmp_path, "two", ("MRI",), tuple(made), declared_labels={0: "background", 1: "all"})


def _batches(cases, **settings):
    config = TrainConfig(
        network={"name": "UNet", "channels": [4, 8], "strides": [2]},
        patch=[8, 8, 8],
        batch_size=2,
        epochs=1,
        loss={"name": "DiceCELoss"},
        method={"name": "standard"},
        **settings,
    )
    return list(training_loader(cases, config, start=0))


def test_the_mask_is_where_the_image_is(cases):
    (batch,) = _batches(cases, augment=False)
    # Labels are 1 and intensities at least 1 everywhere in the images, and 0 in padding.
    assert torch.equal(batch["inside"] > 0, batch["label"] > 0)
    assert torch.equal(batch["inside"] > 0, batch["image"] > 0)
    counts = dict(zip(batch["id"], batch["inside"].flatten(1).sum(1).tolist(), strict=True))
    assert counts == {"small": 6 * 8 * 8, "large": 8 * 8 * 8}


def test_the_mask_moves_with_the_image(cases):
    (batch,) = _batches(cases, augment=True, seed=3)
    assert torch.equal(batch["inside"] > 0, batch["label"] > 0)
