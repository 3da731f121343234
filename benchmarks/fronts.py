"""Attacked Dice at equal clean Dice: each setting of IMA against the fronts of its controls, over seeds and patients.

    python benchmarks/fronts.py ROWS.json [...] [--against ROW] [--figure FILE]

ROWS are the `rows.json` of `ima_ablation.py` or of `many_sets.py`, one per seed, compared as
docs/decisions/0008-how-ima-is-judged.md says: a control is a curve of attacked over clean Dice, through its settings in
the order of their clean Dice; IMA is ahead where it lies above that curve. Variances are those of leaving out one
patient, and one seed, at a time, added up; t intervals have one degree of freedom less than there are seeds, p-values
are corrected by Holm's method. Of a single seed intervals are those over patients: another training may differ by more.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from planes import dice_two_ways, draw

from imaseg.statistics.comparison import holm

Values = np.ndarray[Any, np.dtype[np.float64]]
Points = dict[str, Values]
"""By row, Dice at each column, clean first."""


@dataclass(frozen=True)
class Runs:
    """What several seeds found.

    Attributes:
        rows: of each seed, by row that all seeds have: voxels (1 + places, patients, K, 3) or Dice (1 + places,
            patients), clean first.
        columns: the places whose mean makes a column, by its header.
        fronts: the rows that trace a method's front, by method.
        way: of counting, "pooled" or "patients".
    """

    rows: list[Points]
    columns: dict[str, list[int]]
    fronts: dict[str, list[str]]
    way: str

    @property
    def names(self) -> list[str]:
        """Of the rows."""
        return list(self.rows[0])

    def front(self, method: str) -> list[str]:
        """The rows that are there of a method."""
        return [name for name in self.fronts[method] if name in self.rows[0]]

    def points(self, without: int | None = None) -> list[Points]:
        """Of each seed, with or without a patient."""
        return [{name: self._point(values, without) for name, values in run.items()} for run in self.rows]

    def _point(self, values: Values, without: int | None) -> Values:
        if without is not None:
            values = np.delete(values, without, axis=1)
        found = dice_two_ways(torch.from_numpy(values))[self.way] if values.ndim == 4 else values.mean(1)
        return np.array([found[0], *(np.mean([found[i] for i in places]) for places in self.columns.values())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="+")
    parser.add_argument("--against", help="a row from which all others are subtracted, whatever their clean Dice")
    parser.add_argument("--figure", type=Path, help="SVG or PNG of attacked against clean Dice")
    arguments = parser.parse_args()
    files = [json.loads(path.read_text()) for path in arguments.rows]
    _check(files, arguments.rows)
    for way in ("pooled", "patients"):
        runs = read(files, way)
        if runs is None:
            continue
        print(f"\nDice, {_WORDS[way]}, mean (SD) over {len(files)} seeds:\n\n{_table(files, runs)}")
        print(f"\nOf IMA less that of a control at the same clean Dice:\n\n{_comparison(runs)}")
        print(f"\nMean over the clean Dice that both fronts reach, IMA less control:\n\n{_areas(runs)}")
        if arguments.against is not None:
            print(f"\nLess those of {arguments.against}:\n\n{_differences(runs, arguments.against)}")
        if arguments.figure is not None:
            means = {name: np.mean([one[name] for one in runs.points()], 0).tolist() for name in runs.names}
            draw(means, runs.front("PGD"), [*runs.columns], arguments.figure)
            arguments.figure = None  # of the first way of counting
    seeds, patients = [file["seed"] for file in files], len(files[0]["patients"])
    print(
        f"\n{patients} held-out patients, seeds {seeds}, {files[0]['epochs']} epochs, {files[0]['steps']} attack steps"
    )


_WORDS = {"pooled": "pooled over voxels", "patients": "mean of patients"}


def read(files: list[dict[str, Any]], way: str) -> Runs | None:
    """The rows that all files have; None where they hold Dice alone, which cannot be pooled.

    Args:
        files: contents, one per seed.
        way: of counting.
    """
    names = [name for name in files[0]["rows"] if all(name in file["rows"] for file in files)]
    kind = "voxels" if "voxels" in files[0]["rows"][names[0]] else "dice"
    if kind == "dice" and way == "pooled":
        return None
    rows = [{name: np.array(file["rows"][name][kind], float) for name in names} for file in files]
    return Runs(rows, files[0]["columns"], files[0]["fronts"], way)


def _check(files: list[dict[str, Any]], paths: list[Path]) -> None:
    """Refuse runs that differ in anything but the seed."""
    for key in ("columns", "fronts", "epochs", "steps", "patients"):
        if any(file[key] != files[0][key] for file in files):
            raise SystemExit(f"All of {', '.join(map(str, paths))} must have the same {key}. Run them alike.")
    if len({file["seed"] for file in files}) < len(files):
        raise SystemExit(f"{', '.join(map(str, paths))} must be of different seeds. Leave one of the same seed out.")


def _table(files: list[dict[str, Any]], runs: Runs) -> str:
    header = ["training", "clean", *runs.columns, "mean margin"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for name in runs.names:
        found = np.array([one[name] for one in runs.points()])
        spread = [f" ({sd:.3f})" for sd in found.std(0, ddof=1)] if len(found) > 1 else [""] * found.shape[1]
        cells = [f"{mean:.3f}{sd}" for mean, sd in zip(found.mean(0), spread, strict=True)]
        margins = [file["rows"][name]["margins"] for file in files]
        means = {key: np.mean([one[key] for one in margins if key in one]) for key in margins[0]}
        lines.append(f"| {name} | " + " | ".join([*cells, ", ".join(f"{k} {v:.2g}" for k, v in means.items())]) + " |")
    return "\n".join(lines)


def _comparison(runs: Runs) -> str:
    """Every setting of IMA against every control, a column per budget."""
    found = []
    for name, control in product([name for name in runs.names if name.startswith("IMA")], _controls(runs)):
        settings = runs.front(control)
        for place, header in enumerate(runs.columns, 1):
            found.append(
                (name, control, header, _spread(runs, partial(above, name=name, settings=settings, place=place)))
            )
    return _lines(found, [*runs.columns])


def _differences(runs: Runs, other: str) -> str:
    """Every row less another one, clean first."""
    if other not in runs.names:
        raise SystemExit(f"--against must be one of {', '.join(runs.names)}, got {other}.")
    found = []
    for name in [name for name in runs.names if name != other]:
        for place, header in enumerate(["clean", *runs.columns]):
            found.append((name, other, header, _spread(runs, lambda one, n=name, p=place: one[n][p] - one[other][p])))
    return _lines(found, ["clean", *runs.columns])


def _controls(runs: Runs) -> list[str]:
    return [method for method in runs.fronts if not method.startswith("IMA") and len(runs.front(method)) > 1]


def above(points: Points, name: str, settings: list[str], place: int) -> float:
    """Attacked Dice of a row less that of a front at the row's clean Dice; NaN where the front does not reach it.

    Args:
        points: of one seed.
        name: of the row.
        settings: rows of the front.
        place: of the column, from 1.
    """
    own, front = points[name], np.array([points[one] for one in settings])
    front = front[front[:, 0].argsort(kind="stable")]
    return float(own[place] - np.interp(own[0], front[:, 0], front[:, place], np.nan, np.nan))


def _areas(runs: Runs) -> str:
    found = []
    for own, control in product([one for one in runs.fronts if one.startswith("IMA")], _controls(runs)):
        one, other = runs.front(own), runs.front(control)
        for place, header in enumerate(runs.columns, 1):
            found.append(
                (own, control, header, _spread(runs, partial(between, settings=one, others=other, place=place)))
            )
    return _lines(found, [*runs.columns])


def between(points: Points, settings: list[str], others: list[str], place: int) -> float:
    """Mean height of one front above another over the clean Dice that both reach; NaN where they share none."""
    one, other = (
        np.array(sorted((points[name][[0, place]] for name in rows), key=lambda point: point[0]))
        for rows in (settings, others)
    )
    low, high = max(one[0, 0], other[0, 0]), min(one[-1, 0], other[-1, 0])
    if not low < high:
        return float("nan")
    knots = np.unique(np.clip(np.concatenate([one[:, 0], other[:, 0]]), low, high))
    gap = np.interp(knots, *one.T) - np.interp(knots, *other.T)
    return float(np.trapezoid(gap, knots) / (high - low))


def _spread(runs: Runs, value: Callable[[Points], float]) -> tuple[float, float, float] | None:
    """Mean over seeds, half of its 95 % interval and its p-value; None if undefined. One seed: over patients alone."""
    by_seed = np.array([value(points) for points in runs.points()])
    if not np.isfinite(by_seed).all():
        return None
    count = next(iter(runs.rows[0].values())).shape[1]
    without = np.array([np.mean([value(points) for points in runs.points(patient)]) for patient in range(count)])
    several = len(by_seed) > 1
    seeds = by_seed.var(ddof=1) / len(by_seed) if several else 0.0
    error = float(np.sqrt(seeds + (count - 1) * np.nanvar(without)))
    free = len(by_seed) - 1 if several else count - 1
    p = 2 * scipy.stats.t.sf(abs(by_seed.mean()) / max(error, 1e-12), free)
    return float(by_seed.mean()), float(scipy.stats.t.ppf(0.975, free)) * error, float(p)


def _lines(found: list[tuple[str, str, str, tuple[float, float, float] | None]], columns: list[str]) -> str:
    """Markdown: a line per row and control, a star where the corrected p-value is below 0.05."""
    known = [one for *_, one in found if one is not None]
    corrected = iter(holm([p for *_, p in known]) if known else [])
    header = ["row", "control", *columns]
    lines: dict[tuple[str, str], list[str]] = {}
    for row, control, _, one in found:
        if one is None:
            cell = "outside"
        else:
            cell = f"{one[0]:+.3f} [{one[0] - one[1]:+.3f}, {one[0] + one[1]:+.3f}]" + "*" * (next(corrected) < 0.05)
        lines.setdefault((row, control), []).append(cell)
    table = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*table, *("| " + " | ".join([*key, *cells]) + " |" for key, cells in lines.items())])


if __name__ == "__main__":
    main()
