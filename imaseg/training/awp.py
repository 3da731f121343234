"""Adversarial weight perturbation: each step's gradient is taken at weights that are worse for the batch.

    v_l = gamma |w_l| g_l / |g_l|   for each weight tensor l of two or more axes,   g = gradient of the loss at w
    w <- w - rate * (gradient of the loss at w + v)

It flattens the loss over the weights, which narrows the gap between training and held-out cases under attack. One more
forward and backward pass for the weights per batch. Wu, Xia & Wang, "Adversarial weight perturbation helps robust
generalization", NeurIPS 2020. Differences from the authors' code: theirs takes one step of plain gradient descent in a
copy of the network and rescales the difference, which is the same direction; and it is on from the first step, unless
the caller waits, as theirs does for some epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from imaseg.training.base import TrainingMethod


def adversarial_weights(
    method: TrainingMethod,
    model: nn.Module,
    image: Tensor,
    label: Tensor,
    ids: Sequence[str] | None = None,
    *,
    gamma: float = 0.005,
    inside: Tensor | None = None,
) -> Tensor:
    """Return a method's loss of a batch at adversarial weights, instead of `method(model, image, label, ids)`.

    The caller's backward pass and step stay as they are: the graph leads to the weights of the model.

    Args:
        method: of training; it searches at the weights as they are.
        model: the model, in train mode.
        image: (B, C, *spatial).
        label: as the method takes it.
        ids: one name per sample, for methods that keep something per case.
        gamma: length of the perturbation of a weight tensor as a share of its own, > 0; the paper's is 0.005.
        inside: as the method takes it.

    Raises:
        ValueError: if gamma is not positive, the model is distributed, whose wrapper cannot run at other weights, or
            the method is one of others that does not tell search and loss apart (`loss_of`).
    """
    if not gamma > 0:
        msg = f"gamma must be > 0, got {gamma}. The paper's is 0.005."
        raise ValueError(msg)
    if isinstance(model, DistributedDataParallel):
        msg = "model must be a network on one device with adversarial weights, got DistributedDataParallel."
        raise ValueError(msg)
    if type(method).loss_of is TrainingMethod.loss_of:
        msg = f"{type(method).__name__} must define loss_of to go with adversarial weights. See imaseg.training.base."
        raise ValueError(msg)
    loss_of = method.loss_of(model, image, label, ids, inside=inside)
    # Buffers are copies here, so that BatchNorm does not count the batch twice.
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    weights = {name: one for name, one in model.named_parameters() if one.requires_grad and one.ndim > 1}
    with torch.enable_grad():
        loss = loss_of(_At(model, before))
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    moved = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        if gradient is not None:
            length = gradient.norm()
            scale = torch.where(length > 0, gamma * weight.detach().norm() / length.clamp_min(1e-30), 0.0)
            moved[name] = weight + (scale * gradient).nan_to_num(0.0, 0.0, 0.0)
    return loss_of(_At(model, moved))


class _At:
    """The model with some of its weights and buffers replaced."""

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        self.model, self.tensors = model, tensors

    def __call__(self, image: Tensor) -> Tensor:
        output: Tensor = functional_call(self.model, self.tensors, (image,))
        return output
