"""Standard, half-and-half PGD and IMA on whole hippocampus volumes: one table, one command, resumable.

    python benchmarks/hippocampus_3d.py DATA [--out DIR]

DATA is MSD Task04_Hippocampus with a `split.json` (train, val). PGD and IMA start from the standard model and share
schedule, epochs, steps and the half-and-half mix. Attacked Dice is the worst of all
probes of `configs/plans/benchmark_3d.yaml`. Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from imaseg.auditing import audit
from imaseg.auditing.table import strongest
from imaseg.data.prepare import prepare
from imaseg.data.recipe import load_recipe
from imaseg.models.device import pick_device
from imaseg.progress import bar
from imaseg.report import read_audits, write_report
from imaseg.report.compare import all_series, at, budgets, clean_point, paired
from imaseg.runs import load_config, train

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("standard", "pgd", "ima")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="MSD Task04_Hippocampus with split.json")
    parser.add_argument("--out", type=Path, default=Path("work/hippocampus_3d"))
    arguments = parser.parse_args()
    out = arguments.out
    prepared = prepare_data(arguments.data, out)
    train_methods(prepared, out)
    results = [
        audit(
            out / method, prepared, ROOT / "configs/plans/benchmark_3d.yaml", out / f"audit-{method}",
            resume=True, device=pick_device("auto"),
        )
        for method in METHODS
    ]  # fmt: skip
    page = write_report([result.folder for result in results], out / "report.html")
    print(table([result.folder for result in results]))
    print(differences(results[1].folder, results[2].folder))
    print(f"Created {page}")


def prepare_data(data: Path, out: Path) -> Path:
    """The prepared cohort; does only what is missing."""
    with bar("prepare") as tell:
        prepare(data, out / "prepared", load_recipe("msd"), progress=tell)
    return out / "prepared"


def train_methods(prepared: Path, out: Path) -> None:
    """One run folder per method; goes on where it was stopped."""
    for method in METHODS:
        start = [] if method == "standard" else [f"init={out / 'standard'}"]
        config = load_config(ROOT / "configs" / f"hippocampus_{method}.yaml", start)
        train(config, prepared, out / method, resume=True)


def table(folders: list[Path]) -> str:
    """Markdown: one row per method, clean Dice and the worst attacked Dice per budget with 95 % intervals."""
    rows = []
    for folder in folders:
        summary, run = (json.loads((folder / name).read_text()) for name in ("summary.json", "run.json"))
        worst = strongest(summary)
        cells = [_cell(summary["foreground_mean"]["dice"], summary["clean_dice_ci95"])]
        for key, dice in worst.items():
            probe = next(
                p for p in summary["probes"]
                if (p["perturbation"], p["unit"], p["eps"]) == key and p["foreground_mean"]["dice"] == dice
            )  # fmt: skip
            cells.append(_cell(dice, probe["dice_ci95"]))
        pgd20 = [f"{p['foreground_mean']['dice']:.3f}" for p in summary["probes"] if p["probe"] == "pgd-l2"]
        margin = summary["margins"][0]
        cells.append(f"{margin['median']:.3f} ({margin['censored']}/{margin['n']} beyond {margin['eps']:g})")
        rows.append((summary["model"]["name"], cells, pgd20, run, list(worst), summary["data"]["cases"]))
    header = ["method", "clean", *[f"{eps:g}" for *_, eps in rows[0][4]], "median margin"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join([name, *cells]) + " |" for name, cells, *_ in rows]
    lines += ["", "PGD-20 alone (mean Dice at the same budgets):"]
    lines += [f"- {name}: " + " ".join(pgd20) for name, _, pgd20, *_ in rows]
    run = rows[0][3]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    lines.append(f"\nn = {rows[0][5]} cases, seed {run['seed']}, {run['hardware']}, imaseg {run['imaseg']}, {versions}")
    return "\n".join(lines)


def differences(control: Path, other: Path) -> str:
    """Other minus control, paired by case, clean and under the worst case over attacks."""
    before, after = read_audits([control, other])
    points = {"clean": paired(clean_point(before), clean_point(after))}
    (series,) = (found for found in all_series([before]) if found.attack == "worst-case")
    for eps in budgets([before], series):
        points[f"{eps:g}"] = paired(at(before, series, eps), at(after, series, eps))
    cells = [
        f"{name}: {gap.mean:+.3f} [{gap.ci95[0]:+.3f}, {gap.ci95[1]:+.3f}]"
        for name, gap in points.items()
        if gap is not None and gap.ci95 is not None
    ]
    return f"\n{after.name} minus {before.name}, paired by case: " + "; ".join(cells)


def _cell(mean: float, interval: list[float]) -> str:
    return f"{mean:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


if __name__ == "__main__":
    main()
