"""The smoothed classifier: the majority of a model's decisions under Gaussian noise (Cohen et al., ICML 2019).

    g(x) = argmax_k P[f(x + sigma z) = k],   z ~ N(0, I), at each voxel

P is estimated with noise that is drawn once and used at every image (common random numbers), so that attacks and
margins see a deterministic model. They follow the gradient of the mean probability over the same draws (Salman et al.,
NeurIPS 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable
from torch.nn.functional import log_softmax, logsigmoid

from imaseg.frozen import Model, full_resolution
from imaseg.perturbations.base import draw
from imaseg.scores import decide

_LIFT = 1e-3


def noisy_logits(
    model: Model, image: Tensor, sigma: float, samples: int, generator: torch.Generator, *, batch_size: int
) -> Iterator[Tensor]:
    """Yield logits of a model for noisy copies of a batch, pass by pass.

    Args:
        model: callable image -> logits.
        image: (B, C, *spatial), float32 or float64.
        sigma: standard deviation of the noise, in the units of the image.
        samples: copies of each image.
        generator: generator of the noise, which does not depend on `batch_size`; all samples get the same noise.
        batch_size: copies of each image in a pass.

    Yields:
        Logits (copies, B, K, *spatial) in float32 or better, differentiable in `image`.
    """
    for done in range(0, samples, batch_size):
        number = min(batch_size, samples - done)
        noise = torch.cat([draw(image[:1], generator, gaussian=True) for _ in range(number)])
        logits = full_resolution(model((image + sigma * noise[:, None]).flatten(0, 1)))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        yield logits.reshape(number, len(image), *logits.shape[1:])


def check_noise(sigma: float, **counts: int) -> None:
    """Raise unless the standard deviation and the numbers of copies are valid.

    Raises:
        ValueError: if sigma is not finite and positive, or one of `counts` is not a whole number above 0.
    """
    if not 0 < sigma < math.inf:
        msg = f"sigma must be finite and > 0 (units of image), got {sigma}. Use the model itself for no noise."
        raise ValueError(msg)
    for argument, value in counts.items():
        if not isinstance(value, int) or value < 1:
            msg = f"{argument} must be a whole number >= 1, got {value}."
            raise ValueError(msg)


class Smoothed(nn.Module):
    """The majority vote of `model` over `samples` fixed noise draws, as a model of its own.

    Its decision (`argmax`; above 0 for regions) is that of most draws. Its logits and their gradient are those of the
    mean probability, since votes are piecewise constant and have no gradient. If the two disagree, the logit of the
    class with most votes is raised just above the others; ties are decided by the mean probability.

    With few samples this is a rough estimate of the smoothed classifier: an attack finds images at which these draws
    err, though infinitely many draws, which `CertifiedMargin` speaks of, would not. Count `votes` at such an
    image again with another seed and many more samples.

    A call takes `samples` forward passes, one with gradients as many forward and backward passes again: only one pass
    is held in memory. Weights that require gradients get them, as in any module. `model` should be
    deterministic, which means eval mode; attacks and margins see to that.

    Args:
        model: callable image (B, C, *spatial) -> logits (B, K, *spatial) or (B, K).
        sigma: standard deviation of the noise, in the units of the image.
        samples: noise draws.
        seed: seed of the noise; the global generators are neither read nor moved.
        batch_size: noisy copies of each image in a pass. The result does not depend on it.
        regions: whether channels are independent (sigmoid); a single logit channel always is.

    Raises:
        ValueError: if sigma is not finite and positive, or samples or batch_size is below 1.

    >>> model = Smoothed(lambda image: torch.cat([-image, image], 1), sigma=0.5, samples=100)
    >>> model.votes(torch.tensor([[[[-2.0, 0.2, 2.0]]]]))[:, 1]
    tensor([[[  0,  66, 100]]], dtype=torch.int32)
    """

    def __init__(
        self,
        model: Model,
        sigma: float,
        samples: int,
        *,
        seed: int = 0,
        batch_size: int = 1,
        regions: bool = False,
    ) -> None:
        super().__init__()
        check_noise(sigma, samples=samples, batch_size=batch_size)
        self.model = model
        self.sigma = sigma
        self.samples = samples
        self.seed = seed
        self.batch_size = batch_size
        self.regions = regions

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, *spatial) for an image (B, C, *spatial)."""
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        logits: Tensor = _Mean.apply(_wide(image), self, weights, *weights)
        return logits

    @torch.no_grad()
    def votes(self, image: Tensor) -> Tensor:
        """Count how many draws decide for each class or region, (B, K, *spatial) int32."""
        count = torch.zeros((), dtype=torch.int32, device=image.device)
        for logits in self.passes(_wide(image)):
            regions = self.regions or logits.shape[2] == 1
            count = count + _decided(logits, regions=regions).sum(0, dtype=torch.int32)
        return count

    def passes(self, image: Tensor) -> Iterator[Tensor]:
        """Yield logits (copies, B, K, *spatial) under the fixed noise, pass by pass."""
        noise = torch.Generator().manual_seed(self.seed)
        return noisy_logits(self.model, image, self.sigma, self.samples, noise, batch_size=self.batch_size)

    def extra_repr(self) -> str:
        """Settings, for printing."""
        return f"sigma={self.sigma}, samples={self.samples}, seed={self.seed}"


