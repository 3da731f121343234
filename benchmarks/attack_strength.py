"""How strong each preset is at equal gradient calls, on 3D and 2D networks, next to two outside libraries.

    python -m pip install torchattacks adv-lib   # only for the outside references; left out where they are missing
    python -m pip install matplotlib             # only for --figure
    python benchmarks/attack_strength.py DATA [--runs DIR] [--out DIR] [--cases N] [--calls 20 100] [--only NET ...]
                                         [--presets NAME ...] [--seeds 0 1 2] [--figure FILE]

DATA is MSD Task04_Hippocampus with a `split.json`. RUNS holds the networks of `benchmarks/hippocampus_3d.py`, which
trains what is missing. The 2D network, a U-Net of segmentation-models-pytorch on slices scaled to [0, 1], is trained
here.

Every figure is the mean foreground hard Dice over the cases and the seeds, each case under the worst point of the
attack, as the library returns it. Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import outside
import torch
from hippocampus_3d import prepare_data, train_nets
from slices import train_slice_net
from torch import Tensor, nn

from imaseg import L2, Linf, MinimumNorm, Perturbation, load_cases, load_model
from imaseg.attacks import Attack
from imaseg.data.reading import read_volume
from imaseg.progress import bar
from imaseg.scores import foreground_dice

PRESETS = ("pgd-ce", "segpgd", "cospgd", "pgd", "apgd-ce", "apgd-dice", "sea", "strong")
Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Row:
    """A network, the set it is attacked in, and the cases."""

    name: str
    model: nn.Module
    perturbation: Perturbation
    batches: Batches
    presets: tuple[str, ...] = PRESETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("work/hippocampus_3d"))
    parser.add_argument("--out", type=Path, default=Path("work/attack_strength"))
    parser.add_argument("--cases", type=int, default=9, help="of the val split, evenly spread")
    parser.add_argument("--calls", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--only", nargs="+", help="names of rows")
    parser.add_argument("--presets", nargs="+", help="instead of all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--figure", type=Path, help="SVG or PNG of Dice against calls")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    prepared = prepare_data(arguments.data, arguments.runs)
    nets = train_nets(prepared, arguments.runs)
    makers = all_rows(prepared, nets, arguments.out, arguments.cases)
    rows = [make() for name, make in makers.items() if not arguments.only or name in arguments.only]
    if arguments.presets:
        rows = [replace(row, presets=tuple(arguments.presets)) for row in rows]
    seeds: list[int] = arguments.seeds
    book = Book(arguments.out / "results.json")
    jobs = [job for row in rows for job in jobs_of(row, arguments.calls, seeds)]
    with bar("attacks") as tell:
        for place, (key, run) in enumerate(jobs):
            book.fill(key, run)
            tell(place + 1, len(jobs), key)
    for row in rows:
        print(table(row, arguments.calls, seeds, book))
        if row.name == "slices":
            print(*(smallest_changes(row, arguments.calls, norm) for norm in ("linf", "l2")), sep="\n")
    if arguments.figure is not None:
        draw(rows, arguments.calls, seeds, book, arguments.figure)
    print(footer(f"{arguments.cases} val cases", tuple(seeds)))


class Book:
    """Results on disk, one entry per finished job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = self._read()

    def fill(self, key: str, run: Callable[[], list[float]]) -> list[float]:
        """Result of a job, which is run if it is not there yet; other processes may fill in theirs meanwhile."""
        if key not in self.entries:
            found = run()
            with self.path.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self.entries = {**self._read(), key: found}
                other = self.path.with_suffix(".new")
                other.write_text(json.dumps(self.entries))
                other.replace(self.path)
        return self.entries[key]

    def _read(self) -> dict[str, list[float]]:
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    def mean(self, keys: list[str]) -> float | None:
        """Mean over all values of some jobs; None while there are none."""
        values = [value for key in keys for value in self.entries.get(key, [])]
        return sum(values) / len(values) if values else None


def all_rows(prepared: Path, nets: dict[str, Path], out: Path, cases: int) -> dict[str, Callable[[], Row]]:
    """How each row is made: 3D networks in RMS, at budgets that about halve their Dice, and a 2D one in Linf."""

    def whole(name: str, net: str, perturbation: Perturbation) -> Row:
        return Row(name, load_model(nets[net]), perturbation, whole_cases(prepared, "val", cases))

    def slices() -> Row:
        model, batches = train_slice_net(prepared, out / "slice_net.pt", cases)
        return Row("slices", model, Linf(8 / 255, bounds=(0.0, 1.0)), batches, (*PRESETS, *outside.fixed_budget()))

    rms = {"standard": 0.05, "pgd": 0.15, "ima": 0.15}
    makers = {name: partial(whole, name, name, L2(eps, unit="rms")) for name, eps in rms.items()}
    return {**makers, "standard-linf": partial(whole, "standard-linf", "standard", Linf(0.03)), "slices": slices}


