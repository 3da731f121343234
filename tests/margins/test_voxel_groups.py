"""Groups of voxels: nobody left out, no structure starved, as fine as the effort allows."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imaseg.margins.voxel_groups import groups, structures
from imaseg.scores import Target

SHAPE = (8, 7, 6)


def _case(seed):
    generator = torch.Generator().manual_seed(seed)
    structure = torch.randint(3, (8 * 7 * 6,), generator=generator)
    structure[:250] = 0
    return structure, torch.rand(8 * 7 * 6, generator=generator) < 0.8


@given(effort=st.integers(3, 400), seed=st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_groups_cover_every_voxel_once_within_the_effort(effort, seed):
    structure, voxels = _case(seed)
    found = groups(structure, voxels, SHAPE, effort)
    assert len(found) <= effort
    assert torch.equal(torch.cat(found).sort().values, voxels.nonzero()[:, 0])
    assert [len(group) for group in found] == sorted(len(group) for group in found)
    for group in found:
        assert len(structure[group].unique()) == 1


def test_an_effort_of_the_number_of_voxels_is_a_group_each():
    structure, voxels = _case(0)
    found = groups(structure, voxels, SHAPE, int(voxels.sum()))
    assert all(len(group) == 1 for group in found)


def test_groups_are_cubes_and_small_structures_are_cut_finer():
    structure = torch.zeros(8, 8, 8, dtype=torch.long)
    structure[:2, :2, :2] = 1
    found = groups(structure.flatten(), torch.ones(512, dtype=torch.bool), (8, 8, 8), 72)
    sizes = [len(group) for group in found]
    assert sizes == [1] * 8 + [8] * 63  # cubes of side 2 hold the other 504 voxels
    places = torch.stack(torch.unravel_index(found[-1], (8, 8, 8)))
    assert (places.amax(1) - places.amin(1)).tolist() == [1, 1, 1]


def test_too_little_effort_for_all_structures_goes_to_the_largest():
    structure, voxels = _case(0)
    found = groups(structure, voxels, SHAPE, 1)
    assert len(found) == 1
    assert (structure[found[0]] == 0).all()
    assert groups(structure, torch.zeros_like(voxels), SHAPE, 5) == []


def test_structures_are_classes_or_combinations_of_regions():
    onehot = torch.tensor([[[True, False, False], [False, True, False]]])
    valid = torch.ones(1, 1, 3, dtype=torch.bool)
    assert structures(Target(onehot, valid, regions=False)).tolist() == [[0, 1, 0]]
    both = torch.tensor([[[True, True, False], [False, True, False]]])
    assert structures(Target(both, valid, regions=True)).tolist() == [[1, 3, 0]]
