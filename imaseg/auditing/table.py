"""A small table for the terminal: mean Dice of each model, clean and at each budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def strongest(summary: dict[str, Any]) -> dict[tuple[str, str, float], float]:
    """Lowest mean foreground Dice, by perturbation set, unit and eps; the worst case over attacks where several ran."""
    lowest: dict[tuple[str, str, float], float] = {}
    for probe in summary["probes"]:
        key = (probe["perturbation"], probe["unit"], probe["eps"])
        lowest[key] = min(lowest.get(key, 1.0), probe["foreground_mean"]["dice"])
    return lowest


def ladder_table(summaries: Sequence[dict[str, Any]]) -> str:
    """Rows are budgets, columns are models; mean foreground Dice over cases."""
    names = [summary["model"]["name"] for summary in summaries]
    worst = [strongest(summary) for summary in summaries]
    rows = [("clean", [summary["foreground_mean"]["dice"] for summary in summaries])]
    for key in worst[0]:
        kind, unit, eps = key
        rows.append((f"{kind} {eps:g} {unit}", [lowest.get(key) for lowest in worst]))
    width = max(len(title) for title, _ in rows)
    columns = [max(len(name), 6) for name in names]
    header = " " * width + "".join(f"  {name:>{size}}" for name, size in zip(names, columns, strict=True))
    title = f"Mean foreground Dice over {summaries[0]['data']['cases']} cases, each under its worst attack"
    lines = [title, header]
    for title, values in rows:
        cells = ["-" if value is None else f"{value:.3f}" for value in values]
        lines.append(
            f"{title:<{width}}" + "".join(f"  {cell:>{size}}" for cell, size in zip(cells, columns, strict=True))
        )
    return "\n".join(lines)
