"""Whatever bytes a file holds, it is read or refused in one sentence: never a crash, never a traceback."""

from __future__ import annotations

import gzip
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imaseg.data.cases import Case
from imaseg.data.cohort.survey import survey_case
from imaseg.data.formats.dicom_labels import read_structures
from imaseg.data.formats.read import read_scan
from imaseg.data.formats.scan import Scan
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.errors import InputError

from ..conftest import ball, picture
from ..dicom_writer import write_rtstruct, write_seg, write_series

HEADER = 352
FIELDS = {
    "dim": (40, 16), "datatype": (70, 4), "pixdim": (76, 32), "vox_offset": (108, 4), "scaling": (112, 8),
    "units": (123, 1), "codes": (252, 4), "quaternion": (256, 24), "srow": (280, 48), "magic": (344, 4),
}  # fmt: skip
NASTY = (0, 1, 2, 127, 128, 255)
SETTINGS = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

edits = st.lists(
    st.tuples(
        st.sampled_from(sorted(FIELDS)), st.integers(0, 47), st.one_of(st.sampled_from(NASTY), st.integers(0, 255))
    ),
    max_size=6,
)


def sound() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for name, array in (("image", picture(ball()).astype(np.int16)), ("label", ball())):
            nib.save(nib.Nifti1Image(array, np.diag([-1, 1, 2, 1])), Path(folder) / "x.nii")
            made[name] = (Path(folder) / "x.nii").read_bytes()
        return made


SOUND = sound()


def verdict(image: bytes, label: bytes, suffix: str) -> bool:
    """Survey the case; whether it was found fit. What is wrong must be a sentence that names a file."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}{suffix}" for name in ("i", "l")]
        for path, content in zip(paths, (image, label), strict=True):
            path.write_bytes(content)
        case = Case("a", (paths[0],), paths[1])
        survey = survey_case(case, {0: "background", 1: "front", 2: "back"}, thumbnail=Path(folder) / "t.png")
        for reason in survey.reasons:
            assert " must " in reason
            assert reason.endswith(".")
            assert "i.nii" in reason or "l.nii" in reason
            assert "\n" not in reason
        json.dumps(survey.to_json(), allow_nan=False)
        return not survey.reasons


@SETTINGS
@given(edits, edits)
def test_fields_of_a_header(image_edits, label_edits):
    contents = []
    for name, changes in (("image", image_edits), ("label", label_edits)):
        content = bytearray(SOUND[name])
        for field, offset, value in changes:
            start, length = FIELDS[field]
            content[start + offset % length] = value
        contents.append(bytes(content))
    fit = verdict(*contents, ".nii")
    assert fit or contents != [SOUND["image"], SOUND["label"]]


@SETTINGS
@given(st.integers(0, len(SOUND["image"])), st.booleans(), st.binary(max_size=40))
def test_bodies_cut_off_and_with_rubbish_behind(length, packed, rubbish):
    content = SOUND["image"][:length] + rubbish
    label = SOUND["label"]
    if packed:
        content, label = gzip.compress(content), gzip.compress(label)
    verdict(content, label, ".nii.gz" if packed else ".nii")


@SETTINGS
@given(st.data())
def test_a_gzip_stream_with_a_wrong_byte_is_never_fit(data):
    whole, label = gzip.compress(SOUND["image"], mtime=0), gzip.compress(SOUND["label"], mtime=0)
    at = data.draw(st.integers(10, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    assert not verdict(bytes(changed), label, ".nii.gz")


@SETTINGS
@given(st.binary(max_size=600))
def test_any_bytes_at_all(content):
    assert not verdict(content, SOUND["label"], ".nii")


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".png", ".tif", ".jpg", ".bmp", ".dcm"])
@pytest.mark.parametrize("seed", range(3))
def test_other_formats(tmp_path, suffix, seed):
    path, rng = tmp_path / f"x{suffix}", random.Random(seed)
    if suffix == ".dcm":
        write_series(tmp_path, np.full((9, 8, 1), 1000))
        (tmp_path / "000.dcm").rename(path)
    elif suffix in (".mha", ".mhd", ".nrrd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((4, 5, 6), np.int16)), str(path))
    else:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 8), np.uint8)).save(path)
    whole = path.read_bytes()
    for _ in range(12):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8, 30])):
            content[rng.randrange(len(content))] = rng.choice([*NASTY, rng.randrange(256)])
        path.write_bytes(content[: rng.choice([len(content), len(content), rng.randrange(len(content))])])
        sentence = _refusal(lambda: read_scan(path))
        assert sentence is None or (f"x{suffix}" in sentence and "\n" not in sentence)


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_structures_of_dicom(tmp_path, kind):
    mask = np.zeros((20, 16, 4), bool)
    mask[3:9, 4:10, 1:3] = True
    slices = write_series(tmp_path / "ct", np.random.default_rng(0).integers(0, 2000, mask.shape))
    image = read_scan(tmp_path / "ct" / "000.dcm")
    path, rng = tmp_path / "x.dcm", random.Random(0)
    if kind == "seg":
        write_seg(path, slices, {"GTV": mask})
    else:
        square = np.array([[-17, 33, -100], [-11, 33, -100], [-11, 39, -100]])
        write_rtstruct(path, slices, {"GTV": [square]})
    whole, refused = path.read_bytes(), 0
    assert read_structures((path,), image, {"GTV": 1}).data.any()
    for _ in range(120):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8, 30])):
            content[rng.randrange(len(content))] = rng.choice([*NASTY, rng.randrange(256)])
        path.write_bytes(content[: rng.choice([len(content), len(content), rng.randrange(len(content))])])
        sentence = _refusal(lambda: read_structures((path,), image, {"GTV": 1}))
        assert sentence is None or ("x.dcm" in sentence and "\n" not in sentence)
        refused += sentence is not None
    assert 0 < refused < 120


@pytest.mark.parametrize("stored", [{"imagej": True}, {"compression": "zlib", "tile": (16, 16)}])
def test_stacks_of_tiff(tmp_path, capfd, stored):
    path, rng = tmp_path / "x.tif", random.Random(1)
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, (5, 40, 30), np.uint8), **stored)
    whole, read = path.read_bytes(), 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8, 30])):
            within = rng.choice([64, 512, len(content)])
            content[rng.randrange(within)] = rng.choice([*NASTY, rng.randrange(256)])
        path.write_bytes(content)
        sentence = _refusal(lambda: read_scan(path))
        assert sentence is None or ("x.tif" in sentence and "\n" not in sentence)
        read += sentence is None
    assert 0 < read < 150
    assert "Tiff" not in capfd.readouterr().err


def _refusal(read: Callable[[], Scan]) -> str | None:
    try:
        assert read().data.ndim in (3, 4)
    except InputError as error:
        return str(error)
    return None


def test_a_cohort_of_rubbish_is_prepared_as_far_as_it_goes(tmp_path):
    rng = random.Random(0)
    for i in range(12):
        for folder, name in (("images", "image"), ("labels", "label")):
            content = bytearray(SOUND[name])
            if i:
                for _ in range(3):
                    content[rng.randrange(HEADER)] = rng.choice(NASTY)
            path = tmp_path / "raw" / folder / f"{i}.nii"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    summary = prepare(tmp_path / "raw", tmp_path / "out", Recipe(spacing=None))
    assert "0" in summary.kept
    assert len(summary.kept) + len(summary.quarantined) == 12
