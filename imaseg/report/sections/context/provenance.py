"""What produced the numbers: versions, hashes, seed, hardware and cost."""

from __future__ import annotations

import json

from imaseg.report.audits import Audit, Audits
from imaseg.report.blocks import Code, Details, Section, table
from imaseg.report.wording import short


def build(audits: Audits) -> Section:
    """Versions, hashes, seed, hardware and cost, one column per model; and the plans."""
    facts = [_facts(audit) for audit in audits]
    names = dict.fromkeys(name for each in facts for name, value in each.items() if value)
    rows = [
        {"": name} | {a.name: each.get(name) or "not recorded" for a, each in zip(audits, facts, strict=True)}
        for name in names
    ]
    numbers = table("What produced these numbers", rows, "wrap")
    plans = [Details(f"Plan of {audit.name}", [Code(json.dumps(audit.run.plan, indent=2))]) for audit in audits]
    return Section(180, "provenance", "Provenance", [numbers, *plans])


def _facts(audit: Audit) -> dict[str, str]:
    """By name; empty where nothing was recorded."""
    model, run, cost = audit.summary.model, audit.run, audit.summary.cost
    return {
        "Model": model.spec,
        "Network": model.network,
        "Parameters": f"{model.parameters:,}",
        "Trained by": model.trained_by,
        "Model SHA-256": model.sha256,
        "Data SHA-256": run.data_sha256,
        "Plan SHA-256": run.plan_sha256,
        "Seed": str(run.seed),
        "imaseg": run.imaseg,
        **run.versions,
        **{f"Hardware: {name}": str(value) for name, value in run.hardware.items() if value is not None},
        "Gradients of searches": f"{run.precision}. {run.precision_because}".strip(". "),
        "Time over all cases, of all processes (s)": "" if run.case_seconds is None else short(run.case_seconds),
        "Processes that did cases": str(run.processes or ""),
        "Forward calls": "" if run.forward_calls is None else f"{run.forward_calls:,}",
        "Backward calls": "" if run.backward_calls is None else f"{run.backward_calls:,}",
        "Started (UTC)": run.started.removesuffix("+00:00").replace("T", " "),
        "Command": run.command,
        "Seconds per case (median)": short(cost.seconds_per_case),
        "Peak memory (MB)": short(cost.peak_memory_mb),
        "Labels and classes": "; ".join(audit.summary.data.notes),
        "Choice of cases": audit.summary.data.selected_because,
    }
