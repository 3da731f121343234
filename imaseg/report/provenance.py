"""What produced the numbers: versions, hashes, seed, hardware and cost."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.numerals import short
from imaseg.report.parts import Table, row
from imaseg.report.read import Audit
from imaseg.report.schema import Model, Run


def provenance(audits: Sequence[Audit]) -> Table:
    """Versions, hashes, seed, hardware and cost, one column per model."""
    facts = [facts_of(audit.summary.model, audit.run) | _cost(audit) for audit in audits]
    rows = [
        row(name, *(fact.get(name) or "not recorded" for fact in facts))
        for name in dict.fromkeys(n for f in facts for n in f)
    ]
    return Table("What produced these numbers", ["", *(audit.name for audit in audits)], rows, numeric=False)


def _cost(audit: Audit) -> dict[str, str]:
    cost = audit.summary.cost
    if cost is None:
        return {}
    known = {"Seconds per case (median)": cost.seconds_per_case, "Peak memory (MB)": cost.peak_memory_mb}
    return {name: short(value) for name, value in known.items() if value is not None}


def facts_of(model: Model, run: Run, *, settings: tuple[str, str | None] | None = None) -> dict[str, str]:
    """Versions, hashes, seed, hardware and cost of a run by name; empty where nothing was recorded.

    Args:
        model: that was run.
        run: its record.
        settings: what the settings are called, and their hash; those of an audit's plan if not given.
    """
    called, digest = settings if settings is not None else ("Plan", run.plan_sha256)
    facts = {
        "Model": model.spec,
        "Network": model.network,
        "Parameters": f"{model.parameters:,}" if model.parameters is not None else "",
        "Trained by": model.trained_by or "",
        "Model SHA-256": model.sha256,
        "Data SHA-256": run.data_sha256 or "",
        f"{called} SHA-256": digest or "",
        "Seed": "" if run.seed is None else str(run.seed),
        "imaseg": run.imaseg or "",
    }
    facts |= {name: version or "" for name, version in run.versions.items()}
    facts |= {f"Hardware: {name}": str(value) for name, value in run.hardware.items() if value is not None}
    facts["Time (s)"] = "" if run.seconds is None else short(run.seconds)
    facts["Forward calls"] = "" if run.forward_calls is None else f"{run.forward_calls:,}"
    facts["Backward calls"] = "" if run.backward_calls is None else f"{run.backward_calls:,}"
    facts["Command"] = run.command or ""
    return facts
