"""What a reader must know before trusting a comparison, and the standing limits of any audit, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.compare import all_series, clean_point, ladder
from imaseg.report.numerals import count, listing
from imaseg.report.read import Audit
from imaseg.report.words import settings


def notices(audits: Sequence[Audit]) -> list[str]:
    """Failed cases, training cases among the audited, and everything in which the audits differ."""
    return [*_cases(audits), *_differences(audits), *_probes(audits)]


def limits(audits: Sequence[Audit]) -> list[str]:
    """What the numbers do not say."""
    smallest = min(clean_point(audit).n for audit in audits)
    data = list(dict.fromkeys(audit.summary.data.name for audit in audits))
    seeds = sorted({audit.run.seed for audit in audits if audit.run.seed is not None})
    corrupted = any(audit.summary.corruptions for audit in audits)
    said = [
        "An attack that fails proves nothing: a stronger one may lower these numbers. Dice under attack is an upper "
        "bound of the worst case, and a margin is the smallest budget found, not the smallest that exists.",
        "Attacks are deliberate worst cases computed with full access to the model, not faults met in daily work"
        + ("." if corrupted else ": motion, artefacts and other acquisition changes are not covered here."),
        f"The numbers hold for {listing(data)} as prepared here, on {count(smallest, 'case')}"
        + (" in the smallest set" if len(audits) > 1 else "")
        + "; other scanners, populations and protocols may give others.",
        "The 95 % intervals describe the choice of cases only, not what another training run would give.",
    ]
    if any(margins.censored for audit in audits for margins in audit.summary.margins):
        said.append(
            "A case that never broke has a margin of at least the search limit under this search; it "
            "is not proven robust."
        )
    if corrupted:
        said.append(
            "Corruptions are simulations of faults, one at a time; a real scanner may fail in other ways and in more "
            "than one at once. Severities are set by the size of the image change, not by how often such faults occur."
        )
    if len({(one.perturbation, one.unit) for one in all_series(audits) if not one.noise}) > 1:
        said.append(
            "Budgets of different sets are in different units and do not compare: which set costs the most Dice "
            "depends on how far each was searched."
        )
    if any(audit.summary.certified for audit in audits):
        said.append("A certificate is about the model smoothed by noise, not about the model itself.")
    if any(audit.summary.voxel_margins is not None for audit in audits):
        said.append("A voxel's margin is an upper bound too: a search aimed at that voxel may find a smaller change.")
    if any(check.ok is None for audit in audits for check in audit.summary.validity):
        said.append("A check that could not be run says nothing, neither good nor bad; it is shown grey.")
    if _undefined(audits):
        said.append(
            "A metric is undefined where it has no value, such as HD95 where a structure is missing on one side. Means "
            "leave those cases out, so they look better than the segmentation is; the counts are stated.",
        )
    if len(seeds) == 1:
        said.append(f"All random draws come from one seed ({seeds[0]}).")
    said.append("This page describes a model's behaviour. It is not evidence of clinical safety or benefit.")
    return said


def _cases(audits: Sequence[Audit]) -> list[str]:
    said = []
    for audit in audits:
        failed = audit.run.failed
        if failed:
            reasons = "; ".join(f"{case.case}: {case.reason}" for case in failed)
            said.append(f"{audit.name}: {count(len(failed), 'case')} could not be audited ({reasons}).")
        seen = audit.summary.data.seen_in_training
        if seen:
            shown = listing(seen[:5]) if len(seen) <= 5 else f"{', '.join(seen[:5])} and {len(seen) - 5} more"
            said.append(
                f"{audit.name}: {count(len(seen), 'audited case')} also seen in training ({shown}); its "
                f"numbers are optimistic.",
            )
        elif audit.summary.model.trained_by is None:
            said.append(
                f"{audit.name}: the checkpoint does not say on which cases it was trained, so overlap is not ruled out."
            )
    return said


def _differences(audits: Sequence[Audit]) -> list[str]:
    said = []
    if len({audit.run.data_sha256 for audit in audits}) > 1:
        said.append("The data hashes differ: the models did not get identical images and labels.")
    if len({tuple(sorted(c.case for c in a.summary.metric_per_case)) for a in audits}) > 1:
        said.append("The models were audited on different cases; paired differences use only those they share.")
    if len({audit.run.imaseg for audit in audits}) > 1:
        said.append("The audits were made by different versions of imaseg.")
    return said


def _probes(audits: Sequence[Audit]) -> list[str]:
    said, uneven = [], []
    lacking: dict[str, list[str]] = {}
    for series in all_series(audits):
        ladders = {audit.name: ladder(audit, series) for audit in audits}
        for name, points in ladders.items():
            if not points:
                lacking.setdefault(name, []).append(series.probe)
        held = {name: points for name, points in ladders.items() if points}
        if len({settings(points[0]) for points in held.values()}) > 1:
            each = [f"{name}: {settings(points[0])}" for name, points in held.items()]
            said.append(f"{series.probe} was run with different settings ({'; '.join(each)}).")
        if len({tuple(point.eps for point in points) for points in held.values()}) > 1:
            uneven.append(series.probe)
    said += [f"{name} was not audited with {listing(probes)}." for name, probes in lacking.items()]
    if uneven:
        said.append(
            f"The models were audited at different budgets of {listing(uneven)}; a cell says where one is missing."
        )
    return said


def _undefined(audits: Sequence[Audit]) -> bool:
    blocks = [audit.summary.foreground_mean for audit in audits]
    blocks += [block for audit in audits for block in audit.summary.mean.values()]
    blocks += [probe.foreground_mean for audit in audits for probe in audit.summary.probes]
    return any(value for block in blocks for name, value in block.items() if name.endswith("_undefined"))
