"""Builds the network of a plans file with nnU-Net's own code and loads weights, all of which must fit."""

from __future__ import annotations

import inspect
import os
import pydoc
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from torch import nn

from imaseg.errors import InputError
from imaseg.models.networks import load_weights
from imaseg.models.nnunet.checkpoint import Checkpoint

if TYPE_CHECKING:
    from imaseg.models.nnunet.plans import Plans

_HOMES = ("torch.nn.", "dynamic_network_architectures.")
"""Packages from which a plans file may name classes."""
STOCK = "nnUNetTrainer"
_OURS = ("nnUNetTrainerIMA", "nnUNetTrainerPGD", "nnUNetTrainerStandard", "nnUNetTrainerTRADES")


def build_network(plans: Plans, checkpoint: Checkpoint, *, trust: bool) -> nn.Module:
    """Build the network of one fold in eval mode; it returns logits at full resolution only.

    Raises:
        InputError: if the plans name a class from elsewhere, or the weights belong to another architecture.
    """
    if not trust:
        _check_names(plans)
    builder = _builder(checkpoint.trainer)
    network: nn.Module = builder(plans)
    load_weights(network, checkpoint.weights, source=f"{checkpoint.path} (trainer {checkpoint.trainer})")
    return network.eval()


def _builder(trainer: str) -> Callable[[Plans], nn.Module]:
    """The function that builds this trainer's network: the trainer's own if it is installed, else nnU-Net's default."""
    if trainer.split("_")[0] in (STOCK, *_OURS):
        return _as_planned
    kind = _installed(trainer)
    if kind is None:
        warnings.warn(
            f"trainer {trainer} is not installed here: its network is made as the plans say, and every weight is "
            "checked against it.",
            stacklevel=2,
        )
        return _as_planned
    return lambda plans: _by_trainer(kind, plans)


def _as_planned(plans: Plans) -> nn.Module:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    made: nn.Module = get_network_from_plans(*_architecture(plans), deep_supervision=False)
    return made


def _by_trainer(trainer: Any, plans: Plans) -> nn.Module:
    build = trainer.build_network_architecture
    channels = (plans.in_channels, plans.heads)
    if "plans_manager" in inspect.signature(build).parameters:
        made: nn.Module = build(plans.manager, plans.configuration, *channels, enable_deep_supervision=False)
    else:
        made = build(*_architecture(plans), enable_deep_supervision=False)
    return made


def _architecture(plans: Plans) -> tuple[Any, ...]:
    configuration = plans.configuration
    return (
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        plans.in_channels,
        plans.heads,
    )


def _installed(trainer: str) -> Any:
    """The class of that name among nnU-Net's trainers and those in `nnUNet_extTrainer`; None if there is none."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
            return recursive_find_trainer_class_by_name(trainer)
    except RuntimeError:
        return None


def _check_names(plans: Plans) -> None:
    """Check all class names in the plans, since nnU-Net imports and calls whatever the plans name."""
    configuration = plans.configuration
    arguments = configuration.network_arch_init_kwargs
    named = [arguments.get(key) for key in configuration.network_arch_init_kwargs_req_import]
    for name in [configuration.network_arch_class_name, *named]:
        if name is not None and not _is_layer(name):
            msg = (
                f"{plans.source} must name layers and networks of torch.nn and dynamic_network_architectures, got "
                f"{name!r}. Making it runs that code: add --trust if you trust it."
            )
            raise InputError(msg)


def _is_layer(name: Any) -> bool:
    if not isinstance(name, str) or not name.startswith(_HOMES):
        return False
    layer = pydoc.locate(name)
    # A class that has moved is looked for by nnU-Net below dynamic_network_architectures, by its last name.
    return layer is None or (isinstance(layer, type) and issubclass(layer, nn.Module))
