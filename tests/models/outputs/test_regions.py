"""Regions within each other, against painting voxel by voxel."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from imaseg import InputError
from imaseg.models.adapted import adapt
from imaseg.models.card import Card, parse_card
from imaseg.models.outputs.decision import classes_of_regions
from imaseg.models.outputs.regions import classes_in, masks, painted, region_logits

BRATS = {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}
"""In the order in which MONAI's networks return them."""


class Channels(nn.Module):
    """Logits (or sigmoids) that are the channels of the image."""

    def __init__(self, channels, end=None):
        super().__init__()
        self.layer, self.end = nn.Conv3d(channels, channels, 1, bias=False), end or nn.Identity()
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(channels).reshape(channels, channels, 1, 1, 1))

    def forward(self, image):
        return self.end(self.layer(image))


def _adapt(network, **card):
    return adapt(network, parse_card(card, source="card"), kind="test", name="net")


def _signs(channels):
    """Every combination of signs, with sizes that differ from channel to channel."""
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=channels))).T
    return (signs * torch.arange(1.0, channels + 1)[:, None]).reshape(1, channels, -1, 1, 1)


def _by_hand(z, stated):
    """Masks of the regions after painting label values voxel by voxel, larger regions first."""
    order = sorted(stated, key=lambda name: -len(stated[name]))
    own = {}
    for name in order:
        smaller = {v for other in order if {*stated[other]} < {*stated[name]} for v in stated[other]}
        own[name] = min({*stated[name]} - smaller)
    seg = torch.zeros(z.shape[2:], dtype=torch.long)
    for name in order:
        seg[z[0, list(stated).index(name)] > 0] = own[name]
    return {name: torch.isin(seg, torch.tensor(stated[name])) for name in stated}


@pytest.mark.parametrize("end", [nn.Identity(), nn.Sigmoid()])
@pytest.mark.parametrize("order", list(itertools.permutations(BRATS)))
def test_regions_are_the_union_of_what_is_painted_whatever_the_order_of_the_channels(end, order):
    stated = {name: BRATS[name] for name in order}
    model = _adapt(Channels(3, end), regions=stated)
    assert list(model.card.regions) == ["WT", "TC", "ET"]
    z = _signs(3)
    found = region_logits(model(z), model.card.groups, independent=model.independent)[0] > 0
    wanted = _by_hand(z, stated)
    for place, name in enumerate(model.card.regions):
        assert torch.equal(found[place], wanted[name]), name


def test_parts_side_by_side_may_fill_a_region():
    stated = {"left": [1], "right": [2], "lungs": [1, 2], "heart": [3]}
    model = _adapt(Channels(4), regions=stated)
    z = _signs(4)
    found = dict(zip(model.card.regions, region_logits(model(z), model.card.groups)[0] > 0, strict=True))
    left, right, lungs, heart = z[0] > 0
    assert torch.equal(found["heart"], heart)
    assert torch.equal(found["lungs"], (lungs | left | right) & ~heart)
    assert torch.equal(found["left"], left & ~right & ~heart)


def test_a_region_painted_by_one_sigmoid_has_its_logit():
    z = torch.randn(2, 1, 4, 4, requires_grad=True)
    found = region_logits(classes_of_regions(z, [1]), {1: [1]}, independent=True)
    torch.testing.assert_close(found, z)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    torch.testing.assert_close(gradient, torch.ones_like(z))


def test_networks_of_classes_are_scored_by_regions_too():
    labels = {1: "necrosis", 2: "oedema", 3: "enhancing"}
    model = _adapt(Channels(4, nn.Softmax(1)), labels=labels, regions={"core": [1, 3], "whole": [1, 2, 3]})
    z = torch.randn(1, 4, 6, 5, 4)
    classes = z.argmax(1)
    found = region_logits(model(z), model.card.groups)[0] > 0
    assert torch.equal(found[0], classes[0] > 0)
    assert torch.equal(found[1], (classes[0] == 1) | (classes[0] == 3))
    assert list(model.card.structures.values()) == ["whole", "core"]


@pytest.mark.parametrize("groups", [{1: [1, 2, 3], 2: [2, 3], 3: [3]}, {1: [1, 3], 2: [3]}])
def test_masks_and_classes_turn_into_each_other(groups):
    inside = sorted({k for group in groups.values() for k in group})
    classes = torch.tensor([0, -1, *inside])[torch.randint(0, len(inside) + 2, (2, 5, 4, 3))]
    found = masks(classes, groups)
    for place, group in enumerate(groups.values()):
        assert torch.equal(found[:, place], sum((classes == k) for k in group).bool())
    assert torch.equal(classes_in(found, groups, inside), classes)


@pytest.mark.parametrize(
    "stated", [{"a": [1, 2], "b": [2, 3]}, {"a": [1, 2], "b": [2, 1]}, {"w": [1, 2, 3, 4], "a": [1, 2], "b": [2, 3]}]
)
def test_regions_that_cross_are_refused(stated):
    with pytest.raises(ValueError, match="must lie within each other or apart, got"):
        painted(stated, source="x")
    with pytest.raises(InputError, match="must lie within each other or apart"):
        parse_card({"regions": stated}, source="card")


@pytest.mark.parametrize(
    ("channels", "card"),
    [
        (4, {"regions": BRATS}),
        (2, {"regions": BRATS}),
        (3, {"regions": BRATS, "activation": "softmax"}),
        (4, {"regions": {"whole": [1, 2]}, "labels": {1: "a", 2: "b"}}),
    ],
)
def test_regions_for_another_number_of_channels_are_refused(channels, card):
    with pytest.raises(InputError, match=f"regions must name the network's {channels} channels"):
        adapt(Channels(channels), Card(**card), kind="test", name="net")
