"""`imaseg evidence`: what audits say to those who ask for documentation, with blanks where they say nothing.

The sheet follows the questions of Article 15 and Annex IV of Regulation (EU) 2024/1689 (AI Act), of the robustness
recommendations of FUTURE-AI (Lekadir et al., BMJ 2025), and of performance evaluation as the FDA asks for it of
AI-enabled device software functions. It claims no conformity with any of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from imaseg.data.files import whole_file
from imaseg.errors import InputError
from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, dice_word, labels_are_predictions, owner, read_audits
from imaseg.report.compare import clean_point, ladder, strongest
from imaseg.report.focus import among, standing_of
from imaseg.report.intervals import over
from imaseg.report.margin_words import median_interval, quantile_text
from imaseg.report.metrics import shown_metrics
from imaseg.report.wording import amount, bracket, decimal, listing, percent, set_name, short, unit_name
from imaseg.results.groups import CLEAN, Grouping
from imaseg.results.unsized import in_pixels

BLANK = "____"
"""What these audits do not say, for people to fill in."""
_NO_CLAIM = (
    "This sheet maps what was measured to questions that are asked elsewhere. It claims no conformity with any law, "
    f"standard or guidance, and is no legal advice. {BLANK} stands where the audits do not say."
)
_INVALID = (
    "**This audit calls itself invalid: a check on its attacks or its data failed. Its numbers are no evidence.**"
)
_MARK = "(invalid audit) "
"""Before everything that such an audit says, since a line of a sheet may be copied alone."""
Answer = Callable[[Audit], list[str]]


class Question(NamedTuple):
    """Something that is asked for, and what answers it; None where no audit does."""

    where: str
    asked: str
    answer: Answer | None


def write_evidence(folders: Sequence[Path], out: Path) -> Path:
    """Write the sheet of one audit or several, whole or not at all.

    Raises:
        InputError: as `imaseg.report.write_report`.
    """
    out, text = Path(out), evidence(read_audits(folders))
    if out.is_dir():
        msg = f"{out} must be a file, got a folder. Name a file such as {out / 'evidence.md'}."
        raise InputError(msg)
    with whole_file(out) as part:
        part.write_text(text, encoding="utf-8")
    return out


def evidence(audits: Audits) -> str:
    """The sheet as Markdown; the same audits give the same text."""
    parts = [f"# Evidence: {listing(audit.name for audit in audits)}", _NO_CLAIM, "## What was tested"]
    parts += ["\n".join(f"- {line}" for audit in audits for line in _tested(audits, audit))]
    parts += [f"{owner(audits, audit)}{_INVALID}" for audit in audits if not audit.summary.valid]
    for title, questions in _QUESTIONS.items():
        parts += [f"## {title}", _table(audits, questions)]
    parts += ["## Model card (Hugging Face)", *(_block(audits, audit, "yaml", _card) for audit in audits)]
    parts += ["## Bundle (`metadata.json`)", *(_block(audits, audit, "json", _metadata) for audit in audits)]
    text = "\n\n".join(parts) + "\n"
    return text if any(audit.summary.preparation.sized for audit in audits) else in_pixels(text)


def _tested(audits: Audits, audit: Audit) -> Iterator[str]:
    model, data, run, who = audit.summary.model, audit.summary.data, audit.run, owner(audits, audit)
    yield f"{who}model {model.name}, {model.network}, {model.parameters:,} parameters, weights SHA-256 {model.sha256}"
    yield f"{who}data: {counted(data.cases, 'case')} of {data.name} ({data.selection}), SHA-256 {run.data_sha256}"
    yield f"{who}structures: {listing(map(audit.structure, data.labels))}; {_overlap(audit)}"
    yield f"{who}plan {run.plan['name']} (SHA-256 {run.plan_sha256}), seed {run.seed}, imaseg {run.imaseg}"
    yield f"{who}{_checks(audit)[0]}"
    if labels_are_predictions([audit]):
        yield f"{who}judged without labels: every Dice is agreement with the model's own prediction, no accuracy."


def _overlap(audit: Audit) -> str:
    data = audit.summary.data
    if data.seen_in_training:
        return f"{len(data.seen_in_training)} of these cases were in the training set"
    if not data.training_known:
        return "the checkpoint does not say on which cases it was trained"
    return "none of these cases was in the training set, by the ids that the checkpoint lists"


def _checks(audit: Audit) -> list[str]:
    checks = [check.ok for check in audit.summary.validity]
    silent = f", {checks.count(None)} not run" if None in checks else ""
    return [f"checks on the attacks and the data: {checks.count(True)} of {len(checks)} passed{silent}"]


def _fallen(audit: Audit) -> list[str]:
    """Cases that a change need not break, which a loss says nothing about."""
    said = standing_of(audit).sentence
    return [said.rstrip(".")] if said else []


def _accuracy(audit: Audit) -> list[str]:
    if labels_are_predictions([audit]):
        return []
    return [*_fallen(audit), *_metrics(audit)]


def _metrics(audit: Audit) -> list[str]:
    metrics = [metric for metric in shown_metrics([audit]) if metric.name in audit.summary.foreground_mean]
    return [
        f"{metric.head} {metric.write(audit.summary.foreground_mean[metric.name])}"
        f"{_ends(audit.summary.ci95.get(metric.name), metric.digits)}{_left_out(audit, metric.name)}"
        for metric in metrics
    ]


def _left_out(audit: Audit, metric: str) -> str:
    """How many values of a mean are penalties, and how many undefined ones it leaves out."""
    means = audit.summary.foreground_mean
    ends = {"_penalised": "penalised, since nothing was found or labelled", "_undefined": "undefined"}
    parts = [f"{means[metric + end]:g} {word}" for end, word in ends.items() if means.get(metric + end)]
    return f" ({', '.join(parts)})" if parts else ""


def _ends(ends: list[float] | None, digits: int = 3) -> str:
    return "" if ends is None else f" [{decimal(ends[0], digits)}, {decimal(ends[1], digits)}]"


def _faults(audit: Audit) -> list[str]:
    found = audit.summary.degradation
    if found is None or found.mean is None:
        return []
    over_all, word = counted(len(found.per_corruption), "corruption"), dice_word([audit])
    share = "" if found.relative.mean is None else f", {percent(found.relative.mean, 2)} of the clean {word}"
    clean = "" if labels_are_predictions([audit]) else f" from a clean Dice of {decimal(audit.summary.dice)}{share}"
    lines = [*_fallen(audit), f"loss of {word} over {over_all}: {decimal(found.mean)}{_ends(found.ci95)}{clean}"]
    if found.worst is not None:
        lines.append(f"worst: {found.worst_corruption}, {decimal(found.worst)}")
    if found.left_out:
        lines.append(f"not tried, since they do not occur in such images: {listing(found.left_out)}")
    return lines


def _attacks(audit: Audit) -> list[str]:
    lines = []
    for series in strongest([audit]):
        rungs = [
            f"{decimal(point.dice)}{_ends(point.dice_ci95)} at {amount(point.eps, series.unit)}"
            for point in ladder(audit, series)
        ]
        lines.append(f"{series.title}: {dice_word([audit])} {decimal(audit.summary.dice)} clean; {'; '.join(rungs)}")
        stands = standing_of(audit)
        if stands.many and stands.cases:
            points = [among(point, stands.cases) for point in (clean_point(audit), *ladder(audit, series))]
            means = "; ".join(f"{decimal(point.dice)} at {short(point.eps)}" for point in points[1:])
            lines.append(f"the same over {stands.others}: {decimal(points[0].dice)} clean; {means}")
    lines += _margins(audit)
    return [*_fallen(audit), *lines] if lines else []


def _margins(audit: Audit) -> list[str]:
    whole = [entry for entry in audit.summary.margins if entry.structure is None]
    return [
        f"median margin in the {set_name(entry.perturbation, entry.within)} ({entry.criterion}): "
        f"{quantile_text(entry)} {unit_name(entry.unit)} {median_interval(entry)}".rstrip()
        for entry in whole
    ]


def _sources(audit: Audit) -> list[str]:
    """Kinds of change that were tried."""
    names = sorted({entry.title for entry in audit.summary.corruptions})
    sets = dict.fromkeys(set_name(entry.perturbation, entry.within) for entry in audit.summary.probes)
    return [
        *([f"faults of acquisition: {listing(names)}"] if names else []),
        *([f"worst-case changes: {listing(sets)}"] if sets else []),
    ]


def _procedure(audit: Audit) -> list[str]:
    data = audit.summary.data
    return [
        f"plan {audit.run.plan['name']} on {counted(data.cases, 'case')} of {data.name}: "
        f"{listing(dict.fromkeys(entry.probe for entry in audit.summary.probes))}".rstrip(": "),
        f"preparation: {audit.summary.preparation.by}",
        *([data.selected_because] if data.selected_because else []),
        *_checks(audit),
        "logs: `run.json`, `summary.json` and `cases/` of the audit folder",
    ]


def _uncertainty(audit: Audit) -> list[str]:
    return (
        [f"95 % intervals over {over([audit])} {bracket(audit.summary.clean_dice_ci95)}".rstrip()]
        if audit.summary.clean_dice_ci95
        else []
    )


def _sizes(audit: Audit) -> list[str]:
    return [
        f"{audit.structure(group.structure)}, {group.group}: Dice {decimal(group.clean)} (n = {group.n})"
        for group in audit.summary.by_size
        if not labels_are_predictions([audit])
    ]


def _groups(audit: Audit) -> list[str]:
    """Clean Dice by the values of every column of `--groups`; nothing without labels."""
    if labels_are_predictions([audit]):
        return []
    return [
        f"mean Dice on unchanged images by {grouping.column}: {_of_groups(grouping)}{_compared(grouping)}"
        for grouping in audit.summary.groups
    ]


def _compared(grouping: Grouping) -> str:
    """Which groups a test left out."""
    small = [group.value for group in grouping.groups if group.patients < grouping.fewest]
    if not grouping.gaps:
        return "; groups too small to be compared"
    return f"; too small to be compared: {listing(small)}" if small else ""


def _of_groups(grouping: Grouping) -> str:
    clean = [(group, one) for group in grouping.groups for one in group.figures if one.probe == CLEAN]
    return "; ".join(
        f"{group.value} {decimal(one.dice)}{_ends(one.ci95)} (n = {len(group.cases)})" for group, one in clean
    )


def _independence(audit: Audit) -> list[str]:
    return [_overlap(audit)]


def _stability(audit: Audit) -> list[str]:
    found = audit.summary.stability
    return [] if found is None else [f"without labels: {counted(len(found.cases), 'case')} ordered by expected failure"]


def _all(*answers: Answer) -> Answer:
    return lambda audit: [line for answer in answers for line in answer(audit)]


_robustness = _all(_faults, _attacks, _stability)
_QUESTIONS: dict[str, list[Question]] = {
    "EU AI Act, Article 15 and Annex IV": [
        Question("Art. 15(1)", "a level of accuracy that suits the purpose", _accuracy),
        Question("Art. 15(3)", "levels and metrics of accuracy, for the instructions for use", _accuracy),
        Question("Art. 15(4)", "resilience to errors, faults and inconsistencies", _faults),
        Question("Art. 15(4)", "redundancy and fail-safe plans; feedback loops of systems that keep learning", None),
        Question("Art. 15(5)", "inputs made to cause mistakes (adversarial examples, model evasion)", _attacks),
        Question("Art. 15(5)", "poisoned data or models; attacks on confidentiality", None),
        Question("Annex IV 2(g)", "procedures, data and metrics of validation and testing; test logs", _procedure),
        Question("Annex IV 2(g)", "reports dated and signed by those responsible", None),
        Question("Annex IV 3", "accuracy for groups of persons; foreseeable unintended outcomes", _groups),
    ],
    "FUTURE-AI, Robustness": [
        Question("Robustness 1", "sources of variation in the data, named", _sources),
        Question("Robustness 2", "training data that represent them", None),
        Question("Robustness 3", "robustness against them, evaluated, improved", _robustness),
    ],
    "FDA, performance evaluation": [
        Question("Test data", "independent of the training data", _independence),
        Question("Performance", "metrics with their uncertainty", _all(_accuracy, _uncertainty)),
        Question("Subgroups", "performance by size of the structure", _sizes),
        Question("Subgroups", "performance by age, sex, site, scanner or other columns of the table of cases", _groups),
        Question("Robustness", "repeatability and behaviour under change", _robustness),
        Question("Acceptance", "criteria set before the test, and whether they were met", None),
    ],
}  # fmt: skip


def _table(audits: Audits, questions: Sequence[Question]) -> str:
    lines = ["| where | asked for | what the audits say |", "| --- | --- | --- |"]
    for question in questions:
        said = [
            f"{owner(audits, audit)}{'' if audit.summary.valid else _MARK}{line}"
            for audit in audits
            for line in (question.answer(audit) if question.answer is not None else [])
        ]
        lines.append(f"| {question.where} | {question.asked} | {_cell('<br>'.join(said)) or BLANK} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _figures(audit: Audit) -> dict[str, tuple[str, float]]:
    """Mean Dice by a name that is safe in any file, with what people call it: clean, and at each end of a ladder."""
    summary, word = audit.summary, dice_word([audit])
    mean, found = f"mean_{word.lower()}", {}
    if summary.dice is not None and not labels_are_predictions([audit]):
        found[mean] = ("Mean Dice, clean", summary.dice)
    for series in strongest([audit]):
        for point in ladder(audit, series):
            if point.dice is not None:
                key = f"{mean}_{series.probe}_{point.eps:g}_{series.unit}".replace("-", "_").replace(".", "_")
                found[key] = (f"Mean {word}, {series.title} at {amount(point.eps, series.unit)}", point.dice)
    if summary.degradation is not None and summary.degradation.mean is not None:
        said = f"loss of {word} under corruptions"
        found[said.lower().replace(" ", "_")] = (f"Mean {said}", summary.degradation.mean)
    return found


def _card(audit: Audit) -> str:
    """`model-index` of a model card; every value is a Dice, an agreement, or a loss of them."""
    data = audit.summary.data
    content = {
        "model-index": [
            {
                "name": audit.summary.model.name,
                "results": [
                    {
                        "task": {"type": "image-segmentation"},
                        "dataset": {"type": data.name, "name": f"{data.name}, {counted(data.cases, 'case')}"},
                        "metrics": [
                            {"type": key, "name": name, "value": round(value, 4)}
                            for key, (name, value) in _figures(audit).items()
                        ],
                    }
                ],
            }
        ]
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _metadata(audit: Audit) -> str:
    content = {"eval_metrics": {key: round(value, 4) for key, (_, value) in _figures(audit).items()}}
    return json.dumps(content, indent=1) + "\n"


def _block(audits: Audits, audit: Audit, language: str, write: Callable[[Audit], str]) -> str:
    """Figures to be pasted elsewhere, where nothing would say that they are no evidence."""
    if not audit.summary.valid:
        return f"{owner(audits, audit)}left out, since the audit calls itself invalid."
    return f"```{language}\n{write(audit)}```"
