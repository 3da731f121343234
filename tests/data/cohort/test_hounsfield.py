"""CT that nobody calls CT is told by its grey values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from imaseg.data.cohort.hounsfield import looks_like_hounsfield
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe

AS_IT_IS = Recipe(spacing=None, crop=None)


def scan(label: np.ndarray, seed: int) -> np.ndarray:
    """Soft tissue in air, with a corner that the scanner did not look at."""
    grey = np.random.default_rng(seed).normal(-1000, 10, label.shape)
    grey[3:-3, 3:-3] += 1040
    grey[label > 0] += 60
    grey[0, 0] = -1024
    return grey.round().astype(np.int16)


def test_what_looks_like_hounsfield_units(ball, picture):
    rng = np.random.default_rng(0)
    ct = scan(ball(), 0).astype(np.float32)
    assert looks_like_hounsfield(ct)
    assert looks_like_hounsfield(np.where(ct < -1020, -3024, ct).astype(np.float32))
    for other in (
        picture(ball()),
        rng.normal(0, 1, ct.shape),
        rng.integers(-4096, 4096, ct.shape),  # the phase of an MR image
        np.where(rng.random(ct.shape) < 1e-3, -1200, rng.normal(0, 50, ct.shape)),  # one MR image minus another
        ct + 1024,
    ):
        assert not looks_like_hounsfield(np.asarray(other, np.float32))


@pytest.fixture
def source(tmp_path, save, ball):
    for i in range(3):
        save(tmp_path / "raw" / "images" / f"{i}.nii.gz", scan(ball(), i))
        save(tmp_path / "raw" / "labels" / f"{i}.nii.gz", ball())
    return tmp_path / "raw"


@pytest.mark.parametrize("layout", ["msd", "nnunet"])
def test_undeclared_ct_is_taken_for_ct_and_said_so(source, tmp_path, layout):
    summary = prepare(source, tmp_path / "out", AS_IT_IS, layout=layout)
    assert "look like HU: taken for CT" in summary.remarks[0]
    record = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert record["remarks"] == summary.remarks
    assert record["fingerprint"]["modality"] == ["CT"]
    assert record["cases"][0]["steps"][-1]["method"] == "ct"
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (described.get("modality") or described["channel_names"]) == {"0": "CT"}
    assert "taken for CT" in (tmp_path / "out" / "prepare.html").read_text()


def test_whoever_names_it_is_believed(source, tmp_path):
    named = AS_IT_IS.model_copy(update={"modality": ("MRI",)})
    summary = prepare(source, tmp_path / "out", named)
    assert summary.remarks == []
    assert json.loads((tmp_path / "out" / "prepare.json").read_text())["cases"][0]["steps"][-1]["method"] == "zscore"


def test_cases_unlike_most_are_flagged(source, tmp_path, save, ball, picture):
    save(source / "images" / "3.nii.gz", picture(ball(), 3))
    save(source / "labels" / "3.nii.gz", ball())
    summary = prepare(source, tmp_path / "out", AS_IT_IS)
    assert list(summary.flagged) == ["3"]
    assert summary.flagged["3"][0].startswith("most of the cohort hold HU, these grey values do not look it")
    for i in range(4, 8):
        save(source / "images" / f"{i}.nii.gz", picture(ball(), i))
        save(source / "labels" / f"{i}.nii.gz", ball())
    summary = prepare(source, tmp_path / "out", AS_IT_IS)
    assert summary.remarks == []
    assert list(summary.flagged) == ["0", "1", "2"]
    assert "these grey values look like it" in summary.flagged["0"][0]
