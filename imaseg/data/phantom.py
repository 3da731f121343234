"""Synthetic cohort of MRI-like volumes with two adjacent structures, written as NIfTI.

Each case is drawn on a grid twice as fine as the volume and averaged down, so that edges carry partial
volume. A bent, tilted body is cut in two by a curved sheet (labels 1 in front, 2 behind); textured tissue,
blobs of the same brightness, a smooth bias field and Rician noise keep a threshold from finding it. Scale,
spacing and orientation differ from case to case as they do between scanners.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imaseg.data.files import write_json
from imaseg.data.formats.nifti import write_nifti
from imaseg.errors import InputError

Array = NDArray[np.float32]
_FINE = 2


def write_phantom(
    out: Path,
    *,
    cases: int = 24,
    seed: int = 0,
    shape: tuple[int, int, int] = (40, 40, 24),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.6),
) -> Path:
    """Write a raw MSD folder of phantoms with `dataset.json` and `split.json` (two thirds train).

    Args:
        out: a new or empty folder.
        cases: how many, at least 2.
        seed: same seed, same bytes.
        shape: voxels along right, anterior, superior.
        spacing: mean voxel size in mm; each case differs from it by up to 10 % per axis.

    Returns:
        The folder.

    Raises:
        InputError: if `out` holds files already, or there are fewer than 2 cases.
    """
    if cases < 2:
        msg = f"cases must be at least 2 (one to train on, one to test), got {cases}."
        raise InputError(msg)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"out must be a new or empty folder, got {out} with content. Choose another."
        raise InputError(msg)
    ids = [f"phantom_{i + 1:03d}" for i in range(cases)]
    for i, name in enumerate(ids):
        rng = np.random.default_rng([seed, i])
        _write_case(out, name, rng, shape, np.asarray(spacing) * rng.uniform(0.9, 1.1, 3))
    train = round(cases * 2 / 3)
    write_json(out / "split.json", {"train": ids[:train], "val": ids[train:]})
    write_json(out / "dataset.json", _description(ids, seed))
    return out


def _description(ids: list[str], seed: int) -> dict[str, object]:
    return {
        "name": "Phantom",
        "description": f"Synthetic MRI-like volumes, two adjacent structures, seed {seed}",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Front", "2": "Back"},
        "numTraining": len(ids),
        "numTest": 0,
        "training": [
            {"image": f"./imagesTr/{i}.nii.gz", "label": f"./labelsTr/{i}.nii.gz"} for i in ids
        ],
        "test": [],
    }  # fmt: skip


def _write_case(
    out: Path, name: str, rng: np.random.Generator, shape: tuple[int, ...], spacing: NDArray[np.float64]
) -> None:
    image, label = draw(rng, shape, spacing)
    # Scanners agree on nothing but the sign: three orders of magnitude, whole numbers where they fit.
    image *= np.float32(10 ** rng.uniform(2.3, 5.5))
    dtype = np.int16 if image.max() < np.iinfo(np.int16).max else np.float32
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.asarray(shape) - 1) / 2 + rng.uniform(-20, 20, 3)
    if rng.random() < 0.5:
        image, label, affine = _as_lps(image, label, affine)
    write_nifti(out / "imagesTr" / f"{name}.nii.gz", image, affine, dtype=dtype)
    write_nifti(out / "labelsTr" / f"{name}.nii.gz", label, affine, dtype=np.uint8)


def _as_lps(
    image: Array, label: NDArray[np.uint8], affine: NDArray[np.float64]
) -> tuple[Array, NDArray[np.uint8], NDArray[np.float64]]:
    """The same anatomy stored from left to right and front to back, with the affine to match."""
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = np.asarray(image.shape[:2]) - 1
    return image[::-1, ::-1], label[::-1, ::-1], affine @ turn


def draw(
    rng: np.random.Generator, shape: tuple[int, ...], spacing: NDArray[np.float64]
) -> tuple[Array, NDArray[np.uint8]]:
    """One phantom in RAS: image (*shape) with tissue near 1 and air exactly 0, and its label (*shape)."""
    mm = _grid(shape, spacing)
    extent = np.asarray(shape) * spacing
    head = sum((x / (0.49 * e)) ** 4 for x, e in zip(mm, extent, strict=True)) < 1
    brightness = _brightness(rng)
    truth = np.full(head.shape, brightness["tissue"], np.float32)
    truth *= 1 + 0.08 * _smooth_field(rng, head.shape, waves=7)
    for level in rng.choice([brightness["front"], brightness["back"], brightness["fluid"]], 9):
        truth[_blob(rng, mm, extent)] = level
    body, front, sheath = _structure(rng, mm, extent)
    truth[sheath] = brightness["sheath"]
    truth[body & front], truth[body & ~front] = brightness["front"], brightness["back"]
    image = _down(truth * head)
    image *= np.exp(0.10 * _smooth_field(rng, tuple(shape), waves=2))
    texture = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), 1.0) * 5
    image *= 1 + 0.03 * texture
    sigma = rng.uniform(0.04, 0.07)
    noise = rng.standard_normal((2, *shape), np.float32) * np.float32(sigma)
    image = np.hypot(image + noise[0], noise[1]) * (_down(head.astype(np.float32)) > 0.5)
    return image.astype(np.float32), _majority(body & front & head, body & ~front & head)


def _brightness(rng: np.random.Generator) -> dict[str, float]:
    """Grey values: both structures brighter than tissue, the front one by more, fluid far darker."""
    back = 1 + rng.uniform(0.28, 0.36)
    return {
        "tissue": 1.0,
        "back": back,
        "front": back + rng.uniform(0.28, 0.36),
        "fluid": 0.45,
        "sheath": 0.85,
    }


def _grid(shape: tuple[int, ...], spacing: NDArray[np.float64]) -> list[Array]:
    """Open grid of fine voxel centres in mm from the centre, one broadcastable array per axis."""
    axes = [
        ((np.arange(n * _FINE) + 0.5) / _FINE - n / 2) * s for n, s in zip(shape, spacing, strict=True)
    ]  # fmt: skip
    return [np.asarray(a, np.float32) for a in np.ix_(*axes)]


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...], waves: int) -> Array:
    """Random sum of cosines with up to `waves` half-periods along each axis, unit variance."""
    basis = [np.cos(np.pi * np.outer(np.arange(waves + 1), (np.arange(n) + 0.5) / n)) for n in shape]
    weights = rng.standard_normal((waves + 1,) * 3)
    weights[0, 0, 0] = 0
    field = np.einsum("abc,ax,by,cz->xyz", weights, *basis, optimize=True)
    return (field / field.std()).astype(np.float32)


def _blob(rng: np.random.Generator, mm: list[Array], extent: NDArray[np.float64]) -> NDArray[np.bool_]:
    centre = rng.uniform(-0.42, 0.42, 3) * extent
    radius = rng.uniform(2.0, 4.5, 3)
    return sum(((x - c) / r) ** 2 for x, c, r in zip(mm, centre, radius, strict=True)) < 1


def _structure(
    rng: np.random.Generator, mm: list[Array], extent: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """A bent ellipsoid along the anterior axis, the part in front of a dividing sheet, a sheath."""
    x, y, z = (m - c for m, c in zip(mm, rng.uniform(-0.08, 0.08, 3) * extent, strict=True))
    turn, nod, bend, twist = rng.uniform([-0.35, -0.25, 0.2, -0.2], [0.35, 0.25, 0.5, 0.2])
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    y, z = np.cos(nod) * y - np.sin(nod) * z, np.sin(nod) * y + np.cos(nod) * z
    length, width, height = rng.uniform([0.30, 0.155, 0.165], [0.38, 0.205, 0.215]) * extent[[1, 0, 2]]
    along = y / length
    x = x - bend * width * (along**2 - 0.3)
    taper = 1 - 0.25 * rng.uniform(0, 1) * along
    rough = 0.07 * _smooth_field(rng, np.broadcast_shapes(x.shape, y.shape, z.shape), waves=6)
    radius = along**2 + (x / (width * taper)) ** 2 + (z / (height * taper)) ** 2 - rough
    sheet = rng.uniform(-0.15, 0.15) + 0.15 * (x / width) ** 2 + twist * z / height
    return radius < 1, along > sheet, radius < 1.5


def _down(fine: Array) -> Array:
    """Mean over blocks of fine voxels: partial volume."""
    a, b, c = (n // _FINE for n in fine.shape)
    return fine.reshape(a, _FINE, b, _FINE, c, _FINE).mean(axis=(1, 3, 5), dtype=np.float32)


def _majority(*structures: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Label whose share of the voxel is largest, background included."""
    shares = np.stack([_down(s.astype(np.float32)) for s in structures])
    shares = np.concatenate([1 - shares.sum(0, keepdims=True), shares])
    return shares.argmax(0).astype(np.uint8)
