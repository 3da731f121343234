"""The whole way through nnU-Net v2: convert, plan, train, predict with the stock command, audit side by side.

    python benchmarks/nnunet_hippocampus.py DATA [--out DIR] [--methods standard pgd ima] [--threads N]

DATA is MSD Task04_Hippocampus with a `split.json` (train, val). Everything nnU-Net does is done by its own commands, on
a plan whose network is small enough for a CPU. PGD and IMA start from the standard model's weights and share epochs,
iterations and seed. Finished steps are not done again; training itself goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

DATASET, NUMBER, CONFIGURATION, PLANS = "Dataset004_Hippocampus", "4", "3d_fullres", "tiny"
TRAINERS = {"standard": "nnUNetTrainerStandard", "pgd": "nnUNetTrainerPGD", "ima": "nnUNetTrainerIMA"}
CEILING = 0.1  # RMS per voxel, of the training methods
AUDIT = """
name: nnunet_hippocampus
probes:
  - {{attack: gaussian-noise, unit: rms, eps: {eps}}}
  - {{attack: pgd, unit: rms, eps: {eps}, steps: {steps}}}
margins: []
validity: null
showcase: {{attack: pgd, eps: {showcase}}}
seed: 0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="MSD Task04_Hippocampus with split.json")
    parser.add_argument("--out", type=Path, default=Path("work/nnunet_hippocampus"))
    parser.add_argument("--methods", nargs="+", choices=TRAINERS, default=list(TRAINERS))
    parser.add_argument("--train", type=int, default=40, help="training cases")
    parser.add_argument("--val", type=int, default=6, help="validation cases")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=60, help="per epoch")
    parser.add_argument("--rate", type=float, default=0.05, help="learning rate at the start")
    parser.add_argument("--features", type=int, nargs="+", default=[8, 16, 32], help="of the network's stages")
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 56, 40])
    parser.add_argument("--eps", type=float, nargs="+", default=[0.026, 0.052, 0.1], help="budgets of the audit")
    parser.add_argument("--steps", type=int, default=8, help="of the search in training and of PGD in the audit")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    out = options.out.resolve()
    use_folders(out)
    raw = convert(options.data, out, options.train, options.val)
    plan(out, options.features, options.patch)
    for method in options.methods:
        train(out, method, options)
    predict(out, options.methods)
    audits = [audit(out, raw, method, options) for method in options.methods]
    from imaseg.report import write_report

    page = write_report(audits, out / "report.html")
    print(table(out, options.methods))
    print(f"Created {page}")


def use_folders(out: Path) -> None:
    """nnU-Net's environment: folders below `out`, no worker processes; before nnU-Net is imported."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(out / name)
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f", "OMP_NUM_THREADS": "1"}


def convert(data: Path, out: Path, train: int, val: int) -> Path:
    """Some cases of the MSD folder in nnU-Net's raw layout, and the split as its fold 0."""
    raw, preprocessed = out / "raw" / DATASET, out / "preprocessed" / DATASET
    split = json.loads((data / "split.json").read_text())
    fold = {"train": split["train"][:train], "val": split["val"][:val]}
    for folder in (raw / "imagesTr", raw / "labelsTr", out / "imagesVal", preprocessed):
        folder.mkdir(parents=True, exist_ok=True)
    for name in (*fold["train"], *fold["val"]):
        shutil.copyfile(data / "imagesTr" / f"{name}.nii.gz", raw / "imagesTr" / f"{name}_0000.nii.gz")
        shutil.copyfile(data / "labelsTr" / f"{name}.nii.gz", raw / "labelsTr" / f"{name}.nii.gz")
    for name in fold["val"]:
        shutil.copyfile(data / "imagesTr" / f"{name}.nii.gz", out / "imagesVal" / f"{name}_0000.nii.gz")
    labels = json.loads((data / "dataset.json").read_text())["labels"]
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {name: int(value) for value, name in labels.items()},
        "numTraining": train + val,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    (preprocessed / "splits_final.json").write_text(json.dumps([fold]))
    return raw


def plan(out: Path, features: list[int], patch: list[int]) -> None:
    """nnU-Net's own plan and preprocessing, then the plan with a network of a few channels."""
    folder = out / "preprocessed" / DATASET
    if not (folder / "nnUNetPlans.json").is_file():
        from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry

        os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112 (the planner divides by it)
        command(plan_and_preprocess_entry, "-d", NUMBER, "-c", CONFIGURATION, "-np", "1", "-npfp", "1")
        os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    configuration = plans["configurations"][CONFIGURATION]
    configuration["patch_size"] = patch
    network = configuration["architecture"]["arch_kwargs"]
    stages = len(features)
    network |= {"n_stages": stages, "features_per_stage": features, "n_conv_per_stage": [1] * stages}
    network |= {"n_conv_per_stage_decoder": [1] * (stages - 1)}
    network |= {key: network[key][:stages] for key in ("kernel_sizes", "strides")}
    (folder / f"{PLANS}.json").write_text(json.dumps(plans | {"plans_name": PLANS}))


