"""What attacking one case gave, and what became of the attack in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imaseg.attacks import Attack, AttackResult
from imaseg.attacks.result import measure
from imaseg.auditing.case import number
from imaseg.auditing.source import Loaded

MEAN = "foreground_mean"
SCORES = ("clean", "attacked", "reread", "clean_native", "reread_native")
SAME = 0.005
"""Dice that differ by no more than this are called equal."""
_LOST = 0.1


@dataclass
class AttackRecord:
    """All that is known of one attacked case; the content of `cases/<id>.json`.

    Attributes:
        case: id.
        attack: with all its settings, as it would be written in Python.
        perturbation: its set, likewise.
        seed: of the search.
        eps, size: budget and size found, in `unit`.
        native_scale: native units per unit of the model's input; None if unknown.
        sizes: of the change in the model's space: "l2", "rms", "linf" in its units, "range" as a share of the case's
            range, "rms_native" and "linf_native" in native units where known.
        sizes_reread: the same of what the model sees from the file; None if that is cropped otherwise.
        astray: how far what the model sees from the file is from the attack, as a share of the change.
        free: share of the values that the search could change.
        objective: "clean" and "attacked".
        forward_calls, backward_calls, zero_gradients, nonfinite_gradients: of the search.
        dice: by class and "foreground_mean": "clean" and "attacked" in the model's space, "reread" there from the
            written file, "clean_native" and "reread_native" of the written predictions on the grid of the file.
        note: what became of the attack in the file; empty if it is the same.
        written: what rounding and the range of the type did to the change, per image file.
        files: SHA-256 by name, relative to the output folder.
        seconds: wall time.
    """

    case: str
    attack: str
    perturbation: str
    seed: int
    eps: float
    unit: str
    size: float
    native_scale: float | None
    sizes: dict[str, float]
    free: float
    objective: dict[str, float | None]
    forward_calls: int
    backward_calls: int
    zero_gradients: float
    nonfinite_gradients: float
    sizes_reread: dict[str, float] | None = None
    astray: float | None = None
    dice: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""
    written: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, attack: Attack, result: AttackResult, case: Loaded) -> AttackRecord:
        """The part that the search gives."""
        region = attack.perturbation.region
        return cls(
            case=case.volume.id,
            attack=result.attack,
            perturbation=repr(attack.perturbation),
            seed=result.seed,
            eps=float(attack.perturbation.eps),
            unit=attack.perturbation.unit,
            size=float(result.size),
            native_scale=case.native_scale,
            sizes=_sizes(result.image[0].cpu().numpy(), case),
            free=1.0 if region is None else float(region.float().mean()),
            objective={"clean": number(result.objective_clean), "attacked": number(result.objective)},
            forward_calls=result.forward_calls,
            backward_calls=result.backward_calls,
            zero_gradients=float(result.zero_gradients),
            nonfinite_gradients=float(result.nonfinite_gradients),
        )

    def compare(self, result: AttackResult, before: Loaded, after: Loaded) -> None:
        """Note what the model sees from the file, next to what the attack found."""
        first, last = before.volume, after.volume
        if first.shape != last.shape or not np.allclose(first.affine, last.affine):
            return
        self.sizes_reread = _sizes(last.image, before)
        attacked = result.image[0].cpu().numpy()
        length = float(np.linalg.norm(attacked - first.image))
        self.astray = float(np.linalg.norm(last.image - attacked)) / length if length else 0.0

    def judge(self, *, resampled: bool) -> None:
        """Write the note."""
        clean, attacked, reread = (self.dice[MEAN][key] for key in ("clean", "attacked", "reread"))
        worst = max(self.written, key=lambda entry: entry["error"])
        if worst["wanted"] and not any(entry["changed"] for entry in self.written):
            self.note = f"lost in the file: no voxel changed, rounding to {worst['dtype']}"
            return
        if abs(reread - attacked) <= SAME:
            return
        causes = {
            f"rounding to {worst['dtype']}": worst["error"] > _LOST,
            "resampling": resampled and (self.astray or 0) > _LOST,
            "another crop": self.astray is None,
        }
        cause = ", ".join(name for name, holds in causes.items() if holds) or "intensities scaled anew"
        gone = attacked < clean - SAME and reread >= clean - SAME
        self.note = f"{'lost' if gone else f'{reread - attacked:+.3f}'} in the file: {cause}"


def dice_of_maps(found: NDArray[Any], label: NDArray[Any], classes: Sequence[int]) -> dict[str, float]:
    """Dice of two label maps by class, and their mean; 1 where a class is in neither."""
    scores = {}
    for k in classes:
        total = int((found == k).sum()) + int((label == k).sum())
        scores[str(k)] = 2 * int(((found == k) & (label == k)).sum()) / total if total else 1.0
    return scores | {MEAN: sum(scores.values()) / len(scores)}


def _sizes(image: NDArray[np.float32], case: Loaded) -> dict[str, float]:
    """Size of the difference between an image in the model's space and the clean one there."""
    clean = torch.from_numpy(case.volume.image)[None]
    sizes = {unit: float(size) for unit, size in measure(torch.from_numpy(image)[None] - clean, clean).items()}
    if case.native_scale is not None:
        sizes |= {f"{unit}_native": sizes[unit] * case.native_scale for unit in ("rms", "linf")}
    return sizes
