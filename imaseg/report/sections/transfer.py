"""Images made on one model and judged on another: Dice by the model that was attacked and the one that judged."""

from __future__ import annotations

from imaseg.report.audits import Audit, Audits
from imaseg.report.blocks import MISSING, Cell, Section, Table, table, with_interval
from imaseg.report.wording import amount, attack_name, set_name
from imaseg.results.attack import AttackEntry

_LEAD = (
    "Adversarial images were made on one model (rows) and judged on others (columns). What is low on the diagonal only "
    "needed that model's own gradients. A low Dice beside the diagonal took no knowledge of the judge."
)
_Question = tuple[str, str, float | None, str, float]


def build(audits: Audits) -> Section | None:
    """A matrix for each attack and budget that was transferred."""
    asked = dict.fromkeys(_asked(one) for audit in audits for one in audit.summary.probes if one.made_on)
    tables = [_matrix(audits, question) for question in asked]
    title = "Attacked on one model, judged on another"
    return Section(35, "transfer", title, tables, _LEAD, "Transfer") if tables else None


def _asked(entry: AttackEntry) -> _Question:
    """What must agree for two figures to stand in one matrix."""
    return entry.attack, entry.perturbation, entry.within, entry.unit, entry.eps


def _matrix(audits: Audits, question: _Question) -> Table:
    """Rows are models that were attacked, columns those that judged."""
    attack, perturbation, within, unit, eps = question
    cells: dict[str, dict[str, Cell]] = {}
    for audit in audits:
        for entry in audit.summary.probes:
            if _asked(entry) == question and not entry.fitted_on:
                cells.setdefault(_attacked(audits, audit, entry), {})[audit.name] = with_interval(
                    entry.dice, entry.dice_ci95, more=f"n = {entry.n}"
                )
    rows = [
        {"Attacked on": name} | {f"Judged on {audit.name}": found.get(audit.name, MISSING) for audit in audits}
        for name, found in cells.items()
    ]
    caption = (
        f"Mean foreground Dice (0 to 1) under {attack_name(attack)}, {set_name(perturbation, within)}, at "
        f"{amount(eps, unit)}, with 95 % interval"
    )
    return table(caption, rows)


def _attacked(audits: Audits, audit: Audit, entry: AttackEntry) -> str:
    """What the attacked model is called: as on the page if its own audit, told by its weights, is there."""
    if not entry.made_on:
        return audit.name
    made = audit.run.attacker
    own = (one.name for one in audits if made is not None and one.summary.model.sha256 == made.sha256)
    return next(own, entry.made_on)