def whole_cases(prepared: Path, split: str, cases: int) -> Batches:
    """Image and label of some cases, evenly spread over a split."""
    cohort = load_cases(prepared)
    names = cohort.split[split]
    names = names[:: max(1, len(names) // cases)][:cases]
    volumes = (read_volume(case) for case in cohort.select(names))
    return [
        (torch.from_numpy(volume.image)[None].float(), torch.from_numpy(volume.label)[None].long())
        for volume in volumes
        if volume.label is not None
    ]


def jobs_of(row: Row, calls: list[int], seeds: list[int]) -> Iterator[tuple[str, Callable[[], list[float]]]]:
    """Clean Dice, and every preset at every number of calls with every seed."""
    yield f"{row.name} clean", lambda: [d for image, label in row.batches for d in dice(row.model, image, label)]
    for preset in row.presets:
        for steps in calls:
            for seed in seeds:
                key = f"{row.name} {preset} {steps} {seed}"
                yield key, lambda preset=preset, steps=steps, seed=seed: attacked(row, preset, steps, seed)


def attacked(row: Row, preset: str, steps: int, seed: int) -> list[float]:
    """Dice of each case under one attack."""
    if preset in outside.fixed_budget():
        attack = outside.fixed_budget()[preset]
        found = [attack(row.model, image, label, row.perturbation.eps, steps, seed) for image, label in row.batches]
        return [
            value
            for image, (_, label) in zip(found, row.batches, strict=True)
            for value in dice(row.model, image, label)
        ]
    search = Attack.build({"name": preset, "steps": steps, "seed": seed}, row.perturbation)
    results = [search(row.model, image, label) for image, label in row.batches]
    spent = max(result.backward_calls for result in results)
    if spent > steps:
        raise RuntimeError(f"{preset} must spend at most {steps} gradient calls, got {spent}.")
    return [value for result in results for value in result.foreground_dice.tolist()]


def dice(model: nn.Module, image: Tensor, label: Tensor) -> list[float]:
    with torch.no_grad():
        return foreground_dice(model(image), label).tolist()


def table(row: Row, calls: list[int], seeds: list[int], book: Book) -> str:
    """Markdown: one line per preset, one column per number of calls."""
    clean = book.mean([f"{row.name} clean"])
    count = sum(len(image) for image, _ in row.batches)
    lines = [
        f"\n**{row.name}**, {row.perturbation!r}, {count} cases, clean {clean:.3f}\n",
        "| preset | " + " | ".join(f"{steps} calls" for steps in calls) + " |",
        "| --- |" + " --- |" * len(calls),
    ]
    for preset in row.presets:
        means = [book.mean([f"{row.name} {preset} {steps} {seed}" for seed in seeds]) for steps in calls]
        lines.append(f"| {preset} | " + " | ".join("" if mean is None else f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def smallest_changes(row: Row, calls: list[int], norm: str) -> str:
    """Markdown: smallest change that makes 99 % of the foreground wrong, here and by adversarial-library."""
    ((image, label),) = row.batches
    limits = {"linf": Linf(0.5, bounds=(0.0, 1.0)), "l2": L2(100.0, bounds=(0.0, 1.0))}
    lines = [f"\nMedian smallest {norm} change (grey levels) that makes 99 % of the foreground wrong; cases found\n"]
    lines += ["| search | " + " | ".join(f"{steps} calls" for steps in calls) + " |", "| --- |" + " --- |" * len(calls)]
    searches: dict[str, outside.Smallest] = {
        "minimum-norm": lambda model, image, label, steps: (
            MinimumNorm(limits[norm], steps=steps)(model, image, label).image
        )
    }
    for name, search in {**searches, **outside.smallest(norm)}.items():
        cells = []
        for steps in calls:
            found = search(row.model, image, label, steps)
            with torch.no_grad():
                wrong = (row.model(found).max(1).indices != label) & (label > 0)
            share = wrong.flatten(1).sum(1) / (label > 0).flatten(1).sum(1)
            size = limits[norm].size(found - image)[share >= 0.99]
            cells.append(f"{255 * float(size.median()):.1f} ({len(size)}/{len(image)})" if len(size) else "none")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: list[Row], calls: list[int], seeds: list[int], book: Book, path: Path) -> None:
    """Dice against gradient calls, one panel per network."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(rows), figsize=(4 * len(rows), 4), squeeze=False, layout="constrained")
    for panel, row in zip(panels[0], rows, strict=True):
        for preset in row.presets:
            means = [book.mean([f"{row.name} {preset} {steps} {seed}" for seed in seeds]) for steps in calls]
            ours = preset == "strong"
            panel.plot(calls, means, marker="o", markersize=3, label=preset, color="black" if ours else None,
                       linewidth=2.5 if ours else 1.2, linestyle="-" if preset in PRESETS else "--")  # fmt: skip
        budget = f"{row.perturbation.unit} {float(row.perturbation.eps):.3g}"
        panel.set(xscale="log", xlabel="gradient calls", title=f"{row.name}, {budget}")
        panel.set_xticks(calls, [str(steps) for steps in calls])
        panel.minorticks_off()
    panels[0][0].set_ylabel("mean foreground Dice")
    figure.legend(*panels[0][-1].get_legend_handles_labels(), fontsize="small", loc="outside right center")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def footer(cases: str, seeds: tuple[int, ...]) -> str:
    """Cases, seeds, hardware and versions."""
    found = []
    for name in ("imaseg", "torch", "monai", "segmentation-models-pytorch", "torchattacks", "adv-lib"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    threads = torch.get_num_threads()
    hardware = platform.processor() or platform.machine()
    return f"\n{cases}, seeds {seeds}, {hardware}, {threads} threads, {', '.join(found)}"


if __name__ == "__main__":
    main()
