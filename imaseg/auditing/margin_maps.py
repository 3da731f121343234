"""Voxel margins and certificates of one case: what attacks find from above, an estimate, and what noise proves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from imaseg.auditing.margin_settings import Ceiling, MarginSettings
from imaseg.auditing.margin_voxel import MapWriter
from imaseg.margins import CertifiedMarginResult, Smoothed, certified_gap
from imaseg.margins.voxel import VoxelMargin, VoxelMarginResult
from imaseg.margins.voxel_error import margin_error
from imaseg.margins.voxel_gradient import supports
from imaseg.models.segmentation import SegmentationModel
from imaseg.perturbations import L2, Perturbation

DRAWS = 16
"""That stand for the smoothed model when it is attacked: each of its passes is as many of the model."""
_GROUPS, _RUNGS = 16, 12


class CaseMaps:
    """Measures maps and hands them to a writer.

    Args:
        model: held still by the caller.
        image: (1, C, X, Y, Z).
        label: (1, X, Y, Z).
        settings: which maps.
        writer: of this case.
    """

    def __init__(
        self, model: SegmentationModel, image: Tensor, label: Tensor, settings: MarginSettings, writer: MapWriter
    ) -> None:
        self.model, self.image, self.label = model, image, label
        self.settings, self.writer = settings, writer

    def margins(self, ceiling: Ceiling, perturbation: Perturbation) -> None:
        """Maps of one set, by every method that knows it, and how they agree."""
        if ceiling.budget.perturbation not in self.settings.voxel_sets:
            return
        unit, factor = ceiling.unit_on(perturbation)
        eps = float(torch.as_tensor(perturbation.eps)) * factor
        found: dict[str, VoxelMarginResult] = {}
        for method in known_methods(perturbation, self.settings.voxel):
            result = self.settings.voxel_margin(perturbation, method)(self.model, self.image, self.label)
            found[method] = result = replace(result, margin=result.margin * factor)
            about = {"perturbation": ceiling.budget.perturbation, "unit": unit, "method": method, "eps": eps}
            name = ceiling.budget.perturbation + ("" if method == "attack" else f"-{method}")
            self.writer.add(f"voxel_margins/{name}", result, about)
        if len(found) == 2:
            self.writer.record.maps[-1] |= {"against_attack": self._agreement(**found)}

    def certificates(self, l2: Perturbation | None) -> None:
        """Radii of the smoothed model, where it is right about the voxel.

        Args:
            l2: set on which the smoothed model is attacked as well; None for no attack.
        """
        certify = self.settings.certificate()
        if certify is None:
            return
        result = certify(self.model, self.image)
        right = result.prediction == self.label
        radius = result.radius.where(right, 0.0)
        as_map = VoxelMarginResult(radius, radius > 0, right, "attack", result.forward_calls, 0)
        rms = float(result.radius_rms.max())
        about = {"perturbation": "l2", "unit": "norm", "method": "certified", "eps": float(radius.max()), "rms": rms}
        self.writer.add("certified", as_map, about)
        if l2 is not None:
            self.writer.record.maps[-1] |= {"against_attack": self._gap(result, l2)}

    def _agreement(self, attack: VoxelMarginResult, gradient: VoxelMarginResult) -> dict[str, Any]:
        """Error of the estimate, in the structures and in the background."""
        compared = {}
        for name, where in (("structures", self.label > 0), ("background", self.label == 0)):
            error = margin_error(gradient, replace(attack, right=attack.right & where))
            figures = {key: float(getattr(error, key)) for key in ("ratio", "low", "high", "spearman")}
            known = {key: value if math.isfinite(value) else None for key, value in figures.items()}
            compared[name] = {"voxels": int(error.voxels)} | known
        return compared

    def _gap(self, result: CertifiedMarginResult, l2: Perturbation) -> dict[str, Any]:
        """Certified radius and attack's margin of the smoothed model in RMS per voxel, where structures have both."""
        smoothed = Smoothed(self.model, result.settings.sigma, DRAWS, seed=self.settings.seed)
        upper = against_smoothed(l2, self.settings)(smoothed, self.image, result.prediction)
        self.writer.record.forward_calls += upper.forward_calls * DRAWS
        self.writer.record.backward_calls += upper.backward_calls * DRAWS
        gap = certified_gap(result, upper.margin, upper.censored | ~upper.right, unit="rms")
        both = (result.prediction > 0) & (gap.lower > 0) & torch.isfinite(gap.upper)
        middle = {"lower": gap.lower, "upper": gap.upper, "gap": gap.gap}
        known = {key: float(value[both].median()) if bool(both.any()) else None for key, value in middle.items()}
        return {"structures": {"voxels": int(both.sum()), "violations": int((gap.violations & both).sum()), **known}}


def against_smoothed(l2: Perturbation, settings: MarginSettings) -> VoxelMargin:
    """The attack on the smoothed model, short because each pass is many."""
    return VoxelMargin(l2, rungs=_RUNGS, focus=min(settings.focus, _GROUPS), seed=settings.seed)


def attackable(perturbation: Perturbation) -> bool:
    """Whether certificates compare with margins on the set: both count in RMS per voxel."""
    return isinstance(perturbation, L2) and perturbation.unit == "rms"


def known_methods(perturbation: Perturbation, wanted: Sequence[str]) -> list[str]:
    """Those of the wanted methods that know the set: the estimate needs the dual of its size."""
    return [method for method in wanted if method != "gradient" or supports(perturbation)]
