"""`Scene`: one case while the probes of a plan look at it; what they share is done once and kept here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imaseg.attacks import AttackResult
from imaseg.attacks.search import FRESH_DRAWS
from imaseg.auditing.inputs.attacker import Attacker
from imaseg.auditing.inputs.budget import Room, require_spacing, room_of, scale_of
from imaseg.auditing.inputs.own import native_decision
from imaseg.auditing.inputs.source import CaseSource, Loaded
from imaseg.auditing.metrics.calibration import calibration_error
from imaseg.auditing.metrics.instances import Instances
from imaseg.auditing.metrics.scores import (
    add_native_dice,
    dice_of_maps,
    mean_of_held,
    score,
    score_regions,
    structures_in,
    volumes_ml,
)
from imaseg.auditing.probes.cropped import cropped
from imaseg.data import Case
from imaseg.data.files import whole_file
from imaseg.data.inverse.native import native_label
from imaseg.errors import InputError
from imaseg.frozen import Model, seed_all
from imaseg.models.outputs.regions import Groups, classes_in, masks, region_logits
from imaseg.models.precision import FULL
from imaseg.models.segmentation import SegmentationModel
from imaseg.perturbations import near
from imaseg.precision import HALF, HalfPrecisionGradients
from imaseg.results.base import MEAN, Row, Scores, SearchedNear
from imaseg.results.case import Checks
from imaseg.results.summary import Shown
from imaseg.scores import foreground_dice, hard_dice

NEAR_MM = 10.0
"""How far from a structure a change still is near it."""


class Scene:
    """A case on the model's device.

    Args:
        model: held still by the caller, on its device.
        source: reads cases for that model.
        case: which.
        loaded: the case, read.
        folder: of the audit, for files.
        seed: of every random number.
        checked: whether this case gets the extra attacks that show whether the attacks can be believed.
        showcase: the attack and the budget that the page shows as pictures.
        random: whether the model gives another output each time.
        attacker: another model, for images that are made on it.
        instances: structures that are counted instance by instance.
        precision: that searches take their gradients in.

    Attributes:
        image: (1, C, *spatial).
        label: (1, *spatial).
        spacing: voxel size in mm, in the order of `spatial`.
        scale: converts budgets.
        random: as given; logits are then means over `FRESH_DRAWS` passes, and so is Dice.
        classes: numbers of the structures that are scored: foreground classes, or regions.
        groups: classes inside each structure.
        rows: what the probes before have found.
        checks: results of checks so far, by name.
        files: SHA-256 of what was written, by name below `folder`.
        reaches: where searches stay that spare the rest of the image, found once for probes that share it.
        forward_calls, backward_calls: passes of the model so far.
    """

    def __init__(
        self,
        model: SegmentationModel,
        source: CaseSource,
        case: Case,
        loaded: Loaded,
        *,
        folder: Path,
        seed: int = 0,
        checked: bool = False,
        showcase: Shown | None = None,
        random: bool = False,
        attacker: Attacker | None = None,
        instances: Instances | None = None,
        precision: str = FULL,
    ) -> None:
        self.model, self.source, self.case, self.loaded = model, source, case, loaded
        self.folder, self.seed, self.checked, self.showcase = folder, seed, checked, showcase
        self.image, self.label = tensors(model, loaded)
        self.random, self._attacker, self.instances = random, attacker, instances
        self.precision = precision
        self.spacing = loaded.volume.spacing[: self.label.ndim - 1]
        self.scale = scale_of(loaded)
        self.groups = model.card.groups
        self.classes = [*self.groups]
        self.rows: list[Row] = []
        self.checks: dict[str, Any] = {}
        self.files: dict[str, str] = {}
        self.reaches: dict[Any, SearchedNear | None] = {}
        self.forward_calls = self.backward_calls = 0

    def room(self, within: float | None = None) -> Room:
        """What may change: what the files of the case can hold and, where that is asked, so near to a structure (mm).

        Raises:
            InputError: if the case has no voxel size in mm.
        """
        if within is None:
            return self._held
        require_spacing(self.loaded)
        return self._held if self.near(within) is None else {**self._held, "inside": self.near(within)}

    @cached_property
    def _held(self) -> Room:
        return room_of(self.loaded)

    @cached_property
    def clean_logits(self) -> Tensor:
        """Logits (1, K, *spatial) of the unchanged image.

        Raises:
            InputError: if one of them is not finite.
        """
        return torch.stack(self._clean_draws).mean(0)

    @cached_property
    def _clean_draws(self) -> list[Tensor]:
        return [finite_logits(self.model, self.image, self.case.id) for _ in self._draws()]

    def _draws(self) -> Iterator[int]:
        """Passes that a figure is the mean of, each counted and, of a random model, seeded."""
        for draw in range(FRESH_DRAWS if self.random else 1):
            self.forward_calls += 1
            if self.random:
                seed_all(self.seed + draw)
            yield draw

    @cached_property
    def clean(self) -> Tensor:
        """Decision (*spatial) on the unchanged image."""
        return self.clean_logits.max(1).indices[0]

    @cached_property
    def clean_scores(self) -> Scores:
        """Metrics of the decision on the unchanged image."""
        return self._clean_scores(self.label)

    @cached_property
    def truth_scores(self) -> Scores:
        """The same against the label that the files hold, where the case is judged by the model's own prediction."""
        truth = self.loaded.truth
        if truth is None:
            return {}
        return self._clean_scores(torch.from_numpy(truth)[None].to(self.label.device), self.loaded.native_truth)

    def _clean_scores(self, label: Tensor, on_files: NDArray[np.int64] | None = None) -> Scores:
        target = masks(label, self.groups) if self.model.card.regions else label
        drawn = [hard_dice(self.rated(logits), target) for logits in self._clean_draws]
        dice = self.by_number(torch.stack(drawn).mean(0))
        return self.score(self.clean, dice, label[0], self.clean_logits[0], on_files=on_files)

    @cached_property
    def search_label(self) -> Tensor:
        """What searches compare with: the label, or masks of the regions that it holds."""
        return masks(self.label, self.groups) if self.model.card.regions else self.label

    def searched(self, model: Model) -> Model:
        """What searches run on: as `seen_in_full`, with gradients in the precision that was chosen."""
        half = self.precision != FULL
        return self.seen_in_full(HalfPrecisionGradients(model, HALF[self.precision]) if half else model)

    def seen_in_full(self, model: Model) -> Model:
        """The model, or one whose channels are the regions that are scored."""
        return Then(model, self.rated) if self.model.card.regions else model

    @cached_property
    def attacked(self) -> SegmentationModel:
        """The other model, once it is known to take this case as the audited one does.

        Raises:
            InputError: if it does not, or none was given.
        """
        if self._attacker is None:
            msg = "transferred attacks must be made on another model, got none. Name it with --from."
            raise InputError(msg)
        self._attacker.require_same_input(self.case, self.loaded)
        return self._attacker.model

    def judged(self, result: AttackResult) -> AttackResult:
        """What a search on another model found, with the prediction and Dice of this one."""
        drawn = [self.rated(logits) for logits in self.passes(result.image)]
        clean = [self.rated(logits) for logits in self._clean_draws]
        here = torch.stack(drawn).mean(0)

        def mean(score: Any, logits: list[Tensor], label: Tensor) -> Tensor:
            return torch.stack([score(one, label) for one in logits]).mean(0)

        return replace(
            result,
            prediction=here > 0 if self.model.card.regions else here.max(1).indices,
            dice=mean(hard_dice, drawn, result.label),
            dice_clean=mean(hard_dice, clean, self.search_label),
            foreground_dice=mean(foreground_dice, drawn, result.label),
            foreground_dice_clean=mean(foreground_dice, clean, self.search_label),
        )

    def told(self, result: AttackResult) -> AttackResult:
        """Label and prediction of a search as maps of classes, Dice by the numbers of the structures."""
        if not self.model.card.regions:
            return result
        classes = [k for k in self.model.card.labels if k > 0]
        return replace(
            result,
            label=classes_in(result.label, self.groups, classes),
            prediction=classes_in(result.prediction, self.groups, classes),
            dice=self.by_number(result.dice),
            dice_clean=self.by_number(result.dice_clean),
        )

    def by_number(self, dice: Tensor) -> Tensor:
        """Dice (B, 1 + structures) whose column k is that of structure k; column 0 says nothing of regions."""
        return torch.cat([torch.full_like(dice[:, :1], torch.nan), dice], 1) if self.model.card.regions else dice

    def rated(self, logits: Tensor) -> Tensor:
        """Logits of the channels that are scored: classes, or regions."""
        if not self.model.card.regions:
            return logits
        return region_logits(logits, self.groups, independent=self.model.independent)

    @cached_property
    def volumes(self) -> dict[str, float]:
        """Reference volume in ml by class."""
        return volumes_ml(self.label[0], spacing=self.spacing, groups=self.groups)

    def near(self, mm: float) -> Tensor | None:
        """Which voxels (1, 1, *spatial) lie so near to a structure; None if nothing is labelled."""
        if mm not in self._near:
            labelled = self.shown(self.label) > 0
            self._near[mm] = near(labelled, mm, self.spacing) if bool(labelled.any()) else None
        return self._near[mm]

    @cached_property
    def _near(self) -> dict[float, Tensor | None]:
        return {}

    def share_near(self, change: Tensor) -> float | None:
        """Share of the energy of a change (C, *spatial) within 10 mm of a structure; None without either."""
        energy, here = change.detach().double().square().sum(0), self.near(NEAR_MM)
        total = float(energy.sum())
        return None if here is None or not total else float(energy[here[0, 0]].sum()) / total

    @property
    def held(self) -> list[str]:
        """Structures that the label holds."""
        return [k for k, ml in self.volumes.items() if ml > 0]

    def count(self, result: Any, *, copies: int = 1) -> None:
        """Add the passes that a search took, on a model each of whose passes is as many `copies` of the real one."""
        self.forward_calls += result.forward_calls * copies
        self.backward_calls += getattr(result, "backward_calls", 0) * copies

    def logits(self, image: Tensor) -> Tensor:
        """Logits (K, *spatial) of another image (1, C, *spatial); one pass, or the mean of several."""
        return torch.stack(self.passes(image)).mean(0)[0]

    def passes(self, image: Tensor) -> list[Tensor]:
        """Logits (1, K, *spatial) of another image (1, C, *spatial): of one pass, or of several if they are random."""
        with torch.no_grad():
            return [self.model(image) for _ in self._draws()]

    def score_of(self, image: Tensor) -> Scores:
        """Metrics of the plain prediction of another image (1, C, *spatial) of this case."""
        volume = replace(self.loaded.volume, image=image[0].cpu().numpy())
        return self.seen(replace(self.loaded, volume=volume)).clean_scores

    def seen(self, loaded: Loaded) -> Scene:
        """The case with another image, already predicted."""
        how: dict[str, Any] = {"folder": self.folder, "random": self.random, "instances": self.instances}
        other = Scene(self.model, self.source, self.case, loaded, **how)
        _ = other.clean_logits
        self.forward_calls += other.forward_calls
        return other

    @property
    def predicted_volumes(self) -> dict[str, float]:
        """Volume of the prediction of the unchanged image in ml by class."""
        return volumes_ml(self.clean, spacing=self.spacing, groups=self.groups)

    def score(
        self,
        prediction: Tensor,
        dice: Tensor,
        label: Tensor,
        logits: Tensor,
        *,
        image: Tensor | None = None,
        on_files: NDArray[np.int64] | None = None,
    ) -> Scores:
        """All metrics of a prediction.

        Args:
            prediction: classes (*spatial).
            dice: (1, K), of that prediction.
            label: classes (*spatial) to compare with.
            logits: (K, *spatial) behind the prediction.
            image: (1, C, *spatial) that was predicted, if not that of the case.
            on_files: classes to compare with on the grid of the files, if not those of the case.
        """
        found, truth = prediction.cpu(), label.cpu()
        how: dict[str, Any] = {"spacing": self.spacing, "instances": self.instances}
        if self.model.card.regions:
            scores = score_regions(found, truth, dice[0], groups=self.groups, **how)
        else:
            scores = score(found, truth, dice[0], classes=self.classes, **how)
        scores[MEAN]["ece"] = calibration_error(logits, label, spacing=self.spacing, independent=self.model.independent)
        if self.source.prepares:
            there = native_decision(self.model, self.image if image is None else image, logits, self.loaded.steps)
            judged = self.loaded.native_label if on_files is None else on_files
            add_native_dice(scores, there, judged, groups=self.groups)
        return scores

    def moved_on_files(self, label: Tensor) -> NDArray[np.int64]:
        """A label (*spatial) that moved with the image, on the grid of the files; what did not move stays as it was."""
        native = replace(self.loaded.native, label=self.loaded.native_label)
        return native_label(label.cpu().numpy(), self.loaded.label, native, self.loaded.steps)

    def keep(self, name: str, digest: str) -> str:
        """Note a file that was written for this case; returns its name."""
        self.files[name] = digest
        return name

    def write_arrays(self, name: str, arrays: dict[str, NDArray[Any]]) -> str:
        """Write arrays below the audit folder, whole or not at all; returns the name."""
        with whole_file(self.folder / name) as part:
            np.savez_compressed(part, allow_pickle=False, **arrays)
        return self.keep(name, sha256(self.folder / name))

    def forget_files(self) -> None:
        """Remove what was written: a case that came to no end is no result."""
        for name in self.files:
            (self.folder / name).unlink(missing_ok=True)

    def show(self, result: AttackResult) -> None:
        """Store the slice and the volume that the page shows of an attack; on checked cases evaluate its image anew."""
        self.write_arrays(f"cases/{self.case.id}.npz", {**self._slices(result), **self._volume(result)})
        if self.checked and not self.random:
            decided = self.logits(result.image.clone()).argmax(0).cpu().numpy()
            truth, told = result.label[0].cpu().numpy(), float(result.foreground_dice[0])
            self.checks["replay"] = abs(dice_by_counting(decided, truth, self.groups) - told)

    def shown(self, classes: Tensor) -> Tensor:
        """A map of classes as one of structures, smaller regions over larger ones; ignored voxels are background."""
        if not self.model.card.regions:
            return classes.clamp(min=0)
        shown = torch.zeros_like(classes)
        for k, inside in self.groups.items():
            shown[torch.isin(classes, torch.tensor(inside, device=classes.device))] = k
        return shown

    def results_of_checks(self) -> Checks | None:
        """What was checked; None if nothing was."""
        return Checks(**self.checks) if self.checked else None

    def _slices(self, result: AttackResult) -> dict[str, NDArray[Any]]:
        """The most telling slice, rows and columns as a viewer shows them; an image as it is."""
        maps = (self.label[0], self.clean, result.prediction[0])
        axis, index = telling_slice([np.asarray(self.shown(classes).cpu() > 0) for classes in maps])

        def cut(volume: Tensor, kind: type) -> NDArray[Any]:
            plane = volume.cpu().numpy()
            return np.rot90(plane.take(index, axis) if plane.ndim == 3 else plane).astype(kind)

        columns, rows = (size for a, size in enumerate(self.loaded.volume.spacing) if a != axis)
        return {
            "image": cut(self.image[0, 0], np.float32),
            "attacked_image": cut(result.image[0, 0], np.float32),
            "label": cut(self.shown(self.label[0]), np.uint8),
            "clean_prediction": cut(self.shown(self.clean), np.uint8),
            "attacked_prediction": cut(self.shown(result.prediction[0]), np.uint8),
            "spacing": np.array([rows, columns]),
        }

    def _volume(self, result: AttackResult) -> dict[str, NDArray[Any]]:
        """The part around the structures; nothing of a 2D case, be it a volume of one slice."""
        if self.label.ndim != 4 or 1 in self.label.shape[1:]:
            return {}
        image, attacked = (tensor[0, 0].cpu().numpy() for tensor in (self.image, result.image))
        maps = {"label": self.label[0], "clean_prediction": self.clean, "attacked_prediction": result.prediction[0]}
        classes = {name: self.shown(values).cpu().numpy() for name, values in maps.items()}
        return cropped(image, attacked - image, classes=classes, affine=self.loaded.volume.affine)


