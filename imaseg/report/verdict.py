"""Whether the numbers of a page can be relied on, by the checks that audits make on their own attacks."""

from __future__ import annotations

from imaseg.progress import counted
from imaseg.report.audits import Audits, lacking
from imaseg.results.summary import Check

_FEW = 3  # checks that a sentence can name


def failed_checks(audits: Audits) -> list[tuple[str, Check]]:
    """Checks that found something wrong, each with the model's name."""
    return [(audit.name, check) for audit in audits for check in audit.summary.validity if check.ok is False]


def is_sound(audits: Audits) -> bool:
    """Whether every audit was checked and every check passed."""
    return all(audit.summary.validity and all(check.ok for check in audit.summary.validity) for audit in audits)


def verdict_text(audits: Audits) -> str:
    """How many validity checks passed, and the names of those that did not or could not be run."""
    checks = [(audit.name, check) for audit in audits for check in audit.summary.validity]
    if not checks:
        return "No validity checks were recorded, so nothing here shows that the attacks worked as they should."
    names = {audit.name: audit.name if len(audits) > 1 else "" for audit in audits}
    failed = [_named(check.check, names[name], check.number) for name, check in checks if check.ok is False]
    unknown = [_named(check.check, names[name]) for name, check in checks if check.ok is None]
    text = _result(len(checks), failed, unknown)
    if unknown:
        which = "; ".join(unknown) if len(unknown) <= _FEW else "they are grey under Validity"
        text += f" {len(unknown)} could not be run: {which}."
    silent = lacking(audits, [audit for audit in audits if audit.summary.validity], "No check was recorded for")
    return f"{text} {silent}".strip()


def _named(check: str, *facts: str) -> str:
    stated = ": ".join(fact for fact in facts if fact)
    return f"{check} ({stated})" if stated else check


def _result(number: int, failed: list[str], unknown: list[str]) -> str:
    total = counted(number, "validity check")
    if failed:
        return f"{len(failed)} of {total} failed: {'; '.join(failed)}."
    if unknown:
        return f"{number - len(unknown)} of {total} passed and none failed."
    return f"All {total} passed." if number > 1 else "The one validity check passed."
