"""Whether stability tells bad predictions from good ones, and for which patients somebody else's network fails.

    python benchmarks/without_labels.py DATA [--out DIR] [--every N]

DATA is the folder that holds `sunnybrook_lv_2d` and `checkpoints/advchain_unet16` (a cardiac U-Net that others trained
on another scanner). Every N-th slice is audited twice: without labels, so that cases are ordered by expected failure
alone and the labels only judge that order; and with labels, grouped by the pathology that the names of slices state.
Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from attack_strength import footer

from imaseg import audit, load_cases
from imaseg.auditing import Plan
from imaseg.results import Audit, load

CARD = Path(__file__).resolve().parents[1] / "examples" / "third_party" / "cardiac_unet16.yaml"
PATHOLOGY = re.compile(r"SC-(HF-I|HF-NI|HYP|N)-\d+")
PROBES = [
    {"attack": "gaussian-noise", "perturbation": "l2", "unit": "std", "eps": [0.1]},
    {"attack": "pgd", "perturbation": "linf", "unit": "std", "eps": [0.01, 0.05], "steps": 10},
    {"kind": "corruption", "severities": [1, 3]},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work/without_labels"))
    parser.add_argument("--every", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.setdefault("IMASEG_TEST_DATA", str(arguments.data.resolve()))  # where the card looks for the weights
    cohort = load_cases(arguments.data / "sunnybrook_lv_2d")
    chosen = cohort.select(cohort.ids[:: arguments.every])
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "pathology.csv"
    table.write_text("case,pathology\n" + "".join(f"{name},{_pathology(name)}\n" for name in chosen.ids))
    plan = Plan.model_validate({"name": "without labels", "probes": PROBES})
    folders = {name: arguments.out / name for name in ("prediction", "label")}
    for reference, folder in folders.items():
        audit(
            CARD, chosen, plan.against(reference), folder, select="all", trust=True, groups=table,
            resume=(folder / "run.json").is_file(),
        )  # fmt: skip
    _order(load(folders["prediction"]))
    _groups(load(folders["label"]))
    print(footer(f"{len(chosen)} slices of {len({_patient(name) for name in chosen.ids})} patients", (0,)))


def _pathology(name: str) -> str:
    found = PATHOLOGY.match(name)
    return found[1] if found else ""


def _patient(name: str) -> str:
    return name.partition("-IM-")[0]


def _order(found: Audit) -> None:
    print("| score | n | rank correlation with Dice | area under risk-coverage | at random | by Dice |")
    print("| --- | --- | --- | --- | --- | --- |")
    for one in found.summary.stability.scores:
        ends = "" if one.ci95 is None else f" [{one.ci95[0]:.2f}, {one.ci95[1]:.2f}]"
        print(
            f"| {one.score} | {one.n} | {one.rank_correlation:.2f}{ends} | {one.aurc:.3f} | {one.aurc_random:.3f} | "
            f"{one.aurc_best:.3f} |"
        )
    most = max(found.summary.stability.volumes, key=lambda one: one.moved)
    print(f"\nVolumes move most under {most.change}: by more than 10 % in {most.moved:.0%} of {most.n} slices.\n")


def _groups(found: Audit) -> None:
    (grouping,) = found.summary.groups
    heads = [(one.probe, one.eps) for one in grouping.groups[0].figures]
    print("| pathology | patients | slices | " + " | ".join(f"{name} {eps:g}" for name, eps in heads) + " |")
    print("| --- | --- | --- |" + " --- |" * len(heads))
    for group in grouping.groups:
        print(f"| {group.value} | {group.patients} | {len(group.cases)} | " + " | ".join(
            f"{one.dice:.3f}" + ("" if one.ci95 is None else f" [{one.ci95[0]:.2f}, {one.ci95[1]:.2f}]")
            for one in group.figures
        ) + " |")  # fmt: skip
    for gap in grouping.gaps:
        print(f"\n{gap.probe} {gap.eps:g}: {gap.worst} lowest, gap {gap.gap:+.3f}, adjusted p = {gap.p:.2g}")


if __name__ == "__main__":
    main()
