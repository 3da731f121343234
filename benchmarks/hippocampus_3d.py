"""Standard, PGD, TRADES and IMA on whole hippocampus volumes, and a sweep over the ceiling: one command, resumable.

    python -m pip install matplotlib   # only for --figure
    python benchmarks/hippocampus_3d.py DATA [--out DIR] [--runs NAME ...] [--sweep] [--seeds 0 1 2] [--figure FILE]
        [--small]

DATA is MSD Task04_Hippocampus with a `split.json` (train, val). All but `standard` and those named `-scratch` start
from the standard model of their seed and share schedule, epochs and the half-and-half mix (`pgd-only` aside). Searches
take 3 steps from where the case's last one ended. `standard-longer` says what the epochs alone do; runs named
`-scratch` have the epochs of both, all of them perturbed. `pgd-at-margin` trains at the mean of IMA's final margins.
--sweep adds larger budgets for IMA (also with jittered radii) and for PGD at fixed, ramped and random ones: where IMA
keeps its promise its clean Dice stays flat as the ceiling rises. Attacked Dice is the worst of all probes of
`configs/plans/benchmark_3d.yaml`. Stopped at any moment, the same command goes on. OUT/rows-SEED.json holds the Dice of
every case, by which `fronts.py` compares methods at equal clean Dice.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from imaseg.auditing import audit
from imaseg.auditing.table import strongest
from imaseg.data.files import write_json
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.models.device import pick_device
from imaseg.progress import bar
from imaseg.report import read_audits, write_report
from imaseg.report.compare import all_series, at, budgets, clean_point, paired
from imaseg.results import Summary, load
from imaseg.runs import TrainConfig, load_config, train
from imaseg.runs.build import build_method

ROOT = Path(__file__).resolve().parents[1]
NETS = ("standard", "pgd", "ima")  # the runs whose networks other benchmarks use
SCRATCH = ("epochs=32", "learning_rate=0.002")
BUDGETS = (0.2, 0.4, 0.8)
FRONTS = {
    "pgd": "PGD", "pgd-ramp": "PGD, ramp", "pgd-random": "PGD, random budgets", "trades": "TRADES", "ima": "IMA",
    "ima-jitter": "IMA, worst, jitter",
}  # fmt: skip
"""Methods that were trained at several budgets or ceilings, as `fronts.py` calls them."""
SHOWN = 0.12  # Dice that a panel of the figure spans
STEP = {"ima": 0.1, "ima-jitter": 0.2}  # increment per ceiling; radii below the margin, every second, let nothing grow
SMALL = (
    "epochs=1", "patch=[24, 24, 16]", "network={name: UNet, channels: [4, 8], strides: [2], num_res_units: 0}",
)  # fmt: skip
SMALL_PLAN = """name: small
probes:
  - {attack: pgd, unit: rms, eps: [0.05, 0.10], steps: 2}
  - {attack: strong, unit: rms, eps: [0.05, 0.10], steps: 3}
margins:
  - {perturbation: l2, unit: rms, eps: 0.4, criterion: {name: dice-below, threshold: 0.5}, steps: 2, rtol: 0.2}
