"""What an audit says over its cases: `summary.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self, TypeVar

from imaseg.results.attack import AttackEntry
from imaseg.results.base import FORMAT, AnyEntry, Block, Interval, Record
from imaseg.results.case import CaseRecord
from imaseg.results.certificate import CertificateEntry
from imaseg.results.corruption import CorruptionEntry, Degradation
from imaseg.results.groups import Grouping
from imaseg.results.margin import MarginEntry
from imaseg.results.preparation import Agreement, Preparation
from imaseg.results.stability import Stability
from imaseg.results.voxel_margin import VoxelMarginEntry

_Unit = TypeVar("_Unit", bound=Record)


class ModelFacts(Record):
    """Which checkpoint was audited.

    Attributes:
        spec: what it was loaded from; empty if it came loaded.
        name, network, parameters: as its card and its weights say.
        sha256: of the weights.
        card_sha256: of all that is said about them besides: activation, preparation, labels, tiles.
        trained_by: training method; "unknown" where nobody says.
    """

    spec: str
    name: str
    network: str
    parameters: int
    sha256: str
    card_sha256: str
    trained_by: str


class DataFacts(Record):
    """Which cases it was audited on.

    Attributes:
        name: of the cohort.
        cases: finished ones.
        selection: how they were chosen.
        seen_in_training: those that the model was trained on.
        training_known: whether the model says on which cases it was trained.
        notes: on how labels and classes were matched.
        labels: name by class number, background left out.
        selected_because: why these cases were taken.
        held_out_missing: whether none of the cases that the model held out is among the data, by their ids.
        reference: what predictions are compared with: the labels, or the model's own prediction of the unchanged image.
    """

    name: str
    cases: int
    selection: str
    seen_in_training: list[str]
    training_known: bool
    notes: list[str]
    labels: dict[str, str]
    selected_because: str = ""
    held_out_missing: bool = False
    reference: Literal["label", "prediction"] = "label"


class Intervals(Record):
    """What the 95 % intervals are over.

    Attributes:
        over: "patients" where the data name them, else "cases".
        n: how many of them.
        patients: of each case, where they are named; a case without one counts as a patient of its own.
        unnamed: how many such cases there are; 0 where no patient is named.
    """

    over: Literal["cases", "patients"]
    n: int
    patients: dict[str, str] = {}
    unnamed: int = 0

    @classmethod
    def of(cls, records: Sequence[CaseRecord]) -> Self:
        """Of these cases."""
        named = {record.case: record.patient for record in records if record.patient}
        n = len({record.unit for record in records})
        unnamed = len(records) - len(named) if named else 0
        return cls(over="patients" if named else "cases", n=n, patients=named, unnamed=unnamed)


class SizeProbe(Record):
    """Dice of one group of structures under one attack.

    Attributes:
        native_dice: the same on the grid of the files; None where it was not counted.
    """

    probe: str
    eps: float
    dice: float
    ci95: Interval
    native_dice: float | None = None


class SizeGroup(Record):
    """Structures of one class within one range of volumes.

    Attributes:
        group: "small", "medium", "large" or "all".
        structure: class number.
        volume_ml: smallest and largest.
        n: cases.
        clean: mean Dice on unchanged images.
        clean_native: the same on the grid of the files; None where it was not counted.
        probes: under attack.
    """

    group: str
    structure: str
    volume_ml: list[float]
    n: int
    clean: float
    clean_ci95: Interval
    clean_native: float | None = None
    probes: list[SizeProbe]


class InstanceGroup(Record):
    """Instances of one class and size in all cases together, clean or under one probe.

    Attributes:
        structure: class number.
        group: "all", "small", "medium" or "large"; labelled instances by their own size, predicted ones by theirs.
        probe: "clean" for unchanged images, or the name of an attack or corruption.
        eps: budget or severity; 0 for clean.
        n: cases.
        labelled, missed, predicted, invented: numbers of instances over all cases.
        recall: share of the labelled ones that have a partner; None without any.
        precision: share of the predicted ones that have a partner; None without any.
        f1: harmonic mean of both, 0 where there are no pairs; None where one of them is and the other is not 0.
        ci95: intervals of "recall", "precision" and "f1".
    """

    structure: str
    group: str
    probe: str
    eps: float
    n: int
    labelled: int
    missed: int
    predicted: int
    invented: int
    recall: float | None
    precision: float | None
    f1: float | None
    ci95: dict[str, Interval]


class VolumeChange(Record):
    """Agreement of predicted volumes on unchanged and on changed images (Bland and Altman, Lancet 1986).

    A difference is the volume error of a case on the changed image less that on the unchanged one: what the label gains
    where it moves with the image does not count.

    Attributes:
        structure: class number.
        probe: name of an attack or corruption.
        eps: budget or severity.
        n: cases.
        bias_ml: mean difference; `ci95` is its interval.
        sd_ml: standard deviation of the differences over cases; None of a single case.
        limits_ml: bias less and plus 1.96 standard deviations; None below the fewest cases that have intervals.
    """

    structure: str
    probe: str
    eps: float
    n: int
    bias_ml: float
    ci95: Interval
    sd_ml: float | None
    limits_ml: Interval


class Check(Record):
    """A check on the attacks, with the number behind it.

    Attributes:
        check: what must hold.
        ok: whether it does; None where it could not be run.
        number: that decides.
        detail: what the number is of, or why there is none; where `ok` is not True, what to do next.
        finding: where it failed, what was found instead.
    """

    check: str
    ok: bool | None
    number: str
    detail: str
    finding: str = ""

    @property
    def said(self) -> str:
        """What was found, as a title."""
        return self.finding or self.check


class Shown(Record):
    """Which probe and budget the stored slices show."""

    probe: str
    eps: float
    unit: str


class Cost(Record):
    """What a case took; the only part that differs from machine to machine."""

    seconds_per_case: float
    peak_memory_mb: float


class Summary(Block):
    """All numbers of an audit; those of `Block` are of the unchanged images.

    Attributes:
        format: of the file.
        model, data: what was audited.
        preparation: what was done to the cases and to the model's output.
        agreement: of a clean prediction with that of the model's own software.
        native_dice: mean clean Dice by class, and "mean", counted on the grid of the files; empty for cases that
            were prepared before, whose files are on another grid.
        intervals: what the intervals are over; None in audits of earlier versions, whose intervals are percentile
            bootstraps over cases.
        clean_dice_ci95: interval of the clean mean foreground Dice.
        probes: attacks and noise at each budget, and the worst case over several.
        margins, voxel_margins, certified, corruptions: of the other kinds of probes.
        others: of kinds that plug-ins add.
        degradation: scores over all corruptions; None without any.
        stability: of audits against the model's own prediction: how far volumes move, and which cases to look at first.
        groups: results by the columns of a table of the cases; empty where none was given.
        by_size: Dice by volume of the structure; `by_size_rule` says how they are grouped.
        instances: of classes that the plan counts instance by instance; `instances_rule` says how.
        volume_changes: Bland-Altman figures of predicted volumes, clean against changed.
        validity: checks on the attacks; `valid` is False if one failed.
        showcase: what the pictures show; None without any.
        cost: of a case.
    """

    format: Literal[2] = FORMAT
    model: ModelFacts
    data: DataFacts
    preparation: Preparation
    agreement: Agreement
    native_dice: dict[str, float] = {}
    intervals: Intervals | None = None
    clean_dice_ci95: Interval
    probes: list[AttackEntry] = []
    margins: list[MarginEntry] = []
    voxel_margins: list[VoxelMarginEntry] = []
    certified: list[CertificateEntry] = []
    corruptions: list[CorruptionEntry] = []
    others: list[AnyEntry] = []
    degradation: Degradation | None = None
    stability: Stability | None = None
    groups: list[Grouping] = []
    by_size: list[SizeGroup] = []
    by_size_rule: str = ""
    instances: list[InstanceGroup] = []
    instances_rule: str = ""
    volume_changes: list[VolumeChange] = []
    validity: list[Check] = []
    valid: bool = True
    showcase: Shown | None = None
    cost: Cost

    def in_hu(self) -> Self:
        """The same with "HU" for the unit "native" where the grey values of the files are that: for people to read."""
        if self.preparation.unit != "HU":
            return self

        def worded(one: _Unit) -> _Unit:
            return one.model_copy(update={"unit": "HU"}) if getattr(one, "unit", "") == "native" else one

        lists = ("probes", "margins", "voxel_margins", "certified", "others")
        shown = self.showcase and worded(self.showcase)
        return self.model_copy(update={n: [*map(worded, getattr(self, n))] for n in lists} | {"showcase": shown})
