"""Validity: whether the numbers can be relied on, by the checks that audits make on their own attacks."""

from __future__ import annotations

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, lacking
from imaseg.report.blocks import Checks, Section, Verdict
from imaseg.results.summary import Check

_FEW = 3  # checks that a sentence can name
_MARKS = {
    True: ("pass", "\N{CHECK MARK} pass"),
    False: ("fail", "\N{BALLOT X} fail"),
    None: ("grey", "\N{EN DASH} not run"),
}


def build(audits: Audits) -> Section | None:
    """Every check of any audit, in the order of first appearance, with a verdict per model."""
    names = dict.fromkeys(check.check for audit in audits for check in audit.summary.validity)
    if not names:
        return None
    unknown = any(check.ok is None for audit in audits for check in audit.summary.validity)
    several = len(audits) > 1
    said = "A check that could not be run says nothing, neither good nor bad; it is shown grey."
    return Section(
        140,
        "validity",
        "Validity of the attacks",
        [Checks([(_title(audits, n), [_verdict(one, n, several=several) for one in audits]) for n in names], several)],
        "A weak or broken attack makes a model look robust. These checks are there to catch it. A grey one could not "
        "be run and says nothing.",
        "Validity",
        methods=["The audit checks its own attacks by the criteria listed under Validity (after Carlini et al. 2019)."],
        works=["evaluate"],
        limits=[said] if unknown else [],
    )


def _of(audit: Audit, name: str) -> Check | None:
    return next((check for check in audit.summary.validity if check.check == name), None)


def _title(audits: Audits, name: str) -> str:
    """What was found; of several models, which need not agree, what must hold."""
    found = [check.said for audit in audits if (check := _of(audit, name)) is not None]
    return found[0] if len(audits) == 1 else name


def _verdict(audit: Audit, name: str, *, several: bool) -> Verdict:
    check = _of(audit, name)
    if check is None:
        return Verdict(audit.name, *_MARKS[None], "not part of this audit", "")
    number = "" if check.ok is None and check.number == "not run" else check.number
    found = f"{check.finding}. " if several and check.finding else ""
    return Verdict(audit.name, *_MARKS[check.ok], number, found + check.detail)


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
    failed = [_named(check.said, names[name], check.number) for name, check in checks if check.ok is False]
    unknown = [_named(check.check, names[name]) for name, check in checks if check.ok is None]
    text = _result(len(checks), failed, unknown)
    if unknown:
        which = "; ".join(unknown) if len(unknown) <= _FEW else "they are grey under Validity"
        text += f" {len(unknown)} could not be run: {which}."
    silent = lacking(audits, [audit for audit in audits if audit.summary.validity], "No check was recorded for")
    return f"{text} {silent}".strip()


def _named(check: str, *facts: str) -> str:
    stated = ": ".join(fact for fact in facts if fact)
    return f'"{check}" ({stated})' if stated else f'"{check}"'  # a bare name would read as a finding


def _result(number: int, failed: list[str], unknown: list[str]) -> str:
    total = counted(number, "validity check")
    if failed:
        return f"{len(failed)} of {total} failed: {'; '.join(failed)}."
    if unknown:
        return f"{number - len(unknown)} of {total} passed and none failed."
    return f"All {total} passed." if number > 1 else "The one validity check passed."
