"""An attacked case as NIfTI files: on the grid and in the units of its source, read back, prepared, scored again.

A Dice counts only once the file was read back: rounding, clipping and resampling may undo what the attack found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from imaseg.attacks import AttackResult
from imaseg.attacks.result import measure
from imaseg.auditing.inputs.own import native_decision
from imaseg.auditing.inputs.source import Loaded
from imaseg.auditing.metrics.scores import dice_of_maps, mean_of_held, structures_in
from imaseg.auditing.probes.scene import Scene, finite_logits, tensors
from imaseg.data import Case
from imaseg.data.inverse.native import native_change, native_label, resampled
from imaseg.data.inverse.rewrite import write_changed, write_labels_on
from imaseg.errors import InputError
from imaseg.results.attack import Written, WrittenFile
from imaseg.results.base import MEAN

SAME_DICE = 0.005
"""Dice that differ by no more than this are called equal."""
_LOST = 0.1


def write_attacked(scene: Scene, result: AttackResult, *, moved: bool) -> Written:
    """Write `images/`, `predictions/`, `clean_predictions/` and, where the label moved, `labels/` of a case.

    Args:
        scene: the case.
        result: of the attack.
        moved: whether the label moved with the image.

    Raises:
        InputError: if the written files cannot be prepared for the model.
    """
    attacked, files = _write_images(scene, result, moved=moved)
    reread = _judged_alike(scene.source.unjudged(attacked), scene.loaded, moved=moved)
    dice = _dice(scene, result, reread)
    sizes, astray = _from_files(result, scene.loaded, reread)
    return Written(
        images=files, sizes_reread=sizes, astray=astray, dice=dice, note=_note(dice[MEAN], files, astray, scene.loaded)
    )


def _judged_alike(reread: Loaded, before: Loaded, *, moved: bool) -> Loaded:
    """What was read again, with the label that the case is judged by where that is in none of its files."""
    if moved or not before.own:
        return reread
    if reread.volume.shape != before.volume.shape:
        msg = f"case {before.volume.id} is cropped otherwise once it is attacked, got no label for that crop."
        raise InputError(msg)
    return replace(
        reread,
        volume=replace(reread.volume, label=before.label),
        native=replace(reread.native, label=before.native.label),
        classes={},
    )


def _write_images(scene: Scene, result: AttackResult, *, moved: bool) -> tuple[Case, list[WrittenFile]]:
    """The adversarial files and the case that they make up."""
    case, native, steps = scene.case, scene.loaded.native, scene.loaded.steps
    delta = result.image[0].cpu().numpy() - scene.loaded.volume.image
    change, first, images, files = native_change(delta, native, steps, moved=moved), 0, [], []
    for i, path in enumerate(case.image):
        name = f"images/{case.id}.nii.gz" if len(case.image) == 1 else f"images/{case.id}_{i:04d}.nii.gz"
        written = write_changed(path, change[first:], scene.folder / name)
        first += written.channels
        images.append(scene.folder / name)
        scene.keep(name, written.sha256)
        files.append(WrittenFile(file=name, **{key: value for key, value in vars(written).items() if key != "sha256"}))
    if not moved:
        return Case(case.id, tuple(images), case.label), files
    label = native_label(result.label[0].cpu().numpy(), scene.loaded.label, native, steps)
    return Case(case.id, tuple(images), scene.folder / _write_label(scene, "labels", label)), files


def _write_label(scene: Scene, folder: str, label: NDArray[np.int64]) -> str:
    name = f"{folder}/{scene.case.id}.nii.gz"
    return scene.keep(name, write_labels_on(scene.folder / name, label, scene.case.image[0]))


def _dice(scene: Scene, result: AttackResult, reread: Loaded) -> dict[str, dict[str, float]]:
    """Write both predictions on the native grid; Dice of everything, by class and in the mean."""
    image = tensors(scene.model, reread)[0]
    again = finite_logits(scene.model, image, scene.case.id)[0]
    stages = {
        "clean": {str(k): float(result.dice_clean[0][k]) for k in scene.classes},
        "attacked": {str(k): float(result.dice[0][k]) for k in scene.classes},
        "reread": dice_of_maps(again.argmax(0).cpu().numpy(), reread.label, scene.groups),
    }
    for stage, folder, loaded, seen, logits in (
        ("clean_native", "clean_predictions", scene.loaded, scene.image, scene.clean_logits[0]),
        ("reread_native", "predictions", reread, image, again),
    ):
        label = native_decision(scene.model, seen, logits, loaded.steps)
        _write_label(scene, folder, label)
        stages[stage] = dice_of_maps(label, loaded.native_label, scene.groups)
    for stage, values in stages.items():
        on_files = structures_in(scene.loaded.native_label, scene.groups)
        values[MEAN] = mean_of_held(values, on_files if stage.endswith("_native") else scene.held)
    return {k: {stage: values[k] for stage, values in stages.items()} for k in stages["clean"]}


def _from_files(result: AttackResult, before: Loaded, after: Loaded) -> tuple[dict[str, float] | None, float | None]:
    """Size of the change that the model sees from the files, and how far that is from the attack as a share of it."""
    clean, found = before.volume, after.volume
    if clean.shape != found.shape or not np.allclose(clean.affine, found.affine):
        return None, None
    attacked = result.image[0].cpu().numpy()
    image = torch.from_numpy(clean.image)[None]
    sizes = {unit: float(size) for unit, size in measure(torch.from_numpy(found.image)[None] - image, image).items()}
    length = float(np.linalg.norm(attacked - clean.image))
    return sizes, float(np.linalg.norm(found.image - attacked)) / length if length else 0.0


def _note(dice: Mapping[str, float], files: Sequence[WrittenFile], astray: float | None, loaded: Loaded) -> str:
    """What became of the attack in the files; empty if they hold it."""
    worst = max(files, key=lambda file: file.error)
    if worst.wanted and not any(file.changed for file in files):
        return f"lost in the file: no voxel changed, rounding to {worst.dtype}"
    change = dice["reread"] - dice["attacked"]
    if abs(change) <= SAME_DICE:
        return ""
    causes = {
        f"rounding to {worst.dtype}": worst.error > _LOST,
        "resampling": resampled(loaded.steps) and (astray or 0) > _LOST,
        "another crop": astray is None,
    }
    cause = ", ".join(name for name, holds in causes.items() if holds) or "intensities scaled anew"
    gone = dice["attacked"] < dice["clean"] - SAME_DICE and dice["reread"] >= dice["clean"] - SAME_DICE
    return f"{'lost' if gone else f'{change:+.3f}'} in the file: {cause}"
