"""Finds weights that are no numbers: nothing that is measured of such a model means anything."""

from __future__ import annotations

import torch
from torch import nn

from imaseg.errors import InputError

_STATISTICS = ("running_mean", "running_var")


def not_finite(model: nn.Module) -> str | None:
    """What the first weight that is not finite holds; None if all are.

    Infinities in buffers other than the statistics of a normalisation are left alone: masks are made of them.

    >>> layer = nn.Linear(1, 1)
    >>> _ = layer.weight.data.fill_(float("nan"))
    >>> not_finite(layer)
    'NaN in 1 of 1 values of weight'
    """
    learned = {name for name, _ in model.named_parameters()}
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        bad = value.isnan()
        if name in learned or name.endswith(_STATISTICS):
            bad = ~torch.isfinite(value)
        if bool(bad.any()):
            what = "NaN" if bool(value.isnan().any()) else "infinity"
            return f"{what} in {int(bad.sum())} of {value.numel()} values of {name}"
    return None


def require_finite(model: nn.Module, *, source: str) -> None:
    """Refuse a model that holds NaN or infinite weights.

    Raises:
        InputError: naming the first such weight.
    """
    if (found := not_finite(model)) is not None:
        msg = f"{source} must hold weights that are numbers, got {found}. Take an earlier checkpoint, or train again."
        raise InputError(msg)
