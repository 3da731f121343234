"""What certificates say of a case: bounds against brute force, and an attack that has to fail."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imaseg import CertifiedMargin
from imaseg.auditing.inputs.budget import UNIT_SCALE
from imaseg.auditing.metrics.dice_floor import dice_floor
from imaseg.auditing.probes import CertificateProbe
from imaseg.auditing.probes.certificate import certificate, flipped_within
from imaseg.auditing.probes.scene import Scene

_VOXELS = st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2), st.booleans()), min_size=1, max_size=5)


def _dice(decided, label, k):
    ours, theirs = (decided == k) & (label >= 0), label == k
    both = int(ours.sum() + theirs.sum())
    return 2 * int((ours & theirs).sum()) / both if both else 1.0


@given(voxels=_VOXELS)
@settings(max_examples=60, deadline=None)
def test_the_floor_is_the_worst_of_all_decisions_of_the_unsure_voxels(voxels):
    prediction, label, sure = (torch.tensor(column) for column in zip(*voxels, strict=True))
    unsure = (~sure).nonzero()[:, 0]
    worst = dict.fromkeys((1, 2), 1.0)
    for decisions in product(range(3), repeat=len(unsure)):
        changed = prediction.clone()
        changed[unsure] = torch.tensor(decisions, dtype=torch.long)
        worst = {k: min(lowest, _dice(changed, label, k)) for k, lowest in worst.items()}
    for k, lowest in worst.items():
        assert dice_floor(prediction, label, sure, [[k]]) == pytest.approx(lowest)
    assert dice_floor(prediction, label, sure, [[1], [2]]) == pytest.approx(sum(worst.values()) / 2)


def _halves(image):
    return torch.cat([-image, image], 1)


class _Scene:
    """What an attack on certificates needs of a case."""

    model, seed, forward_calls, backward_calls = staticmethod(_halves), 0, 0, 0
    count = Scene.count

    def __init__(self, image):
        self.image = image


def test_a_certificate_states_radii_and_bounds():
    image = torch.tensor([[[[-3.0, -3.0, 0.01, 3.0, 3.0, 3.0]]]])
    label = (image[:, 0] > 0).long()
    result = CertifiedMargin(0.5, 100, tau=(0.6, 0.75))(_halves, image)
    entry = certificate(result, label, [[1]])
    assert entry.radii == pytest.approx([0.5 * 0.2533, 0.5 * 0.6745], abs=1e-3)
    assert entry.radii_rms[0] == pytest.approx(entry.radii[0] / 6**0.5)
    assert entry.abstained == pytest.approx(1 / 6)
    assert entry.certified_foreground == pytest.approx([3 / 4, 3 / 4])
    assert entry.dice_at_radius == pytest.approx([6 / 7, 6 / 7])


def test_attacks_within_the_radius_fail_and_wrong_certificates_are_caught():
    image = torch.tensor([[[[-3.0, -3.0, 3.0, 3.0]]]])
    result = CertifiedMargin(0.5, 100, tau=(0.6, 0.75))(_halves, image)
    scene = _Scene(image)
    assert flipped_within(result, scene) == [0, 4]
    assert scene.forward_calls > 100
    lied = replace(result, radius=torch.where(result.radius > 0, 12.0, 0.0))
    assert flipped_within(lied, _Scene(image))[0] > 0


def test_nothing_certified_is_nothing_to_attack():
    image = torch.full((1, 1, 1, 4), 0.01)
    result = CertifiedMargin(0.5, 100)(_halves, image)
    assert flipped_within(result, _Scene(image)) == [0, 0]


def test_noise_in_std_is_a_multiple_of_each_case_s_own_and_else_in_units_of_the_input():
    scale = UNIT_SCALE.model_copy(update={"std": 4.0})
    sigmas = [CertificateProbe(sigma=0.25, unit=unit).build(0, scale).sigma for unit in ("std", None)]
    assert sigmas == [1.0, 0.25]
