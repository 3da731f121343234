"""Probes a network with noise: which image sizes it takes, how many channels it returns, and its final activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imaseg.errors import InputError
from imaseg.frozen import Model, frozen
from imaseg.models.outputs.ending import Activation, Seen

_DIVISORS = (1, 2, 4, 8, 16, 32)
_SIDE = {2: 64, 3: 32}
_LOUDNESS = (1.0, 0.01, 10.0, 1000.0)
"""Factors on noise, positive and of both signs: logits leave [0, 1] at one of them, and probabilities at none. At a
single one a sigmoid may underflow to 0 everywhere."""


@dataclass(frozen=True)
class Probe:
    """What a probe found.

    Attributes:
        sides: sides of the images used.
        divisor: sides that are multiples of it give an output of the same size; 1 if only `sides` do.
        channels: number of output channels.
        seen: outputs for noise.
    """

    sides: tuple[int, ...]
    divisor: int
    channels: int
    seen: Seen

    @property
    def activation(self) -> Activation:
        """Final activation, as far as noise shows it."""
        return self.seen.activation


def guess_input(network: nn.Module) -> tuple[int | None, int | None]:
    """Read channels and spatial dimensions of the input off the first convolution; None where there is none.

    >>> guess_input(nn.Conv3d(2, 1, 3))
    (2, 3)
    """
    for weight in network.state_dict().values():
        if weight.ndim in (4, 5) and weight.is_floating_point():
            return weight.shape[1], weight.ndim - 2
    return None, None


def probe(
    network: nn.Module, *, in_channels: int, spatial_dims: int, divisor: int | None, sides: Sequence[int] | None
) -> Probe:
    """Run a network on noise and report what sizes, channels and activation it has.

    Args:
        network: image -> one tensor, on the CPU.
        in_channels: channels of the image.
        spatial_dims: 2 or 3.
        divisor: what sides must be multiples of, if known; else found by trial.
        sides: sides of its tiles, if it takes no other sizes.

    Raises:
        InputError: if the network takes none of the images, or returns an output of another size, or labels.
    """
    trials = [([_SIDE[spatial_dims] + d] * spatial_dims, d) for d in ([divisor] if divisor else _DIVISORS)]
    trials = [([-(-side // d) * d for side in wanted], d) for wanted, d in trials]
    if sides is not None:
        trials.append(([side if side > 0 else _SIDE[spatial_dims] for side in sides], divisor or 1))
    problem = ""
    with frozen(network), torch.no_grad():
        for wanted, step in trials:
            image = noise(1, in_channels, *wanted)
            try:
                output = network(image)
            except InputError:
                raise
            except Exception as error:  # any error of the network's code means that it does not take this image
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                continue
            if output.shape[:1] + output.shape[2:] == image.shape[:1] + image.shape[2:]:
                return _answered(network, image, tuple(wanted), step)
            problem = f"logits of size {tuple(output.shape)} for an image {tuple(image.shape)}"
    msg = (
        f"network must return logits of its input's size (B, classes, *spatial) for {in_channels} channels in "
        f"{spatial_dims}D, got {problem}. Write in_channels, spatial_dims, divisor or roi_size into the card."
    )
    raise InputError(msg)


def _answered(network: Model, image: Tensor, sides: tuple[int, ...], divisor: int) -> Probe:
    seen = seen_on_noise(network, image)
    if seen.whole and seen.channels == 1 and seen.high > 1:
        msg = (
            f"network must return logits or probabilities, got whole numbers up to {seen.high:g} in one channel: "
            "labels that it has decided. Return what comes before argmax."
        )
        raise InputError(msg)
    return Probe(sides, divisor, seen.channels, seen)


@contextmanager
def trying(name: str) -> Iterator[None]:
    """Context in which a model is run for the first time: whatever goes wrong in it is said in one sentence.

    Raises:
        InputError: if the model does not take the image.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # any error of the network's code
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        msg = f"model {name} must take images as its files promise, got {told}. Correct the settings of its network."
        raise InputError(msg) from error


def gradient_reaches(network: nn.Module, in_channels: int, sides: Sequence[int]) -> bool:
    """Whether the gradient at the image is finite and not zero everywhere."""
    with frozen(network):
        image = noise(1, in_channels, *sides).to(next(network.parameters()).device).requires_grad_()
        output = network(image)
        if not output.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(output.square().mean(), image, allow_unused=True)
        return gradient is not None and bool(torch.isfinite(gradient).all()) and bool(gradient.any())


def noise(*shape: int) -> Tensor:
    """Uniform noise in [0, 1], the same at each call."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def seen_on_noise(network: Model, image: Tensor) -> Seen:
    """Outputs for noise of several loudnesses, until they are known to be logits.

    Args:
        network: image -> one tensor.
        image: noise (B, C, *spatial) in [0, 1].

    >>> seen_on_noise(lambda image: image.softmax(1), noise(1, 3, 8, 8)).activation
    'softmax'
    >>> seen_on_noise(torch.exp, noise(1, 3, 8, 8)).activation
    'none'
    """
    seen = Seen()
    for factor in _LOUDNESS:
        for given in (image * factor, (2 * image - 1) * factor):
            if not seen.settled:
                seen = seen.also(network(given))
    return seen
