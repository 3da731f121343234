"""Limits: what the numbers do not say."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.progress import counted
from imaseg.report.audits import Audits
from imaseg.report.blocks import Bullets, Section
from imaseg.report.intervals import doubts
from imaseg.report.wording import listing


def collect(audits: Audits, sections: Sequence[Section]) -> Section:
    """Those of each section, and those of any audit."""
    corrupted = any(audit.summary.corruptions for audit in audits)
    smallest = min(audit.summary.data.cases for audit in audits)
    data = listing(audit.summary.data.name for audit in audits)
    seeds = sorted({audit.run.seed for audit in audits})
    limits = [
        *(limit for section in sections for limit in section.limits),
        "Attacks are deliberate worst cases computed with full access to the model, not faults met in daily work"
        + ("." if corrupted else ": motion, artefacts and other acquisition changes are not covered here."),
        f"The numbers hold for {data} as prepared here, on {counted(smallest, 'case')}"
        + (" in the smallest set" if len(audits) > 1 else "")
        + "; other scanners, populations and protocols may give others.",
        *doubts(audits),
    ]
    if len(seeds) == 1:
        limits.append(f"All random draws come from one seed ({seeds[0]}).")
    limits.append("This page describes a model's behaviour. It is not evidence of clinical safety or benefit.")
    return Section(170, "limits", "Limits", [Bullets(limits)])
