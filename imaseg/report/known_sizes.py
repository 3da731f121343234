"""Budgets in units that people know: Hounsfield units, shares of the image's own noise, per cent of brightness, mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import convolve

from imaseg.report.audits import Audit
from imaseg.report.breaking import native, own_unit
from imaseg.report.drawing.pictures import read_slice
from imaseg.report.wording import ADDED, OWN, amount, percent, short
from imaseg.results.attack import AttackEntry

_SLICES = 24
_LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
"""Leaves nothing of an even slope; white noise comes out six times as strong (Immerkaer 1996)."""
_NORMAL = 0.6745
"""Median of the absolute value of standard normal noise."""


def known_size(audit: Audit, perturbation: str, unit: str, eps: float, within: float | None = None) -> str:
    """A budget in a unit that people know; in its own where none is known.

    Args:
        audit: that searched the set.
        perturbation: the set.
        unit: of `eps`.
        eps: the budget.
        within: mm from a structure within which alone the set changes; None for the whole image.
    """
    if unit in OWN or unit in ("mm", "voxel"):
        return amount(eps, unit)
    if perturbation == "bias-field":
        return f"{percent(eps, 2)} brighter or darker"
    if perturbation == "gamma":
        return f"{percent(eps, 2)} contrast (gamma {short(1 / (1 + eps))} to {short(1 + eps)})"
    if unit in ADDED and own_unit(audit) and (spread := native(audit, unit, eps)) is not None:
        return f"{short(spread.median)}{own_unit(audit)}"
    share = noise_share(audit, perturbation, unit, eps, within)
    return amount(eps, unit) if share is None else f"{short(share, 2)} \N{MULTIPLICATION SIGN} image noise"


def noise_share(audit: Audit, perturbation: str, unit: str, eps: float, within: float | None = None) -> float | None:
    """RMS of a change over the standard deviation of the image's noise; None where either is not known."""
    spent = [
        probe for probe in audit.summary.probes if _same(probe, perturbation, unit, within) and probe.sizes.get("rms")
    ]
    noise = own_noise(audit)
    if not spent or not noise:
        return None
    nearest = min(spent, key=lambda probe: (abs(probe.eps - eps), -probe.sizes["rms"]))  # noise may keep no change
    return nearest.sizes["rms"] * eps / nearest.eps / noise


def own_noise(audit: Audit) -> float | None:
    """Standard deviation of the images' noise in the model's units, median over stored slices; None without any."""
    paths = (audit.slice_of(case.case) for case in audit.summary.metric_per_case)
    levels = [level for path in [path for path in paths if path][:_SLICES] if (level := _noise_of(path))]
    return float(np.median(levels)) if levels else None


def _noise_of(path: Path) -> float:
    """Of a slice, by what is left of it when all that is even or slopes evenly is taken away."""
    rest = np.abs(convolve(read_slice(path).image, _LAPLACE, mode="nearest"))
    return float(np.median(rest[rest > 0])) / _NORMAL / 6 if (rest > 0).any() else 0.0


def _same(probe: AttackEntry, perturbation: str, unit: str, within: float | None) -> bool:
    return (probe.perturbation, probe.unit, probe.within) == (perturbation, unit, within) and probe.eps > 0