class _Mean(Function):
    """Logarithm of the mean probability, adjusted to the votes; backward runs one pass of the model at a time."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, smoothed: Smoothed, weights: list[Tensor], *_: Tensor) -> Tensor:
        votes, total = torch.zeros(()), torch.tensor(-torch.inf)
        regions = smoothed.regions
        for logits in smoothed.passes(image):
            regions = smoothed.regions or logits.shape[2] == 1
            decided = _decided(logits, regions=regions)
            votes = votes.to(logits) + (torch.stack([decided, ~decided], 2) if regions else decided).sum(0)
            total = torch.logaddexp(total.to(logits), _log_probabilities(logits, regions=regions).logsumexp(0))
        ctx.smoothed, ctx.weights, ctx.regions = smoothed, weights, regions
        ctx.autocast = _autocast_state(image.device.type)
        ctx.save_for_backward(image, total)
        logs = _led_by(votes, total - math.log(smoothed.samples))
        return logs[:, 0] - logs[:, 1] if regions else logs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, total = ctx.saved_tensors
        leaf = image.detach().requires_grad_()
        inputs = [leaf, *ctx.weights]
        gradients = [torch.zeros_like(tensor) for tensor in inputs]
        gradient = torch.stack([gradient, -gradient], 1) if ctx.regions else gradient
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            for logits in ctx.smoothed.passes(leaf):
                logs = _log_probabilities(logits, regions=ctx.regions)
                # d log(sum of p) = sum of p / (sum of p) d log p: nothing underflows where p does.
                share = (logs.detach() - total).exp()
                parts = torch.autograd.grad(logs, inputs, share * gradient, allow_unused=True)
                gradients = [
                    total_gradient if part is None else total_gradient + part
                    for total_gradient, part in zip(gradients, parts, strict=True)
                ]
        return (gradients[0], None, None, *gradients[1:])


def _wide(image: Tensor) -> Tensor:
    """Convert half precision to float32, since it would round the noise."""
    return image.to(torch.promote_types(image.dtype, torch.float32))


def _decided(logits: Tensor, *, regions: bool) -> Tensor:
    """Hard decisions of logits (copies, B, K, *spatial), bool."""
    return decide(logits.flatten(0, 1), regions=regions).reshape(logits.shape)


def _log_probabilities(logits: Tensor, *, regions: bool) -> Tensor:
    """(copies, B, K, *spatial), or (copies, B, 2, K, *spatial) of "inside" and "outside" for regions."""
    return torch.stack([logsigmoid(logits), logsigmoid(-logits)], 2) if regions else log_softmax(logits, 2)


def _led_by(votes: Tensor, logs: Tensor) -> Tensor:
    """`logs` (B, K, ...) with the class of most votes raised to the top."""
    ranked = votes + logs.exp() / 2  # less than a vote
    first, top = ranked.max(1, keepdim=True).indices, logs.max(1, keepdim=True)
    return logs.where(top.indices == first, logs.scatter(1, first, top.values + _LIFT))


def _autocast_state(device: str) -> dict[str, Any]:
    """The arguments of `torch.autocast` that reproduce the current state."""
    return {
        "device_type": device,
        "dtype": torch.get_autocast_dtype(device),
        "enabled": torch.is_autocast_enabled(device),
    }
