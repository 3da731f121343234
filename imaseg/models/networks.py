"""Builds networks by the names of their MONAI classes, and loads weights into them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from imaseg.errors import InputError
from imaseg.models.declared import declared
from imaseg.models.finite import require_finite

SEGMENTERS = frozenset(
    (
        "AHNet", "AttentionUnet", "AutoEncoder", "BasicUNet", "BasicUNetPlusPlus", "DAF3D", "DynUNet", "FlexibleUNet",
        "HighResNet", "HoVerNet", "MedNeXt", "Quicknat", "SegResNet", "SegResNetDS", "SegResNetDS2",
        "SegResNetVAE", "SwinUNETR", "UNETR", "UNet", "VNet",
    )
)  # fmt: skip
"""Classes of `monai.networks.nets` that segment and are made of numbers and words alone, without files or downloads."""


def segmenter(name: str) -> type[nn.Module] | None:
    """The class of `monai.networks.nets` of that name, in any of MONAI's spellings; None if it is none that segments.

    >>> segmenter("BasicUnet").__name__, segmenter("MILModel")
    ('BasicUNet', None)
    """
    from monai.networks import nets

    kind = getattr(nets, name, None)
    return kind if isinstance(kind, type) and kind.__name__ in SEGMENTERS else None


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
    arguments = {key: value for key, value in spec.items() if key != "name"}
    if any(str(key).startswith("pretrained") for key in arguments):
        msg = f"network must not fetch weights, got {sorted(arguments)}. Start from a run with init=RUN."
        raise InputError(msg)
    sizes = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": out_channels}
    return monai_network(str(spec.get("name")), {**arguments, **sizes}, source="network")


def monai_network(name: str, arguments: Mapping[str, Any], *, source: str) -> nn.Module:
    """Build a network of `monai.networks.nets` from its arguments, with fresh weights; nothing is downloaded.

    Raises:
        InputError: if it is none that segments, or it refuses the arguments.
    """
    kind = segmenter(name)
    if kind is None:
        msg = (
            f"{source} must name a network of monai.networks.nets that segments, such as UNet or SegResNet, got "
            f"{name!r}. The others run with --trust only: in a bundle, or in a card as monai.networks.nets:{name}."
        )
        raise InputError(msg)
    given = declared(kind, arguments, source=source)
    try:
        return kind(**{key: value for key, value in given.items() if not key.startswith("pretrained")})
    except InputError:
        raise
    except Exception as error:  # MONAI checks its arguments in many ways
        told = " ".join(str(error).split())[:200]
        msg = f"{source} must hold arguments that {name} takes, got {dict(arguments)}: {told}."
        raise InputError(msg) from error


def divisor_of(spec: Mapping[str, Any]) -> int:
    """What the sides of an image must be multiples of: the product of the strides, or 32 if none are given."""
    strides = spec.get("strides")
    if not isinstance(strides, list | tuple) or not strides:
        return 32
    sides: list[Any] = [max(stride, default=None) if isinstance(stride, list | tuple) else stride for stride in strides]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        msg = f"network.strides must be whole numbers >= 1, got {strides}. Correct them."
        raise InputError(msg)
    return math.prod(sides)


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
        require_finite(network, source=source)
        return
    first = (missing or extra or sorted(misshapen))[0]
    msg = (
        f"{source} must hold weights of this {type(network).__name__}, got another architecture: {len(missing)} "
        f"tensors missing, {len(extra)} unknown, {len(misshapen)} of another shape, first {first!r}. "
        "Use the network settings that the checkpoint was trained with."
    )
    raise InputError(msg)