class Then(nn.Module):
    """A model whose logits go through a function; a module, so that its parts can still be found."""

    def __init__(self, model: Model, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, image: Tensor) -> Tensor:
        """What the function makes of the logits."""
        return self.function(self.model(image))


def telling_slice(maps: Sequence[NDArray[np.bool_]]) -> tuple[int, int]:
    """Axis and place of the slice with the largest area of the first of some maps (*spatial) that holds anything.

    Where nothing is held, the middle of the axis with the largest slices; a volume of one slice is cut into no others.
    """
    shape = maps[0].shape
    if len(shape) < 3:
        return 2, 0
    held = next((inside for inside in maps if inside.any()), maps[0])
    sizes = [math.prod(shape) // sides for sides in shape]
    axes = [axis for axis in range(3) if shape[axis] == 1][-1:] or range(3)
    areas = {axis: held.sum(tuple(a for a in range(3) if a != axis)) for axis in axes}
    axis = max(areas, key=lambda axis: (areas[axis].max(), sizes[axis]))
    return axis, int(areas[axis].argmax()) if held.any() else shape[axis] // 2


def tensors(model: SegmentationModel, loaded: Loaded) -> tuple[Tensor, Tensor]:
    """Image (1, C, *spatial) and label (1, *spatial) of a case on the model's device."""
    device = next(model.parameters()).device
    image, label = (torch.from_numpy(array)[None] for array in (loaded.volume.image, loaded.label))
    return image.to(device), label.to(device)


def finite_logits(model: SegmentationModel, image: Tensor, case: str) -> Tensor:
    """Logits of an image (1, C, *spatial).

    Raises:
        InputError: if one of them is not finite.
    """
    with torch.no_grad():
        logits: Tensor = model(image)
    if not bool(torch.isfinite(logits).all()):
        msg = f"the model must give finite logits on case {case}, got undefined ones. Check its weights."
        raise InputError(msg)
    return logits


def number(value: Tensor) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if bool(torch.isfinite(value)) else None


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dice_by_counting(prediction: NDArray[Any], label: NDArray[Any], groups: Groups) -> float:
    """Mean Dice over the structures that the label holds, over all if it holds none; negative labels are ignored."""
    dice = dice_of_maps(np.where(label < 0, -1, prediction), label, groups)
    return mean_of_held(dice, structures_in(label, groups))
