"""Freeze a model while it is searched: eval mode, no weight gradients, everything restored afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Model = Callable[[Tensor], Tensor]


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Put `model` into eval mode without weight gradients; restore each submodule's mode on the way out.

    The global random state is put back too, so that a model which draws random numbers may be seeded inside.

    Eval mode keeps BatchNorm statistics and dropout out of the search; without weight gradients the backward
    pass is shorter. A plain callable is left alone. Inference mode, which has no gradients, is off inside.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [(module, module.training) for module in modules]
    parameters = model.parameters() if isinstance(model, nn.Module) else []
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for module in modules:
            module.training = False
        for parameter in wanted:
            parameter.requires_grad_(False)
        gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.inference_mode(mode=False), torch.random.fork_rng(devices=gpus):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter in wanted:
            parameter.requires_grad_(True)


def seed_all(seed: int) -> None:
    """Seed the generators a model may draw from.

    `torch.manual_seed` also queues seeds for accelerators that were never used, each with a formatted stack trace:
    that takes longer than everything else in a step.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def random_state(device: torch.device) -> list[Tensor]:
    """State of the generators that a model on `device` may draw from; it moves when the model draws."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def unwrap_ddp(model: Model) -> Model:
    """The network inside `DistributedDataParallel`; any other model as it is.

    The wrapper's forward pass waits for the other ranks, which may make fewer passes in a search.
    """
    return model.module if isinstance(model, DistributedDataParallel) else model


Outputs = Tensor | Sequence["Outputs"]
"""What a network returns: logits, or those of several heads, lists in lists among them."""


def heads(output: Outputs, image: Tensor) -> list[Tensor]:
    """The logits (B, K, *size) of each head of a deep-supervision model, full resolution first; else of the only one.

    Args:
        output: of the model; MONAI's DynUNet stacks its heads on axis 1, others return a list, in either order.
        image: what the model was given.
    """
    if not isinstance(output, Tensor):
        return sorted(_flat(output), key=lambda head: -math.prod(head.shape[2:]))
    return list(output.unbind(1)) if output.ndim == image.ndim + 1 else [output]


def full_resolution(output: Outputs) -> Tensor:
    """The logits that count: of several heads the largest, and among those the first."""
    return output if isinstance(output, Tensor) else max(_flat(output), key=lambda head: math.prod(head.shape[2:]))


def _flat(output: Outputs) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if not isinstance(output, list | tuple):
        keys = f" with the keys {', '.join(map(repr, output))}" if isinstance(output, Mapping) else ""
        msg = (
            f"model must return logits, or a list of them for each of its heads, got {type(output).__name__}{keys}. "
            "Wrap it, as in `lambda image: model(image)['out']`."
        )
        raise ValueError(msg)
    return [head for part in output for head in _flat(part)]


def as_plain_tensor(tensor: Tensor) -> Tensor:
    """Detached plain tensor in the caller's precision but at least float32 when floating; sheds tensor subclasses."""
    with torch.inference_mode(mode=False):
        values = tensor.detach().as_subclass(Tensor)
        values = values.clone() if values.is_inference() else values
        return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
