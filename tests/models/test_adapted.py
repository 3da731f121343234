"""Somebody's network behind the one shape: axes, slices, tiles, outputs, each against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg import L2, PGD, InputError
from imaseg.models.adapted import adapt
from imaseg.models.card import Card


def _adapt(network, **card):
    return adapt(network, Card(**card), kind="test", name="net")


class Lopsided(nn.Module):
    """Sees which way its axes run: a kernel without any symmetry."""

    def __init__(self, dims, channels=1, classes=2):
        super().__init__()
        kind = nn.Conv2d if dims == 2 else nn.Conv3d
        torch.manual_seed(0)
        self.layer = kind(channels, classes, 3, padding=1)

    def forward(self, image):
        return self.layer(image)


class Ends(nn.Module):
    """A network that ends in something."""

    def __init__(self, end, classes=3, dims=2):
        super().__init__()
        self.inside, self.end = Lopsided(dims, classes=classes), end

    def forward(self, image):
        return self.end(self.inside(image))


@pytest.mark.parametrize("axes", ["xy", "yx", "zy", "xz"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_flat_network_walks_through_volumes_with_the_gradient_of_single_slices(axes, batch_size):
    network = Lopsided(2)
    model = _adapt(network, axes=axes, batch_size=batch_size)
    image = torch.randn(2, 1, 5, 6, 7, requires_grad=True)
    order = ["xyz".index(axis) for axis in (*axes, *({*"xyz"} - {*axes}))]
    turned = image.permute(0, 1, *(place + 2 for place in order))
    wanted = torch.stack([network(part) for part in turned.unbind(-1)], -1)
    back = (0, 1, *(torch.tensor(order).argsort() + 2).tolist())
    weight = torch.randn(2, 2, 5, 6, 7)
    found = model(image)
    torch.testing.assert_close(found, wanted.permute(back))
    gradients = [torch.autograd.grad((one * weight).sum(), image)[0] for one in (found, wanted.permute(back))]
    torch.testing.assert_close(*gradients)


def test_the_axis_of_one_voxel_is_that_of_the_slices_and_rows_come_first():
    network = Lopsided(2)
    image = torch.randn(1, 1, 8, 6, 1)
    torch.testing.assert_close(_adapt(network)(image), network(image[..., 0].mT).mT[..., None])
    sideways = image.permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(_adapt(network)(sideways)[:, :, 0], network(sideways[:, :, 0].mT).mT)


def test_flat_images_go_straight_to_a_flat_network():
    network = Lopsided(2)
    image = torch.randn(2, 1, 9, 6)
    torch.testing.assert_close(_adapt(network)(image), network(image))


def test_axes_and_directions_of_a_volume_are_the_networks():
    network = Lopsided(3)
    image = torch.randn(1, 1, 4, 5, 6)
    wanted = network(image.permute(0, 1, 4, 3, 2).flip(2)).flip(2).permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(_adapt(network, axes="zyx", flip="z")(image), wanted)


def test_tiles_are_those_of_monais_sliding_window():
    from monai.inferers import sliding_window_inference

    network = Lopsided(3)
    image = torch.randn(1, 1, 20, 17, 9)
    model = _adapt(network, roi_size=[12, 12, 12], overlap=0.5, mode="constant", pad_value=0.0)
    wanted = sliding_window_inference(image, (12, 12, 12), 2, network, overlap=0.5)
    torch.testing.assert_close(model(image), wanted)


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (nn.Softmax(1), "softmax"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.Identity(), "none"),
        (nn.LogSoftmax(1), "log-softmax"),
        (nn.LogSigmoid(), "log-sigmoid"),
    ],
)
def test_an_activation_is_found_and_undone(end, found):
    model = _adapt(Ends(end))
    assert (model.ending.activation, model.ending.by) == (found, "probe")
    assert model.problem() is None
    image = torch.randn(2, 1, 8, 8, 1, requires_grad=True)
    logits = model(image)
    raw = model.network.network.network.inside(image[..., 0].mT).mT[..., None]
    wanted = raw.log_softmax(1) if "softmax" in found else raw
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)
    gradients = [torch.autograd.grad(one.square().sum(), image, retain_graph=True)[0] for one in (logits, wanted)]
    torch.testing.assert_close(*gradients, atol=1e-2, rtol=1e-3)


def test_the_card_has_the_last_word_on_the_activation():
    model = _adapt(Ends(nn.Softmax(1)), activation="none")
    assert (model.ending.activation, model.ending.by, model.found.probe.activation) == ("none", "card", "softmax")
    assert "are called logits" in model.problem()


def test_one_sigmoid_becomes_two_classes():
    model = _adapt(Ends(nn.Sigmoid(), classes=1), labels={0: "background", 1: "vessel"})
    logits = model(torch.randn(1, 1, 8, 8, 1))
    torch.testing.assert_close(logits.softmax(1)[:, 1], logits[:, 1].sigmoid())
    assert logits.shape[1] == 2


def test_regions_are_painted_in_the_order_of_the_card():
    model = _adapt(Lopsided(2, classes=3), regions={1: 1, 0: 2, 2: 3}, axes="xy")
    image = torch.randn(1, 1, 16, 16, 1)
    raw = model.network.network(image[..., 0])[0] > 0
    wanted = torch.zeros(16, 16, dtype=torch.long)
    for channel, k in ((1, 1), (0, 2), (2, 3)):
        wanted[raw[channel]] = k
    assert torch.equal(model(image).argmax(1)[0, ..., 0], wanted)
    assert len(model.card.labels) == 4


def test_structures_without_background_are_painted_one_over_the_other():
    labels = {0: "background", 1: "liver", 2: "tumour"}
    model = _adapt(Lopsided(2), labels=labels, axes="xy")
    image = torch.randn(1, 1, 16, 16, 1)
    first, second = (model.network.network(image[..., 0])[0] > 0).long()
    assert torch.equal(model(image).argmax(1)[0, ..., 0], torch.where(second > 0, 2, first))


@pytest.mark.parametrize("output", [{"out": 0}, {"aux": 1, "logits": 0}, [0, 1]], ids=["out", "logits", "list"])
def test_the_output_that_counts_is_found(output):
    class Several(Lopsided):
        def forward(self, image):
            answers = [super().forward(image), torch.zeros(1)]
            if isinstance(output, dict):
                return {name: answers[place] for name, place in output.items()}
            return answers

    image = torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(_adapt(Several(2))(image), Lopsided(2)(image))


def test_an_unknown_output_asks_for_its_name():
    class Odd(Lopsided):
        def forward(self, image):
            return {"main": super().forward(image), "other": image}

    with pytest.raises(InputError, match="output must name the logits.*main, other"):
        _adapt(Odd(2))
    assert _adapt(Odd(2), output="main")(torch.zeros(1, 1, 8, 8)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize(("levels", "divisor"), [(0, 1), (1, 2), (3, 8)])
def test_the_divisor_is_found_by_trial(levels, divisor):
    down = [nn.MaxPool2d(2) for _ in range(levels)]
    up = [nn.Upsample(scale_factor=2) for _ in range(levels)]
    model = _adapt(nn.Sequential(nn.Conv2d(1, 2, 1), *down, *up))
    assert model.found.probe.divisor == divisor
    assert model(torch.randn(1, 1, 13, 11, 2)).shape == (1, 2, 13, 11, 2)


def test_a_network_for_one_size_is_tiled():
    class Fixed(Lopsided):
        def forward(self, image):
            assert image.shape[2:] == (10, 12), "this size only"
            return super().forward(image)

    with pytest.raises(InputError, match="this size only.*roi_size into the card"):
        _adapt(Fixed(2))
    assert _adapt(Fixed(2), roi_size=[10, 12], axes="xy")(torch.randn(1, 1, 15, 20, 2)).shape == (1, 2, 15, 20, 2)


@pytest.mark.parametrize(
    ("card", "text"),
    [
        ({"labels": {0: "b", 1: "x", 2: "y", 3: "z"}}, "labels must name the 2 classes"),
        ({"in_channels": 3}, "for 3 channels in 2D"),
        ({"regions": {0: 1, 5: 2}}, "labels must name"),
    ],
)
def test_a_card_that_does_not_fit_the_network_is_refused(card, text):
    with pytest.raises(InputError, match=text):
        _adapt(Lopsided(2), **card)


def test_an_attack_on_slices_equals_the_attack_on_the_bare_network():
    network = Lopsided(2)
    image = torch.randn(1, 1, 8, 8, 1)
    label = network(image[..., 0]).argmax(1)[..., None]
    ours = PGD(L2(0.5), steps=3)(_adapt(network, axes="xy"), image, label)
    bare = PGD(L2(0.5), steps=3)(network, image[..., 0], label[..., 0])
    torch.testing.assert_close(ours.image[..., 0], bare.image)


@pytest.mark.parametrize(("stated", "fill"), [({}, None), ({"pad_value": 0.0}, 0.0), ({"pad_value": -2.0}, -2.0)])
@pytest.mark.parametrize("how", [{"divisor": 8}, {"roi_size": [8, 8]}])
def test_images_are_padded_with_the_cards_value_or_their_lowest(stated, fill, how):
    seen = []

    class Watched(Lopsided):
        def forward(self, image):
            seen.append(image.detach())
            return super().forward(image)

    model = _adapt(Watched(2), axes="xy", in_channels=1, **how, **stated)
    seen.clear()
    image = torch.rand(1, 1, 8, 5, 1) + 3
    assert model(image).shape == (1, 2, 8, 5, 1)
    (given,) = seen
    assert given.shape == (1, 1, 8, 8)
    assert torch.equal(given[..., 1:6], image[..., 0])
    border = torch.cat([given[..., :1], given[..., 6:]], -1)
    assert (border == (image.min() if fill is None else fill)).all()
