"""Methods: a paragraph ready for a paper or a file, made from what was run, and the works it cites."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.progress import counted
from imaseg.report.audits import Audits
from imaseg.report.blocks import Bullets, Heading, Section, Text
from imaseg.report.intervals import how_made
from imaseg.report.wording import listing
from imaseg.report.works import WORKS


def collect(audits: Audits, sections: Sequence[Section]) -> Section:
    """What was done, in the past tense, with the numbers a reviewer asks for."""
    versions = listing(sorted({audit.run.imaseg for audit in audits}))
    data = [f"{counted(a.summary.data.cases, 'case')} of {a.summary.data.name}" for a in audits]
    by_ima = [audit.name for audit in audits if audit.summary.model.trained_by.lower() == "ima"]
    text = [
        f"Robustness was audited with imaseg {versions}, which builds on MONAI (Cardoso et al. 2022), on "
        f"{listing(data)}.",
        *(method for section in sections for method in section.methods),
        how_made(audits),
    ]
    if by_ima:
        text.append(f"Trained with Increasing-Margin Adversarial training (Ma and Liang 2023): {listing(by_ima)}.")
    cited = {"monai", *(["ima"] if by_ima else []), *(work for section in sections for work in section.works)}
    works = sorted({WORKS.get(work, work) for work in cited} - {""})
    blocks = [Text(" ".join(text)), Heading("References"), Bullets(works, "references")]
    return Section(160, "methods", "Methods", blocks)
