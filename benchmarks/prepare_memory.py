"""Peak memory of `imaseg prepare` on one CT of 512 x 512 x 800 voxels, as the operating system counts it.

    python benchmarks/prepare_memory.py [FOLDER]

Writes the synthetic case into FOLDER (a temporary one if not given), prepares it twice, with and without
resampling, and prints the most memory the process held. It fails above 3 GB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (512, 512, 800)
SPACING = (0.78, 0.78, 0.8)
LIMIT = 3.0
RECIPES = {
    "resampled to 0.8 x 0.8 x 0.9 mm, HU clipped and scaled": "spacing: [0.8, 0.8, 0.9]",
    "as stored, z-score within the body": "spacing: null\ncrop: body\nnormalise: zscore\nwithin: body",
}


def write_case(root: Path, shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, float, float] = SPACING) -> None:
    """A body of two tissues with five round organs in air; noise, so that files do not compress to nothing."""
    rng = np.random.default_rng(0)
    x, y, z = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    plane = (x[:, None] / 0.8) ** 2 + (y[None] / 0.6) ** 2
    image, label = np.empty(shape, np.int16, order="F"), np.zeros(shape, np.uint8, order="F")
    for i, height in enumerate(z):
        noise = rng.normal(0, 20, shape[:2]).astype(np.float32)
        image[..., i] = np.where(plane < 1, 40 + 60 * (plane > 0.8), -1000) + noise
        for k in range(5):
            place = (x[:, None] - 0.3 + 0.15 * k) ** 2 + y[None] ** 2 + (height + 0.6 - 0.3 * k) ** 2
            label[..., i][place < 0.015] = k + 1
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    for folder, array in (("images", image), ("labels", label)):
        (root / folder).mkdir(parents=True)
        file = nib.Nifti1Image(array, affine)
        nib.save(file, root / folder / "ct.nii.gz")


def peak_gb(command: list[str]) -> float:
    """Run a command; the largest resident memory of it and its children."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return usage.ru_maxrss / 2**20


def main(folder: Path) -> None:
    """Prepare the case by each recipe."""
    raw = folder / "raw"
    if not raw.is_dir():
        write_case(raw)
    print("| preparation | peak memory (GB) |\n| --- | --- |")
    highest = 0.0
    for i, (what, steps) in enumerate(RECIPES.items()):
        config = folder / f"recipe_{i}.yaml"
        config.write_text(f"modality: [CT]\n{steps}\n")
        out = Path(tempfile.mkdtemp(dir=folder)) / "out"
        command = [sys.executable, "-m", "imaseg", "prepare", raw, out, "--config", config, "--workers", "1"]
        peak = peak_gb([str(part) for part in command])
        highest = max(highest, peak)
        print(f"| {what} | {peak:.1f} |", flush=True)
    if highest > LIMIT:
        raise SystemExit(f"peak memory must stay below {LIMIT} GB, got {highest:.1f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
