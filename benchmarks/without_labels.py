"""Whether stability tells bad predictions from good ones, and for which patients somebody else's network fails.

    python benchmarks/without_labels.py DATA [--out DIR] [--every N] [--only SET ...] [--small]

DATA is the folder that holds the sets:

- `cardiac`: `sunnybrook_lv_2d` and `checkpoints/advchain_unet16` (a cardiac U-Net that others trained on another
  scanner). Every N-th slice is audited twice: without labels, so that cases are ordered by expected failure alone and
  the labels only judge that order; and with labels, grouped by the pathology that the names of slices state.
- `hippocampus`: `Task04_Hippocampus`. A network is trained here on its `train` cases, for four epochs; the audit of the
  `val` cases is handed no labels, and its order is then compared with their Dice.
- `lesions`: `open_ms_lesion`, and `aorta`: the two CTs of `totalsegmentator_examples`. Two cases each, too few for a
  correlation: a small network is trained here on one of them, a stand-in that nobody would use, and both are audited
  without labels, and once more with what the network predicts written as their labels. All rows must be the same.

Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from attack_strength import footer

from imaseg import audit, load_cases, load_model
from imaseg.auditing import Plan
from imaseg.data import Case, CaseSet
from imaseg.data.formats.nifti import write_nifti
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.data.reading import read_volume
from imaseg.data.splitting import Splitting
from imaseg.results import Audit, load
from imaseg.runs import TrainConfig, load_config, train
from imaseg.statistics.ranking import rank_correlation, risk_coverage

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "examples" / "third_party" / "cardiac_unet16.yaml"
PATHOLOGY = re.compile(r"SC-(HF-I|HF-NI|HYP|N)-\d+")
PROBES: list[dict[str, Any]] = [
    {"attack": "gaussian-noise", "perturbation": "l2", "unit": "std", "eps": [0.1]},
    {"attack": "pgd", "perturbation": "linf", "unit": "std", "eps": [0.01, 0.05], "steps": 10},
    {"kind": "corruption", "severities": [1, 3]},
]
FEW: list[dict[str, Any]] = [
    {**PROBES[0]},
    {**PROBES[1], "steps": 5},
    {"kind": "corruption", "corruptions": ["gaussian-noise", "blur", "motion"], "severities": [1, 3]},
]
"""For whole volumes."""
SMALL: list[dict[str, Any]] = [
    {"attack": "fgsm", "perturbation": "linf", "unit": "std", "eps": [0.05]},
    {"kind": "corruption", "corruptions": ["blur"], "severities": [1]},
]
NETWORK = {"name": "UNet", "channels": [8, 16, 32, 64], "strides": [2, 2, 2], "num_res_units": 0, "norm": "instance"}
TINY = {"name": "UNet", "channels": [4, 8], "strides": [2], "num_res_units": 0}
AORTA = 52
"""Its label value in `ct_sm`; in `aorta_crop` it is 1."""
HEAD = (
    "| score | n | rank correlation with Dice | area under risk-coverage | at random | by Dice |\n" + "| --- " * 6 + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work/without_labels"))
    parser.add_argument("--every", type=int, default=5, help="of the cardiac slices")
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--small", action="store_true", help="one epoch of tiny networks, few probes, for tests")
    arguments = parser.parse_args()
    for name in arguments.only:
        print(f"\n## {name}\n", flush=True)
        SETS[name](arguments)


def cardiac(arguments: argparse.Namespace) -> None:
    """Slices for a network of others: the order of expected failure, and Dice by pathology."""
    data, out = arguments.data, arguments.out / "cardiac"
    os.environ.setdefault("IMASEG_TEST_DATA", str(data.resolve()))  # where the card looks for the weights
    cohort = load_cases(data / "sunnybrook_lv_2d")
    chosen = cohort.select(cohort.ids[:: arguments.every])
    out.mkdir(parents=True, exist_ok=True)
    table = out / "pathology.csv"
    table.write_text("case,pathology\n" + "".join(f"{name},{_pathology(name)}\n" for name in chosen.ids))
    probes = SMALL if arguments.small else PROBES
    own, against = (
        _audited(CARD, chosen, probes, out / reference, reference, trust=True, groups=table)
        for reference in ("prediction", "label")
    )
    print(HEAD)
    for one in own.summary.stability.scores:
        print(_order(one.score, one.n, one.rank_correlation, one.ci95, one.aurc, one.aurc_random, one.aurc_best))
    most = max(own.summary.stability.volumes, key=lambda one: one.moved)
    print(f"\nVolumes move most under {most.change}: by more than 10 % in {most.moved:.0%} of {most.n} slices.\n")
    _groups(against)
    print(footer(f"{len(chosen)} slices of {len({_patient(name) for name in chosen.ids})} patients", (0,)))


def hippocampus(arguments: argparse.Namespace) -> None:
    """Volumes whose labels the audit is not handed, for a network trained here."""
    out = arguments.out / "hippocampus"
    prepare(arguments.data / "Task04_Hippocampus", out / "prepared", load_recipe("msd"))
    small = ["epochs=1", f"network={TINY}", "patch=[24, 24, 16]"]
    changes = small if arguments.small else ["epochs=4"]
    config = load_config(ROOT / "configs" / "hippocampus_standard.yaml", changes)
    run = train(config, out / "prepared", out / "run", resume=True)
    held = load_cases(out / "prepared").part("val")
    found = _audited(run, _hidden(held), SMALL if arguments.small else PROBES, out / "hidden", "prediction")
    dice = _true_dice(run, held)
    scored = {case.case: case.agreement for case in found.summary.stability.cases if case.agreement is not None}
    scores, true = [*scored.values()], [dice[case] for case in scored]
    risks = [1 - one for one in true]
    print(HEAD)
    print(
        _order(
            "agreement", len(true), *rank_correlation(scores, true), risk_coverage(scores, risks),
            float(np.mean(risks)), risk_coverage(true, risks),
        )
    )  # fmt: skip
    print(f"\nDice of the unchanged images: {np.mean(true):.3f}, from {min(true):.3f} to {max(true):.3f}.")
    print(footer(f"{len(held)} val cases, {config.epochs} epochs", (0,)))


def lesions(arguments: argparse.Namespace) -> None:
    """Multiple sclerosis in FLAIR, T1 and T2."""
    _two(arguments, "lesions", arguments.data / "open_ms_lesion", {})


def aorta(arguments: argparse.Namespace) -> None:
    """The aorta in two CTs, one with and one without contrast agent; labels are another model's output, not truth."""
    source, raw = arguments.data / "totalsegmentator_examples", arguments.out / "aorta" / "raw"
    for name, value in (("aorta_crop", 1), ("ct_sm", AORTA)):
        scans = {part: nibabel.load(source / part / f"{name}.nii.gz") for part in ("images", "labels")}
        masks = {"images": np.asarray(scans["images"].dataobj), "labels": np.asarray(scans["labels"].dataobj) == value}
        for part, scan in scans.items():
            (raw / part).mkdir(parents=True, exist_ok=True)
            kind = np.int16 if part == "images" else np.uint8
            write_nifti(raw / part / f"{name}.nii.gz", masks[part].astype(kind), scan.affine, dtype=kind)
    window = {"low": -200, "high": 400}
    _two(arguments, "aorta", raw, {"spacing": (3.0, 3.0, 3.0), "normalise": "window", "window": [window]})


