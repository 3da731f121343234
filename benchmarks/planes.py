"""What the 2D benchmarks share: resumable training by any method, and Dice under attack, counted in two ways.

Every slice is attacked alone, by `strong` on a ladder of budgets. What is kept of it are the voxels of each class that
are right, predicted and labelled, so that both ways of counting come from the same attack:

- pooled: the voxels of all slices together, Dice of each class, then the mean over classes;
- patients: the same for the slices of each patient, then the mean over patients.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from attack_strength import Book
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from imaseg import IMA, PGD, Dice, DiceBelow, ShrinkingSetPGD, TrainingMethod
from imaseg.models.device import pick_device
from imaseg.objectives import DiceCE
from imaseg.perturbations import Perturbation
from imaseg.progress import bar
from imaseg.scores import encode
from imaseg.training import adversarial_weights

CHUNK = 64


@dataclass(frozen=True)
class Planes:
    """Slices of many cases.

    Attributes:
        names: `case/slice` of each.
        image: (N, 1, H, W).
        label: (N, H, W) integer.
    """

    names: list[str]
    image: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def where(self, chosen: Tensor) -> Planes:
        """The slices for which chosen (N,) bool holds."""
        names = [name for name, take in zip(self.names, chosen.tolist(), strict=True) if take]
        return Planes(names, self.image[chosen], self.label[chosen])


def loss(logits: Tensor, label: Tensor) -> Tensor:
    """Soft Dice plus cross-entropy, (B,)."""
    return DiceCE()(logits, label)


def make_ima(name: str, perturbation: Perturbation, increment: float, seed: int, **options: Any) -> IMA:
    """`ima` as published (Dice below 0.6), or `ima-jitter`, at radii around the margin and past the boundary."""
    options |= {"criterion": DiceBelow(0.6), "objective": Dice(), "seed": seed}
    if name == "ima-jitter":
        # Draws below the margin let nothing grow: half of the visits, hence twice the increment.
        options |= {"train_on": "worst", "radius_jitter": 1.0}
        increment *= 2
    return IMA(loss, perturbation, increment=increment, **options)


def train(
    folder: Path, make_model: Callable[[], nn.Module], method: TrainingMethod, planes: Planes, *,
    epochs: int, seed: int, batch: int = 16, start: Path | None = None, rate: float = 2e-3, flip: bool = True,
    decay: bool = True, awp: float | None = None, ema: float | None = None,
) -> nn.Module:  # fmt: skip
    """Train, or take up what `folder` holds of it; leaves `weights.pt` and for IMA `margins.json`.

    Another process that is at the same folder is waited for.

    Args:
        folder: of this run.
        make_model: a network with fresh weights.
        method: of training.
        planes: training slices.
        epochs: passes over them; a method that replays batches makes as many fewer.
        seed: of weights, order and flips.
        batch: slices per step.
        start: folder of the run whose weights this one starts from.
        rate: learning rate of AdamW at the start.
        flip: mirror half of the slices left to right, drawn anew at each visit.
        decay: let the rate fall to 0 on a cosine; else it stays.
        awp: length of adversarial weight perturbations as a share of the weights; None for none.
        ema: weight that a running mean of the weights keeps in each step, which is returned then; None for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        settings = {"epochs": epochs, "seed": seed, "batch": batch, "rate": rate, "flip": flip, "slices": len(planes)}
        settings |= {"start": start.name if start else "fresh"} | ({} if decay else {"decay": False})
        settings |= {key: value for key, value in (("awp", awp), ("ema", ema)) if value is not None}
        _same_settings(folder, settings)
        return _train(folder, make_model, method, planes, epochs, seed, batch, start, rate, flip, decay, awp, ema)