validity: {cases: 1, attack: pgd, large_eps: 2.0, scaled_eps: 0.05}
showcase: {attack: pgd, eps: 0.05}
seed: 0
"""


@dataclass(frozen=True)
class Recipe:
    """How a run is made: a configuration, changes to it, and whether it starts from the standard model."""

    config: str
    changes: tuple[str, ...] = ()
    pretrained: bool = True


MAIN = {
    "standard": Recipe("hippocampus_standard", pretrained=False),
    "standard-longer": Recipe("hippocampus_standard", ("epochs=12", "learning_rate=0.001")),
    "pgd-only": Recipe("hippocampus_pgd_only"),
    "pgd": Recipe("hippocampus_pgd"),
    "pgd-ramp": Recipe("hippocampus_pgd_ramp"),
    "pgd-random": Recipe("hippocampus_pgd_random"),
    "trades": Recipe("hippocampus_trades"),
    "pgd-scratch": Recipe("hippocampus_pgd", SCRATCH, pretrained=False),
    "ima-scratch": Recipe("hippocampus_ima", SCRATCH, pretrained=False),
    "ima": Recipe("hippocampus_ima"),
    "ima-jitter": Recipe("hippocampus_ima_jitter"),
    "pgd-at-margin": Recipe("hippocampus_pgd"),
}
SWEEP = {
    f"{name}-{eps:g}": Recipe(
        MAIN[name].config,
        (f"method.perturbation.eps={eps}", *([f"method.increment={eps * STEP[name]}"] if name in STEP else [])),
    )
    for name, eps in product(("pgd", "pgd-ramp", "pgd-random", "ima", "ima-jitter"), BUDGETS)
}
RECIPES = MAIN | SWEEP


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="MSD Task04_Hippocampus with split.json")
    parser.add_argument("--out", type=Path, default=Path("work/hippocampus_3d"))
    parser.add_argument("--runs", nargs="+", choices=list(RECIPES), help="instead of all of the main table")
    parser.add_argument("--sweep", action="store_true", help="also the larger budgets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--figure", type=Path, help="SVG or PNG of Dice against the budget or ceiling, first seed")
    parser.add_argument("--small", action="store_true", help="one epoch of tiny networks, short attacks, for tests")
    arguments = parser.parse_args()
    out, names = arguments.out, list(arguments.runs or MAIN) + (list(SWEEP) if arguments.sweep else [])
    prepared = prepare_data(arguments.data, out)
    plan = ROOT / "configs/plans/benchmark_3d.yaml"
    if arguments.small:
        plan = out / "small.yaml"
        plan.write_text(SMALL_PLAN)
    folders = []
    for seed, name in product(arguments.seeds, names):
        run = train_run(name, seed, prepared, out, SMALL if arguments.small else ())
        audited = audit(run, prepared, plan, out / f"audit-{run.name}", resume=True, device=pick_device("auto"))
        folders.append(audited.folder)
        print(f"{run.name} is done", flush=True)
    for seed in arguments.seeds:
        write_json(out / f"rows-{seed}.json", rows_of(out, seed))
    page = write_report(folders, out / "report.html")
    print(table(folders))
    if len(arguments.seeds) > 1:
        print(spread(folders))
    print(stopped(out, folders))
    first = {folder.name: folder for folder in folders}
    controls = ("pgd-only", "pgd", "pgd-ramp", "pgd-random", "trades", "pgd-at-margin")
    ends = ("", "-scratch", *(f"-{eps:g}" for eps in BUDGETS))
    for end, other, control in product(ends, ("ima", "ima-jitter"), controls):
        if {f"audit-{other}{end}", f"audit-{control}{end}"} <= first.keys():
            print(differences(first[f"audit-{control}{end}"], first[f"audit-{other}{end}"]))
    print(f"Created {page}")
    if arguments.figure is not None:
        draw(folders, arguments.figure)


def prepare_data(data: Path, out: Path) -> Path:
    """The prepared cohort; does only what is missing."""
    with bar("prepare") as tell:
        prepare(data, out / "prepared", load_recipe("msd"), progress=tell)
    return out / "prepared"


def train_nets(prepared: Path, out: Path, *, small: bool = False) -> dict[str, Path]:
    """The run folder of each of `NETS`; goes on where it was stopped."""
    return {name: train_run(name, 0, prepared, out, SMALL if small else ()) for name in NETS}


def train_run(name: str, seed: int, prepared: Path, out: Path, more: tuple[str, ...] = ()) -> Path:
    """The run folder of a recipe; seed 0 has the recipe's name, others carry their seed."""
    run = folder_of(out, name, seed)
    train(settings(name, seed, out, prepared, more), prepared, run, resume=True)
    return run


