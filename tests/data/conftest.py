"""Small cases written with nibabel alone, so that the code under test does not check itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHAPE = (14, 16, 12)


def ball(shape=SHAPE, radius=4.0, centre=None) -> np.ndarray:
    """Label of two halves of a ball: 1 in front, 2 behind."""
    centre = [(n - 1) / 2 for n in shape] if centre is None else centre
    grid = np.meshgrid(*[np.arange(n) - c for n, c in zip(shape, centre, strict=True)], indexing="ij")
    inside = sum(g**2 for g in grid) < radius**2
    return np.where(inside, np.where(grid[1] > 0, 1, 2), 0).astype(np.uint8)


def picture(label: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 5, label.shape)
    return (100 + 80 * (label > 0) + noise).astype(np.float32)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture(name="ball")
def _ball() -> Callable[..., np.ndarray]:
    return ball


@pytest.fixture(name="picture")
def _picture() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture(name="save")
def _save() -> Callable[..., Path]:
    return save


@pytest.fixture
def describe() -> Callable[..., None]:
    """Write dataset.json for the files of a folder."""

    def write(root: Path, ids: list[str], **more: object) -> None:
        training = [{"image": f"./imagesTr/{i}.nii.gz", "label": f"./labelsTr/{i}.nii.gz"} for i in ids]
        content = {
            "name": "Balls",
            "modality": {"0": "MRI"},
            "labels": {"0": "background", "1": "front", "2": "back"},
            "training": training,
        }
        (root / "dataset.json").write_text(json.dumps(content | more))

    return write


@pytest.fixture
def raw(tmp_path: Path, describe: Callable[..., None]) -> Path:
    """Six good cases in MSD layout with a split."""
    root = tmp_path / "raw"
    ids = [f"case_{i}" for i in range(6)]
    for i, name in enumerate(ids):
        label = ball(radius=4.0 + 0.1 * i)
        save(root / "imagesTr" / f"{name}.nii.gz", picture(label, i))
        save(root / "labelsTr" / f"{name}.nii.gz", label)
    describe(root, ids)
    (root / "split.json").write_text(json.dumps({"train": ids[:4], "val": ids[4:]}))
    return root
