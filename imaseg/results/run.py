"""How an audit was made: `run.json`, versions, hashes, plan, hardware, cost."""

from __future__ import annotations

from typing import Any, Literal

from imaseg.progress import counted, duration
from imaseg.results.base import FORMAT, CaseId, Record
from imaseg.results.preparation import Agreement, Preparation
from imaseg.results.summary import ModelFacts


class FailedCase(Record):
    """A case that could not be finished, and why."""

    case: CaseId
    reason: str


class CaseCost(Record):
    """What one case took."""

    seconds: float
    peak_memory_mb: float


class Shortened(Record):
    """What `--budget` took out of a plan.

    Attributes:
        seconds: that the audit may take.
        left_out: names of probes.
        checked: cases that the attacks are checked on in place of those of the plan; None for all of these.
        whole_sha256: hash of the whole plan.
    """

    seconds: float
    left_out: list[str]
    checked: int | None = None
    whole_sha256: str

    @property
    def words(self) -> str:
        """What was left out, in a sentence."""
        lost = [f"left out {', '.join(self.left_out)}"] if self.left_out else []
        checked = f"checked the attacks on {counted(self.checked, 'case')} only" if self.checked else ""
        few = [] if self.checked is None else [checked or "did not check the attacks"]
        return f"To fit a budget of {duration(self.seconds)} this audit {' and '.join(lost + few)}."


class Run(Record):
    """What is known before the first case, and what a resumed run must share; the last part is known at the end.

    Attributes:
        format: of the file.
        imaseg: version.
        versions: of Python and the main libraries.
        model: that was audited.
        attacker: the model that transferred attacks were made on; None without any.
        card: all that is said about it besides its weights, which `model.card_sha256` is of.
        preparation: what was done to the cases and to the model's output.
        agreement: of a clean prediction with that of the model's own software; None until it was tried.
        data_sha256: over names and contents of images and labels.
        plan, plan_sha256: what was asked for.
        seed: of every random number.
        random: whether the model gives another output each time, so that figures are means over draws.
        precision: that searches took their gradients in; whatever is stated was computed in float32.
        precision_because: why, in a sentence; empty where there was nothing to choose.
        hardware: device, processor, threads.
        command: that was typed.
        started: when the process that wrote this began, UTC; empty in audits of earlier versions.
        seconds: wall time of the process that finished the run, since its start; None while it is not finished.
        case_seconds, cost_per_case, forward_calls, backward_calls: over the finished cases, whichever process did them.
        processes: how many did cases, those of earlier, interrupted runs included; 0 if not recorded.
        failed: cases that could not be finished.
    """

    format: Literal[2] = FORMAT
    imaseg: str
    versions: dict[str, str]
    model: ModelFacts
    attacker: ModelFacts | None = None
    card: dict[str, Any]
    preparation: Preparation
    agreement: Agreement | None = None
    data_sha256: str
    plan: dict[str, Any]
    plan_sha256: str
    seed: int
    random: bool = False
    precision: str = "float32"
    precision_because: str = ""
    hardware: dict[str, Any]
    command: str
    started: str = ""
    seconds: float | None = None
    case_seconds: float | None = None
    processes: int = 0
    cost_per_case: dict[str, CaseCost] = {}
    forward_calls: int | None = None
    backward_calls: int | None = None
    failed: list[FailedCase] = []
