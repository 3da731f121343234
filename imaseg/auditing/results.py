"""An audit on disk: one file per finished case, and the tables made from them."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from imaseg.auditing.case import CaseRecord, Slices
from imaseg.auditing.corruption_results import corruption_figures, degradation
from imaseg.auditing.metrics import METRICS, Scores, bootstrap, mean_scores
from imaseg.auditing.plan import MarginProbe, Plan, Probe
from imaseg.auditing.validity import validity
from imaseg.data.files import read_json, whole_file, write_json


def write_case(folder: Path, record: CaseRecord, slices: Slices) -> None:
    """Write a finished case; the JSON comes last, since its presence says that the case is done."""
    if slices:
        with whole_file(folder / f"{record.case}.npz") as part:
            np.savez_compressed(part, allow_pickle=False, **slices)
    write_json(folder / f"{record.case}.json", asdict(record))


def read_case(folder: Path, case: str) -> CaseRecord | None:
    """The record of a finished case, None if it is not finished."""
    path = folder / f"{case}.json"
    return CaseRecord(**read_json(path)) if path.is_file() else None


def write_table(path: Path, records: Sequence[CaseRecord]) -> None:
    """Tidy table: case, probe, eps, class, metric, value."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["case", "probe", "eps", "class", "metric", "value"])
    for record in records:
        rows = [("clean", 0.0, record.clean), *((e["probe"], e["eps"], e["scores"]) for e in record.probes)]
        rows += [(e["corruption"], float(e["severity"]), e["scores"]) for e in record.corruptions]
        for probe, eps, scores in rows:
            for kind, values in scores.items():
                table.writerows([record.case, probe, eps, kind, metric, values[metric]] for metric in METRICS)
        for entry in record.margins:
            for metric in ("margin", "censored"):
                table.writerow([record.case, entry["probe"], "", "foreground_mean", metric, float(entry[metric])])
    with whole_file(path) as part:
        part.write_text(text.getvalue())


def summarise(
    records: Sequence[CaseRecord], plan: Plan, *, labels: dict[int, str], seen: Sequence[str]
) -> dict[str, Any]:
    """The numbers of `summary.json`: clean, per probe and eps, margins, validity, all over the same cases."""
    clean = {record.case: record.clean for record in records}
    return {
        **_block(clean, labels),
        "clean_dice_ci95": bootstrap([_dice(scores) for scores in clean.values()]),
        "probes": [_probe(records, plan, probe, eps, labels) for probe in plan.probes for eps in probe.eps]
        + [_worst_case(records, plan, group, labels) for group in _rivals(plan)],
        "margins": [_margin(records, margin, index) for index, margin in enumerate(plan.margins)],
        **_corruptions(records, plan, labels),
        "validity": validity(records, plan, seen),
        "showcase": {
            "probe": plan.probe(plan.showcase.attack).name,
            "eps": plan.showcase.eps,
            "unit": plan.probe(plan.showcase.attack).build_set(plan.showcase.eps).unit,
        },
    }


def _corruptions(records: Sequence[CaseRecord], plan: Plan, labels: dict[int, str]) -> dict[str, Any]:
    """`corruptions` and `degradation`, where the plan has them."""
    if plan.corruptions is None:
        return {}
    entries = []
    for corruption in plan.corruptions.build(plan.seed):
        for severity in plan.corruptions.severities:
            figures, scores = corruption_figures(records, corruption, severity)
            if scores:
                interval = bootstrap([_dice(case) for case in scores.values()])
                entries.append({**figures, "dice_ci95": interval, **_block(scores, labels)})
    return {"corruptions": entries, "degradation": degradation(records)}


def _block(scores: dict[str, Scores], labels: dict[int, str]) -> dict[str, Any]:
    """Means over cases, in the form nnU-Net uses for its summaries."""
    classes = [str(k) for k in labels if k > 0]
    return {
        "foreground_mean": mean_scores([case["foreground_mean"] for case in scores.values()]),
        "mean": {k: mean_scores([case[k] for case in scores.values()]) for k in classes},
        "metric_per_case": [{"case": case, "metrics": values} for case, values in scores.items()],
    }


