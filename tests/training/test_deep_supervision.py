"""Models with several heads: the loss sees all of them, the search the one of full resolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy

from imaseg import IMA, L2, TRADES, FreeTraining, PGDTraining


class Heads(nn.Module):
    """A list of heads in both modes, as nnU-Net; or stacked in train mode only, as MONAI's DynUNet."""

    def __init__(self, *, stacked: bool) -> None:
        super().__init__()
        self.stacked = stacked
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.full, self.low = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, image):
        if self.stacked:
            return torch.stack([self.full(image), self.low(image)], 1) if self.training else self.full(image)
        return [self.full(image), self.low(avg_pool2d(image, 2))]


def _loss(output, label):
    outputs = output if isinstance(output, list) else output.unbind(1)
    labels = [label[:, :: label.shape[1] // one.shape[2], :: label.shape[2] // one.shape[3]] for one in outputs]
    return sum(cross_entropy(one, truth) * 0.5**i for i, (one, truth) in enumerate(zip(outputs, labels, strict=True)))


METHODS = {
    "ima": lambda: IMA(_loss, L2(1.0), steps=3),
    "pgd": lambda: PGDTraining(_loss, L2(1.0), steps=3),
    "free": lambda: FreeTraining(_loss, L2(1.0), replays=2),
    "trades": lambda: TRADES(_loss, L2(1.0), steps=3),
}


def _batch():
    image = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return image, Heads(stacked=False).full(image).argmax(1)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_the_loss_trains_every_head(make, stacked):
    model, (image, label) = Heads(stacked=stacked), _batch()
    value = make()(model, image, label, ["a", "b"])
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(value, list(model.parameters())))


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("name", ["ima", "pgd", "trades"])
def test_the_search_finds_what_it_finds_on_the_full_head_alone(name, stacked):
    image, label = _batch()
    trained_on = []
    for model in (Heads(stacked=stacked), nn.Sequential(Heads(stacked=stacked).full)):
        method = METHODS[name]()
        method.loss = _loss if isinstance(model, Heads) else cross_entropy
        seen = []
        model.register_forward_hook(lambda net, given, _, seen=seen: seen.append((net.training, given[0].detach())))
        method(model, image, label, ["a", "b"])
        trained_on.append([picture for training, picture in seen if training])
    assert len(trained_on[0]) == 2
    assert any(not torch.equal(picture, image) for picture in trained_on[0])
    assert all(torch.equal(a, b) for a, b in zip(*trained_on, strict=True))
