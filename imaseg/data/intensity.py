"""Grey values of one channel brought to a common scale, and the figures to undo it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaseg.data.nifti import Step
from imaseg.errors import InputError


def method_for(modality: tuple[str, ...], channel: int) -> str:
    """Normalisation that fits a channel: fixed for CT, whose numbers mean something; per case otherwise.

    >>> method_for(("CT",), 0), method_for(("T1", "FLAIR"), 1), method_for((), 0)
    ('ct', 'zscore', 'zscore')
    """
    return "ct" if channel < len(modality) and modality[channel].strip().upper() == "CT" else "zscore"


def normalise(
    channel: NDArray[np.float32], method: str, cohort: dict[str, float], name: str
) -> tuple[NDArray[np.float32], Step]:
    """Scale one channel; `cohort` holds the intensity figures that `ct` needs."""
    if method == "none":
        return channel, {"method": method}
    step: Step = {"method": method}
    if method == "ct":
        step |= {"low": cohort["percentile_00_5"], "high": cohort["percentile_99_5"]}
        step |= {"mean": cohort["mean"], "std": cohort["std"]}
    else:
        body = channel[channel != 0].astype(np.float64)
        body = body if body.size else np.zeros(1)
        if method == "zscore":
            step |= {"mean": float(body.mean()), "std": float(body.std())}
        else:
            low, high = np.percentile(body, [0.5, 99.5])
            step |= {"low": float(low), "high": float(high)}
    shift, scale = shift_and_scale(step)
    if not scale > 0:
        msg = f"{name}: image must vary in its foreground, got {shift:g} throughout."
        raise InputError(msg)
    wide = channel.astype(np.float64)
    if "low" in step:
        wide = wide.clip(step["low"], step["high"])
    return ((wide - shift) / scale).astype(np.float32), step


def shift_and_scale(step: Step) -> tuple[float, float]:
    """What a normalise step subtracted and then divided by."""
    if step["method"] == "none":
        return 0.0, 1.0
    if step["method"] == "percentile":
        return step["low"], step["high"] - step["low"]
    return step["mean"], step["std"]
