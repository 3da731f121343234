"""Checks the names in nnU-Net's plans: nnU-Net looks each up in its modules and calls what it finds there."""

from __future__ import annotations

import pydoc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from imaseg.errors import InputError
from imaseg.models.declared import declared

_NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
_ARCHITECTURES = "dynamic_network_architectures.architectures."
_LAYERS = ("torch.nn.", "dynamic_network_architectures.building_blocks.")
"""Packages from which plans may name layers."""
_RESAMPLING = (
    "resample_data_or_seg_to_shape", "resample_torch_fornnunet", "resample_torch_simple", "no_resampling_hack"
)  # fmt: skip
_SHIPPED = {
    "image_reader_writer": (
        "SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient", "NaturalImage2DIO", "Tiff3DIO"
    ),
    "label_manager": ("LabelManager",),
    "preprocessor_name": ("DefaultPreprocessor",),
    "normalization_schemes": (
        "ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"
    ),
    "resampling_fn_data": _RESAMPLING,
    "resampling_fn_seg": _RESAMPLING,
    "resampling_fn_probabilities": _RESAMPLING,
}  # fmt: skip
"""What nnU-Net itself has under each key."""


def check_names(plans: Mapping[str, Any], configuration: Any, *, source: Path) -> None:
    """Check all names in the plans, and the arguments of the network.

    Args:
        plans: content of `plans.json`.
        configuration: nnU-Net's `ConfigurationManager`.
        source: the file, of which errors speak.

    Raises:
        InputError: naming the first that is not of nnU-Net itself, whose code runs only with trust.
    """
    said = {**plans, **configuration.configuration}
    for key, shipped in _SHIPPED.items():
        names = said.get(key)
        for name in names if isinstance(names, list) else [names]:
            if name is not None and name not in shipped:
                _refuse(f"in {key} what nnU-Net has itself ({', '.join(shipped)})", name, source)
    arguments = configuration.network_arch_init_kwargs
    kind = _network(configuration.network_arch_class_name)
    if kind is None:
        _refuse(f"one of the networks {', '.join(_NETWORKS)}", configuration.network_arch_class_name, source)
    for key in configuration.network_arch_init_kwargs_req_import:
        if arguments.get(key) is not None and not _is_layer(arguments[key]):
            _refuse(f"as {key} a layer of {' or '.join(home[:-1] for home in _LAYERS)}", arguments[key], source)
    declared(kind, arguments, source=str(source))


def _refuse(what: str, name: object, source: Path) -> NoReturn:
    msg = f"{source} must name {what}, got {name!r}. Using it runs that code: add --trust if you trust it."
    raise InputError(msg)


def _network(name: object) -> type[nn.Module] | None:
    """The class of that name, wherever it has moved to below the architectures, where nnU-Net looks for it, too."""
    from dynamic_network_architectures.architectures import unet

    last = str(name).rpartition(".")[2]
    kind: type[nn.Module] | None = getattr(unet, last) if last in _NETWORKS else None
    return kind if str(name).startswith(_ARCHITECTURES) and pydoc.locate(str(name)) in (None, kind) else None


def _is_layer(name: object) -> bool:
    if not isinstance(name, str) or not name.startswith(_LAYERS):
        return False
    layer = pydoc.locate(name)
    return isinstance(layer, type) and issubclass(layer, nn.Module)
