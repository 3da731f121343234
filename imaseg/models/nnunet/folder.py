"""Parses a specification of nnU-Net folds: `DIR`, `DIR@FOLD` or `DIR@all`, optionally followed by `/CHECKPOINT`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from imaseg.errors import InputError

FINAL = "checkpoint_final.pth"
_ENDING = re.compile(r"^(?P<folder>.+)@(?P<fold>\d+|all)(?:/(?P<checkpoint>[^/]+\.pth))?$")
_PARTS = ("plans.json", "dataset.json")


@dataclass(frozen=True)
class ResultsFolder:
    """A folder that `nnUNetv2_train` wrote, and the folds of it to be used.

    Attributes:
        path: holds `plans.json`, `dataset.json` and `fold_*`.
        folds: numbers, or "all" for a model that was trained on all cases.
        checkpoint: name of the file in each fold's folder.
    """

    path: Path
    folds: tuple[str, ...]
    checkpoint: str = FINAL

    @classmethod
    def parse(cls, text: str) -> ResultsFolder:
        """Parse a specification.

        `DIR` and `DIR@all` mean all folds there are, as `nnUNetv2_predict` takes them.

        Raises:
            InputError: if there is no such folder, fold or checkpoint.
        """
        ending = _ENDING.match(text)
        path = Path(ending["folder"] if ending else text)
        checkpoint = (ending["checkpoint"] if ending else None) or FINAL
        _check(path)
        present = _folds(path, checkpoint)
        if not present:
            checkpoints = sorted({file.name for file in path.glob("fold_*/*.pth")})
            there = f"only {', '.join(checkpoints)}" if checkpoints else "no checkpoint"
            msg = f"{path} must hold fold_*/{checkpoint}, got {there}. Name one as {path}@FOLD/CHECKPOINT, or train on."
            raise InputError(msg)
        wanted = ending["fold"] if ending else "all"
        if wanted == "all":
            return cls(path, tuple(fold for fold in present if fold != "all") or ("all",), checkpoint)
        if wanted not in present:
            msg = f"fold must be one of {', '.join(present)} in {path} ({checkpoint}), got {wanted}."
            raise InputError(msg)
        return cls(path, (wanted,), checkpoint)

    @property
    def name(self) -> str:
        """Name for tables and plots: `trainer__plans__configuration` and the folds."""
        return f"{self.path.resolve().name}@{'+'.join(self.folds)}"

    def file(self, fold: str) -> Path:
        """Path of the checkpoint of a fold."""
        return self.path / f"fold_{fold}" / self.checkpoint


def _check(path: Path) -> None:
    missing = [name for name in _PARTS if not (path / name).is_file()]
    if not missing:
        return
    inner = sorted(file.parent for file in path.glob("*/plans.json")) if path.is_dir() else []
    if inner:
        hint = f"It holds {', '.join(folder.name for folder in inner)}: name one of them."
    elif (path.parent / "plans.json").is_file() and path.name.startswith("fold_"):
        hint = f"Name {path.parent}@{path.name.removeprefix('fold_')}."
    else:
        hint = "Name the folder TRAINER__PLANS__CONFIGURATION that `nnUNetv2_train` wrote."
    got = f"one without {' and '.join(missing)}" if path.is_dir() else "nothing there"
    msg = f"{path} must be a results folder of nnU-Net, got {got}. {hint}"
    raise InputError(msg)


def _folds(path: Path, checkpoint: str) -> list[str]:
    """Folds that have this checkpoint, in order; "all" comes last."""
    names = [file.parent.name.removeprefix("fold_") for file in path.glob(f"fold_*/{checkpoint}")]
    return sorted((name for name in names if name.isdecimal() or name == "all"), key=lambda name: (len(name), name))
