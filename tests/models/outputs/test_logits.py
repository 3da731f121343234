"""Which of several outputs holds the logits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg import InputError
from imaseg.models.outputs.logits import OneOutput


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, image):
        return self.make(torch.cat([image, -image], 1))


def _small(z):
    return z[..., ::2, ::2]


@pytest.mark.parametrize(
    "make",
    [
        lambda z: z,
        lambda z: [z, _small(z)],
        lambda z: (_small(z), z),
        lambda z: [[_small(_small(z))], [_small(z), [z]]],
        lambda z: {"mask": z},
        lambda z: {"out": z, "aux": -z},
        lambda z: {"logits": [_small(z), z], "features": z.mean((2, 3))},
        lambda z: (z, z.argmax(1)),
        lambda z: z[:, None],
        lambda z: {"heads": (_small(z), z), "loss": z.mean()},
    ],
)
def test_the_only_output_as_large_as_the_image_counts(make):
    image = torch.randn(2, 1, 8, 6)
    network = OneOutput(Returns(make))
    torch.testing.assert_close(network(image), torch.cat([image, -image], 1))
    other = torch.randn(1, 1, 4, 4)
    torch.testing.assert_close(network(other), torch.cat([other, -other], 1))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda z: (z, -z), "0 and 1"),
        (lambda z: torch.stack([z, -z], 1), "0 and 1"),
        (lambda z: {"seg": z, "edge": -z}, "seg and edge"),
        (lambda z: {"logits": z, "pred": -z}, "logits and pred"),
        (lambda z: [[z], [_small(z), -z]], r"0\.0 and 1\.1"),
    ],
)
def test_two_outputs_as_large_as_the_image_are_refused_until_one_is_named(make, names):
    image = torch.randn(1, 1, 8, 8)
    with pytest.raises(InputError, match=f"{names} are as large as the image. Write `output:`"):
        OneOutput(Returns(make))(image)
    first, second = names.replace("\\", "").split(" and ")
    wanted = torch.cat([image, -image], 1)
    torch.testing.assert_close(OneOutput(Returns(make), first)(image), wanted)
    torch.testing.assert_close(OneOutput(Returns(make), int(second) if second == "1" else second)(image), -wanted)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda z: z, "got 'main' for a single tensor"),
        (lambda z: {"a": z}, "got 'main' for one with a"),
        (lambda z: "nothing", "for no tensor"),
    ],
)
def test_a_name_that_is_not_there_is_one_line(make, words):
    with pytest.raises(InputError, match=words):
        OneOutput(Returns(make), "main")(torch.zeros(1, 1, 4, 4))


def test_what_is_chosen_once_stays_chosen_where_all_are_as_large():
    network = OneOutput(Returns(lambda z: (-nn.functional.adaptive_avg_pool2d(z, 1), z)))
    network(torch.randn(1, 1, 4, 4))
    image = torch.randn(1, 1, 1, 1)
    torch.testing.assert_close(network(image), torch.cat([image, -image], 1))
