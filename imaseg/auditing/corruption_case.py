"""One case under every corruption of a plan: corrupt what lies on disk, prepare it, predict, score."""

from __future__ import annotations

from imaseg.auditing.case import CaseAudit, CaseRecord
from imaseg.auditing.plan import Plan
from imaseg.auditing.source import CaseSource
from imaseg.corruptions import Corrupted, Corruption
from imaseg.data import Case
from imaseg.errors import InputError
from imaseg.models.segmentation import SegmentationModel


def add_corruptions(record: CaseRecord, model: SegmentationModel, source: CaseSource, case: Case, plan: Plan) -> None:
    """Corrupt a case in every way of the plan and add to its record what the model makes of it.

    Args:
        record: of the case; gets `corruptions`, `corruptions_left_out` and the forward passes.
        model: in eval mode, on its device.
        source: reads and prepares the case.
        case: which.
        plan: nothing is done if it has no corruptions.

    Raises:
        InputError: if a corrupted image cannot be prepared, or the model's output on it is not finite.
    """
    if plan.corruptions is None:
        return
    modality = (case.modality,) if case.modality else source.modality
    native = source.open(case)
    for corruption in plan.corruptions.build(plan.seed):
        start = source.fit(native)[0] if corruption.after_normalisation else native
        if reason := corruption.why_not(start, modality):
            record.corruptions_left_out[corruption.name] = reason
            continue
        for corrupted in corruption.ladder(start, severities=plan.corruptions.severities, modality=modality):
            try:
                look = _look(corrupted, corruption, model, source, plan)
            except InputError as error:
                msg = f"{corruption.name} at severity {corrupted.severity}: {error}"
                raise InputError(msg) from error
            record.forward_calls += look.forward_calls
            record.corruptions.append(
                {
                    "corruption": corruption.name,
                    "severity": corrupted.severity,
                    "parameters": corrupted.parameters,
                    "change": corrupted.change,
                    "reached": corrupted.reached,
                    "before_normalisation": source.prepares and not corruption.after_normalisation,
                    "scores": look.clean,
                }
            )


def _look(
    corrupted: Corrupted, corruption: Corruption, model: SegmentationModel, source: CaseSource, plan: Plan
) -> CaseRecord:
    """Scores of the plain prediction of a corrupted case, and the passes it took."""
    volume = corrupted.volume if corruption.after_normalisation else source.fit(corrupted.volume)[0]
    audit = CaseAudit(model, volume, plan, native_scale=None)
    audit.look()
    return audit.record
