"""The margins in plain sentences, what a reader must know before, and what the numbers do not say."""

from __future__ import annotations

from imaseg.report.margin_read import Margins
from imaseg.report.margin_schema import WHOLE, Entry
from imaseg.report.margin_tables import in_words, margin_text, measured, quantile_text, weakest
from imaseg.report.margin_voxels import structure_medians
from imaseg.report.numerals import count, listing, set_name, short, unit_name
from imaseg.report.words import Sentence

GOOD_RATE = 0.95


def held(margins: Margins) -> tuple[int, int]:
    """Margins that withstood new attacks, and margins challenged."""
    entries = margins.run.summary
    return sum(entry.held for entry in entries), sum(entry.tested for entry in entries)


def verdict(margins: Margins) -> tuple[str, bool]:
    """How many margins held, and whether that is enough."""
    stood, tested = held(margins)
    if not tested:
        return "No margin was challenged: every case fails unattacked.", False
    tolerance = margins.run.settings.get("rtol")
    below = f" {short(100 * tolerance, 2)} % below them" if tolerance is not None else " just below them"
    text = f"{stood} of {count(tested, 'margin')} held: three new attacks{below} failed."
    return text, stood >= GOOD_RATE * tested


def sentences(margins: Margins) -> list[Sentence]:
    """What was measured, where half of the cases break, and which structure breaks first."""
    run = margins.run
    structures = [name for name in run.structures if name != WHOLE]
    where = f"{count(run.data.cases, 'case')} of {run.data.name}"
    chosen = f" (selection: {run.data.selection})" if run.data.selection else ""
    return [
        Sentence(
            f"How far is the model {run.model.name} from breaking, on {where}{chosen}? Structures: "
            f"{listing(structures)}."
        ),
        Sentence(
            "A case counts as broken when this holds for the mean over its structures, a structure when it holds for "
            f"it alone: {run.criterion}."
        ),
        Sentence("The median case breaks at, and the weakest at:", tuple(_set(margins, entry) for entry in run.sets)),
        Sentence("The structure that breaks first, by its median margin:", tuple(_first(margins, e) for e in run.sets)),
        *_voxels(margins),
        *_clean(margins),
    ]


def notices(margins: Margins) -> list[str]:
    """Failed cases, training cases among those measured, sets whose margins did not hold."""
    run, said = margins.run, []
    if run.failed:
        reasons = "; ".join(f"{case.case}: {case.reason}" for case in run.failed)
        said.append(f"{count(len(run.failed), 'case')} could not be measured ({reasons}).")
    seen = run.data.seen_in_training
    if seen:
        shown = listing(seen[:5]) if len(seen) <= 5 else f"{', '.join(seen[:5])} and {len(seen) - 5} more"
        said.append(f"{count(len(seen), 'case')} also seen in training ({shown}); these margins are optimistic.")
    elif run.model.trained_by is None:
        said.append("The checkpoint does not say on which cases it was trained, so overlap is not ruled out.")
    for entry in run.sets:
        stood, tested = (sum(getattr(one, key) for one in run.of(entry.perturbation)) for key in ("held", "tested"))
        if stood < GOOD_RATE * tested:
            said.append(
                f"In the {set_name(entry.perturbation)} only {stood} of {tested} margins held: its searches missed "
                "smaller changes that break. Take more steps, and read these margins as too large."
            )
    return said


def limits(margins: Margins) -> list[str]:
    """What the numbers do not say."""
    run = margins.run
    said = [
        "A margin is an upper bound: the smallest change that a search found, not the smallest that exists. A stronger "
        "search may find a smaller one; none can find that it is larger.",
        "A case that nothing broke is not proven robust. It withstood these searches up to their ceiling.",
        "These are deliberate worst cases computed with full access to the model, not faults met in daily work.",
        "Margins on different sets are in different units and do not compare with each other.",
        f"The numbers hold for {run.data.name} as prepared here, on {count(run.data.cases, 'case')}; other scanners, "
        "populations and protocols may give others. Intervals describe the choice of cases only, not what another "
        "training run would give.",
    ]
    if any(entry.absent for entry in run.summary):
        said.append("A structure that the label does not hold has no margin; such cases are left out and counted.")
    if any(case.maps for case in margins.cases):
        said.append(
            "A voxel's margin is an upper bound too: sharp where attacks aimed at few voxels at a time, in structures "
            "first, and loose far away from them. The estimate from gradients is no bound on either side."
        )
    if run.settings.get("certify") is not None:
        said.append("A certificate is about the smoothed model, not about the model itself.")
    if run.seed is not None:
        said.append(f"All random draws come from one seed ({run.seed}).")
    said.append("This page describes a model's behaviour. It is not evidence of clinical safety or benefit.")
    return said


def _set(margins: Margins, entry: Entry) -> str:
    low = weakest(margins, [entry])
    least = f"; weakest: {low[0][0]} at {margin_text(low[0][1])}" if low else "; none breaks"
    meaning = f", {in_words(entry)}" if in_words(entry) else ""
    unbroken = f"; {entry.censored} of {entry.n} never broke" if entry.censored else ""
    unit = unit_name(entry.unit)
    # A unit without a name of its own, such as mm, needs no brackets.
    named = f" ({unit}{meaning})" if meaning or unit != entry.unit else f" {unit}"
    median = f"{quantile_text(entry, 'median')}{named}"
    return f"{set_name(entry.perturbation)}: {median}{least}{unbroken}"


def _first(margins: Margins, whole: Entry) -> str:
    entries = [entry for entry in margins.run.of(whole.perturbation) if entry.structure != WHOLE and entry.n]
    known = [entry for entry in entries if entry.median is not None]
    if not known:
        return f"{set_name(whole.perturbation)}: not known"
    least = min(known, key=lambda entry: (entry.median_at_least, entry.median or 0.0))
    if least.median_at_least and least.censored == least.n:
        return f"{set_name(whole.perturbation)}: none breaks"
    others = [f"{one.structure} {quantile_text(one, 'median')}" for one in known if one is not least]
    return f"{set_name(whole.perturbation)}: {least.structure} {quantile_text(least, 'median')}" + (
        f" (against {listing(others)})" if others else ""
    )


def _voxels(margins: Margins) -> list[Sentence]:
    """Where half of the voxels of each structure flip."""
    found = structure_medians(margins)
    said = tuple(f"{set_name(kind)}: {listing([f'{name} {at}' for name, at in each])}" for kind, each in found.items())
    return [Sentence("Half of the voxels that are right on the unchanged image flip at:", said)] if said else []


def _clean(margins: Margins) -> list[Sentence]:
    """Cases that need no change to break."""
    entry = margins.run.sets[0]
    failing = [case for case, one in measured(margins, entry) if one.margin == 0]
    if not failing:
        return []
    return [Sentence(f"{count(len(failing), 'case')} already broken unattacked: {listing(failing)}.")]
