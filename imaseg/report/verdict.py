"""Whether the numbers of a page can be relied on: checks on the attacks, and margins that withstood new attacks."""

from __future__ import annotations

from imaseg.report.audits import Audits
from imaseg.report.numerals import count, listing, short
from imaseg.results.summary import Check

GOOD_RATE = 0.95
"""Share of the challenged margins that must hold."""
_FEW = 3  # checks that a sentence can name


def failed_checks(audits: Audits) -> list[tuple[str, Check]]:
    """Checks that found something wrong, each with the model's name."""
    return [(audit.name, check) for audit in audits for check in audit.summary.validity if check.ok is False]


def is_sound(audits: Audits) -> bool:
    """Whether every audit was checked in one way or the other, all checks passed, and the margins held."""
    challenged = [sum(entry.tested for entry in audit.summary.margins) for audit in audits]
    checked = all(audit.summary.validity or tested for audit, tested in zip(audits, challenged, strict=True))
    passed = all(check.ok for audit in audits for check in audit.summary.validity)
    stood, tested = held(audits)
    return checked and passed and stood >= GOOD_RATE * tested


def held(audits: Audits) -> tuple[int, int]:
    """Margins that withstood new attacks, and margins challenged."""
    entries = [entry for audit in audits for entry in audit.summary.margins]
    return sum(entry.held for entry in entries), sum(entry.tested for entry in entries)


def verdict_text(audits: Audits) -> str:
    """How many checks passed and how many margins held."""
    stood, tested = held(audits)
    if not tested:
        return validity_text(audits)
    widths = sorted({entry.rtol for audit in audits for entry in audit.summary.margins if entry.tested})
    below = listing([f"{short(100 * width, 2)} %" for width in widths])
    text = f"{stood} of {count(tested, 'margin')} held: three new attacks {below} below them failed."
    checked = any(audit.summary.validity for audit in audits)
    return f"{validity_text(audits)} {text}" if checked else text


def validity_text(audits: Audits) -> str:
    """How many validity checks passed, and the names of those that did not or could not be run."""
    checks = [(audit.name, check) for audit in audits for check in audit.summary.validity]
    if not checks:
        return "No validity checks were recorded, so nothing here shows that the attacks worked as they should."
    several = len(audits) > 1
    failed = [_named(check.check, name if several else "", check.number) for name, check in checks if check.ok is False]
    unknown = [_named(check.check, name if several else "") for name, check in checks if check.ok is None]
    text = _result(len(checks), failed, unknown)
    if unknown:
        which = "; ".join(unknown) if len(unknown) <= _FEW else "they are grey under Validity"
        text += f" {len(unknown)} could not be run: {which}."
    silent = [audit.name for audit in audits if not audit.summary.validity]
    return text + (f" None were recorded for {listing(silent)}." if silent else "")


def _named(check: str, *facts: str) -> str:
    stated = ": ".join(fact for fact in facts if fact)
    return f"{check} ({stated})" if stated else check


def _result(number: int, failed: list[str], unknown: list[str]) -> str:
    total = count(number, "validity check")
    if failed:
        return f"{len(failed)} of {total} failed: {'; '.join(failed)}."
    if unknown:
        return f"{number - len(unknown)} of {total} passed and none failed."
    return f"All {total} passed." if number > 1 else "The one validity check passed."
