"""A model whose margins a ruler measures: each voxel is judged by its own value alone."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import torch

from imaseg import load_model
from imaseg.models.segmentation import SegmentationModel

LOW, HIGH = 0.7, 1.6
"""Values below `LOW` are background, above `HIGH` structure 1, between them structure 2."""


class Ruler(torch.nn.Module):
    """Logits 0, 2 x - 2.3 and x - 0.7, the largest of which changes at 0.7 and at 1.6."""

    def __init__(self):
        super().__init__()
        self.slopes = torch.nn.Parameter(torch.tensor([0.0, 2.0, 1.0]).view(1, 3, 1, 1, 1))
        self.register_buffer("offsets", torch.tensor([0.0, LOW + HIGH, LOW]).view(1, 3, 1, 1, 1))

    def forward(self, image):
        return image * self.slopes - self.offsets


def ruler(run):
    """The ruler, in the place of a trained run."""
    return SegmentationModel(Ruler(), load_model(run).card).eval()


def distances(image, label):
    """How far the value of each voxel is from being judged otherwise; NaN where the judgement is wrong already."""
    image, label = np.asarray(image, np.float64), np.asarray(label)
    away = np.stack([LOW - image, image - HIGH, np.minimum(image - LOW, HIGH - image)])
    own = np.take_along_axis(away, label[None], 0)[0]
    return np.where(own > 0, own, np.nan)


def ruled(prepared, out):
    """A copy of prepared cases that are labelled as the ruler judges them."""
    shutil.copytree(prepared, out)
    for path in (out / "labelsTr").iterdir():
        image = np.asarray(nib.load(out / "imagesTr" / path.name).dataobj, np.float64)
        label = np.where(image > HIGH, 1, np.where(image > LOW, 2, 0)).astype(np.uint8)
        stored = nib.load(path)
        nib.save(nib.Nifti1Image(label, stored.affine, stored.header), path)
    return out