def _two(arguments: argparse.Namespace, name: str, source: Path, changes: dict[str, Any]) -> None:
    """Train on one of two cases; audit both without labels, and with the predictions as labels."""
    out = arguments.out / name
    recipe = load_recipe("msd")
    recipe = type(recipe).model_validate(recipe.model_dump() | changes)
    prepare(source, out / "prepared", recipe, splitting=Splitting("0.8", seed=1))
    settings = TrainConfig(
        network=TINY if arguments.small else NETWORK,
        patch=[16] * 3 if arguments.small else [48] * 3,
        foreground=0.8,
        batch_size=1,
        epochs=1 if arguments.small else 1500,
        learning_rate=0.003,
        loss={"name": "DiceCELoss", "softmax": True, "to_onehot_y": True, "include_background": False},
        monitor=0,
    )
    run = train(settings, out / "prepared", out / "run", resume=True)
    cohort, probes = load_cases(out / "prepared"), SMALL if arguments.small else FEW
    hidden = _audited(run, _hidden(cohort), probes, out / "hidden", "prediction")
    written = _audited(run, _predicted(run, cohort, out / "predicted"), probes, out / "written", "label")
    same = [one.rows == other.rows for one, other in zip(hidden.cases, written.cases, strict=True)]
    rows, dice = sum(len(case.rows) for case in hidden.cases), _true_dice(run, cohort)
    print("| case | trained on | found | agreement | Dice with its label |\n" + "| --- " * 5 + "|")
    for one in hidden.summary.stability.cases:
        seen = "yes" if one.case in cohort.split["train"] else "no"
        agreement = "none" if one.agreement is None else f"{one.agreement:.3f}"
        print(f"| {one.case} | {seen} | {'yes' if one.found else 'no'} | {agreement} | {dice[one.case]:.3f} |")
    print("\nTwo cases have an order and no correlation.")
    print(f"Against predictions written as labels: {rows} rows, {'all the same' if all(same) else 'DIFFERENT'}.")
    print(footer(f"{len(cohort)} cases, {settings.epochs} steps of training", (0,)))


