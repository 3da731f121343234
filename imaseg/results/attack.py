"""Attacks and noise: what they did to one case at one budget, and over all cases."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from imaseg.results.base import (
    MEAN,
    Block,
    CaseId,
    Entry,
    Record,
    Row,
    Scored,
    SearchedNear,
    SearchedNearAll,
    Spread,
    in_set,
    score_lines,
)


class WrittenFile(Record):
    """What rounding and the range of its type did to the change in one image file.

    Attributes:
        file: name below the audit folder.
        dtype: type of the voxels in the file.
        channels: that the file holds.
        wanted: voxels that the attack changes.
        changed: voxels that differ in the file.
        at_limit: voxels that would have left the range of the type and were set to its end.
        error: norm of what rounding and range added to the change or took from it, as a share of the change's norm.
    """

    file: str
    dtype: str
    channels: int
    wanted: int
    changed: int
    at_limit: int
    error: float


class Written(Record):
    """An attacked case as NIfTI files, read back, prepared and predicted again.

    Attributes:
        images: the adversarial image files.
        sizes_reread: size of the change that the model sees from the files; None if they are cropped otherwise.
        astray: how far what the model sees from the files is from the attack, as a share of the change.
        dice: by class and in the mean: "clean" and "attacked" in the model's space, "reread" there from the files,
            "clean_native" and "reread_native" of the written predictions on the grid of the files.
        note: what became of the attack in the files; empty if they hold it.
    """

    images: list[WrittenFile]
    sizes_reread: dict[str, float] | None
    astray: float | None
    dice: dict[str, dict[str, float]]
    note: str


class AttackRow(Scored, Row):
    """One attack at one budget on one case.

    Attributes:
        eps: budget in the unit of the probe.
        eps_set: the same in the own unit of the perturbation set on this case.
        size: what was spent, in the own unit of the set.
        scores: of the prediction under attack.
        sizes: of the change: "l2", "rms", "linf" in units of the model's input, "range" as a share of the case's range,
            "rms_native" and "linf_native" in native units (HU ...) where those are known.
        free: share of the values of the image that the search could change.
        near: share of the change's energy (its squares) within 10 mm of a structure; None if nothing is labelled or
            nothing changed, and in audits of earlier versions.
        fitted_on: of one perturbation for many cases, those that it was fitted on; none for attacks on this case alone.
        made_on: name of the model that was attacked, if it is not the audited one, which only judges.
        objective, objective_clean: value maximised; None if not finite.
        zero_gradients, nonfinite_gradients: share of the gradient's values.
        forward_calls, backward_calls: of the search.
        written: of probes that write files.
        searched_near: where the search stayed; None for all of the image.
    """

    kind: Literal["attack"] = "attack"
    eps: float
    eps_set: float
    size: float
    sizes: dict[str, float]
    free: float
    near: float | None = None
    fitted_on: list[CaseId] = []
    made_on: str = ""
    objective: float | None
    objective_clean: float | None
    zero_gradients: float
    nonfinite_gradients: float
    forward_calls: int
    backward_calls: int
    written: Written | None = None
    searched_near: SearchedNear | None = None

    def table(self) -> list[tuple[float | str, str, str, float | None]]:
        """Every metric by class, where the change lies, and of written files the Dice of each stage."""
        stages = self.written.dice if self.written is not None else {}
        return [
            *score_lines(self.eps, self.scores),
            (self.eps, MEAN, "near", self.near),
            *((self.eps, k, f"dice_{stage}", value) for k, each in stages.items() for stage, value in each.items()),
        ]


class AttackEntry(Block, Entry):
    """One attack or noise at one budget over all cases, or the worst case over several (`members`).

    Attributes:
        attack, perturbation: registered names; "worst-case" stands for the lowest Dice over `members`.
        unit: of `eps`.
        within: mm from a structure within which alone may change; None for the whole image.
        unrestricted: cases without a structure, of which all may change though `within` is given.
        objective, steps, restarts: of the attack; None for the worst case over several, and for an objective that has
            no name outside of its attack.
        seed: of every random number.
        members: probes that the worst case was taken over.
        fitted_on: of one perturbation for many cases, those that it was fitted on: either none or all of the `n` cases.
        made_on: name of the model that was attacked, if it is not the audited one, which only judges.
        eps: budget.
        eps_native: the same in native intensity units; None where eps is no intensity or the units are not known.
        sizes: median size of the change, in all units, over the cases that were changed at all.
        moved: how many these are; None in audits of earlier versions, whose medians are over all cases.
        near: mean over cases of the share of the change's energy within 10 mm of a structure; None if it has none.
        n: cases.
        written: mean Dice of each stage of written files by class, and cases whose files do not hold the attack.
        searched_near: where searches stayed that spared the rest of the image; None where none did.
    """

    place: ClassVar[str] = "probes"
    kind: Literal["attack"] = "attack"
    attack: str
    perturbation: str
    unit: str
    within: float | None = None
    unrestricted: int = 0
    objective: str | None = None
    steps: int | None = None
    restarts: int | None = None
    seed: int
    members: list[str] = []
    fitted_on: list[CaseId] = []
    made_on: str = ""
    eps: float
    eps_native: Spread | None
    sizes: dict[str, float]
    moved: int | None = None
    near: float | None = None
    n: int
    written: dict[str, Any] | None = None
    searched_near: SearchedNearAll | None = None

    @property
    def in_set(self) -> str:
        """Set, and where it may change, as names of probes hold it."""
        return in_set(self.perturbation, self.within, transferred=bool(self.made_on))
