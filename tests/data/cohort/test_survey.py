from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.cases import Case
from imaseg.data.cohort.survey import Survey, survey_case

AFFINE = np.diag([1.0, 2.0, 0.5, 1.0])


@pytest.fixture
def case(tmp_path, save, ball, picture) -> Case:
    image = save(tmp_path / "i.nii.gz", picture(ball()), AFFINE)
    return Case("a", (image,), save(tmp_path / "l.nii.gz", ball(), AFFINE))


def test_figures_of_a_good_case(case, ball, picture):
    survey = survey_case(case, {0: "background", 1: "front", 2: "back"})
    assert survey.reasons == survey.flags == []
    assert (survey.spacing, survey.shape, survey.channels) == ([1.0, 2.0, 0.5], [14, 16, 12], 1)
    assert survey.class_volume_ml["1"] == pytest.approx((ball() == 1).sum() * 1e-3)
    inside = picture(ball())[ball() > 0]
    np.testing.assert_allclose(sorted(survey.sample[0]), np.sort(inside), rtol=1e-6)
    assert Survey(**survey.to_json()) == survey


def test_a_copy_with_other_axes_is_still_a_copy(case, tmp_path):
    turn = np.array([[1, -1], [2, 1], [0, -1]])
    other = []
    for path in (case.image[0], case.label):
        nib.save(nib.load(path).as_reoriented(turn), tmp_path / f"turned-{path.name}")
        other.append(tmp_path / f"turned-{path.name}")
    first, second = survey_case(case, None), survey_case(Case("b", (other[0],), other[1]), None)
    assert first.image_sha256 == second.image_sha256
    assert first.label_sha256 == second.label_sha256
    assert first.shape == second.shape
    np.testing.assert_allclose(first.spacing, second.spacing)


def test_all_reasons_are_given_at_once(case, save, ball):
    label = ball().astype(np.float32)
    label[0, 0, 5] = 0.5
    save(case.label, label[:, :, 1:], AFFINE)
    survey = survey_case(case, {0: "background"})
    assert len(survey.reasons) == 2
    assert "must have the shape of" in survey.reasons[0]
    assert "must hold whole label numbers" in survey.reasons[1]
    assert survey.image_sha256 == ""


def test_an_unreadable_file_is_a_reason_not_an_error(case):
    case.image[0].write_bytes(b"junk")
    assert "got a file that is not gzip" in survey_case(case, None).reasons[0]


def test_a_label_without_background_is_flagged(case, save, ball):
    save(case.label, ball() + np.uint8(1), AFFINE)
    assert any(flag.endswith("l.nii.gz: no voxel is background.") for flag in survey_case(case, None).flags)
