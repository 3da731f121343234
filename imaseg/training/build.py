"""Builds a training method from plain data, as a configuration file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imaseg.margins import Criterion
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.training.base import Loss, TrainingMethod
from imaseg.training.ima import IMA
from imaseg.training.one_of import OneOf

_PARTS: dict[str, Any] = {"perturbation": Perturbation, "objective": Objective, "criterion": Criterion}


def build_method(spec: Mapping[str, Any], loss: Loss, *, seed: int = 0) -> TrainingMethod:
    """Build a training method with its perturbation set, objective and criterion.

    Args:
        spec: `name` and arguments; perturbation, objective and criterion likewise, and `methods` of `one-of`. A list of
            perturbations makes a list of sets.
        loss: see `TrainingMethod`.
        seed: seed of the random starts, for methods that have any, unless `spec` names another.

    Raises:
        ValueError: if a name or an argument is unknown or refused.
    """
    if not isinstance(spec, Mapping):
        msg = f"method must be a mapping with a name, got {spec!r}."
        raise ValueError(msg)
    arguments = dict(spec)
    if isinstance(place := arguments.get("perturbation"), Mapping) and place.get("within") is not None:
        msg = (
            f"within must be told with each batch, which alone shows the structures, got {place['within']!r} among the "
            "settings. Pass inside=near(label, 20, spacing) (imaseg.perturbations.near) to the method."
        )
        raise ValueError(msg)
    if not isinstance(seed_given := arguments.get("seed", seed), int) or isinstance(seed_given, bool):
        msg = f"seed must be a whole number, got {seed_given!r}."
        raise ValueError(msg)
    for key, family in _PARTS.items():
        if key in arguments:
            several = isinstance(arguments[key], list)
            if several and not (key == "perturbation" and issubclass(TrainingMethod.named(str(spec.get("name"))), IMA)):
                msg = f"{key} of {spec.get('name')} must be a single one, got a list. Leave all but one out."
                raise ValueError(msg)
            arguments[key] = [family.build(one) for one in arguments[key]] if several else family.build(arguments[key])
    if spec.get("name") == OneOf.name:
        parts = arguments.get("methods")
        if not isinstance(parts, list):
            msg = f"methods of {OneOf.name} must be a list of training methods, got {parts!r}."
            raise ValueError(msg)
        arguments["methods"] = [build_method(one, loss, seed=seed) for one in parts]
        return OneOf.build({"seed": seed} | arguments)
    kind = TrainingMethod.named(str(spec.get("name")))
    extra = {"seed": seed} if "seed" in kind.arguments().keys() - arguments.keys() else {}
    return TrainingMethod.build(arguments, loss, **extra)
