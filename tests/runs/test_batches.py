"""Batches of training say where an image was padded."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from imaseg.data import Case, CaseSet
from imaseg.runs.augmentation import sided
from imaseg.runs.batches import held_out, training_loader
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
        **{"method": {"name": "standard"}, **settings},
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


def _near(cases, **settings):
    method = {"name": "pgd-training", "perturbation": {"name": "l2", "eps": 0.1, "unit": "rms", "within": "3 mm"}}
    return _batches(cases, method=method, **settings)


@pytest.fixture
def spots(tmp_path):
    """Two cases with voxels of 2 x 1 x 1 mm: a structure of one voxel, and none."""
    made = []
    for name in ("one", "none"):
        files = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_label.nii.gz"
        label = np.zeros((6, 9, 8), np.uint8)
        label[3, 4, 4] = name == "one"
        affine = np.diag([-2.0, 1.0, 1.0, 1.0])
        nib.save(nib.Nifti1Image(np.ones(label.shape, np.float32), affine), files[0])
        nib.save(nib.Nifti1Image(label, affine), files[1])
        made.append(Case(name, (files[0],), files[1]))
    return CaseSet(tmp_path, "two", ("MRI",), tuple(made), declared_labels={0: "background", 1: "spot"})


@pytest.mark.filterwarnings("ignore:none has no labelled structure")
def test_the_mask_is_what_lies_near_a_structure(spots):
    (batch,) = _near(spots, augment=False)
    by_id = dict(zip(batch["id"], batch["inside"][:, 0] > 0, strict=True))
    spot = batch["label"][batch["id"].index("one"), 0].numpy() > 0
    assert spot.sum() == 1
    expected = distance_transform_edt(~spot, sampling=(2.0, 1.0, 1.0)) <= 3
    expected[0], expected[-1] = False, False  # 6 voxels are padded to 8
    assert np.array_equal(by_id["one"].numpy(), expected)
    assert int(by_id["none"].sum()) == 6 * 8 * 8


def test_a_case_without_a_structure_is_named(spots):
    with pytest.warns(UserWarning, match="none has no labelled structure: all of it may be perturbed"):
        _near(spots, augment=False)


def _lopsided(tmp_path, labels, shape=(24, 8, 8)):
    """Cases whose labelled voxel lies near the left end, and whose intensity rises to the right."""
    made = []
    for number in range(2):
        image = np.broadcast_to(np.arange(shape[0], dtype=np.float32)[:, None, None], shape)
        label = np.zeros(shape, np.uint8)
        label[2, 4, 4] = 1
        files = tmp_path / f"{number}.nii.gz", tmp_path / f"{number}_label.nii.gz"
        for file, values in zip(files, (image, label), strict=True):
            nib.save(nib.Nifti1Image(np.ascontiguousarray(values), np.eye(4)), file)
        made.append(Case(f"case{number}", (files[0],), files[1]))
    return CaseSet(tmp_path, "two", ("MRI",), tuple(made), declared_labels={0: "background", **labels})


def _items(cases, patch, epochs=40, **settings):
    config = TrainConfig(network={"name": "UNet"}, patch=patch, batch_size=1, **settings)
    loader = training_loader(cases, config, start=0)
    return [batch for _ in range(epochs) for batch in loader]


@pytest.mark.parametrize(
    ("labels", "flip", "mirrored"),
    [
        ({1: "kidney"}, "auto", True),
        ({1: "left kidney"}, "auto", False),
        ({1: "kidney_R"}, "auto", False),
        ({1: "left kidney"}, ["x"], True),
        ({1: "kidney"}, [], False),
        ({1: "kidney"}, ["y"], False),
    ],
)
def test_left_and_right_change_places_only_where_no_label_names_a_side(tmp_path, labels, flip, mirrored):
    batches = _items(_lopsided(tmp_path, labels), [24, 8, 8], flip=flip, foreground=0.0)
    # Scaling and gamma keep the order of intensities.
    falling = [float(one["image"][0, 0, :8].mean() - one["image"][0, 0, -8:].mean()) > 0 for one in batches]
    assert any(falling) == mirrored
    if mirrored:
        assert 0.3 < sum(falling) / len(falling) < 0.7


@pytest.mark.parametrize("name", ["leftkidney", "LKidney", "Lt. lung", "rt_lung", "rib_left1", "lobe RIGHT2"])
def test_sides_are_found_however_they_are_written(name):
    assert sided({1: "vertebra L1", 2: name, 3: "cleft", 4: "Liver", 5: "lateral ligament", 6: "Rib"}) == [name]


@pytest.mark.parametrize(("share", "low", "high"), [(1.0, 1.0, 1.0), (0.5, 0.4, 0.8), (0.0, 0.0, 0.35)])
def test_the_stated_share_of_patches_holds_foreground(tmp_path, share, low, high):
    batches = _items(_lopsided(tmp_path, {1: "kidney"}, (96, 8, 8)), [8, 8, 8], foreground=share)
    holding = sum(bool(one["label"].any()) for one in batches) / len(batches)
    assert low <= holding <= high


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "RandCoarseDropoutd", "holes": 2, "spatial_size": 3},
        {"name": "RandCoarseShuffled", "holes": 2, "spatial_size": 3},
        {"name": "RandStdShiftIntensityd", "factors": 0.5},
    ],
    ids=lambda entry: entry["name"],
)
@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_transforms_that_write_into_what_they_get_leave_the_cases_in_memory_alone(cases, entry, foreground):
    config = TrainConfig(
        network={"name": "UNet"}, patch=[8, 8, 8], augment=[{**entry, "prob": 1.0}], flip=[], foreground=foreground
    )
    held, read = (training_loader(cases, config, start=0, hold=hold) for hold in (True, False))
    for _ in range(3):
        for one, other in zip(held, read, strict=True):
            assert torch.equal(one["image"], other["image"])


@pytest.mark.parametrize(("share", "monitored"), [(0.0, 0), (0.01, 1), (0.5, 2), (0.99, 3)])
def test_a_case_is_left_to_train_on_whatever_share_is_monitored(share, monitored):
    keep, chosen = held_out(["a", "b", "c", "d"], share, 0)
    assert len(chosen) == monitored
    assert sorted(keep + chosen) == ["a", "b", "c", "d"]


def test_more_workers_than_cases_are_not_started(cases):
    config = TrainConfig(network={"name": "UNet"}, patch=[8, 8, 8], workers=100_000)
    assert training_loader(cases, config, start=0).num_workers == len(cases)


def test_labels_without_foreground_give_patches_all_the_same(tmp_path):
    cases = _lopsided(tmp_path, {1: "kidney"})
    for case in cases:
        nib.save(nib.Nifti1Image(np.zeros((24, 8, 8), np.uint8), np.eye(4)), case.label)
    assert len(_items(cases, [8, 8, 8], epochs=1, foreground=0.5)) == 2
