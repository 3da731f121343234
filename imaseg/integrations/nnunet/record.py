"""Files that a robust training writes to the fold's folder: settings, margins and epochs as tables, and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

import yaml

from imaseg.data.files import whole_file
from imaseg.data.table_file import write_table

SETTINGS, MARGINS, EPOCHS, PLOT = "imaseg.yaml", "margins.csv", "robustness.csv", "margins.png"
_SHARES = ("q10", "q25", "q50", "q75", "q90")


def margin_figures(margins: Mapping[str, float]) -> dict[str, float]:
    """Quantiles of the margins over cases; empty if no margins are kept."""
    values = list(margins.values())
    if not values:
        return {}
    cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
    return {f"margin_{name}": cuts[cut] for name, cut in zip(_SHARES, (1, 4, 9, 14, 17), strict=True)}


def write_settings(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the settings in effect, in the form that `IMASEG_CONFIG` takes."""
    with whole_file(folder / SETTINGS) as part:
        part.write_text(yaml.safe_dump(dict(content), sort_keys=False))


def write_tables(folder: Path, margins: Mapping[str, float], history: Sequence[Mapping[str, float]]) -> None:
    """Write `margins.csv` (if margins are kept) and `robustness.csv`, each atomically."""
    if margins:
        rows = [{"case": case, "margin": margin} for case, margin in sorted(margins.items())]
        write_table(folder / MARGINS, ("case", "margin"), rows)
    write_table(folder / EPOCHS, list(dict.fromkeys(name for row in history for name in row)), history)


def plot_margins(folder: Path, margins: Mapping[str, float], history: Sequence[Mapping[str, float]], unit: str) -> None:
    """Draw `margins.png`: margins over the epochs, and a histogram of the current ones."""
    from matplotlib import style

    with style.context("default"):  # nnU-Net's own plot leaves a large font size set
        _draw(folder / PLOT, margins, history, unit)


def _draw(path: Path, margins: Mapping[str, float], history: Sequence[Mapping[str, float]], unit: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    over_time, now = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    columns = {name: [row[f"margin_{name}"] for row in history] for name in _SHARES}
    for low, high, shade in (("q10", "q90", 0.2), ("q25", "q75", 0.4)):
        over_time.fill_between(epochs, columns[low], columns[high], alpha=shade, color="tab:blue", linewidth=0)
    over_time.plot(epochs, columns["q50"], color="tab:blue", marker=".")
    over_time.set(xlabel="epoch", ylabel=f"margin ({unit})", title="median, quartiles, deciles over cases")
    now.hist(list(margins.values()), bins=20, range=(0, 1.05 * max(margins.values()) or 1), color="tab:blue")
    now.set(xlabel=f"margin ({unit})", ylabel="cases", title=f"after epoch {epochs[-1]:.0f}")
    with whole_file(path) as part:
        figure.savefig(part)
