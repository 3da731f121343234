"""Bounds of each voxel's margin under a smoothed classifier: the certified radius below, an attack's margin above."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from imaseg.margins.certified import CertifiedMarginResult


@dataclass(frozen=True)
class CertifiedGap:
    """Lower and upper bounds of each voxel's margin under a smoothed classifier.

    Attributes:
        lower: (B, *spatial) certified radius.
        upper: (B, *spatial) margin by an attack; infinite where no attack succeeded.
        gap: (B, *spatial) upper - lower, within which the margin lies.
        violations: (B, *spatial) bool, where lower > upper: a defect or sampling error, see `certified_gap`.
        unit: unit of all of them, "norm" or "rms".
    """

    lower: Tensor = field(repr=False)
    upper: Tensor = field(repr=False)
    gap: Tensor = field(repr=False)
    violations: Tensor = field(repr=False)
    unit: str


def certified_gap(
    certified: CertifiedMarginResult, upper: Tensor, censored: Tensor, *, unit: Literal["norm", "rms"] = "norm"
) -> CertifiedGap:
    """Combine certified radii and margins of an attack to bounds of each voxel's L2 margin.

    `upper` must be about the same decision of the same classifier: searched on `Smoothed(model, sigma, ...)` with
    `certified.prediction` as the label. A violation there is not proof of a defect yet, as an attack also finds
    where the draws of `Smoothed` err. It is one if `prediction` has lost the majority at the attack's image by
    `Smoothed.votes` of many samples with another seed, except that one image in 1 / alpha may have a wrong radius.

    Args:
        certified: what `CertifiedMargin` returned.
        upper: (B, *spatial) margins in L2.
        censored: (B, *spatial) bool, where `upper` is only how far was searched.
        unit: unit of `upper` and of the result, "norm" or "rms" as in `L2`.

    Raises:
        ValueError: if the shapes differ or unit is unknown.
    """
    if unit not in ("norm", "rms"):
        msg = f"unit must be 'norm' or 'rms', got {unit!r}."
        raise ValueError(msg)
    lower = certified.radius if unit == "norm" else certified.radius_rms
    if not upper.shape == censored.shape == lower.shape:
        msg = (
            f"upper and censored must be of the radius' shape {tuple(lower.shape)}, got {tuple(upper.shape)} and "
            f"{tuple(censored.shape)}. Use margins of voxels, not of samples."
        )
        raise ValueError(msg)
    upper = upper.to(lower).where(~censored, math.inf)
    return CertifiedGap(lower=lower, upper=upper, gap=upper - lower, violations=lower > upper, unit=unit)
