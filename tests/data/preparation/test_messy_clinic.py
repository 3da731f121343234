"""Nineteen cases as received: every planted fault is found for the right reason, every good case is kept in place."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.data.reading import read_volume

pytestmark = pytest.mark.data

QUARANTINED = {
    "case_01": "imagesTr/case_01.nii.gz must be a complete NIfTI file",
    "case_02": "labelsTr/case_02.nii.gz must have the shape of",
    "case_03": "imagesTr/case_03.nii.gz must hold finite numbers, got 8 NaN",
    "case_04": "corners are 7.00 mm apart",
    "case_07": "labelsTr/case_07.nii.gz must mark at least one voxel",
    "case_08": "must hold the declared labels 0, 1, 2, got 3 in 1 voxel",
    "case_09": "must hold whole label numbers from 0, got 0.63, 1.63",
    "case_10": "must have voxel sizes above 0 mm, got 1 x 1 x 0",
    "case_11": "imagesTr/case_11.nii.gz must vary, got 42 in every voxel",
    "case_12": "labelsTr/case_12.nii.gz must exist",
    "case_19": "imagesTr/case_19.nii.gz must be a NIfTI file, got an empty file",
}
FLAGGED = {
    "case_05": "same image as case_06",
    "case_06": "same image as case_05",
    "case_14": "fits its image better mirrored left-right",
    "case_17": "axes stored in another order",
}
PLAIN = {"case_13", "case_15", "case_16", "case_18"}


@pytest.fixture
def prepared(real_data: Path, tmp_path: Path):
    source = real_data / "messy_clinic"
    return source, prepare(source, tmp_path / "out", load_recipe("msd"))


def test_every_case_gets_the_verdict_it_deserves(prepared):
    _, summary = prepared
    assert set(summary.quarantined) == set(QUARANTINED)
    for name, reason in QUARANTINED.items():
        assert reason in summary.quarantined[name][0]
    assert set(summary.flagged) == set(FLAGGED)
    for name, flag in FLAGGED.items():
        assert len(summary.flagged[name]) == 1
        assert flag in summary.flagged[name][0]
    assert set(summary.kept) == set(FLAGGED) | PLAIN


def test_kept_cases_lie_where_they_lay(prepared):
    """The centre of each label in the world, straight from the files by nibabel, is that of the prepared one."""
    source, summary = prepared
    raw = load_cases(source, missing_ok=True).select(summary.kept)
    for before, after in zip(raw, load_cases(summary.out), strict=True):
        centres = []
        for path in (before.label, after.label):
            image = nib.load(path)
            data = np.asarray(image.dataobj)
            centres.append([nib.affines.apply_affine(image.affine, np.argwhere(data == k)).mean(0) for k in (1, 2)])
        np.testing.assert_allclose(centres[1], centres[0], atol=0.05, err_msg=before.id)


def test_grey_values_under_the_label_stay_the_same_ones(prepared):
    """Normalisation is linear: the pattern inside the label correlates perfectly with the raw voxels there."""
    source, summary = prepared
    for case in load_cases(summary.out):
        done = read_volume(case)
        raw = nib.as_closest_canonical(nib.load(next((source / "imagesTr").glob(f"{case.id}.nii*"))))
        index = nib.affines.apply_affine(np.linalg.inv(raw.affine) @ done.affine, np.argwhere(done.label > 0))
        values = raw.get_fdata().reshape(raw.shape[:3])[tuple(np.rint(index).astype(int).T)]
        assert np.corrcoef(values, done.image[0][done.label > 0])[0, 1] > 0.999, case.id
