"""Folders as nnU-Net writes them, small and quick: raw cases, plans, preprocessed cases, results."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

DATASET = "Dataset007_Phantom"
LABELS = {"background": 0, "left": 1, "right": 2}
REGIONS = {"background": 0, "both": [1, 2], "right": 2}


def settings(root: Path) -> dict[str, str]:
    """Environment variables of nnU-Net for folders below `root`, without worker processes."""
    folders = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
    return folders | {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}


def plans(
    patch: tuple[int, ...] = (16, 16, 12), *, transpose: tuple[int, ...] = (0, 1, 2), **changed: Any
) -> dict[str, Any]:
    """Plans of one configuration, "2d" or "3d_fullres" by the length of `patch`."""
    n = len(patch)
    resampling = {"order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "tiny",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [20.0] * n,
        "spacing": [1.0] * n,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": n == 2,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": [4, 6, 8],
                "conv_op": f"torch.nn.modules.conv.Conv{n}d",
                "kernel_sizes": [[3] * n] * 3,
                "strides": [[1] * n, [2] * n, [2] * n],
                "n_conv_per_stage": [1, 1, 1],
                "n_conv_per_stage_decoder": [1, 1],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{n}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")},
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **resampling},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **resampling},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **resampling},
    }
    figures = {"mean": 100.0, "median": 100.0, "std": 40.0, "min": 0.0, "max": 400.0}
    figures |= {"percentile_00_5": 20.0, "percentile_99_5": 180.0}
    return {
        "dataset_name": DATASET,
        "plans_name": "tiny",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [16, 24, 24],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose),
        "transpose_backward": [int(axis) for axis in np.argsort(transpose)],
        "configurations": {("2d" if n == 2 else "3d_fullres"): configuration | changed},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(i): figures for i in range(2)},
    }


def dataset(labels: dict[str, Any] | None = None, *, channels: int = 1) -> dict[str, Any]:
    """Content of `dataset.json`."""
    labels = labels or LABELS
    content = {
        "channel_names": {str(i): "MRI" for i in range(channels)},
        "labels": labels,
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    regions = [value for value in labels.values() if isinstance(value, list)]
    return content | ({"regions_class_order": [1, 2]} if regions else {})


def write_results(
    folder: Path,
    plan: dict[str, Any],
    content: dict[str, Any] | None = None,
    *,
    folds: tuple[str, ...] = ("0",),
    trainer: str = "nnUNetTrainer",
    checkpoint: str = "checkpoint_final.pth",
    **more: Any,
) -> Path:
    """A results folder with a random network per fold, whose classes all occur about equally often."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    content = content or dataset()
    manager = PlansManager(plan)
    ((name, configuration),) = plan["configurations"].items()
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plan))
    (folder / "dataset.json").write_text(json.dumps(content))
    for seed, fold in enumerate(folds):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = nnUNetTrainer.build_network_architecture(
                manager,
                manager.get_configuration(name),
                len(content["channel_names"]),
                manager.get_label_manager(content).num_segmentation_heads,
                enable_deep_supervision=False,
            )
            noise = torch.randn(1, len(content["channel_names"]), *configuration["patch_size"])
        with torch.no_grad():
            head = network.decoder.seg_layers[-1]
            head.weight *= 20
            head.bias -= network(noise).mean([0, *range(2, noise.ndim)])
        (folder / f"fold_{fold}").mkdir()
        state = {
            "network_weights": network.state_dict(),
            "optimizer_state": {},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float32(0.5)], "lrs": [0.01]},
            "_best_ema": np.float64(0.5),
            "current_epoch": 1,
            "init_args": {"plans": plan, "configuration": name, "fold": fold, "dataset_json": content},
            "trainer_name": trainer,
            "inference_allowed_mirroring_axes": tuple(range(len(configuration["patch_size"]))),
            **more,
        }
        torch.save(state, folder / f"fold_{fold}" / checkpoint)
    return folder


def write_raw(source: Path, root: Path, content: dict[str, Any] | None = None) -> Path:
    """Cases of an MSD folder in nnU-Net's raw layout, labelled 0, 1, 2."""
    out = root / "raw" / DATASET
    for kind in ("imagesTr", "labelsTr"):
        (out / kind).mkdir(parents=True)
        for path in sorted((source / kind).glob("*.nii.gz")):
            name = path.name.replace(".nii", "_0000.nii") if kind == "imagesTr" else path.name
            shutil.copy(path, out / kind / name)
    (out / "dataset.json").write_text(json.dumps(content or dataset()))
    return out


def preprocess(root: Path, raw: Path, plan: dict[str, Any], *, folds: list[dict[str, list[str]]]) -> Path:
    """What `nnUNetv2_preprocess` writes, by nnU-Net's own preprocessor, in this process."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    out = root / "preprocessed" / DATASET
    content = json.loads((raw / "dataset.json").read_text())
    manager = PlansManager(plan)
    configuration = manager.get_configuration(next(iter(plan["configurations"])))
    cases = out / configuration.data_identifier
    cases.mkdir(parents=True)
    for label in sorted((raw / "labelsTr").glob("*.nii.gz")):
        name = label.name.removesuffix(".nii.gz")
        images = [str(path) for path in sorted((raw / "imagesTr").glob(f"{name}_*.nii.gz"))]
        configuration.preprocessor_class(verbose=False).run_case_save(
            str(cases / name), images, str(label), manager, configuration, content
        )
    shutil.copytree(raw / "labelsTr", out / "gt_segmentations")
    (out / "dataset.json").write_text(json.dumps(content))
    (out / "dataset_fingerprint.json").write_text("{}")
    (out / "tiny.json").write_text(json.dumps(plan))
    (out / "splits_final.json").write_text(json.dumps(folds))
    return out


def use(root: Path) -> None:
    """Point nnU-Net to folders below `root`, for this process."""
    os.environ.update(settings(root))