def _train(
    folder: Path, make_model: Callable[[], nn.Module], method: TrainingMethod, planes: Planes,
    epochs: int, seed: int, batch: int, start: Path | None, rate: float, flip: bool, decay: bool, awp: float | None,
    ema: float | None,
) -> nn.Module:  # fmt: skip
    torch.manual_seed(seed)
    device = pick_device("auto")
    model = make_model()
    if start is not None:
        model.load_state_dict(torch.load(start / "weights.pt", weights_only=True))
    model = model.to(device)
    if (folder / "weights.pt").is_file():
        model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True, map_location=device))
        return model.eval()
    epochs = max(1, epochs // method.replays)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=0.0 if decay else rate)
    kept = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema)) if ema is not None else None
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "method": method}
    parts |= {} if kept is None else {"kept": kept}
    done = _restore(folder / "checkpoint.pt", parts)
    with bar(f"train {folder.name}") as tell:
        for epoch in range(done, epochs):
            model.train()
            order = torch.Generator().manual_seed(seed * 1000 + epoch)
            _epoch(model, method, optimizer, planes, batch, order, device, 0.5 * flip, awp, kept)
            method.end_epoch()
            schedule.step()
            state = {name: part.state_dict() for name, part in parts.items()}
            _save({**state, "epoch": epoch + 1}, folder / "checkpoint.pt")
            tell(
                epoch + 1, epochs, f"margin {method.last_epoch['mean_margin']:.3f}" if hasattr(method, "table") else ""
            )
    if hasattr(method, "margins"):
        (folder / "margins.json").write_text(json.dumps(method.margins))
    model = model if kept is None else kept.module
    _save(model.state_dict(), folder / "weights.pt")
    return model.eval()


def _epoch(
    model: nn.Module, method: TrainingMethod, optimizer: torch.optim.Optimizer, planes: Planes, batch: int,
    generator: torch.Generator, device: torch.device, mirrored: float, awp: float | None, kept: AveragedModel | None,
) -> None:  # fmt: skip
    for index in torch.randperm(len(planes), generator=generator).split(batch):
        image, label = planes.image[index], planes.label[index]
        flip = torch.rand(len(index), generator=generator) < mirrored
        image = torch.where(flip[:, None, None, None], image.flip(3), image).to(device)
        label = torch.where(flip[:, None, None], label.flip(2), label).to(device)
        names = [planes.names[i] for i in index]
        for _ in range(method.replays):
            optimizer.zero_grad()
            if awp is None:
                method(model, image, label, names).backward()
            else:
                adversarial_weights(method, model, image, label, names, gamma=awp).backward()
            optimizer.step()
            if kept is not None:
                kept.update_parameters(model)


