"""Validity: every check on the attacks with each model's mark and the number behind it."""

from __future__ import annotations

from imaseg.report.audits import Audit, Audits
from imaseg.report.blocks import Checks, Section, Verdict

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
    said = "A check that could not be run says nothing, neither good nor bad; it is shown grey."
    return Section(
        140,
        "validity",
        "Validity of the attacks",
        [Checks([(name, [_verdict(audit, name) for audit in audits]) for name in names], len(audits) > 1)],
        "A weak or broken attack makes a model look robust. These checks are there to catch it. A grey one could not "
        "be run and says nothing.",
        "Validity",
        methods=["The audit checks its own attacks by the criteria listed under Validity (after Carlini et al. 2019)."],
        works=["evaluate"],
        limits=[said] if unknown else [],
    )


def _verdict(audit: Audit, name: str) -> Verdict:
    check = next((check for check in audit.summary.validity if check.check == name), None)
    if check is None:
        return Verdict(audit.name, *_MARKS[None], "not part of this audit", "")
    number = "" if check.ok is None and check.number == "not run" else check.number
    return Verdict(audit.name, *_MARKS[check.ok], number, check.detail)
