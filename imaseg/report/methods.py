"""A methods paragraph ready for a paper or a file, made from what was run, and the works it cites."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.compare import Point, all_series, ladder
from imaseg.report.corruptions import title_of
from imaseg.report.known import about_attack, about_objective, about_set
from imaseg.report.metrics import shown_metrics
from imaseg.report.numerals import attack_name, count, listing, set_name, short, unit_name
from imaseg.report.read import Audit
from imaseg.report.words import settings
from imaseg.report.works import WORKS
from imaseg.statistics import DRAWS


def paragraph(audits: Sequence[Audit]) -> str:
    """What was done, in the past tense, with the numbers a reviewer asks for."""
    versions = sorted({audit.run.imaseg for audit in audits if audit.run.imaseg})
    tool = f"imaseg {listing(versions)}" if versions else "imaseg (version not recorded)"
    data = [f"{count(a.summary.data.cases, 'case')} of {a.summary.data.name}" for a in audits]
    text = [
        f"Robustness was audited with {tool}, which builds on MONAI (Cardoso et al. 2022), on "
        f"{listing(list(dict.fromkeys(data)))}.",
        f"The probes were, {_probes(audits)}.",
        _worst(audits),
        _margins(audits),
        _voxels(audits),
        _certified(audits),
        _corruptions(audits),
        f"Segmentations were scored by {_scores(audits)}, each averaged over the foreground structures of a case and "
        "then over cases, undefined values left out and counted.",
        "Intervals are 95 % bootstrap intervals over cases" + _pairing(audits),
        _checks(audits),
    ]
    if _trained_by_ima(audits):
        text.append(
            f"Trained with Increasing-Margin Adversarial training (Ma and Liang 2023): "
            f"{listing(_trained_by_ima(audits))}."
        )
    return " ".join(part for part in text if part)


def works(audits: Sequence[Audit]) -> list[str]:
    """The works behind what this page uses, by name."""
    probes = [probe for audit in audits for probe in audit.summary.probes]
    parts = [audit.summary for audit in audits]
    behind = {about_attack(probe.attack).reference for probe in probes}
    behind |= {about_objective(probe.objective).reference for probe in probes}
    sets = {one.perturbation for one in probes} | {one.perturbation for part in parts for one in part.margins}
    behind |= {about_set(name).reference for name in sets}
    used = {"monai", "surface"}
    if any(part.validity for part in parts):
        used.add("evaluate")
    if _trained_by_ima(audits) or any(part.margins for part in parts):
        used.add("ima")
    if _by_torchio(audits):
        used.add("torchio")
    if any(part.degradation is not None for part in parts):
        used.add("degradation")
    if any(part.certified for part in parts):
        used.add("certified")
    if "ece" in {one.name for one in shown_metrics(audits)}:
        used.add("calibration")
    return sorted(({WORKS[key] for key in used} | behind) - {""})


def _probes(audits: Sequence[Audit]) -> str:
    groups: dict[tuple[str, str], list[str]] = {}
    for series in all_series(audits):
        points = [point for audit in audits for point in ladder(audit, series)]
        if _taken_from_others(points):
            continue
        eps = ", ".join(short(value) for value in sorted({point.eps for point in points}))
        named = [about_attack(series.attack), *(about_objective(one.probe.objective) for one in points if one.probe)]
        cited = listing([text for text in dict.fromkeys(one.cited for one in named) if text])
        how = "; ".join(dict.fromkeys(settings(point) for point in points))
        said = f"{attack_name(series.attack)}{f' ({cited})' if cited else ''} [{how}]"
        ball = f"{set_name(series.perturbation)}{_source(series.perturbation)}"
        groups.setdefault((ball, f"{eps} {unit_name(series.unit)}"), []).append(said)
    return "; ".join(f"in the {ball} at eps {eps}: {listing(said)}" for (ball, eps), said in groups.items()) or "none"


def _taken_from_others(points: Sequence[Point]) -> bool:
    """Whether a probe is no attack of its own, but the lowest Dice over several."""
    return any(point.probe is not None and point.probe.members for point in points)


def _source(perturbation: str) -> str:
    cited = about_set(perturbation).cited
    return f" (after {cited})" if cited else ""


def _worst(audits: Sequence[Audit]) -> str:
    if not any(probe.members for audit in audits for probe in audit.summary.probes):
        return ""
    return (
        "Where several attacks ran in one set at one budget, the worst case is the lowest Dice of each case over them, "
        "then the mean over cases."
    )


def _voxels(audits: Sequence[Audit]) -> str:
    known = [audit.summary.voxel_margins for audit in audits if audit.summary.voxel_margins is not None]
    found = dict.fromkeys(
        f"{set_name(one.perturbation)} up to {short(one.eps)} {unit_name(one.unit)} on {count(len(one.cases), 'case')}"
        for one in known
    )
    if not found:
        return ""
    return (
        "The margin of a voxel, the size of the smallest change found at which it is decided wrongly, was mapped in "
        f"the {'; '.join(found)}."
    )


def _certified(audits: Sequence[Audit]) -> str:
    found = dict.fromkeys(
        f"standard deviation {short(one.sigma)}"
        + (f", {one.samples} draws" if one.samples is not None else "")
        + (f", error rate {short(one.alpha)}" if one.alpha is not None else "")
        for audit in audits
        for one in audit.summary.certified
    )
    if not found:
        return ""
    return (
        "Certified radii are those of the model smoothed by Gaussian noise (Fischer et al. 2021; "
        f"{'; '.join(found)}), not of the model itself."
    )


def _corruptions(audits: Sequence[Audit]) -> str:
    found = dict.fromkeys(title_of(one) for audit in audits for one in audit.summary.corruptions)
    if not found:
        return ""
    every = [one for audit in audits for one in audit.summary.corruptions]
    torchio = "TorchIO (P\u00e9rez-Garc\u00eda et al. 2021) and " if _by_torchio(audits) else ""
    text = (
        f"Faults of scanner and acquisition ({listing(list(found))}) were simulated, with {torchio}MONAI where these "
        f"model them, in {count(len({one.severity for one in every}), 'level')} of severity"
        + (", applied before normalisation" if all(one.before_normalisation for one in every) else "")
        + "; a severity is stated by the root mean square of the image change over the standard deviation of the "
        "unchanged image inside the body."
    )
    if any(audit.summary.degradation is not None for audit in audits):
        text += " Degradation scores follow ROOD-MRI (Boone et al. 2023)."
    return text


def _by_torchio(audits: Sequence[Audit]) -> bool:
    return any(one.corruption in _TORCHIO for audit in audits for one in audit.summary.corruptions)


_TORCHIO = frozenset({"bias-field", "blur", "ghosting", "motion", "spikes"})
_SCORES = {
    "dice": "Dice",
    "surface_dice": "surface Dice at a tolerance of one voxel (Nikolov et al. 2021)",
    "surface_dice_2mm": "surface Dice at a tolerance of 2 mm",
    "hd95": "the 95th percentile of the Hausdorff distance (mm)",
    "volume_error": "the signed volume error (ml)",
    "fp_volume": "the volume predicted for structures absent from the label (mm\u00b3)",
    "missed": "the share of structures missed",
    "false_positive": "the share of structures made up",
    "ece": "the expected calibration error (Guo et al. 2017)",
}


def _scores(audits: Sequence[Audit]) -> str:
    shown = {one.name for one in shown_metrics(audits)}
    return listing([text for name, text in _SCORES.items() if name in shown])


def _checks(audits: Sequence[Audit]) -> str:
    if not any(audit.summary.validity for audit in audits):
        return ""
    return "The audit checks its own attacks by the criteria listed under Validity (after Carlini et al. 2019)."


def _margins(audits: Sequence[Audit]) -> str:
    found = dict.fromkeys(
        f"{set_name(m.perturbation)}{_source(m.perturbation)}, criterion {m.criterion}, up to {short(m.eps)} "
        f"{unit_name(m.unit)}"
        for audit in audits
        for m in audit.summary.margins
    )
    return (
        "Margins, the quantity that Increasing-Margin Adversarial training grows (Ma and Liang 2023), were found by "
        f"search for the smallest budget that meets a criterion ({'; '.join(found)}); cases that no budget broke were "
        "censored at the search limit."
        if found
        else ""
    )


def _pairing(audits: Sequence[Audit]) -> str:
    if len(audits) == 1:
        return "."
    return f"; differences between models are paired by case ({DRAWS} resamples)."


def _trained_by_ima(audits: Sequence[Audit]) -> list[str]:
    return [audit.name for audit in audits if (audit.summary.model.trained_by or "").lower() == "ima"]