def settings(name: str, seed: int, out: Path, prepared: Path, more: tuple[str, ...]) -> TrainConfig:
    """The configuration of a recipe; trains first what it starts from."""
    recipe = RECIPES[name]
    changes = [*recipe.changes, *more, f"seed={seed}"]
    if recipe.pretrained:
        changes.append(f"init={train_run('standard', seed, prepared, out, more)}")
    if name == "pgd-at-margin":
        margins = margins_of(train_run("ima", seed, prepared, out, more))
        changes.append(f"method.perturbation.eps={sum(margins) / len(margins):.6f}")
    return load_config(ROOT / "configs" / f"{recipe.config}.yaml", changes)


def folder_of(out: Path, name: str, seed: int) -> Path:
    return out / (name if seed == 0 else f"{name}-seed{seed}")


def margins_of(run: Path) -> list[float]:
    """IMA's final margins; none for other methods."""
    path = run / "margins.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [float(row["margin"]) for row in csv.DictReader(file)]


def compute_of(run: Path) -> float:
    """Passes of the network per training case, at most, with those of the model it started from."""
    config = load_config(run / "config.yaml")
    before = 0.0 if config.init is None else compute_of(Path(config.init))
    return before + build_method(config).passes * config.epochs


def rows_of(out: Path, seed: int) -> dict[str, Any]:
    """What `fronts.py` reads of a seed: Dice of every case, clean and under the worst attack, of each audited run."""
    folders = {name: out / f"audit-{folder_of(out, name, seed).name}" for name in RECIPES}
    audits = {name: load(folder) for name, folder in folders.items() if (folder / "summary.json").is_file()}
    summary = next(iter(audits.values())).summary
    rungs = [probe.eps for probe in summary.probes if probe.attack == "worst-case"]
    return {
        "columns": {f"{eps:g}": [place] for place, eps in enumerate(rungs, start=1)},
        "fronts": {
            title: [called(title, eps) for eps in (0.1, *BUDGETS)] for title in FRONTS.values() if title != "TRADES"
        },
        "epochs": 12,
        "steps": max(probe.steps or 0 for probe in summary.probes),
        "seed": seed,
        "patients": [case.case for case in summary.metric_per_case],
        "rows": {
            row_name(name): {"dice": dice_of(audited.summary), "margins": margin_of(folder_of(out, name, seed))}
            for name, audited in audits.items()
        },
    }


def row_name(run: str) -> str:
    """What a run is called in rows: its method, and the budget or ceiling that it was trained with.

    >>> row_name("pgd-random-0.4"), row_name("ima"), row_name("standard-longer")
    ('PGD, random budgets at 0.4', 'IMA at 0.1', 'standard-longer')
    """
    method, _, ceiling = run.rpartition("-")
    if ceiling in {f"{eps:g}" for eps in BUDGETS} and method in FRONTS:
        return called(FRONTS[method], float(ceiling))
    return called(FRONTS[run], 0.1) if run in FRONTS else run


def called(title: str, eps: float) -> str:
    return f"{title} at {eps:g}"


def dice_of(summary: Summary) -> list[list[float]]:
    """Mean Dice of every case, clean and then at each budget under the worst attack."""
    worst = [probe.metric_per_case for probe in summary.probes if probe.attack == "worst-case"]
    return [[case.dice or 0.0 for case in cases] for cases in (summary.metric_per_case, *worst)]


def margin_of(run: Path) -> dict[str, float]:
    """Mean of IMA's final margins; empty for other methods."""
    margins = margins_of(run)
    return {"L2": sum(margins) / len(margins)} if margins else {}


