"""Time of `imaseg prepare` on one CT, as a ratio to that of nnU-Net's own preprocessing of the same files.

    python benchmarks/prepare_time.py [--shape 512 512 200] [--spacing 0.8 0.8 1.5] [--rounds 3] [--small]

Both run in this process on one core with one thread, from the same two .nii.gz files (image int16, label uint8) to the
same voxel size, with imports done before. They take turns; the medians over the rounds are divided.

imaseg: `imaseg.data.preparation.prepare`, the function behind the command, with all that it does. It reads and checks
the case twice (the first pass finds the figures of the cohort and hashes the voxels), turns it to RAS, interpolates the
image linearly and the shares of each label linearly, gives structures their volume back, crops to the foreground, clips
and scales HU, and writes float32 and uint8 as .nii.gz, a thumbnail, records and a page.

nnU-Net v2: `DefaultPreprocessor.run_case_save` with the settings of its default plan and the HU figures given: no
fingerprint extraction, no planning. It reads by SimpleITK, crops to what is not zero, clips and scales HU, interpolates
the image by cubic splines and the label linearly, one structure after the other, samples places of each class, and
writes float32 and int16 as Blosc2 arrays, and a pickle.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
import torch
from prepare_memory import write_case

from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe, parse_recipe

COARSER = (1.5, 1.5, 1.5)
"""mm, of the default case: about a quarter of its voxels."""
FINER = (0.7, 0.7, 1.2)
"""mm: 1.6 times as many."""
PATCH = [128, 128, 128]
"""Of nnU-Net's plan: decides the blocks in which it stores arrays."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 200), help="voxels of the case")
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.8, 0.8, 1.5), help="its voxel size in mm")
    parser.add_argument("--to", type=float, nargs=3, action="append", help="voxel sizes in mm to resample to")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a tiny case, once")
    options = parser.parse_args()
    shape, rounds = ((64, 64, 40), 1) if options.small else (tuple(options.shape), options.rounds)
    one_thread()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_case(folder / "raw", shape, tuple(options.spacing))
        print("| resampled to (mm) | wall time, nnU-Net = 1 | CPU time, nnU-Net = 1 | rounds |")
        print("| --- | --- | --- | --- |")
        for spacing in options.to or (COARSER, FINER):
            wall, cpu = compare(folder, tuple(spacing), rounds)
            print(f"| {' x '.join(f'{mm:g}' for mm in spacing)} | {wall:.2f} | {cpu:.2f} | {rounds} |", flush=True)


def one_thread() -> None:
    """Bind this process to one core, so that threads that a library starts anyway save no time."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def compare(folder: Path, spacing: tuple[float, ...], rounds: int) -> tuple[float, float]:
    """Median wall and CPU time of imaseg by those of nnU-Net."""
    runs = {"imaseg": by_imaseg(folder / "raw", spacing), "nnU-Net": by_nnunet(folder / "raw", spacing)}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            with tempfile.TemporaryDirectory(dir=folder) as out:
                wall, cpu = time.perf_counter(), cpu_seconds()
                run(Path(out) / "out")
                taken[name].append((time.perf_counter() - wall, cpu_seconds() - cpu))
    wall_ratio, cpu_ratio = np.median(taken["imaseg"], axis=0) / np.median(taken["nnU-Net"], axis=0)
    return float(wall_ratio), float(cpu_ratio)


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def by_imaseg(raw: Path, spacing: tuple[float, ...]) -> Callable[[Path], object]:
    """The default recipe, for CT at this voxel size."""
    recipe = load_recipe("msd").model_dump(mode="json") | {"modality": ["CT"], "spacing": list(spacing)}
    return lambda out: prepare(raw, out, parse_recipe(recipe, source="benchmark"))


def by_nnunet(raw: Path, spacing: tuple[float, ...]) -> Callable[[Path], object]:
    """nnU-Net's default plan for one CT channel and five structures at this voxel size."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    image, label = (raw / part / "ct.nii.gz" for part in ("images", "labels"))
    plans = PlansManager(plan_of(image, label, spacing))
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0} | {f"organ {i}": i for i in range(1, 6)},
        "file_ending": ".nii.gz",
    }
    preprocessor = DefaultPreprocessor(verbose=False)
    configuration = plans.get_configuration("3d_fullres")
    return lambda out: preprocessor.run_case_save(str(out), [str(image)], str(label), plans, configuration, dataset)


def plan_of(image: Path, label: Path, spacing: tuple[float, ...]) -> dict[str, Any]:
    """The keys of a plan that preprocessing reads, as the default planner fills them in."""
    grey = np.asarray(nib.load(image).dataobj)[np.asarray(nib.load(label).dataobj) > 0]
    low, high = np.percentile(grey, [0.5, 99.5])
    figures = {"mean": grey.mean(), "std": grey.std(), "percentile_00_5": low, "percentile_99_5": high}
    resampling: dict[str, Any] = {}
    for what, order in (("data", 3), ("seg", 1)):
        kwargs = {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        resampling |= {f"resampling_fn_{what}": "resample_data_or_seg_to_shape"}
        resampling |= {f"resampling_fn_{what}_kwargs": kwargs}
    configuration = {
        "spacing": list(reversed(spacing)),
        "patch_size": PATCH,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {},
    }
    return {
        "dataset_name": "Dataset001_CT",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "foreground_intensity_properties_per_channel": {"0": figures},
        "configurations": {"3d_fullres": configuration | resampling},
    }


if __name__ == "__main__":
    main()
