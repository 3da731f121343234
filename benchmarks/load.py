"""Time and memory per case of `prepare`, `audit` and `report` as the number of cases grows, and other large inputs.

    python benchmarks/load.py --out DIR [--cases 300 3000] [--files 100000] [--audits 10]

Writes phantom cohorts of tiny volumes; prepares each, audits it (one attack step) and reports it; then prepares a
folder that holds far more files than cases, and shows several audits on one page. It fails where a page is above 15 MB
or takes more than 10 s of processor time, or where time or memory per case grows with the number of cases.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from imaseg.data.phantom import write_phantom

SHAPE = (16, 16, 8)
PLAN = "name: load\nprobes:\n  - {attack: fgsm, perturbation: linf, eps: [0.1]}\n"
SMALL = [f"patch={list(SHAPE)}", "network.channels=[8, 16]", "network.strides=[2]", "epochs=1"]
LIMIT_MB, LIMIT_S = 15.0, 10.0
GROWTH = 1.5
"""Most times that a case of the largest cohort may take of what one of the smallest takes."""
KB_PER_CASE = 100.0
"""Most memory that each further case may hold: records and names, no images."""


@dataclass(frozen=True)
class Spent:
    """What one command took: seconds of processor time, and the most memory of it and its children in MB.

    Memory counts what this process holds when it starts the command: keep imports here light.
    """

    seconds: float
    memory: float


def run(*command: str | Path) -> Spent:
    """Run `imaseg ...`. An audit may call itself invalid (3): one attack step on a network of one epoch."""
    process = subprocess.Popen([sys.executable, "-m", "imaseg", *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):
        raise SystemExit(f"imaseg {' '.join(map(str, command))} ended with {process.returncode}")
    return Spent(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def cohort(folder: Path, cases: int) -> Path:
    """Phantoms without a split, so that every one is audited."""
    if not (folder / "dataset.json").is_file():
        write_phantom(folder, cases=cases, shape=SHAPE)
        (folder / "split.json").unlink()
    return folder


def network(out: Path) -> Path:
    """A tiny U-Net, trained for one epoch."""
    run("prepare", cohort(out / "training", 6), out / "training-prepared", "--split", "0.5")
    data = ("--data", out / "training-prepared", "--out", out / "network")
    run("train", Path(__file__).parents[1] / "configs" / "demo_standard.yaml", *data, *SMALL)
    return out / "network"


def growing(out: Path, model: Path, numbers: list[int]) -> list[str]:
    """Table of prepare, audit and report by number of cases; what grows beyond the limits."""
    (out / "plan.yaml").write_text(PLAN)
    print("| cases | prepare: ms per case | MB | audit: ms per case | MB | report: s | MB | page: MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    found: list[str] = []
    spent: dict[int, list[Spent]] = {}
    for cases in numbers:
        raw, work = cohort(out / f"raw-{cases}", cases), out / f"work-{cases}"
        prepared = run("prepare", raw, work / "prepared", "--workers", "1")
        audited = run("audit", model, raw, "--out", work / "audit", "--plan", out / "plan.yaml")
        reported = run("report", work / "audit", "--out", work / "page.html")
        spent[cases] = [prepared, audited]
        size, faults = page(work / "page.html", reported)
        found += faults + page(work / "prepared" / "prepare.html", Spent(0, 0))[1]
        cells = [f"{1e3 * one.seconds / cases:.0f} | {one.memory:.0f}" for one in spent[cases]]
        line = [str(cases), *cells, f"{reported.seconds:.1f}", f"{reported.memory:.0f}", f"{size:.1f}"]
        print(f"| {' | '.join(line)} |", flush=True)
    return found + growth(spent)


def growth(spent: dict[int, list[Spent]]) -> list[str]:
    """Where a case of the largest cohort takes more than one of the smallest."""
    few, many = min(spent), max(spent)
    found = []
    for name, small, large in zip(("prepare", "audit"), spent[few], spent[many], strict=True):
        times = large.seconds / many / (small.seconds / few)
        kb = 1024 * (large.memory - small.memory) / max(many - few, 1)
        if times > GROWTH or kb > KB_PER_CASE:
            found.append(f"{name}: {times:.2f} times as long per case, {kb:.0f} KB per further case")
    return found


def page(path: Path, spent: Spent) -> tuple[float, list[str]]:
    """Size of a page in MB; what is beyond the limits."""
    size = path.stat().st_size / 1e6
    over = size > LIMIT_MB or spent.seconds > LIMIT_S
    return size, [f"{path}: {size:.1f} MB in {spent.seconds:.1f} s"] if over else []


def crowd(out: Path, files: int) -> None:
    """Prepare ten cases in a folder with many files that are none."""
    folder = out / f"crowd-{files}"
    cohort(folder, 10)
    for i in range(files):
        place = folder / f"notes-{i // 1000}"
        place.mkdir(exist_ok=True)
        (place / f"{i}.txt").touch()
    spent = run("prepare", folder, out / f"crowd-{files}-prepared", "--workers", "1")
    account = out / f"crowd-{files}-prepared" / "prepare.json"
    print(
        f"\n{files} files beside 10 cases: prepared in {spent.seconds:.1f} s with {spent.memory:.0f} MB; "
        f"prepare.json {account.stat().st_size / 1e6:.1f} MB."
    )


def together(out: Path, audit: Path, audits: int) -> list[str]:
    """One page of several audits of the same cases; what is beyond the limits."""
    copies = [Path(shutil.copytree(audit, out / f"copy-{i}" / f"audit-{i}")) for i in range(audits)]
    spent = run("report", *copies, "--out", out / "together.html")
    size, found = page(out / "together.html", spent)
    print(f"\nPage of {audits} audits: {size:.1f} MB in {spent.seconds:.1f} s with {spent.memory:.0f} MB.")
    return found


def main() -> None:
    """Print the tables; end with 1 if a limit does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--cases", type=int, nargs="+", default=[300, 3000])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--audits", type=int, default=10)
    given = parser.parse_args()
    out = given.out.resolve()
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out} must be empty: what an earlier run left would be measured as done.")
    out.mkdir(parents=True, exist_ok=True)
    hardware = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{hardware}, Python {sys.version.split()[0]}, torch {version('torch')}, volumes {SHAPE}, seed 0\n")
    found = growing(out, network(out), given.cases)
    crowd(out, given.files)
    found += together(out, out / f"work-{min(given.cases)}" / "audit", given.audits)
    if found:
        raise SystemExit("Beyond the limits: " + "; ".join(found))


if __name__ == "__main__":
    main()
