"""The validity panel: every check with each model's mark and the number behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imaseg.report.read import Audit
from imaseg.report.schema import Check

_MARKS = {
    True: ("pass", "\N{CHECK MARK} pass"),
    False: ("fail", "\N{BALLOT X} fail"),
    None: ("grey", "\N{EN DASH} not run"),
}


class Verdict(NamedTuple):
    """What a check says of one model."""

    model: str
    state: str
    mark: str
    number: str
    detail: str


def panel(audits: Sequence[Audit]) -> list[tuple[str, list[Verdict]]]:
    """Every check of any audit, in the order of first appearance, with a verdict per model."""
    names = dict.fromkeys(check.check for audit in audits for check in audit.summary.validity)
    return [(name, [_verdict(audit, name) for audit in audits]) for name in names]


def _verdict(audit: Audit, name: str) -> Verdict:
    check = next((one for one in audit.summary.validity if one.check == name), None)
    if check is None:
        return Verdict(audit.name, *_MARKS[None], "not part of this audit", "")
    number = check.number if check.ok is not None or check.number != "not run" else ""
    return Verdict(
        audit.name, *_MARKS[check.ok], number or ("" if check.ok is None else "no number recorded"), check.detail
    )


def failed(audits: Sequence[Audit]) -> list[tuple[str, Check]]:
    """Checks that found something wrong, each with the model's name."""
    return [(audit.name, check) for audit in audits for check in audit.summary.validity if check.ok is False]


def sound(audits: Sequence[Audit]) -> bool:
    """Whether every audit was checked and every check passed."""
    return all(audit.summary.validity and all(check.ok for check in audit.summary.validity) for audit in audits)