def train(out: Path, method: str, options: argparse.Namespace) -> None:
    """`imaseg nnunet train`; goes on where it was stopped."""
    from imaseg.cli.nnunet import run_train

    fold = results(out, method) / "fold_0"
    if (fold / "validation" / "summary.json").is_file():
        return
    arguments = {"perturbation": {"name": "l2", "eps": CEILING, "unit": "rms"}, "steps": options.steps}
    config = {
        "method": {} if method == "standard" else arguments,
        "epochs": options.epochs,
        "iterations": options.iterations,
        "initial_lr": options.rate,
        "val_iterations": max(1, options.iterations // 10),
        "save_every": 1,
        "seed": 0,
        "robust_best": {"batches": 1, "steps": min(5, options.steps), "perturbation": arguments["perturbation"]},
    }
    path = out / f"{method}.yaml"
    path.write_text(yaml.safe_dump(config))
    begun = any(fold.glob("checkpoint_*.pth"))
    start = ["-pretrained_weights", str(results(out, "standard") / "fold_0" / "checkpoint_final.pth")]
    more = ["--c"] if begun else [] if method == "standard" else start
    run_train([NUMBER, CONFIGURATION, "0", "-p", PLANS, "-tr", TRAINERS[method], "-device", "cpu", *more], path)


def predict(out: Path, methods: list[str]) -> None:
    """Export each model, and predict with nnU-Net's own command, out of reach of imaseg's trainers."""
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point

    from imaseg.models.nnunet.export import export_nnunet

    os.environ.pop("nnUNet_extTrainer", None)
    for method in methods:
        root, predicted = out / "exported" / method, out / "predicted" / method
        exported = root / DATASET / f"nnUNetTrainer__{PLANS}__{CONFIGURATION}"
        if not exported.exists():
            export_nnunet(f"{results(out, method)}@0", exported)
        if not list(predicted.glob("*.nii.gz")):
            os.environ["nnUNet_results"] = str(root)  # noqa: SIM112 (so nnU-Net spells it)
            model = ["-d", NUMBER, "-c", CONFIGURATION, "-p", PLANS, "-tr", "nnUNetTrainer", "-f", "0"]
            folders = ["-i", str(out / "imagesVal"), "-o", str(predicted)]
            command(predict_entry_point, *folders, *model, "-device", "cpu", "-npp", "0", "-nps", "0")


def audit(out: Path, raw: Path, method: str, options: argparse.Namespace) -> Path:
    """`imaseg audit nnunet:DIR@0` on the fold's validation cases."""
    from imaseg import audit as run

    plan = out / "plan.yaml"
    plan.write_text(AUDIT.format(steps=options.steps, eps=options.eps, showcase=options.eps[0]))
    spec = f"nnunet:{results(out, method)}@0"
    return run(spec, raw, plan, out / "audits" / method, resume=True, announce=print).folder


def results(out: Path, method: str) -> Path:
    """Results folder of a method."""
    return out / "results" / DATASET / f"{TRAINERS[method]}__{PLANS}__{CONFIGURATION}"


def table(out: Path, methods: list[str]) -> str:
    """Mean foreground Dice: nnU-Net's own predictions, the audit without attack, and under each attack."""
    header, rows = ["training", "nnU-Net", "clean"], []
    for method in methods:
        summary = json.loads((out / "audits" / method / "summary.json").read_text())
        probes = summary["probes"]
        header[3:] = [f"{probe['probe']} {probe['eps']:g}" for probe in probes]
        dice = [stock_dice(out, method), summary["foreground_mean"]["dice"]]
        dice += [probe["foreground_mean"]["dice"] for probe in probes]
        margins = results(out, method) / "fold_0" / "margins.csv"
        rows.append([method, *(f"{value:.3f}" for value in dice), mean_margin(margins)])
    lines = [[*header, "mean margin"], ["---"] * (len(header) + 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def stock_dice(out: Path, method: str) -> float:
    """Of the files that nnU-Net's own command wrote, against the labels on disk."""
    import nibabel as nib

    scores = []
    for path in sorted((out / "predicted" / method).glob("*.nii.gz")):
        label = nib.load(out / "raw" / DATASET / "labelsTr" / path.name).get_fdata()
        found = nib.load(path).get_fdata()
        sums = [((found == k).sum() + (label == k).sum(), ((found == k) & (label == k)).sum()) for k in (1, 2)]
        scores.append(sum(2 * both / total if total else 1.0 for total, both in sums) / 2)
    return sum(scores) / len(scores)


def mean_margin(path: Path) -> str:
    """Over the training cases; a dash for methods without margins."""
    if not path.is_file():
        return "-"
    with path.open() as file:
        margins = [float(row["margin"]) for row in csv.DictReader(file)]
    return f"{sum(margins) / len(margins):.3f}"


def command(entry: Callable[[], None], *arguments: str) -> None:
    """Run the function behind one of nnU-Net's commands."""
    sys.argv = [entry.__name__, *arguments]
    entry()


if __name__ == "__main__":
    main()
