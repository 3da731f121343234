"""Whatever a header holds, a case is either read or refused in one sentence."""

from __future__ import annotations

import random

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.cases import Case
from imaseg.data.cohort.survey import survey_case
from imaseg.data.reading import read_volume
from imaseg.errors import InputError


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_in_a_header_never_crash(tmp_path, ball, picture, seed):
    rng = random.Random(seed)
    paths = {"image": tmp_path / "i.nii", "label": tmp_path / "l.nii"}
    nib.save(nib.Nifti1Image(picture(ball()).astype(np.int16), np.eye(4)), paths["image"])
    nib.save(nib.Nifti1Image(ball(), np.eye(4)), paths["label"])
    sound = {name: path.read_bytes() for name, path in paths.items()}
    case = Case("a", (paths["image"],), paths["label"])
    verdicts = set()
    for _ in range(40):
        for name, path in paths.items():
            content = bytearray(sound[name])
            for _ in range(rng.choice([0, 1, 2, 8])):
                content[rng.randrange(348)] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
            path.write_bytes(content)
        survey = survey_case(case, {0: "background", 1: "front", 2: "back"})
        assert all(" must " in reason and reason.endswith(".") for reason in survey.reasons)
        verdicts.add(bool(survey.reasons))
        try:
            volume = read_volume(case)
        except InputError:
            assert survey.reasons
        else:
            assert np.isfinite(volume.image).all()
    assert verdicts == {True, False}
