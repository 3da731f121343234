"""Where the names of the cases come from."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor

from imaseg.training.ids import case_ids


def _batch(meta):
    items = [{"image": MetaTensor(torch.zeros(1, 4, 4), meta=meta(i))} for i in range(2)]
    (batch,) = DataLoader(Dataset(items), batch_size=2)
    return batch["image"]


def test_names_come_from_the_files_a_meta_tensor_was_read_from():
    image = _batch(lambda i: {"filename_or_obj": f"/data/case_{i}.nii.gz"})
    assert case_ids(image, None) == ["/data/case_0.nii.gz", "/data/case_1.nii.gz"]


def test_an_id_in_the_meta_comes_before_the_file_and_given_ids_before_both():
    image = _batch(lambda i: {"filename_or_obj": f"{i}.nii.gz", "id": f"case_{i}"})
    assert case_ids(image, None) == ["case_0", "case_1"]
    assert case_ids(image, ("x", "y")) == ["x", "y"]


def test_a_single_image_that_was_never_collated_has_a_name_too():
    image = MetaTensor(torch.zeros(1, 1, 4, 4), meta={"filename_or_obj": "a.nii.gz"})
    assert case_ids(image, None) == ["a.nii.gz"]


@pytest.mark.parametrize("ids", [None, ["a"], "ab"])
def test_anything_else_is_refused(ids):
    with pytest.raises(ValueError, match="ids must name each of the 2 samples"):
        case_ids(torch.zeros(2, 1, 4, 4), ids)


def test_numbers_that_a_loader_has_stacked_are_names():
    assert case_ids(torch.zeros(2, 1, 4, 4), torch.tensor([7, 12])) == ["7", "12"]
