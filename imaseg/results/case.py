"""What is on disk of one finished case: `cases/<id>.json`, which `--resume` trusts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self, TypeVar

from pydantic import model_validator

from imaseg.results.base import FORMAT, MEAN, AnyRow, CaseId, Record, Row, Scores

_Row = TypeVar("_Row", bound=Row)


class CaseScale(Record):
    """What converts budgets of one case.

    Attributes:
        spacing: voxel size in mm.
        std: standard deviation of all values of the image, in units of the model's input.
        span: highest less lowest value, in the same units.
        native: native units (HU ...) per unit of the model's input; None if unknown.
    """

    spacing: list[float]
    std: float
    span: float
    native: float | None


class Checks(Record):
    """Results of the extra attacks by which the attacks themselves are checked; None where one was not run.

    Attributes:
        replay: difference of Dice when the showcased image is evaluated again by other code.
        large_eps: Dice at a budget that must destroy any segmentation.
        scaled_logits: Dice under the checked attack, by the factor that the logits were multiplied with.
        black_box: Dice under an attack without gradients.
        transfer: Dice under an attack that was made with gradients averaged over noisy copies of each point.
        gains: for each length of a step along the gradient: gain of the objective that it predicts, gain there, and
            gain along the mean gradient over noisy copies.
        silent: voxels whose logits have no gradient, and voxels looked at.
        afresh: Dice at each budget of the checked attack's ladder, each search by itself.
        converged: Dice before and after the strongest attack spent four times its calls.
        whole: Dice under an attack that stays near the structures (`search_near`), and under the same anywhere.
        in_full: Dice under an attack led in half precision, and under the same in full.
    """

    replay: float | None = None
    large_eps: float | None = None
    scaled_logits: dict[str, float] = {}
    black_box: float | None = None
    transfer: float | None = None
    gains: list[list[float]] = []
    silent: list[int] = []
    afresh: list[float] = []
    converged: list[float] | None = None
    whole: list[float] | None = None
    in_full: list[float] | None = None


class CaseRecord(Record):
    """All that was found on one case.

    Attributes:
        format: of the file.
        case: id.
        patient: the same for all cases of one person; empty where the data do not say.
        clean: scores of the clean prediction.
        truth: of audits against the model's own prediction, scores of the clean prediction against the label; empty for
            cases without one.
        volumes: reference volume in ml by class.
        scale: converts budgets.
        rows: what each probe found.
        checks: of the attacks; None for cases on which they were not run.
        files: SHA-256 of what was written for the case, by name below the audit folder.
        forward_calls, backward_calls: passes of the model spent on the case.
        seconds: wall time.
        process: random name of the process that did the case; empty where an earlier version did it.
        peak_memory_mb: largest memory of the process so far; on a GPU, of this case there.
    """

    format: Literal[2] = FORMAT
    case: CaseId
    patient: str = ""
    clean: Scores
    truth: Scores = {}
    volumes: dict[str, float]
    scale: CaseScale
    rows: list[AnyRow]
    checks: Checks | None = None
    files: dict[str, str] = {}
    forward_calls: int = 0
    backward_calls: int = 0
    seconds: float = 0.0
    process: str = ""
    peak_memory_mb: float = 0.0

    @model_validator(mode="after")
    def _all_classes(self) -> Self:
        """Every class has its scores and its volume."""
        if {*self.clean} != {*self.volumes, MEAN}:
            msg = f"clean must have scores of {', '.join([*self.volumes, MEAN])}, got {', '.join(self.clean) or 'none'}"
            raise ValueError(msg)
        return self

    @property
    def unit(self) -> str:
        """The patient, or the case itself where the data do not say."""
        return self.patient or self.case

    def rows_of(self, kind: type[_Row], probe: str | None = None) -> list[_Row]:
        """The rows of one kind, of one probe if that is named."""
        return [row for row in self.rows if isinstance(row, kind) and probe in (None, row.probe)]


def units_of(records: Sequence[CaseRecord]) -> dict[str, str]:
    """What intervals are over, by case: its patient, or the case itself where the data do not say."""
    return {record.case: record.unit for record in records}
