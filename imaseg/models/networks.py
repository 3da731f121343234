"""Builds networks by the names of their MONAI classes, and loads weights into them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from imaseg.errors import InputError


def build_network(spec: Mapping[str, Any], *, spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build a network of `monai.networks.nets` for given dimensions and channels.

    Args:
        spec: `name` of the class and its arguments, without dimensions and channels.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of classes, background included.

    Raises:
        InputError: if there is no such network, or it refuses the arguments.
    """
    from monai.networks import nets

    arguments = {key: value for key, value in spec.items() if key != "name"}
    kind = getattr(nets, str(spec.get("name")), None)
    if any(key.startswith("pretrained") for key in arguments):
        msg = f"network must not fetch weights, got {sorted(arguments)}. Start from a run with init=RUN."
        raise InputError(msg)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        msg = (
            f"network.name must be a class of monai.networks.nets, such as UNet or SegResNet, got {spec.get('name')!r}."
        )
        raise InputError(msg)
    try:
        return kind(spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels, **arguments)
    except (TypeError, ValueError) as error:
        msg = f"network must be arguments that {kind.__name__} takes, got {arguments}: {error}."
        raise InputError(msg) from error


def monai_network(name: str, arguments: Mapping[str, Any], *, source: str) -> nn.Module:
    """Build a network of `monai.networks.nets` from its arguments, with fresh weights; nothing is downloaded.

    Raises:
        InputError: if there is no such network, or it refuses the arguments.
    """
    from monai.networks import nets

    kind = getattr(nets, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        msg = f"{source} must name a class of monai.networks.nets, such as UNet or SegResNet, got {name!r}."
        raise InputError(msg)
    given = {key: False if key.startswith("pretrained") else value for key, value in arguments.items()}
    try:
        return kind(**given)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        told = " ".join(str(error).split())[:200]
        msg = f"{source} must hold arguments that {name} takes, got {dict(arguments)}: {told}."
        raise InputError(msg) from error


def divisor_of(spec: Mapping[str, Any]) -> int:
    """What the sides of an image must be multiples of: the product of the strides, or 32 if none are given."""
    strides = spec.get("strides")
    if not isinstance(strides, list | tuple) or not strides:
        return 32
    return math.prod(max(stride) if isinstance(stride, list | tuple) else stride for stride in strides)


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Load weights into a network, all of them or none.

    Raises:
        InputError: if names or shapes differ; the message names the first difference.
    """
    own = network.state_dict()
    missing = sorted(own.keys() - weights.keys())
    extra = sorted(weights.keys() - own.keys())
    misshapen = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if not (missing or extra or misshapen):
        network.load_state_dict(dict(weights))
        return
    first = (missing or extra or sorted(misshapen))[0]
    msg = (
        f"{source} must hold weights of this {type(network).__name__}, got another architecture: {len(missing)} "
        f"tensors missing, {len(extra)} unknown, {len(misshapen)} of another shape, first {first!r}. "
        "Use the network settings that the checkpoint was trained with."
    )
    raise InputError(msg)
