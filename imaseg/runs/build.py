"""Builds loss, training method and learning-rate schedule from the plain data of a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from imaseg.attacks import Attack
from imaseg.errors import InputError
from imaseg.integrations.monai import deep_supervision
from imaseg.perturbations import Perturbation, millimetres
from imaseg.runs.config import TrainConfig, named
from imaseg.training import TrainingMethod
from imaseg.training import build_method as build_from_settings
from imaseg.training.base import Loss


def build_loss(spec: Mapping[str, Any]) -> Loss:
    """Build a loss of `monai.losses` that takes labels (B, 1, *spatial); for several heads, a weighted sum.

    Raises:
        InputError: if there is no such loss or it refuses the arguments.
    """
    from monai import losses

    name, arguments = named(spec, "loss")
    kind = getattr(losses, name, None)
    # Another network as a loss is fetched by default, and made by code that is fetched with it.
    if not isinstance(kind, type) or "pretrained" in inspect.signature(kind).parameters:
        msg = (
            "loss.name must be a class of monai.losses that needs no network of its own, such as DiceCELoss, got "
            f"{name!r}."
        )
        raise InputError(msg)
    try:
        loss = kind(**arguments)
    except Exception as error:  # MONAI checks its arguments in many ways
        msg = f"loss must be arguments that {name} takes, got {arguments}: {error}."
        raise InputError(msg) from error

    return deep_supervision(loss)


def build_method(config: TrainConfig) -> TrainingMethod:
    """Build the training method with its perturbation set, objective and criterion.

    Raises:
        InputError: if a name or an argument is unknown or refused.
    """
    try:
        named(config.method, "method")
        return build_from_settings(_without_place(config), build_loss(config.loss), seed=config.seed)
    except ValueError as error:
        msg = f"{config.where}{'' if isinstance(error, InputError) else 'method: '}{error}"
        raise InputError(msg) from error


def build_monitor_attack(config: TrainConfig) -> tuple[Attack | None, float | None]:
    """The attack that monitored cases are judged under, and the distance from a structure within which it may change.

    Raises:
        InputError: if a name or an argument is unknown or refused, or there is no single set to search.
    """
    if config.monitor_attack is None:
        return None, None
    spec = dict(config.monitor_attack)
    given = spec.pop("perturbation", config.method.get("perturbation"))
    try:
        if config.monitor == 0:
            msg = "must have cases to attack, got none. Set monitor above 0."
            raise ValueError(msg)
        if not isinstance(given, str | Mapping):
            got = "none" if given is None else "several"
            msg = (
                f"must have one set to search, got {got} in the method. Add one, such as perturbation: "
                "{name: l2, eps: 0.1, unit: rms}."
            )
            raise ValueError(msg)
        where = dict(given) if isinstance(given, Mapping) else {"name": given}
        within = millimetres(where.pop("within", None))
        perturbation = Perturbation.build(where)
        if within is not None and perturbation.moves_label:
            msg = f"within must go with a set that changes intensities, got {perturbation.name}. Leave `within` out."
            raise ValueError(msg)
        return Attack.build({"seed": config.seed} | spec, perturbation), within
    except ValueError as error:
        msg = f"{config.where}monitor_attack: {error}"
        raise InputError(msg) from error


def _without_place(config: TrainConfig) -> dict[str, Any]:
    """Settings of the method; where images may change is told with each batch."""
    method = dict(config.method)
    if config.within is None and (_placed(method.get("perturbation")) or _placed(method.get("methods"))):
        msg = "within must go with a method of one set, got it among several that take turns. Leave `within` out."
        raise ValueError(msg)
    if config.within is not None:
        name = method["perturbation"].get("name")
        if isinstance(name, str) and Perturbation.named(name).moves_label:
            msg = f"within must go with a set that changes intensities, got {name}. Leave `within` out."
            raise ValueError(msg)
        method["perturbation"] = {key: value for key, value in method["perturbation"].items() if key != "within"}
    return method


def _placed(part: object) -> bool:
    """Whether something in plain data says `within`."""
    if isinstance(part, Mapping):
        return "within" in part or any(map(_placed, part.values()))
    return isinstance(part, list) and any(map(_placed, part))


def build_schedule(config: TrainConfig, optimizer: Optimizer) -> LRScheduler:
    """Build the learning-rate schedule."""
    from torch.optim import lr_scheduler

    if config.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs)
    if config.schedule == "poly":
        return lr_scheduler.PolynomialLR(optimizer, total_iters=config.epochs, power=0.9)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)