def _same_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse to take up what was made otherwise."""
    path = folder / "settings.json"
    if not path.is_file():
        path.write_text(json.dumps(settings))
    before = json.loads(path.read_text())
    if before != settings:
        raise SystemExit(f"{folder} must hold a run with {settings}, got one with {before}. Name another --out.")


def _restore(path: Path, parts: dict[str, nn.Module]) -> int:
    """Take up a checkpoint; how many epochs are done."""
    if not path.is_file():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return int(saved["epoch"])


def _save(state: object, path: Path) -> None:
    other = path.with_suffix(".new")
    torch.save(state, other)
    other.replace(path)


def counts(
    book: Book, key: str, model: nn.Module, planes: Planes, attack: PGD | ShrinkingSetPGD, eps: list[float]
) -> Tensor:
    """Voxels (1 + budgets, N, K, 3) right, predicted and labelled, clean first; what is there already is not redone.

    Args:
        book: keeps them.
        key: of the model and the attack in the book.
        model: to be attacked.
        planes: every slice alone.
        attack: at the largest of the budgets.
        eps: budgets, rising.
    """
    device, model = pick_device("auto"), model.eval()
    places = range(0, len(planes), CHUNK)
    name = f"{key} at {eps} of {len(planes)}:"
    with bar(f"attack {key}") as tell:
        for number, place in enumerate(places):
            part = slice(place, place + CHUNK)
            image, label = planes.image[part].to(device), planes.label[part].to(device)
            book.fill(f"{name} {place}", lambda i=image, y=label: _attacked(model, i, y, attack, eps))
            tell(number + 1, len(places), "")
    found = [torch.tensor(book.entries[f"{name} {place}"]) for place in places]
    shaped = [
        one.reshape(1 + len(eps), min(CHUNK, len(planes) - place), -1, 3)
        for one, place in zip(found, places, strict=True)
    ]
    return torch.cat(shaped, 1)


def _attacked(
    model: nn.Module, image: Tensor, label: Tensor, attack: PGD | ShrinkingSetPGD, eps: list[float]
) -> list[float]:
    pictures = [(image, label), *((one.image, one.label) for one in attack.ladder(model, image, label, eps))]
    with torch.no_grad():
        return [value for picture, truth in pictures for value in voxels_of(model(picture), truth).flatten().tolist()]


def voxels_of(logits: Tensor, label: Tensor) -> Tensor:
    """Voxels (B, K - 1, 3) of each foreground class that are right, predicted and labelled."""
    truth = encode(logits, label).onehot
    decision = encode(logits, logits.argmax(1)).onehot
    return torch.stack([(truth & decision).sum(2), decision.sum(2), truth.sum(2)], 2)[:, 1:]


def by_patient(found: Tensor, names: list[str]) -> dict[str, Any]:
    """What `counts` returned, added up over the slices of each patient.

    Args:
        found: (1 + budgets, N, K, 3).
        names: `patient/slice` of each slice, those of a patient one after the other.

    Returns:
        `patients`, their names, and `voxels` (1 + budgets, patients, K, 3) as lists.
    """
    groups = [(key, list(group)) for key, group in groupby(range(len(names)), lambda i: names[i].rpartition("/")[0])]
    voxels = torch.stack([found[:, index].sum(1) for _, index in groups], 1)
    return {"patients": [key for key, _ in groups], "voxels": voxels.long().tolist()}


def dice_two_ways(voxels: Tensor) -> dict[str, list[float]]:
    """Dice at each budget, clean first, pooled and as the mean of patients, over the classes that are labelled.

    Args:
        voxels: (1 + budgets, patients, K, 3) right, predicted and labelled.
    """
    pooled, each = dice(voxels.sum(1)), dice(voxels)
    return {"pooled": pooled.nanmean(1).tolist(), "patients": each.nanmean(2).mean(1).tolist()}


def dice(voxels: Tensor) -> Tensor:
    """Of voxels (..., 3) right, predicted and labelled; NaN for a class without any labelled."""
    right, predicted, labelled = voxels.double().unbind(-1)
    return torch.where(labelled > 0, 2 * right / (predicted + labelled).clamp(min=1), torch.nan)


def keep(path: Path, about: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    """Add a row to the file that `fronts.py` reads; other processes may add theirs meanwhile.

    Args:
        path: of the JSON file.
        about: what all rows share.
        name: of the row.
        values: of the row.
    """
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = json.loads(path.read_text())["rows"] if path.is_file() else {}
        other = path.with_suffix(".new")
        other.write_text(json.dumps({**about, "rows": {**rows, name: values}}))
        other.replace(path)


def table(rows: dict[str, list[dict[str, list[float]]]], ways: tuple[str, ...], eps: list[float]) -> str:
    """Markdown: mean over the runs of a method, with the range where there are several; cells are `way/way`."""
    lines = [
        "| training | " + " | ".join(["clean", *(f"{one:g}" for one in eps)]) + " |",
        "| --- |" + " --- |" * (1 + len(eps)),
    ]
    for name, runs in rows.items():
        cells = []
        for place in range(1 + len(eps)):
            columns = [[run[way][place] for run in runs] for way in ways]
            means = "/".join(f"{sum(values) / len(values):.3f}" for values in columns)
            spread = f" (+-{(max(columns[0]) - min(columns[0])) / 2:.3f})" if len(runs) > 1 else ""
            cells.append(means + spread)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def final_margins(folder: Path) -> list[float]:
    """IMA's margins at the end of a run; none for other methods."""
    path = folder / "margins.json"
    return list(json.loads(path.read_text()).values()) if path.is_file() else []


def print_stopped(folders: Iterable[Path], ceiling: float) -> None:
    """Say of each of IMA's runs how many margins stopped below the ceiling."""
    for folder in folders:
        if margins := final_margins(folder):
            below, mean = sum(margin < ceiling for margin in margins), sum(margins) / len(margins)
            print(f"{folder.name}: {below} of {len(margins)} margins below the ceiling, mean {mean:.3g}")


def draw(rows: dict[str, list[float]], front: list[str], columns: list[str], path: Path) -> None:
    """Attacked against clean Dice, one panel per column.

    Args:
        rows: by name, Dice at each column, clean first.
        front: the names through which the line runs.
        columns: titles of the panels.
        path: of the SVG or PNG.
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(columns), figsize=(4 * len(columns), 4), layout="constrained")
    others = {name: dice for name, dice in rows.items() if name not in front}
    for place, (panel, title) in enumerate(zip(panels, columns, strict=True), 1):
        line = sorted((rows[name][0], rows[name][place]) for name in front)
        panel.plot(*zip(*line, strict=True), color="black", marker="o", label="standard, PGD at fixed budgets")
        for number, (name, dice) in enumerate(others.items()):
            panel.plot(dice[0], dice[place], "sD^vP*X"[number % 7], color=f"C{number % 10}", markersize=9, label=name)
        panel.set(title=title, xlabel="clean Dice")
    panels[0].set_ylabel("Dice under attack")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize="small", loc="outside right center")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
