from __future__ import annotations

import numpy as np
import pytest

from imaseg.auditing.probes.cropped import cropped

AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])


def parts(shape, spot, **more):
    """Arrays of a case whose label is one voxel, with a ramp as its image."""
    label = np.zeros(shape, np.int64)
    label[spot] = 3
    image = np.arange(label.size, dtype=np.float32).reshape(shape)
    change = more.pop("change", np.zeros(shape, np.float32))
    classes = {"label": label, "clean_prediction": np.zeros_like(label), "attacked_prediction": np.zeros_like(label)}
    return cropped(image, change, classes=classes | more, affine=AFFINE), image


def test_the_part_is_what_lies_within_8_mm_of_the_structures():
    found, image = parts((40, 40, 20), (20, 20, 3))
    assert found["volume_start"].tolist() == [16, 12, 0]
    assert found["volume_image"].shape == (9, 17, 12)
    assert found["volume_label"][4, 8, 3] == 3
    inside = image[16:25, 12:29, 0:12]
    low, high = found["volume_window"]
    assert (low, high) == pytest.approx(tuple(np.percentile(inside, [1, 99])))
    wanted = np.clip((inside - low) / (high - low), 0, 1) * 255
    assert np.abs(found["volume_image"] - wanted).max() <= 0.5


def test_a_change_is_kept_to_one_part_in_127():
    change = np.random.default_rng(0).normal(size=(40, 40, 20)).astype(np.float32)
    found, _ = parts((40, 40, 20), (20, 20, 3), change=change)
    back = found["volume_change"] / 127 * found["volume_scale"]
    inside = change[16:25, 12:29, 0:12]
    assert np.abs(back - inside).max() <= np.abs(inside).max() / 254 * 1.001


def test_long_sides_are_thinned_and_an_attacks_phantoms_do_not_widen_the_part():
    far = np.zeros((40, 40, 20), np.int64)
    far[0, 0, 19] = 1
    assert parts((40, 40, 20), (20, 20, 3), attacked_prediction=far)[0]["volume_image"].shape == (9, 17, 12)
    everywhere = np.ones((40, 200, 20), np.int64)
    found, _ = parts((40, 200, 20), (0, 0, 0), label=everywhere)
    assert found["volume_step"].tolist() == [1, 3, 1]
    assert found["volume_image"].shape == (40, 67, 20)


def test_without_a_structure_the_phantoms_count_and_without_these_all_of_the_case():
    nothing, far = np.zeros((30, 30, 30), np.int64), np.zeros((30, 30, 30), np.int64)
    far[29, 29, 29] = 1
    assert parts((30, 30, 30), (0, 0, 0), label=nothing)[0]["volume_image"].shape == (30, 30, 30)
    found, _ = parts((30, 30, 30), (0, 0, 0), label=nothing, attacked_prediction=far)
    assert found["volume_start"].tolist() == [25, 21, 21]
