"""Searches that stay near the structures, so that tiles far away are not run at every step.

The set is that of the whole image: what is found there is in it, so that Dice can only be too high and a margin too
large, which a check looks at. How far the search goes is given, or found from what the gradient promises: along the
gradient g an L2 change of norm r gains r ||g||_2, an Linf change of size e gains e ||g||_1, to first order, of which a
search that stays in a region keeps the share ||g in the region|| / ||g||.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import BeforeValidator
from torch import Tensor

from imaseg.attacks.evaluate import Evaluator
from imaseg.auditing.inputs.budget import Budgeted, Room
from imaseg.frozen import Model
from imaseg.objectives import CrossEntropy, Dice
from imaseg.perturbations import Perturbation, millimetres
from imaseg.results.base import SearchedNear

if TYPE_CHECKING:
    from imaseg.auditing.probes.scene import Scene

_DISTANCES = (10.0, 20.0, 40.0, 80.0)
"""From a structure, in mm (pixels of pictures), that are tried in turn."""
_OBJECTIVES = (Dice(), CrossEntropy())


def how_near(value: object) -> float | str | None:
    """A share of the gradient's norm, or a distance in one form.

    >>> how_near("20mm"), how_near(0.99)
    ('20 mm', 0.99)

    Raises:
        ValueError: if it is something else.
    """
    if value is None or (isinstance(value, float) and 0 < value < 1):
        return value
    try:
        return f"{millimetres(str(value)):g} mm"
    except ValueError as error:
        msg = "it must be a distance such as 20 mm, or a share between 0 and 1 such as 0.99"
        raise ValueError(msg) from error


class NearSearch(Budgeted):
    """A set that may be searched near the structures alone.

    Attributes:
        search_near: how far from a structure the search goes, though all of the image may change: a distance such as
            "20 mm"; or a share such as 0.99, for the smallest of 10, 20, 40 and 80 mm that holds so much of what the
            gradient promises on the unchanged image, for Dice and for cross-entropy, and anywhere where none does. Not
            given, it searches all of the image.
    """

    search_near: Annotated[float | str | None, BeforeValidator(how_near)] = None

    def check_near(self) -> None:
        """See whether the settings allow it.

        Raises:
            ValueError: if they do not.
        """
        if self.search_near is None:
            return
        kind = Perturbation.named(self.perturbation)
        if not (kind.is_intensity and kind.on_voxels):
            msg = f"search_near must go with l2 or linf, got {self.perturbation!r}. Leave `search_near` out."
            raise ValueError(msg)
        if self.within is not None:
            msg = (
                f"search_near must not go with within, got {self.within:g} mm, which says where. Leave one of them out."
            )
            raise ValueError(msg)

    @property
    def looks_around(self) -> int:
        """Calls with a gradient that show what a region holds, on each case."""
        return 0 if self.search_near is None else len(_OBJECTIVES)

    def room(self, scene: Scene, model: Model | None = None) -> Room:
        """What may change on a case: what `within` leaves, or the region that is searched of a whole image."""
        room = scene.room(self.within)
        found = self.reach(scene, model)
        mask = None if found is None else scene.near(found.mm)
        if mask is None:
            return room
        return {**room, "region": room["region"].to(mask.device) & mask if "region" in room else mask}

    def reach(self, scene: Scene, model: Model | None = None) -> SearchedNear | None:
        """How far from a structure the search goes on a case; None for all of the image."""
        if self.search_near is None:
            return None
        model = scene.model if model is None else model
        key = (id(model), self.perturbation, self.search_near)
        if key not in scene.reaches:
            whole = self.build_set(0.0, scene.scale, scene.room())
            scene.reaches[key] = _smallest(scene, model, whole, self.search_near)
        return scene.reaches[key]


def _smallest(scene: Scene, model: Model, whole: Perturbation, wanted: float | str) -> SearchedNear | None:
    """The distance that is wanted, or the smallest that holds that share of the gradient of both objectives."""
    given = millimetres(wanted) if isinstance(wanted, str) else None
    distances, share = (_DISTANCES, wanted) if given is None else ((given,), 0.0)
    if scene.near(distances[0]) is None:
        return None
    gradients = _gradients(scene, model, whole)
    for mm in distances:
        mask = scene.near(mm)
        held = min(_held(gradient, mask, whole) for gradient in gradients) if mask is not None else 0.0
        if held >= float(share):
            return SearchedNear(mm=mm, share=held)
    return None


def _gradients(scene: Scene, model: Model, whole: Perturbation) -> list[Tensor]:
    """Of Dice and of cross-entropy on the unchanged image (1, C, *spatial), where it may change."""
    at = Evaluator(scene.searched(model), scene.image, scene.search_label, whole, ignore_index=None, seed=scene.seed)
    everything, start = torch.zeros(1, dtype=torch.long, device=scene.image.device), whole.zeros(scene.image)
    points = [at.with_gradient(start, everything, loss, 1.0, lambda _: True) for loss in _OBJECTIVES]
    scene.count(at)
    return [whole.masked(point.gradient.nan_to_num(0, 0, 0)) for point in points if point.gradient is not None]


def _held(gradient: Tensor, mask: Tensor, whole: Perturbation) -> float:
    """Share of the first-order gain that lies where the mask is True; 0 of a gradient that is 0."""
    order = 2 if whole.shared_budget else 1
    total, inside = (torch.linalg.vector_norm(part.double(), order) for part in (gradient, gradient * mask))
    return float(inside / total) if total > 0 else 0.0