def _probe(
    records: Sequence[CaseRecord], plan: Plan, probe: Probe, eps: float, labels: dict[int, str]
) -> dict[str, Any]:
    entries = [next(e for e in r.probes if e["probe"] == probe.name and e["eps"] == eps) for r in records]
    attack = probe.build(eps, plan.seed)
    return {
        "probe": probe.name,
        "attack": probe.attack,
        "perturbation": probe.perturbation,
        "unit": attack.perturbation.unit,
        "objective": probe.objective,
        "steps": attack.steps,
        "restarts": attack.restarts,
        "seed": plan.seed,
        **_figures(records, entries, eps, labels),
    }


def _rivals(plan: Plan) -> list[tuple[float, list[Probe]]]:
    """For each set, unit and eps the attacks that competed there, where there are several."""
    groups: dict[tuple[str, str, float], list[Probe]] = {}
    for probe in plan.probes:
        for eps in probe.eps if not probe.attack.endswith("noise") else []:
            groups.setdefault((probe.perturbation, probe.build_set(eps).unit, eps), []).append(probe)
    return [(eps, probes) for (_, _, eps), probes in groups.items() if len(probes) > 1]


def _worst_case(
    records: Sequence[CaseRecord], plan: Plan, group: tuple[float, list[Probe]], labels: dict[int, str]
) -> dict[str, Any]:
    """The lowest Dice of each case over all attacks at one budget: a model is as robust as its worst attack says."""
    eps, probes = group
    names = {probe.name for probe in probes}
    entries = [
        min((e for e in record.probes if e["probe"] in names and e["eps"] == eps), key=lambda e: _dice(e["scores"]))
        for record in records
    ]
    return {
        **_figures(records, entries, eps, labels),
        "probe": f"worst-case-{probes[0].perturbation}",
        "attack": "worst-case",
        "perturbation": probes[0].perturbation,
        "unit": probes[0].build_set(eps).unit,
        "members": sorted(names),
        "seed": plan.seed,
    }


def _figures(
    records: Sequence[CaseRecord], entries: Sequence[dict[str, Any]], eps: float, labels: dict[int, str]
) -> dict[str, Any]:
    """What is stated of every probe: budget in all units, Dice interval, means, cases."""
    scores = {record.case: entry["scores"] for record, entry in zip(records, entries, strict=True)}
    return {
        "eps": eps,
        "eps_native": _native(records, eps),
        "sizes": {unit: statistics.median(e["sizes"][unit] for e in entries) for unit in entries[0]["sizes"]},
        "n": len(records),
        "dice_ci95": bootstrap([_dice(case) for case in scores.values()]),
        **_block(scores, labels),
    }


def _native(records: Sequence[CaseRecord], eps: float) -> dict[str, float] | None:
    """The budget in native intensity units, which differ from case to case where images are normalised one by one."""
    scales = [record.native_scale for record in records if record.native_scale is not None]
    if len(scales) < len(records):
        return None
    return {"median": eps * statistics.median(scales), "min": eps * min(scales), "max": eps * max(scales)}


def _margin(records: Sequence[CaseRecord], margin: MarginProbe, index: int) -> dict[str, Any]:
    search = margin.build(0)
    values = [record.margins[index]["margin"] for record in records]
    return {
        "probe": margin.name,
        "perturbation": margin.perturbation,
        "unit": search.perturbation.unit,
        "criterion": repr(search.criterion),
        "eps": margin.eps,
        "rtol": margin.rtol,
        "steps": margin.steps,
        "n": len(records),
        "median": statistics.median(values),
        "median_ci95": bootstrap(values, median=True),
        "censored": sum(record.margins[index]["censored"] for record in records),
        "per_case": [
            {
                "case": record.case,
                "margin": record.margins[index]["margin"],
                "censored": record.margins[index]["censored"],
                "clean_dice": _dice(record.clean),
            }
            for record in records
        ],
    }


def _dice(scores: Scores) -> float:
    value = scores["foreground_mean"]["dice"]
    return float(value if value is not None else "nan")
