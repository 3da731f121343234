"""The authors' procedure, against their rules written out here."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from imaseg import L2, Linf
from imaseg.attacks.search import Search
from imaseg.training import PublishedIMA
from tests.attacks.models import trained_model


def _loss(logits, label):
    return cross_entropy(logits, label)


def _empty_beside_full():
    net, image, label = trained_model()
    return net, image[:2], torch.stack([label[0], torch.zeros_like(label[1])])


def test_the_ascent_begins_one_increment_below_the_margin_and_steps_a_fifth_of_it(monkeypatch):
    net, image, label = trained_model()
    method = PublishedIMA(_loss, L2(3.0), increment=0.5)
    method.table.margins = {"a": 2.0, "b": 0.7, "c": 0.2}
    walked, ascend = [], Search.ascend

    def noted(self, params, gradient, length):
        walked.append((params, length))
        return ascend(self, params, gradient, length)

    monkeypatch.setattr(Search, "ascend", noted)
    method(net, image[:3], label[:3], list("abc"))
    start, length = walked[0]
    # max(margin - increment, increment), never beyond the margin.
    assert start.flatten(1).norm(dim=1).tolist() == pytest.approx([1.5, 0.5, 0.2], rel=1e-4)
    assert length.tolist() == pytest.approx([0.4, 0.14, 0.04], rel=1e-4)
    assert len(walked) <= 20
    assert torch.equal(walked[0][1], walked[-1][1])


def test_a_case_without_structures_is_broken_from_the_start_and_its_margin_falls_to_nothing():
    net, image, label = _empty_beside_full()
    method = PublishedIMA(_loss, L2(0.1), increment=0.01)
    for _ in range(12):
        method(net, image, label, ["full", "empty"])
        method.end_epoch()
    assert method.margins["empty"] < 1e-4
    assert method.last_epoch["failed_clean"] == 0.5
    assert method.margins["full"] > 0.05


def test_one_unbroken_visit_makes_a_case_grow():
    table = PublishedIMA(_loss, L2(1.0), increment=0.1).table
    for distances, broken, expected in (([0.0, 0.0], [True, False], 0.2), ([0.05, 0.05], [True, True], 0.0875)):
        table.record(["a", "a"], distances, broken)
        table.end_epoch()
        # Both broken: half of the way to 0.05, twice, from 0.2.
        assert table.margins["a"] == pytest.approx(expected)


def test_other_sets_are_refused():
    with pytest.raises(ValueError, match="perturbation of ima-published must be l2, as published, got linf"):
        PublishedIMA(_loss, Linf(0.1))


def test_a_sample_is_perturbed_alike_in_a_batch_and_alone():
    net, image, label = trained_model()
    together, alone = PublishedIMA(_loss, L2(1.0)), PublishedIMA(_loss, L2(1.0))
    both, _ = together._perturb(net, image[:2], label[:2], ["a", "b"])
    one, _ = alone._perturb(net, image[1:2], label[1:2], ["b"])
    assert torch.allclose(both[1:], one, atol=1e-5)
