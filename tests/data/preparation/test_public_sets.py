"""Every shipped recipe on tiny files in the exact layout of its data set."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.data.reading import read_volume
from imaseg.data.resources import resource_names
from imaseg.errors import InputError


def itk(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.T), str(path))


def photo(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=60)


@pytest.fixture
def cases(ball, picture):
    """A grey image, and labels of the values asked for: half a ball each, then a plate each."""

    def make(seed: int, values=(1, 2)):
        label = ball()
        drawn = np.zeros(label.shape, np.uint8)
        for part, value in enumerate(values[:2], 1):
            drawn[label == part] = value
        for i, value in enumerate(values[2:]):
            drawn[5:9, 6:10, 4 + i] = value
        return picture(label, seed).astype(np.int16), drawn

    return make


def _acdc(root, save, cases):
    for patient in ("patient001", "patient002"):
        for frame in ("frame01", "frame12"):
            image, label = cases(int(patient[-1]) + int(frame[-1]), (1, 2, 3))
            save(root / patient / f"{patient}_{frame}.nii.gz", image)
            save(root / patient / f"{patient}_{frame}_gt.nii.gz", label)
        save(root / patient / f"{patient}_4d.nii.gz", np.zeros((4, 4, 2, 3), np.int16))
        (root / patient / "Info.cfg").write_text("ED: 1\n")
    return ["patient001_frame01", "patient001_frame12", "patient002_frame01", "patient002_frame12"], {1, 2, 3}, 1


def _promise12(root, save, cases):
    for i, part in enumerate(("TrainingData_Part1", "TrainingData_Part2")):
        image, label = cases(i, (1,))
        itk(root / part / f"Case{i:02d}.mhd", image)
        itk(root / part / f"Case{i:02d}_segmentation.mhd", label)
    return ["Case00", "Case01"], {1}, 1


def _brats(root, save, cases):
    for i in (1, 2):
        name = f"BraTS20_Training_{i:03d}"
        for k, channel in enumerate(("flair", "t1", "t1ce", "t2")):
            image, label = cases(10 * i + k, (1, 2, 4))
            save(root / name / f"{name}_{channel}.nii", image)
        save(root / name / f"{name}_seg.nii", label)
    (root / "name_mapping.csv").write_text("Grade\n")
    return ["BraTS20_Training_001", "BraTS20_Training_002"], {1, 2, 3}, 4


def _brats2023(root, save, cases):
    for i in (0, 1):
        name = f"BraTS-GLI-00005-00{i}"
        for k, channel in enumerate(("t1c", "t1n", "t2f", "t2w")):
            image, label = cases(10 * i + k, (1, 2, 3))
            save(root / name / f"{name}-{channel}.nii.gz", image)
        save(root / name / f"{name}-seg.nii.gz", label)
    return ["BraTS-GLI-00005-000", "BraTS-GLI-00005-001"], {1, 2, 3}, 4


def _kits(root, save, cases):
    for i in (0, 1):
        image, label = cases(i, (1, 2, 3))
        save(root / f"case_{i:05d}" / "imaging.nii.gz", image)
        save(root / f"case_{i:05d}" / "segmentation.nii.gz", label)
        save(root / f"case_{i:05d}" / "instances" / "kidney_instance-1_annotation-1.nii.gz", label)
    return ["case_00000", "case_00001"], {1, 2, 3}, 1


def _amos(root, save, cases):
    for name in ("amos_0001", "amos_0499", "amos_0507"):
        image, label = cases(int(name[-1]), (1, 15))
        save(root / "imagesTr" / f"{name}.nii.gz", image)
        save(root / "labelsTr" / f"{name}.nii.gz", label)
    (root / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "training": []}))
    return ["amos_0001", "amos_0499"], {1, 15}, 1


def _btcv(root, save, cases):
    for i in (1, 2):
        image, label = cases(i, (1, 13))
        save(root / "img" / f"img{i:04d}.nii.gz", image)
        save(root / "label" / f"label{i:04d}.nii.gz", label)
    return ["0001", "0002"], {1, 13}, 1


def _left_atrium(root, save, cases):
    for i, name in enumerate(("0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX")):
        image, label = cases(i, (255,))
        itk(root / name / "lgemri.nrrd", image)
        itk(root / name / "laendo.nrrd", label)
        itk(root / name / "lawall.nrrd", label)
    return ["0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX"], {1}, 1


def _pictures(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((24, 30), np.uint8)
    mask[6:16, 8:22] = 255
    return (rng.integers(0, 100, (24, 30, 3)) + (mask > 0)[..., None] * 100).astype(np.uint8), mask


def _isic(root, save, cases):
    for i in (0, 1):
        image, mask = _pictures(i)
        photo(root / "ISIC2018_Task1-2_Training_Input" / f"ISIC_000000{i}.jpg", image)
        photo(root / "ISIC2018_Task1_Training_GroundTruth" / f"ISIC_000000{i}_segmentation.png", mask)
    photo(root / "ISIC2018_Task1-2_Training_Input" / "ISIC_0000000_superpixels.png", mask)
    return ["ISIC_0000000", "ISIC_0000001"], {1}, 3


def _kvasir(root, save, cases):
    for i, name in enumerate(("cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4", "grey")):
        image, mask = _pictures(i)
        image = np.repeat(image[..., :1], 3, -1) if name == "grey" else image
        photo(root / "images" / f"{name}.jpg", image)
        photo(root / "masks" / f"{name}.jpg", np.repeat(mask[..., None], 3, -1))
    return ["cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4", "grey"], {1}, 3


def _sunnybrook(root, save, cases):
    names = [f"{who}-IM-0001-0048" for who in ("SC-HF-I-01", "SC-N-05", "SC-HYP-08")]
    for i, name in enumerate(names):
        image, mask = _pictures(i)
        photo(root / "images" / f"{name}.dcm.png", np.repeat(image[..., :1], 3, -1))
        photo(root / "labels" / f"{name}.dcm.png", np.repeat(mask[..., None], 3, -1))
    return sorted(names), {1}, 1


def _plain_pictures(root, save, cases):
    for i in (0, 1):
        image, mask = _pictures(i)
        photo(root / "images" / f"{i}.tif", image)
        photo(root / "masks" / f"{i}.png", mask)
    return ["0", "1"], {1}, 3


def _raw_msd(root, save, cases):
    for i in (0, 1):
        image, label = cases(i)
        save(root / "images" / f"{i}.nii.gz", image)
        save(root / "labels" / f"{i}.nii.gz", label)
    return ["0", "1"], {1, 2}, 1


SETS = {
    "2d": _plain_pictures,
    "acdc": _acdc,
    "amos": _amos,
    "brats": _brats,
    "brats2023": _brats2023,
    "btcv": _btcv,
    "convert": _raw_msd,
    "isic": _isic,
    "kits": _kits,
    "kvasir": _kvasir,
    "left_atrium": _left_atrium,
    "msd": _raw_msd,
    "promise12": _promise12,
    "sunnybrook": _sunnybrook,
}


def test_every_recipe_that_ships_is_here():
    assert sorted(SETS) == resource_names("data_prep")


@pytest.mark.parametrize("name", SETS)
def test_a_public_set_is_prepared_from_its_own_layout(name, tmp_path, save, cases):
    root, out = tmp_path / "raw", tmp_path / "out"
    ids, values, channels = SETS[name](root, save, cases)
    summary = prepare(root, out, load_recipe(name))
    assert summary.quarantined == {}
    assert summary.kept == ids
    cohort = load_cases(out)
    assert set(cohort.labels) >= {0} | values
    volumes = [read_volume(case) for case in cohort]
    for volume in volumes:
        assert set(np.unique(volume.label)) - {0} == values
        assert len(volume.image) == channels
        assert len(cohort.modality) == channels


def test_frayed_masks_become_what_was_drawn(tmp_path, save, cases):
    _kvasir(tmp_path / "raw", save, cases)
    prepare(tmp_path / "raw", tmp_path / "out", load_recipe("kvasir"))
    volume = read_volume(load_cases(tmp_path / "out")[0])
    drawn = _pictures(0)[1].T[..., None] > 0
    assert (volume.label != drawn).mean() < 0.01
    assert volume.image[:, 15, 10, 0].mean() > volume.image[:, 2, 2, 0].mean() + 0.1


def test_channels_keep_their_order(tmp_path, save, cases):
    _brats(tmp_path / "raw", save, cases)
    cohort = load_cases(tmp_path / "raw", layout=load_recipe("brats").layout)
    assert [path.name.split("_")[-1] for path in cohort[0].image] == ["flair.nii", "t1.nii", "t1ce.nii", "t2.nii"]


def test_a_missing_channel_is_named_where_it_should_be(tmp_path, save, cases):
    _brats(tmp_path / "raw", save, cases)
    folder = tmp_path / "raw" / "BraTS20_Training_002"
    (folder / "BraTS20_Training_002_t2.nii").unlink()
    summary = prepare(tmp_path / "raw", tmp_path / "out", load_recipe("brats"))
    assert summary.quarantined["BraTS20_Training_002"][0].startswith(
        "BraTS20_Training_002/BraTS20_Training_002_t2.nii* must exist"
    )


MSD_TASKS = {
    "Task01_BrainTumour": (["FLAIR", "T1w", "t1gd", "T2w"], 3),
    "Task02_Heart": (["MRI"], 1),
    "Task03_Liver": (["CT"], 2),
    "Task04_Hippocampus": (["MRI"], 2),
    "Task05_Prostate": (["T2", "ADC"], 2),
    "Task06_Lung": (["CT"], 1),
    "Task07_Pancreas": (["CT"], 2),
    "Task08_HepaticVessel": (["CT"], 2),
    "Task09_Spleen": (["CT"], 1),
    "Task10_Colon": (["CT"], 1),
}


@pytest.mark.parametrize("task", MSD_TASKS)
def test_all_ten_tasks_go_by_one_recipe(task, tmp_path, save, cases):
    modality, classes = MSD_TASKS[task]
    root, name = tmp_path / task, task.split("_")[1].lower()
    for i in (1, 2):
        channels = [cases(10 * i + k, tuple(range(1, classes + 1))) for k in range(len(modality))]
        image = np.stack([image for image, _ in channels], -1)
        save(root / "imagesTr" / f"{name}_{i:03d}.nii.gz", image if len(modality) > 1 else image[..., 0])
        save(root / "labelsTr" / f"{name}_{i:03d}.nii.gz", channels[0][1])
        save(root / "imagesTs" / f"{name}_1{i:02d}.nii.gz", image)
    described = {
        "name": name,
        "tensorImageSize": "4D" if len(modality) > 1 else "3D",
        "modality": {str(i): kind for i, kind in enumerate(modality)},
        "labels": {str(i): f"class {i}" if i else "background" for i in range(classes + 1)},
        "training": [
            {"image": f"./imagesTr/{name}_{i:03d}.nii.gz", "label": f"./labelsTr/{name}_{i:03d}.nii.gz"} for i in (1, 2)
        ],
        "test": [f"./imagesTs/{name}_10{i}.nii.gz" for i in (1, 2)],
    }
    (root / "dataset.json").write_text(json.dumps(described))
    prepare(root, tmp_path / "out", load_recipe("msd"))
    story = json.loads((tmp_path / "out" / "prepare.json").read_text())
    methods = {step["method"] for case in story["cases"] for step in case["steps"] if step["name"] == "normalise"}
    assert methods == {"ct" if modality == ["CT"] else "zscore"}
    assert nib.load(tmp_path / "out" / "imagesTr" / f"{name}_001.nii.gz").ndim == (4 if len(modality) > 1 else 3)


def test_the_patient_of_a_case_is_known(tmp_path, save, cases):
    _brats2023(tmp_path / "raw", save, cases)
    (tmp_path / "raw" / "split.json").write_text(
        json.dumps({"train": ["BraTS-GLI-00005-000"], "val": ["BraTS-GLI-00005-001"]})
    )
    summary = prepare(tmp_path / "raw", tmp_path / "out", load_recipe("brats2023"))
    for name in summary.kept:
        assert summary.flagged[name] == [
            "the same patient is in train (BraTS-GLI-00005-000) and val (BraTS-GLI-00005-001), so scores will flatter."
        ]


def test_two_files_for_one_name_are_refused(tmp_path, save, cases):
    image, _ = cases(0, (1,))
    for part in ("a", "b"):
        itk(tmp_path / part / "Case00.mhd", image)
    with pytest.raises(InputError, match=r"one file per case .* got a/Case00.mhd and b/Case00.mhd for Case00"):
        load_cases(tmp_path, layout=load_recipe("promise12").layout)
