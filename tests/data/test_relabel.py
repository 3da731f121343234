"""New numbers for label values."""

from __future__ import annotations

import numpy as np
import pytest

from imaseg.data.relabel import relabel, renumbered
from imaseg.data.volume import Volume


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({1: 2, 2: 1}, [0, 2, 1, 3]),
        ({1: 2, 2: 3, 3: 1}, [0, 2, 3, 1]),
        ({2: 1}, [0, 1, 1, 3]),
        ({3: 0, 0: 3}, [3, 1, 2, 0]),
        ({9: 1}, [0, 1, 2, 3]),
        ({}, [0, 1, 2, 3]),
    ],
)
def test_all_values_change_at_once(mapping, expected):
    label = np.arange(4, dtype=np.uint8)
    assert renumbered(label, mapping).tolist() == expected
    assert label.tolist() == [0, 1, 2, 3]


def test_numbers_that_do_not_fit_widen_the_type():
    assert renumbered(np.arange(2, dtype=np.uint8), {1: 300}).tolist() == [0, 300]


def test_the_record_holds_the_mapping_and_cases_without_label_pass():
    volume = Volume("a", np.zeros((1, 1, 1, 2), np.float32), np.array([[[1, 2]]]), np.eye(4))
    done, step = relabel(volume, {1: 2, 2: 1})
    assert done.label.tolist() == [[[2, 1]]]
    assert step == {"name": "relabel", "map": {"1": 2, "2": 1}}
    bare = Volume("a", volume.image, None, np.eye(4))
    assert relabel(bare, {1: 2})[0].label is None