def spread(folders: list[Path]) -> str:
    """Markdown: mean and range over seeds, clean and under the worst attack at each budget."""
    values: dict[str, list[list[float]]] = {}
    for folder in folders:
        summary = load(folder).summary
        name = folder.name.removeprefix("audit-").partition("-seed")[0]
        values.setdefault(name, []).append([summary.dice, *strongest(summary).values()])
    lines = ["\nMean over seeds (range):\n"]
    for name, runs in values.items():
        cells = [f"{sum(one) / len(one):.3f} ({min(one):.3f} to {max(one):.3f})" for one in zip(*runs, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stopped(out: Path, folders: list[Path]) -> str:
    """How many of IMA's margins stopped below the ceiling."""
    lines = ["\nMargins below the ceiling at the end of training:"]
    for run in (out / folder.name.removeprefix("audit-") for folder in folders):
        margins = margins_of(run)
        if margins:
            ceiling = load_config(run / "config.yaml").method["perturbation"]["eps"]
            below = sum(margin < ceiling for margin in margins)
            mean = sum(margins) / len(margins)
            lines.append(f"- {run.name}: {below} of {len(margins)} below {ceiling:g}, mean {mean:.3f}")
    return "\n".join(lines)


def table(folders: list[Path]) -> str:
    """Markdown: one row per method, clean Dice and the worst attacked Dice per budget with 95 % intervals."""
    rows = []
    for folder in folders:
        audited = load(folder)
        summary = audited.summary
        worst = strongest(summary)
        cells = [_cell(summary.dice, summary.clean_dice_ci95)]
        for key, dice in worst.items():
            probe = next(p for p in summary.probes if (p.perturbation, p.unit, p.eps) == key and p.dice == dice)
            cells.append(_cell(dice, probe.dice_ci95))
        pgd20 = [f"{p.dice:.3f}" for p in summary.probes if p.probe == "pgd-l2"]
        margin = summary.margins[0]
        cells.append(f"{margin.median:.3f} ({margin.censored}/{margin.n} beyond {margin.eps:g})")
        cells.append(f"{compute_of(folder.parent / folder.name.removeprefix('audit-')):.0f}")
        rows.append((summary.model.name, cells, pgd20, audited.run, list(worst), summary.data.cases))
    header = ["method", "clean", *[f"{eps:g}" for *_, eps in rows[0][4]], "median margin", "passes per case"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join([name, *cells]) + " |" for name, cells, *_ in rows]
    lines += ["", "PGD-20 alone (mean Dice at the same budgets):"]
    lines += [f"- {name}: " + " ".join(pgd20) for name, _, pgd20, *_ in rows]
    run = rows[0][3]
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    lines.append(f"\nn = {rows[0][5]} cases, seed {run.seed}, {run.hardware}, imaseg {run.imaseg}, {versions}")
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


def draw(folders: list[Path], path: Path) -> None:
    """Mean Dice, clean and under the worst attack, against the budget or ceiling of training, one panel per attack.

    Panels end `SHOWN` below their highest point: of lines that collapse the fall shows, not its depth.
    """
    from matplotlib import pyplot

    lines: dict[str, dict[float, list[float]]] = {}
    panels: list[str] = []
    for folder in folders:
        summary = load(folder).summary
        method, _, ceiling = folder.name.removeprefix("audit-").rpartition("-")
        if ceiling not in {f"{eps:g}" for eps in BUDGETS}:
            method, ceiling = folder.name.removeprefix("audit-"), "0.1"
        worst = strongest(summary)
        panels = ["clean", *(f"L2 {eps:g} RMS" for *_, eps in worst)]
        lines.setdefault(method, {})[float(ceiling)] = [summary.dice, *worst.values()]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(3 * len(panels), 3.5), layout="constrained")
    for place, (axis, title) in enumerate(zip(axes, panels, strict=True)):
        for number, (method, found) in enumerate(item for item in lines.items() if len(item[1]) > 1):
            at_ceiling = sorted((ceiling, dice[place]) for ceiling, dice in found.items())
            axis.plot(*zip(*at_ceiling, strict=True), marker="osD^v"[number % 5], color=f"C{number}", label=method)
        axis.set_xscale("log", base=2)
        axis.set_xticks([0.1, *BUDGETS], labels=[f"{eps:g}" for eps in (0.1, *BUDGETS)])
        top = max(dice[place] for found in lines.values() for dice in found.values() if len(found) > 1)
        axis.set(title=title, xlabel="budget or ceiling", ylim=(top - SHOWN, top + SHOWN / 20))
    axes[0].set_ylabel("mean foreground Dice")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _cell(mean: float, interval: list[float] | None) -> str:
    """Of fewer than three cases there is no interval."""
    return f"{mean:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


if __name__ == "__main__":
    main()
