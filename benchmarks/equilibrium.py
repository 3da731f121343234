"""Do IMA's margins stop by themselves? With and without decay of the learning rate, at three ceilings; what moves them.

    python -m pip install matplotlib   # only for --figure
    python benchmarks/equilibrium.py DATA [--out DIR] [--epochs N] [--only NAME ...] [--small] [--figure FILE]

DATA is MSD Task04_Hippocampus with a `split.json`. Every row goes on from the same standard 2D network (slices and
network as in `ima_ablation.py`, every sixth slice) for three times the epochs of that script. A rate that falls to 0
stops everything, so that margins which stop under it show nothing: rows have a constant rate unless they say otherwise.
Printed is the mean margin (L2 over the slice) during training, and the growth per epoch over the last third.
Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from attack_strength import footer
from hippocampus_2d import network, read_planes
from hippocampus_3d import prepare_data
from ima_cost import filled, options
from planes import loss, train

from imaseg import IMA, L2, Dice, DiceBelow, Standard

USUAL: dict[str, Any] = {"ceiling": 30.0, "increment": 1.5, "decay": False}
ROWS: dict[str, dict[str, Any]] = {
    "usual": {},
    "decay": {"decay": True},
    "ceiling 15": {"ceiling": 15.0},
    "ceiling 60": {"ceiling": 60.0},
    "increment 0.5": {"increment": 0.5},
    "increment 5": {"increment": 5.0},
    "smoothing 0.1": {"smoothing": 0.1},
    "beta 0.25": {"beta": 0.25},
    "beta 0.75": {"beta": 0.75},
    "relative 0.9": {"criterion": DiceBelow(0.9, relative=True)},
}


class Watched(IMA):
    """IMA that keeps the mean margin of every epoch."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.course: list[float] = []

    def end_epoch(self) -> None:
        """End the epoch and note the mean margin."""
        super().end_epoch()
        self.course.append(self.last_epoch["mean_margin"])

    def state_dict(self) -> dict[str, Any]:
        """With the means so far."""
        return {**super().state_dict(), "course": self.course}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.course = list(state["course"])


def main() -> None:
    parser = options(__doc__, Path("work/equilibrium"), list(ROWS))
    parser.set_defaults(epochs=36)
    parser.add_argument("--figure", type=Path, help="SVG or PNG of the mean margin by epoch")
    arguments = parser.parse_args()
    epochs, every = (3, 5) if arguments.small else (arguments.epochs, 6)
    prepared = prepare_data(arguments.data, arguments.out)
    planes = filled(read_planes(prepared, "train", every))
    start, courses = arguments.out / "standard", {}

    def make() -> Any:
        return network(small=arguments.small)

    train(start, make, Standard(loss), planes, epochs=epochs, seed=0)
    places = [*range(epochs // 6 - 1, epochs, max(1, epochs // 6))]
    print("| IMA | " + " | ".join(f"epoch {place + 1}" for place in places) + " | growth per epoch, last third |")
    print("| --- |" + " --- |" * (len(places) + 1))
    for name in arguments.only:
        courses[name] = _course(arguments.out / name.replace(" ", "_"), name, start, make, planes, epochs)
        cells = [f"{courses[name][place]:.2f}" for place in places]
        last = courses[name][-(epochs // 3) :]
        slope = np.polyfit(range(len(last)), last, 1)[0] if len(last) > 1 else float("nan")
        print(f"| {name} | " + " | ".join(cells) + f" | {slope:+.3f} |", flush=True)
    print(footer(f"{len(planes)} training slices, {epochs} epochs from the same start", (0,)))
    if arguments.figure is not None:
        _draw(courses, arguments.figure)


def _course(folder: Path, name: str, start: Path, make: Any, planes: Any, epochs: int) -> list[float]:
    """Mean margin after every epoch of a run; kept beside its weights."""
    file = folder / "course.json"
    if not file.is_file():
        settings = {"criterion": DiceBelow(0.6), **USUAL, **ROWS[name]}
        ceiling, decay = settings.pop("ceiling"), settings.pop("decay")
        ima = Watched(loss, L2(ceiling), objective=Dice(), steps=3, warm=True, **settings)
        train(folder, make, ima, planes, epochs=epochs, seed=0, start=start, rate=1e-3, decay=decay)
        file.write_text(json.dumps(ima.course))
    return list(json.loads(file.read_text()))


def _draw(courses: dict[str, list[float]], path: Path) -> None:
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, course in courses.items():
        panel.plot(range(1, 1 + len(course)), course, label=name)
    panel.set(xlabel="epoch", ylabel="mean margin (L2 over the slice)")
    figure.legend(fontsize="small", loc="outside right center")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
