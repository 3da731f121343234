"""How networks end, told from outputs whose origin is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg import InputError
from imaseg.models.adapted import adapt
from imaseg.models.card import Card
from imaseg.models.outputs.ending import Seen, doubt
from imaseg.scores import hard_dice

ENDS = {
    "none": lambda z: z,
    "softmax": lambda z: z.softmax(1),
    "sigmoid": torch.sigmoid,
    "log-softmax": lambda z: z.log_softmax(1),
    "log-sigmoid": nn.functional.logsigmoid,
}
AGREE = {"log-softmax": {"none", "log-sigmoid"}, "log-sigmoid": {"log-softmax"}}
"""What else the same outputs may be called without a contradiction: logarithms of probabilities are logits, too."""


class Line(nn.Module):
    """The end of a network whose logits are straight lines in the image: `slope * (image - zero)`, one per channel."""

    def __init__(self, slopes, zero=0.0, end="none"):
        super().__init__()
        self.layer, self.end = nn.Conv2d(1, len(slopes), 1), ENDS[end]
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor(slopes).reshape(-1, 1, 1, 1))
            self.layer.bias.copy_(-torch.tensor(slopes) * zero)

    def forward(self, image):
        return self.end(self.layer(image))


def _adapt(network, **card):
    return adapt(network, Card(axes="xy", **card), kind="test", name="net")


@pytest.mark.parametrize("end", list(ENDS))
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_outputs_show_what_they_went_through(end, kind):
    z = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 6
    seen = Seen().also(ENDS[end](z).to(kind))
    assert seen.activation == end
    agreeing = {said for said in ENDS if doubt(said, seen, "noise") is None}
    assert agreeing == {end} | AGREE.get(end, set())


@pytest.mark.parametrize("slope", [-200.0, 200.0, -3.0])
@pytest.mark.parametrize("end", ["sigmoid", "log-sigmoid"])
def test_a_sigmoid_that_underflows_on_loud_noise_is_found(slope, end):
    zero = -1.0 if abs(slope) > 100 else 0.0  # noise between 0 and 1 is far from it: exactly 0 or 1
    network = Line([slope], zero, end)
    model = _adapt(network)
    assert model.ending.activation == end
    image = torch.linspace(-3, 3, 60).reshape(1, 1, 6, 10)
    label = (slope * (image - zero) > 0).long()
    assert hard_dice(model(image[..., None]), label[..., None]).min() == 1.0


def test_outputs_that_are_0_whatever_the_noise_are_left_open():
    model = _adapt(Line([0.1], 5000.0, "sigmoid"))
    assert model.ending.activation == "unknown"
    assert "neither logits nor probabilities" in model.problem()


@pytest.mark.parametrize(
    ("end", "said", "words"),
    [
        ("none", "sigmoid", "called sigmoid probabilities"),
        ("sigmoid", "none", "called logits"),
        ("softmax", "none", "called logits"),
        ("sigmoid", "softmax", "do not sum to 1"),
        ("softmax", "sigmoid", "sum to 1 over channels"),
        ("none", "log-softmax", "never above 0"),
        ("softmax", "log-sigmoid", "never above 0"),
    ],
)
def test_a_card_that_contradicts_the_outputs_is_a_problem(end, said, words):
    model = _adapt(Line([1.0, -2.0], end=end), activation=said)
    assert (model.ending.activation, model.ending.by) == (said, "card")
    assert words in model.problem()


@pytest.mark.parametrize("slopes", [[1.0], [1.0, -2.0]])
def test_a_softmax_without_background_is_refused(slopes):
    names = {k: str(k) for k in range(len(slopes) + 1)}
    with pytest.raises(
        InputError, match=r"softmax must have a channel for each of the .* classes, background included"
    ):
        _adapt(Line(slopes, end="softmax"), labels=names, activation="softmax")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("end", ["none", "sigmoid", "softmax"])
def test_weights_in_half_precision_give_what_the_same_numbers_give_in_single(kind, end):
    torch.manual_seed(0)
    network = Line([0.7, -1.3], 0.3, end).to(kind)
    exact = Line([0.0, 0.0], end="none")
    exact.load_state_dict({name: value.float() for name, value in network.state_dict().items()})
    model = _adapt(network)
    assert any("half precision" in note for note in model.found.notes)
    image = torch.randn(1, 1, 8, 8)
    z = exact(image)
    torch.testing.assert_close(model(image), z.log_softmax(1) if end == "softmax" else z, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("decide", "words"),
    [
        (lambda z: z.argmax(1), "got int64: labels"),
        (lambda z: z.argmax(1, keepdim=True), "got int64: labels"),
        (lambda z: z > 0, "got bool: labels"),
        (lambda z: z.argmax(1, keepdim=True).float(), "got whole numbers up to 2 in one channel"),
    ],
)
def test_networks_that_return_labels_are_one_line(decide, words):
    class Decided(Line):
        def forward(self, image):
            return decide(super().forward(image))

    with pytest.raises(InputError, match=words):
        _adapt(Decided([1.0, -2.0, 3.0], 0.5))


def test_a_softmax_of_many_classes_is_found_in_half_precision():
    dtype = torch.bfloat16
    logits = 3 * torch.randn(1, 14, 40, 40, generator=torch.Generator().manual_seed(0))
    probabilities = logits.to(dtype).softmax(1)
    assert ((probabilities.float().sum(1) - 1).abs() > 1e-3).any()
    assert Seen().also(probabilities.float()).activation == "softmax"
    assert Seen().also(logits.sigmoid().to(dtype).float()).activation == "sigmoid"
