"""Finds the cases that a fold was trained and validated on, as far as files on disk state it."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath
from typing import Any

from imaseg.data.files import stem
from imaseg.data.plain import read_any_json, read_json
from imaseg.errors import InputError
from imaseg.models.nnunet.folder import ResultsFolder

SPLITS = "splits_final.json"


def cases_of(folder: ResultsFolder, dataset: str) -> tuple[list[str], list[str]]:
    """Return the ids of the training and of the validation cases.

    nnU-Net keeps its split next to the preprocessed data (`nnUNet_preprocessed/DATASET/splits_final.json`); a copy in
    the results folder is taken first. Without either the validation cases are those in the fold's
    `validation/summary.json`, and nothing is known of the others.

    Returns:
        Cases that any of the folds was trained on, and those that none of them was.
    """
    split = _split(folder.path, dataset)
    trained: set[str] = set()
    held: list[set[str]] = []
    for fold in folder.folds:
        part = split[int(fold)] if split and fold != "all" and int(fold) < len(split) else None
        if part is not None:
            trained |= set(part["train"])
            held.append(set(part["val"]))
        elif fold == "all":
            trained |= {name for each in split for name in (*each["train"], *each["val"])}
            held.append(set())
        else:
            held.append(_validated(folder, fold))
    return sorted(trained), sorted(set.intersection(*held) - trained)


def _split(folder: Path, dataset: str) -> list[dict[str, list[str]]]:
    candidates = [folder / SPLITS]
    preprocessed = os.environ.get("nnUNet_preprocessed")  # noqa: SIM112 (so nnU-Net spells it)
    if preprocessed:
        candidates.append(Path(preprocessed) / dataset / SPLITS)
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        return []
    try:
        content: list[dict[str, list[str]]] = read_any_json(path)
        return [{key: [str(name) for name in fold[key]] for key in ("train", "val")} for fold in content]
    except (KeyError, TypeError) as error:
        msg = f"{path} must list train and val of each fold, got {type(error).__name__}: {error}. Restore or remove it."
        raise InputError(msg) from error


def _validated(folder: ResultsFolder, fold: str) -> set[str]:
    """Cases that nnU-Net predicted when it validated the fold."""
    path = folder.path / f"fold_{fold}" / "validation" / "summary.json"
    if not path.is_file():
        return set()
    ending = str(read_json(folder.path / "dataset.json").get("file_ending") or "")
    rows: list[dict[str, Any]] = read_json(path).get("metric_per_case", [])
    # The summary holds paths of the machine that trained, which may run Windows.
    names = [PureWindowsPath(str(row.get("reference_file", row.get("prediction_file", "")))).name for row in rows]
    return {
        name.removesuffix(ending) if ending and name.endswith(ending) else stem(Path(name)) for name in names if name
    }
