"""Builds the network of a plans file with nnU-Net's own code and loads weights, all of which must fit."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from torch import nn

from imaseg.errors import InputError
from imaseg.models.budget import no_larger_than
from imaseg.models.networks import load_weights
from imaseg.models.nnunet.checkpoint import Checkpoint

if TYPE_CHECKING:
    from imaseg.models.nnunet.plans import Plans

STOCK = "nnUNetTrainer"
_OURS = ("nnUNetTrainerIMA", "nnUNetTrainerPGD", "nnUNetTrainerStandard", "nnUNetTrainerTRADES")


def build_network(plans: Plans, checkpoint: Checkpoint) -> nn.Module:
    """Build the network of one fold in eval mode; it returns logits at full resolution only.

    Raises:
        InputError: if nnU-Net refuses the plans, or the weights belong to another architecture.
    """
    try:
        with no_larger_than(checkpoint.path, source=str(plans.source)):
            network = _builder(checkpoint.trainer)(plans)
    except InputError:
        raise
    except Exception as error:  # whatever nnU-Net and its trainers raise
        told = " ".join(str(error).split())[:200]
        msg = f"{plans.source} must describe a network that nnU-Net can make, got {type(error).__name__}: {told}."
        raise InputError(msg) from error
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
    except (RuntimeError, TypeError, AssertionError):  # nothing, or no trainer, has that name
        return None