def _audited(
    model: Path, cases: CaseSet, probes: list[dict[str, Any]], folder: Path, reference: str, **more: Any
) -> Audit:
    plan = Plan.model_validate({"name": "without labels", "probes": probes}).against(reference)
    audit(model, cases, plan, folder, select="all", resume=(folder / "run.json").is_file(), **more)
    return load(folder)


def _hidden(cohort: CaseSet) -> CaseSet:
    """The same images, without any label."""
    return replace(cohort, cases=tuple(replace(case, label=None, more_labels=()) for case in cohort))


def _predicted(run: Path, cohort: CaseSet, folder: Path) -> CaseSet:
    """The same images, with labels that hold what the model predicts."""
    folder.mkdir(exist_ok=True)
    cases = []
    for case, decided in _decisions(run, cohort):
        label = folder / f"{case.id}.nii.gz"
        write_nifti(label, decided, read_volume(case).affine, dtype=np.uint8)
        cases.append(replace(case, label=label, more_labels=()))
    return replace(cohort, cases=tuple(cases), declared_labels=cohort.labels)


def _true_dice(run: Path, cohort: CaseSet) -> dict[str, float]:
    """Mean over the classes in the label, counted here, not by the audit."""
    found = {}
    for case, one in _decisions(run, cohort):
        other = read_volume(case).label
        counts = [
            2 * ((one == k) & (other == k)).sum() / ((one == k).sum() + (other == k).sum())
            for k in np.unique(other)
            if k > 0
        ]
        found[case.id] = float(np.mean(counts))
    return found


def _decisions(run: Path, cohort: CaseSet) -> Iterator[tuple[Case, np.ndarray]]:
    model = load_model(run).eval()
    for case in cohort:
        with torch.no_grad():
            yield case, model(torch.from_numpy(read_volume(case).image)[None]).argmax(1)[0].numpy()


def _pathology(name: str) -> str:
    found = PATHOLOGY.match(name)
    return found[1] if found else ""


def _patient(name: str) -> str:
    return name.partition("-IM-")[0]


def _order(
    score: str, n: int, rank: float | None, ends: Sequence[float] | None, area: float, random: float, best: float
) -> str:
    """A row below `HEAD`."""
    shown = "none" if rank is None else f"{rank:.2f}" + ("" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]")
    return f"| {score} | {n} | {shown} | {area:.3f} | {random:.3f} | {best:.3f} |"


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


SETS = {one.__name__: one for one in (cardiac, hippocampus, lesions, aorta)}


if __name__ == "__main__":
    main()
