"""A methods paragraph about margins, the works it cites, and what produced the numbers."""

from __future__ import annotations

from imaseg.attacks import PGD
from imaseg.report.known import about_set
from imaseg.report.margin_read import Margins
from imaseg.report.margin_schema import MarginRun
from imaseg.report.numerals import count, listing, set_name, short, unit_name
from imaseg.report.parts import Table, row
from imaseg.report.provenance import facts_of
from imaseg.report.works import WORKS


def paragraph(margins: Margins) -> str:
    """What was done, in the past tense, with the numbers a reviewer asks for."""
    run = margins.run
    settings = run.settings
    tool = f"imaseg {run.imaseg}" if run.imaseg else "imaseg (version not recorded)"
    sets = [f"{set_name(entry.perturbation)} up to {short(entry.eps)} {unit_name(entry.unit)}" for entry in run.sets]
    text = [
        f"Margins, the quantity that Increasing-Margin Adversarial training grows (Ma and Liang 2023), were measured "
        f"with {tool}, which builds on MONAI (Cardoso et al. 2022), on {count(run.data.cases, 'case')} of "
        f"{run.data.name}, whole volumes.",
        f"For each case, and for each structure by itself, the smallest change was searched that meets the criterion "
        f"({run.criterion}), in the {listing(sets)}.",
        f"Each search attacked at the ceiling first, by projected gradient ascent (Madry et al. 2018) of "
        f"{settings.get('steps', 'an unrecorded number of')} steps on the loss that leads to the criterion, then "
        f"halved the budget to a relative tolerance of {settings.get('rtol', 'an unrecorded size')}, each attack "
        "starting from the last change that broke the case; the search of a structure went no higher than what broke "
        "the whole case, where that broke the structure too.",
        "Every margin was challenged by three new attacks from random starts just below it (after Carlini et al. "
        "2019). Cases that no attack broke were censored at the ceiling; curves are Kaplan-Meier estimates, intervals "
        "95 % bootstrap intervals over cases.",
    ]
    methods = {one.method for case in margins.cases for one in case.maps}
    if "attack" in methods:
        text.append(
            "The margin of a voxel is the size of the smallest evaluated change at which it is wrong, over attacks on "
            "all voxels at a ladder of budgets and attacks aimed at "
            f"{settings.get('focus', 'an unrecorded number of')} groups of few voxels each; distances to the boundary "
            "are those between voxel centres."
        )
    if "gradient" in methods:
        text.append("Its estimate is the gap between logits over the dual norm of that gap's gradient.")
    if settings.get("certify") is not None:
        text.append(
            f"Certified radii are those of the model smoothed by Gaussian noise of standard deviation "
            f"{short(settings['certify'])} (Fischer et al. 2021), from {settings.get('samples')} noisy copies, at a "
            f"family-wise error rate of {settings.get('alpha')} per case."
        )
    return " ".join(text)


def works(margins: Margins) -> list[str]:
    """The works behind what this page uses, by name."""
    general = ["ima", "monai", "evaluate", *(["certified"] if margins.run.settings.get("certify") is not None else [])]
    behind = {about_set(entry.perturbation).reference for entry in margins.run.sets} - {""}
    return sorted({*(WORKS[key] for key in general), PGD.reference, *behind})


def provenance(run: MarginRun) -> Table:
    """Versions, hashes, seed, hardware and cost."""
    facts = facts_of(run.model, run, settings=("Settings", run.settings_sha256))
    rows = [row(name, value or "not recorded") for name, value in facts.items()]
    return Table("What produced these numbers", ["", run.model.name], rows, numeric=False)
