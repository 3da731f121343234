"""Universal probe: one perturbation fitted to some cases, judged on these and on the others.

It is fitted by whoever comes to it first, before that case is judged, and kept in `universal/NAME.npz`, whole or not at
all, so that a resumed audit and other processes judge with the same one.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from filelock import FileLock
from pydantic import BeforeValidator, Field

from imaseg.attacks import Universal, UniversalPGD
from imaseg.attacks.result import measure
from imaseg.auditing.inputs.budget import Budgeted, Eps
from imaseg.auditing.probes.attack import figures, ladder_of, sizes_in_all_units
from imaseg.auditing.probes.base import Cost, Labels, Probe, Sorted
from imaseg.auditing.probes.scene import Scene
from imaseg.data.files import told_if_unwritable, whole_file
from imaseg.errors import InputError
from imaseg.objectives import Objective
from imaseg.results.attack import AttackEntry, AttackRow
from imaseg.results.case import CaseRecord

_PASSES = 4
"""Forward passes of a case per step; two more at the beginning of every budget."""
_FIGURES = ("dice", "dice_clean", "objective", "objective_clean", "samples", "forward_calls", "backward_calls")


class UniversalProbe(Budgeted, Probe):
    """One perturbation for all cases (Moosavi-Dezfooli et al., CVPR 2017), over a ladder of budgets.

    Attributes:
        eps: the ladder; a single number is a ladder of one.
        fit: cases that it is fitted on at most, the first ones; never more than half of all, so that others are left.
        objective: what it maximises in the mean over these; Dice if not given.
        steps: passes over them.
        grid: shape of the pattern that is resampled to each case; that of the first case if not given.
    """

    kind: Literal["universal"] = "universal"
    eps: Annotated[list[Eps], BeforeValidator(ladder_of), Sorted, Field(min_length=1)]
    fit: int = Field(8, ge=1)
    objective: str | None = None
    steps: int = Field(20, ge=1, le=10**6)
    grid: list[Annotated[int, Field(ge=1)]] | None = None

    def names(self) -> list[str]:
        """The set, and the objective where it is not Dice."""
        return ["-".join(filter(None, ["universal", self.in_set, self.objective]))]

    def build(self, eps: float) -> UniversalPGD:
        """The search at one budget, in a set that stands for those of the cases.

        Raises:
            ValueError: if names or numbers do not fit together.
        """
        objective = None if self.objective is None else Objective.build(self.objective)
        return UniversalPGD(self.build_set(eps), steps=self.steps, objective=objective, grid=self.grid)

    def check(self, seed: int) -> None:
        """Build every budget once."""
        for eps in self.eps:
            self.build(eps)

    def cost(self, classes: int, seed: int) -> Cost:
        """A pass per budget."""
        return Cost(self.name, 0, len(self.eps), len(self.eps), self.perturbation, self.cases)

    def once(self, cases: int) -> Cost:
        """The search, before the first case."""
        fitted, rungs = self._share(cases), len(self.eps)
        forwards = rungs * fitted * ((_PASSES - 1) * self.steps + 2)
        return Cost(f"{self.name}: fit", rungs * fitted * self.steps, forwards, 0, self.perturbation, 1, self.name)

    def run(self, scene: Scene) -> list[AttackRow]:
        """Judge the perturbation of every budget, fitted now if it is not yet."""
        found, fitted = self._found(scene)
        return [self._row(scene, eps, one, fitted) for eps, one in zip(self.eps, found, strict=True)]

    def _share(self, cases: int) -> int:
        return max(1, min(self.fit, cases // 2))

    def _found(self, scene: Scene) -> tuple[list[Universal], list[str]]:
        """What was fitted, and the cases that it was fitted on."""
        path = scene.folder / "universal" / f"{self.name}.npz"
        if not path.is_file():
            with told_if_unwritable(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_name(f".{self.name}.lock"))
            with contextlib.suppress(NotImplementedError):  # a disk without locks: every process fits its own, alike
                lock.acquire()
            try:
                if not path.is_file():  # another process may just have written it
                    self._write(path, *self._fitted(scene))
            finally:
                lock.release()
                Path(lock.lock_file).unlink(missing_ok=True)
        return self._read(path, scene)

    def _fitted(self, scene: Scene) -> tuple[list[Universal], list[str]]:
        source = scene.source
        cases = source.some(self._share(len(source.ids)))
        scenes = [
            Scene(scene.model, source, case, loaded, folder=scene.folder, seed=scene.seed) for case, loaded in cases
        ]
        if not scenes:
            msg = f"{self.name} must be fitted on a case that can be read, got none. Mend the cases."
            raise InputError(msg)
        found = []
        for eps in self.eps:
            batches = [
                (one.image, one.search_label, self.build_set(eps, one.scale, one.room(self.within))) for one in scenes
            ]
            search = self.build(eps)
            search.seed = scene.seed
            found.append(search.fit(scene.seen_in_full(scene.model), batches))
            scene.count(found[-1])
        return found, [one.case.id for one in scenes]

    def _write(self, path: Path, found: Sequence[Universal], fitted: Sequence[str]) -> None:
        patterns = {f"pattern_{rung}": one.pattern.cpu().numpy() for rung, one in enumerate(found)}
        stated = {key: np.array([getattr(one, key) for one in found]) for key in _FIGURES}
        with whole_file(path) as part:
            known = {"fitted": np.array(fitted), "eps": np.array(self.eps)}
            np.savez_compressed(part, allow_pickle=False, **known, **patterns, **stated)

    def _read(self, path: Path, scene: Scene) -> tuple[list[Universal], list[str]]:
        """What was written.

        Raises:
            InputError: if the file is damaged, or of another probe.
        """
        try:
            with np.load(path, allow_pickle=False) as held:
                patterns = [torch.from_numpy(held[f"pattern_{rung}"]) for rung in range(len(self.eps))]
                stated: list[dict[str, Any]] = [
                    {key: held[key][rung].item() for key in _FIGURES} for rung in range(len(self.eps))
                ]
                fitted = held["fitted"].tolist()
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            msg = f"{path} must be what probe {self.name} wrote, got a damaged file. Delete it and run again."
            raise InputError(msg) from error
        sets = [self.build_set(eps) for eps in self.eps]
        found = [Universal(one, pattern, **more) for one, pattern, more in zip(sets, patterns, stated, strict=True)]
        return found, fitted

    def _row(self, scene: Scene, eps: float, found: Universal, fitted: Sequence[str]) -> AttackRow:
        allowed = self.build_set(eps, scene.scale, scene.room(self.within))
        params = found.params(scene.image, allowed)
        image = allowed.apply(scene.image, params)
        before = scene.forward_calls
        scores = scene.score_of(image)
        change = image - scene.image
        sizes = measure(change, scene.image, allowed.share)
        return AttackRow(
            probe=self.name,
            eps=eps,
            eps_set=float(allowed.radius(scene.image)),
            size=float(allowed.size(params)),
            scores=scores,
            sizes=sizes_in_all_units({unit: float(size) for unit, size in sizes.items()}, scene.scale),
            free=1.0 if allowed.region is None else float(allowed.region.float().mean()),
            near=scene.share_near(change[0]),
            fitted_on=list(fitted),
            objective=None,
            objective_clean=None,
            zero_gradients=0.0,
            nonfinite_gradients=0.0,
            forward_calls=scene.forward_calls - before,
            backward_calls=0,
        )

    def summarise(self, records: Sequence[CaseRecord], labels: Labels, seed: int) -> list[AttackEntry]:
        """Per budget an entry over the cases that it was not fitted on, and one over those that it was."""
        found = self.rows(records, AttackRow)
        entries = []
        for eps in self.eps if found else ():
            pairs = [pair for pair in found if pair[1].eps == eps]
            for seen, name in ((False, self.name), (True, f"{self.name}-fitted")):
                here = [(record, row) for record, row in pairs if (record.case in row.fitted_on) is seen]
                if here:
                    entries.append(self._entry(name, here, labels, seed))
        return entries

    def _entry(self, name: str, pairs: Any, labels: Labels, seed: int) -> AttackEntry:
        return AttackEntry(
            probe=name,
            attack=UniversalPGD.name,
            objective=self.objective or "dice",
            steps=self.steps,
            restarts=1,
            fitted_on=pairs[0][1].fitted_on,
            **figures(self, pairs, labels, seed),
        )
