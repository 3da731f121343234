"""The audits of the example page: the two networks of `imaseg demo`, trained longer, with more kinds of probes.

    python benchmarks/example_report.py --out docs/example/audits [--work DIR] [--small]

Draws the synthetic cohort, trains both networks, audits the held-out cases and copies what a page reads:
`summary.json`, `run.json` and the stored slices. A second run goes on where the first was stopped. The site's build
makes the page from that folder within seconds, as `imaseg report` does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from imaseg.auditing import Plan, audit
from imaseg.data.phantom import write_phantom
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.data.resources import resource
from imaseg.report import write_report
from imaseg.runs import load_config, train

LADDER = {"unit": "rms", "eps": [0.025, 0.05, 0.1, 0.2]}
PLAN: dict[str, Any] = {
    "name": "example",
    "probes": [
        {"attack": "gaussian-noise"} | LADDER,
        {"attack": "fgsm"} | LADDER,
        {"attack": "pgd", "steps": 20} | LADDER,
        {"attack": "strong", "steps": 20} | LADDER,
        {"attack": "pgd", "perturbation": "bias-field", "eps": [0.1, 0.2, 0.4], "steps": 10},
    ],
    "margins": [{"perturbation": "l2", "unit": "rms", "eps": 0.8, "criterion": {"name": "dice-below", "threshold": 0.5},
                 "steps": 10, "rtol": 0.05}],
    "voxel_margins": [{"perturbation": "l2", "unit": "rms", "eps": 0.8, "cases": 2, "rungs": 8, "focus": 4}],
    "corruptions": ["bias-field", "blur", "motion", "rician-noise", "slice-thickness"],
    "validity": {"cases": 3, "attack": "pgd", "large_eps": 3.0, "scaled_eps": 0.1},
    "showcase": {"attack": "pgd", "eps": 0.1},
}  # fmt: skip

LONGER = {
    "standard": ["epochs=40"],
    "ima": ["epochs=15", "method.increment=0.02", "method.steps=8", "method.bisections=4", "init=standard"],
}
"""What is trained otherwise than in the demo, whose trainings are kept short."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="new or empty folder for what the page is made from")
    parser.add_argument("--work", type=Path, default=Path("work/example"), help="folder for all else")
    parser.add_argument("--small", action="store_true", help="a few small cases and one epoch, for tests")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    out = arguments.out.resolve()
    os.chdir(arguments.work)  # results name files as they were given: none of this machine's folders
    folders = [kept(folder, out) for folder in audits(small=arguments.small)]
    page = write_report(folders, Path("report.html"))
    size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    print(f"Created {arguments.out} ({size / 1e6:.2f} MB) for a page of {page.stat().st_size / 1e6:.2f} MB")


def audits(*, small: bool) -> list[Path]:
    """Folders of both audits below the current one."""
    raw, prepared, runs = Path("raw"), Path("prepared"), [Path("standard"), Path("ima")]
    if not (raw / "dataset.json").is_file():
        write_phantom(raw, **({"cases": 4, "shape": (24, 24, 16)} if small else {"cases": 30}))
    prepare(raw, prepared, load_recipe("msd"))
    short = ["epochs=1", "patch=[24,24,16]", "network.channels=[4,8]", "network.strides=[2]"] if small else []
    for run in runs:
        config = load_config(resource(f"configs/demo_{run.name}.yaml"), [*LONGER[run.name], *short])
        train(config, prepared, run, resume=True, announce=print)
    plan = Plan.model_validate(PLAN)
    return [audit(run, prepared, plan, Path("audits") / run.name, resume=True).folder for run in runs]


def kept(folder: Path, out: Path) -> Path:
    """A copy of what a page reads of an audit, as short as can be; its command names no folder of this machine."""
    copy = out / folder.name
    shutil.copytree(folder, copy, ignore=lambda _, names: [n for n in names if not wanted(n)])
    for path in copy.glob("*.json"):
        content = json.loads(path.read_text())
        if "command" in content:
            content["command"] = "python benchmarks/example_report.py --out docs/example/audits"
        path.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    return copy


def wanted(name: str) -> bool:
    return name in ("summary.json", "run.json") or name.endswith(".npz") or "." not in name


if __name__ == "__main__":
    main()
