"""Attack probe: one attack, or noise, over a ladder of budgets; on request the attacked images as NIfTI files."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from imaseg.attacks import Attack, AttackResult
from imaseg.auditing.inputs.budget import UNIT_SCALE, Budgeted, Eps, Room
from imaseg.auditing.metrics.scores import block
from imaseg.auditing.probes.base import Cost, Labels, Probe, Sorted
from imaseg.auditing.probes.near_search import NearSearch
from imaseg.auditing.probes.scene import Scene, number
from imaseg.auditing.probes.written import write_attacked
from imaseg.perturbations import Perturbation
from imaseg.results.attack import AttackEntry, AttackRow
from imaseg.results.base import SearchedNearAll, Spread, in_set
from imaseg.results.case import CaseRecord, CaseScale, units_of

Pairs = Sequence[tuple[CaseRecord, AttackRow]]
"""Rows of one budget, next to the records of their cases."""
_LOOKS = 3
"""Forward passes per budget besides those of the search."""


def ladder_of(eps: Any) -> Any:
    """A ladder of budgets, of one where a plan gives a single number."""
    return [eps] if isinstance(eps, int | float | str) else eps


class AttackProbe(NearSearch, Probe):
    """One attack over a ladder of budgets, each search starting from what the one before found.

    Attributes:
        attack: registered name, or a published preset.
        eps: the ladder; a single number is a ladder of one.
        objective: what the attack maximises; its own if not given.
        steps, restarts: of the attack; its own default if not given.
        samples: draws of a random model over which each gradient and score is a mean; None is 4 for a random model.
        transferred: attack the other model that the audit is given (`--from`); the audited one judges the images.
        write: "nifti" writes the attacked image of the largest budget on the grid and in the units of its source, reads
            it back and scores it again.
    """

    kind: Literal["attack"] = "attack"
    attack: str
    eps: Annotated[list[Eps], BeforeValidator(ladder_of), Sorted, Field(min_length=1)]
    objective: str | None = None
    steps: int | None = Field(None, ge=1, le=10**6)
    restarts: int | None = Field(None, ge=1, le=10**6)
    samples: int | None = Field(None, ge=1, le=10**4)
    transferred: bool = False
    write: Literal["nifti"] | None = None

    def names(self) -> list[str]:
        """Attack and set, and the objective where it is not Dice."""
        objective = [] if self.objective in (None, "dice") else [str(self.objective)]
        # "worst-case-SET" is what results call the lowest Dice over all attacks in a set.
        attack = "worst-of-several" if self.attack == "worst-case" else self.attack
        return ["-".join([attack, self.in_set, *objective])]

    @property
    def in_set(self) -> str:
        """Set, where it may change, and whether on another model."""
        return in_set(self.perturbation, self.within, transferred=self.transferred)

    @property
    def is_noise(self) -> bool:
        """Whether it draws at random instead of searching."""
        return Attack.about(self.attack).is_noise

    @property
    def uses_gradients(self) -> bool:
        """Whether it needs the gradient of the image."""
        return Attack.about(self.attack).uses_gradients

    @property
    def led(self) -> bool:
        """If it uses gradients, and those of the audited model."""
        return self.uses_gradients and not self.transferred

    def build(self, eps: float, seed: int, scale: CaseScale = UNIT_SCALE, room: Room | None = None) -> Attack:
        """The attack at one budget.

        Raises:
            ValueError: if names or numbers do not fit together or to the case.
        """
        given = {"steps": self.steps, "objective": self.objective, "restarts": self.restarts}
        given["samples"] = self.samples
        spec = {"name": self.attack} | {key: value for key, value in given.items() if value is not None}
        return Attack.build(spec, self.build_set(eps, scale, room, reach=self.eps[-1]), seed=seed)

    def folders(self) -> list[str]:
        """Of images, labels and predictions."""
        return ["images"] if self.write else []

    def check(self, seed: int) -> None:
        """Build every budget once."""
        self.check_near()
        if self.search_near is not None and not self.uses_gradients:
            msg = f"search_near must go with an attack that uses gradients, got {self.attack!r}. Leave it out."
            raise ValueError(msg)
        for eps in self.eps:
            self.build(eps, seed)

    def cost(self, classes: int, seed: int) -> Cost:
        """Steps of all restarts at every budget."""
        attack, rungs = self.build(self.eps[-1], seed), len(self.eps)
        calls, looks = attack.steps * attack.restarts * attack.samples * rungs, _LOOKS * rungs
        gradients, forwards = (calls, looks) if self.uses_gradients else (0, calls + looks)
        return Cost(self.name, gradients + self.looks_around, forwards, rungs, self.perturbation, self.cases)

    def run(self, scene: Scene) -> list[AttackRow]:
        """Search at every budget, score, and write what is asked for."""
        attacked = scene.attacked if self.transferred else scene.model
        attack = self.build(self.eps[0], scene.seed, scene.scale, self.room(scene, attacked))
        factor = self.factor(scene.scale)
        budgets = [eps * factor for eps in self.eps]
        # Half precision was tried on the audited model alone.
        led = scene.seen_in_full(attacked) if self.transferred else scene.searched(attacked)
        results = attack.ladder(led, scene.image, scene.search_label, budgets)
        results = [scene.told(scene.judged(result) if self.transferred else result) for result in results]
        rows = []
        for eps, result in zip(self.eps, results, strict=True):
            scene.count(result)
            rows.append(self._row(scene, eps, result, attack.perturbation))
            if scene.showcase and (scene.showcase.probe, scene.showcase.eps) == (self.name, eps):
                scene.show(result)
        if self.write == "nifti":
            written = write_attacked(scene, results[-1], moved=attack.perturbation.moves_label)
            rows[-1] = rows[-1].model_copy(update={"written": written})
        return rows

    def _row(self, scene: Scene, eps: float, result: AttackResult, perturbation: Perturbation) -> AttackRow:
        logits, region, label = scene.logits(result.image), perturbation.region, result.label[0]
        there = scene.moved_on_files(label) if perturbation.moves_label and scene.source.prepares else None
        return AttackRow(
            probe=self.name,
            eps=eps,
            eps_set=float(result.eps),
            size=float(result.size),
            scores=scene.score(result.prediction[0], result.dice, label, logits, image=result.image, on_files=there),
            sizes=sizes_in_all_units({unit: float(size) for unit, size in result.sizes.items()}, scene.scale),
            free=1.0 if region is None else float(region.float().mean()),
            near=scene.share_near(result.image[0] - scene.image[0]),
            made_on=scene.attacked.card.name if self.transferred else "",
            searched_near=self.reach(scene, scene.attacked if self.transferred else None),
            objective=number(result.objective),
            objective_clean=number(result.objective_clean),
            zero_gradients=float(result.zero_gradients),
            nonfinite_gradients=float(result.nonfinite_gradients),
            forward_calls=result.forward_calls,
            backward_calls=result.backward_calls,
        )

    def summarise(self, records: Sequence[CaseRecord], labels: Labels, seed: int) -> list[AttackEntry]:
        """One entry per budget."""
        found = self.rows(records, AttackRow)
        ladder = [[pair for pair in found if pair[1].eps == eps] for eps in self.eps] if found else []
        return [self._entry(pairs, labels, seed) for pairs in ladder]

    def _entry(self, pairs: Pairs, labels: Labels, seed: int) -> AttackEntry:
        attack = self.build(pairs[0][1].eps, seed)
        return AttackEntry(
            probe=self.name,
            attack=self.attack,
            objective=getattr(attack.objective, "name", None),  # some attacks have one without a name
            steps=attack.steps,
            restarts=attack.restarts,
            written=_written(pairs),
            **figures(self, pairs, labels, seed),
        )


def worst_cases(
    probes: Sequence[AttackProbe], records: Sequence[CaseRecord], labels: Labels, seed: int
) -> list[AttackEntry]:
    """Where several attacks ran in one set at one budget, the lowest Dice of each case over them.

    A model is as robust as the worst attack says, which need not be the same one for all cases. Cases that one of the
    attacks was not run on do not count.
    """
    rivals: dict[tuple[str, str, float], set[str]] = {}  # set, unit, budget
    for probe in probes:
        for eps in [] if probe.is_noise else probe.eps:
            rivals.setdefault((*probe.searched, eps), set()).add(probe.name)
    entries = []
    for (kind, _, eps), names in rivals.items():
        pairs = _lowest(records, names, eps) if len(names) > 1 else []
        if pairs:
            stated = figures(next(probe for probe in probes if probe.name in names), pairs, labels, seed)
            entry = AttackEntry(probe=f"worst-case-{kind}", attack="worst-case", members=sorted(names), **stated)
            entries.append(entry)
    return entries


def _lowest(records: Sequence[CaseRecord], names: Collection[str], eps: float) -> Pairs:
    """The row with the lowest Dice of each case that all these probes were run on."""
    by_case = [
        (record, [row for row in record.rows_of(AttackRow) if row.probe in names and row.eps == eps])
        for record in records
    ]
    return [(record, min(rows, key=lambda row: row.dice)) for record, rows in by_case if len(rows) == len(names)]


def figures(probe: Budgeted, pairs: Pairs, labels: Labels, seed: int) -> dict[str, Any]:
    """What is stated of every attack at one budget: set and budget in all units, means and intervals, cases."""
    (records, rows), eps = zip(*pairs, strict=True), pairs[0][1].eps
    near = [row.near for row in rows if row.near is not None]
    sizes, moved = spent(rows)
    return {
        "perturbation": probe.perturbation,
        "unit": probe.stated_unit,
        **probe.confined(records),
        "seed": seed,
        "eps": eps,
        "eps_native": native_budget(records, eps, probe),
        "sizes": sizes,
        "moved": moved,
        "near": statistics.fmean(near) if near else None,
        "made_on": rows[0].made_on,
        "searched_near": SearchedNearAll.over([row.searched_near for row in rows]),
        "n": len(pairs),
        **block({record.case: row.scores for record, row in pairs}, labels, units_of(records)),
    }


def spent(rows: Sequence[AttackRow]) -> tuple[dict[str, float], int]:
    """Median size of the change in each unit, over the cases that were changed at all, and how many these are.

    A case that fails unattacked is not changed: a median over many of them would be 0 at every budget.
    """
    moved = [row for row in rows if any(row.sizes.values())]
    units = [unit for unit in rows[0].sizes if all(unit in row.sizes for row in rows)]
    return {unit: statistics.median(row.sizes[unit] for row in moved or rows) for unit in units}, len(moved)


def native_budget(records: Sequence[CaseRecord], eps: float, budget: Budgeted) -> Spread | None:
    """A budget in native intensity units, which differ from case to case where images are normalised one by one.

    None where eps is no intensity, or the units are not known.
    """
    if not budget.is_intensity:
        return None
    natives = [
        budget.factor(record.scale) * record.scale.native for record in records if record.scale.native is not None
    ]
    if len(natives) < len(records):
        return None
    return Spread(median=eps * statistics.median(natives), min=eps * min(natives), max=eps * max(natives))


def sizes_in_all_units(sizes: Mapping[str, float], scale: CaseScale) -> dict[str, float]:
    """Sizes of a change in units of the model's input, and in those of the case where they are known."""
    known = {"std": 1 / scale.std if scale.std else None, "native": scale.native}
    return {**sizes} | {
        f"{size}_{unit}": sizes[size] * factor
        for unit, factor in known.items()
        if factor is not None
        for size in ("rms", "linf")
    }


def _written(pairs: Pairs) -> dict[str, Any] | None:
    """Mean Dice of every stage of the written files, and by case what became of attacks that the files do not hold."""
    files = {record.case: row.written for record, row in pairs if row.written is not None}
    if not files or len(files) < len(pairs):
        return None
    first, *_ = files.values()
    return {
        "dice": {
            k: {stage: statistics.fmean(one.dice[k][stage] for one in files.values()) for stage in stages}
            for k, stages in first.dice.items()
        },
        "differ_in_the_file": {case: one.note for case, one in files.items() if one.note},
    }
