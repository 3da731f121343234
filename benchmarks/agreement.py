"""Does imaseg predict what a model's own software predicts? Model kind by data situation, on synthetic volumes.

    python benchmarks/agreement.py [--out DIR] [--cases N] [--data FOLDER]

Networks have random weights, whose logits are close everywhere, so that any difference in preparation shows. Own
software: nnU-Net's predictor; MONAI's transforms and inferer, as a bundle's configuration names them; the function
`preprocess_input` of segmentation-models-pytorch. Agreement is Dice of both predictions, mean over classes, on the grid
of the files; the lowest over the cases. It prints Markdown tables. With --data the 3D models also run on real cases of
two labels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
import torch
from PIL import Image

from imaseg import load_cases, load_model
from imaseg.auditing.inputs.own import agreement
from imaseg.auditing.inputs.source import CaseSource
from imaseg.data import CaseSet
from imaseg.results.preparation import Agreement

Cell = tuple[str, str, list[Agreement]]
"""Model, data, agreement on each case."""
SHAPE = (40, 36, 28)
LABELS = {"background": 0, "inner": 1, "outer": 2}
IMAGENET = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work/agreement"))
    parser.add_argument("--cases", type=int, default=1, help="per situation")
    parser.add_argument("--data", type=Path, help="raw cases of two labels, such as Task04_Hippocampus")
    options = parser.parse_args()
    torch.manual_seed(0)
    cells = [*volumes(options.out, options.cases)]
    if options.data is not None:
        cells += real(options.out, options.data, options.cases)
    show(cells)
    show([*pictures(options.out, options.cases)])


def show(cells: list[Cell]) -> None:
    """A row per model, a column per kind of data."""
    columns = list(dict.fromkeys(data for _, data, _ in cells))
    print(f"\n| model | {' | '.join(columns)} |\n| --- |{' --- |' * len(columns)}")
    for name in dict.fromkeys(model for model, _, _ in cells):
        lowest = {data: min(found, key=_dice) for model, data, found in cells if model == name}
        told = ["not run" if one.dice is None else f"{one.dice:.4f}" for one in lowest.values()]
        print(f"| {name} | {' | '.join(told)} |")
    for reason in dict.fromkeys(one.reason for _, _, found in cells for one in found if one.dice is None):
        print(f"\nNot run: {reason}")


def _dice(found: Agreement) -> float:
    return -1.0 if found.dice is None else found.dice


def models(out: Path, names: list[str]) -> dict[str, str]:
    """Every kind of 3D model, for data with these two labels."""
    labels = {"background": 0, names[0]: 1, names[1]: 2}
    regions = {"background": 0, "both": [1, 2], names[1]: 2}
    return {
        "nnU-Net 3D": nnunet(out / "nn3d", labels),
        "nnU-Net 3D, resamples": nnunet(out / "nn3d_coarse", labels, spacing=[1.5, 1.3, 1.2]),
        "nnU-Net 3D, thick slices": nnunet(out / "nn3d_thick", labels, spacing=[5.0, 1.0, 1.0]),
        "nnU-Net 2D, CT": nnunet(out / "nn2d", labels, (24, 24), normalization_schemes=["CTNormalization"]),
        "nnU-Net 3D, regions": nnunet(out / "regions", regions),
        "bundle, z-score": bundle(out / "bundle_mr", labels, MR),
        "bundle, window, resamples": bundle(out / "bundle_ct", labels, CT),
        "bundle, crop, then z-score": bundle(out / "bundle_crop", labels, CROPPED),
    }


def volumes(out: Path, cases: int) -> Iterable[Cell]:
    """Every kind of 3D model on every kind of file."""
    specs = models(out / "models", [*LABELS][1:])
    for situation, write in SITUATIONS.items():
        folder = out / "data" / situation.replace(" ", "_")
        data = cohort(folder, write, cases)
        for name, spec in specs.items():
            yield name, situation, list(compared(spec, data))


def real(out: Path, data: Path, cases: int) -> Iterable[Cell]:
    """Every kind of 3D model on the first cases of a folder."""
    cohort = load_cases(data)
    names = [name for value, name in cohort.labels.items() if value > 0]
    chosen = cohort.select(cohort.ids[:cases])
    for name, spec in models(out / "real", names).items():
        yield name, data.name, list(compared(spec, chosen))


def compared(spec: str, data: Path | CaseSet) -> Iterable[Agreement]:
    """Agreement on each case."""
    model, cases = load_model(spec, trust=True), load_cases(data) if isinstance(data, Path) else data
    source = CaseSource(cases, model.card, model.prepare)
    for case in cases:
        yield agreement(model, case, source.load(case), prepared=False)


def phantom(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey values of two nested blobs in smooth noise, and their labels."""
    rng = np.random.default_rng(seed)
    middle = np.array(SHAPE) / 2 + rng.uniform(-3, 3, 3)
    far = np.sqrt(sum((axis - m) ** 2 for axis, m in zip(np.indices(SHAPE), middle, strict=True)))
    label = (far < 11).astype(np.uint8) * 2 - (far < 6).astype(np.uint8)
    image = 200.0 * label + rng.normal(0, 40, SHAPE) - 300 * (far > 16)
    return image.astype(np.float32), label


def cohort(folder: Path, write: Callable[[Path, np.ndarray], Path], cases: int) -> Path:
    """An nnU-Net raw folder whose files `write` makes."""
    for i in range(cases):
        image, label = phantom(i)
        for kind, array in ((f"imagesTr/c{i}_0000", image), (f"labelsTr/c{i}", label)):
            (folder / kind).parent.mkdir(parents=True, exist_ok=True)
            ending = write(folder / kind, array)
    description = {"channel_names": {"0": "MRI"}, "labels": LABELS, "numTraining": cases, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def nifti(affine: np.ndarray) -> Callable[[Path, np.ndarray], str]:
    def write(path: Path, array: np.ndarray) -> str:
        nib.save(nib.Nifti1Image(array, affine), f"{path}.nii.gz")
        return ".nii.gz"

    return write


def turned(code: str) -> Callable[[Path, np.ndarray], str]:
    def write(path: Path, array: np.ndarray) -> str:
        image = nib.Nifti1Image(array, np.diag([1.0, 1.0, 1.5, 1.0]))
        there = nib.orientations.axcodes2ornt(code)
        ornt = nib.orientations.ornt_transform(nib.io_orientation(image.affine), there)
        nib.save(image.as_reoriented(ornt), f"{path}.nii.gz")
        return ".nii.gz"

    return write


def itk(ending: str) -> Callable[[Path, np.ndarray], str]:
    def write(path: Path, array: np.ndarray) -> str:
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
        image.SetSpacing((1.0, 1.0, 1.5))
        image.SetOrigin((10.0, -20.0, 5.0))
        SimpleITK.WriteImage(image, f"{path}{ending}")
        return ending

    return write


def oblique(degrees: float) -> np.ndarray:
    """Affine of 1 x 1 x 1.5 mm, turned about the axis of the body."""
    turn = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return affine @ np.diag([1, 1, 1.5, 1])


SITUATIONS = {
    "NIfTI, RAS, 1 x 1 x 1.5 mm": nifti(np.diag([1.0, 1.0, 1.5, 1.0])),
    "NIfTI, LPS": turned("LPS"),
    "NIfTI, PIR": turned("PIR"),
    "NIfTI, 0.8 x 0.8 x 5 mm": nifti(np.diag([0.8, 0.8, 5.0, 1.0])),
    "NIfTI, oblique by 20 degrees": nifti(oblique(20)),
    "MHA": itk(".mha"),
    "NRRD": itk(".nrrd"),
}


def nnunet(folder: Path, labels: dict[str, Any], patch: tuple[int, ...] = (24, 24, 24), **changed: Any) -> str:
    """A results folder with a random network."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    n = len(patch)
    resampling = {"order_z": 0, "force_separate_z": None, "is_seg": False}
    architecture = {
        "n_stages": 3, "features_per_stage": [8, 12, 16], "kernel_sizes": [[3] * n] * 3, "n_conv_per_stage": [1] * 3,
        "strides": [[1] * n, [2] * n, [2] * n], "n_conv_per_stage_decoder": [1, 1], "conv_bias": True,
        "conv_op": f"torch.nn.modules.conv.Conv{n}d", "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{n}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    configuration = {
        "data_identifier": "tiny", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": list(patch), "median_image_size_in_voxels": [24.0] * n, "spacing": [1.0] * n,
        "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [False], "batch_dice": False,
        "architecture": {
            "network_class_name": f"{PlainConvUNet.__module__}.{PlainConvUNet.__name__}", "arch_kwargs": architecture,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")},
        "resampling_fn_data_kwargs": resampling | {"order": 3},
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
    }  # fmt: skip
    name, figures = "2d" if n == 2 else "3d_fullres", {"mean": 50.0, "median": 0.0, "std": 150.0, "min": -400.0}
    figures |= {"max": 600.0, "percentile_00_5": -300.0, "percentile_99_5": 450.0}
    plans = {
        "dataset_name": "Dataset001_Phantom", "plans_name": "tiny", "image_reader_writer": "SimpleITKIO",
        "original_median_spacing_after_transp": [1.0] * 3, "original_median_shape_after_transp": [24] * 3,
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "label_manager": "LabelManager",
        "configurations": {name: configuration | changed}, "experiment_planner_used": "ExperimentPlanner",
        "foreground_intensity_properties_per_channel": {"0": figures},
    }  # fmt: skip
    dataset = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    dataset |= {"regions_class_order": [1, 2]} if any(isinstance(one, list) for one in labels.values()) else {}
    manager = PlansManager(plans)
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    torch.manual_seed(0)
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    network = get_network_from_plans(
        configuration["architecture"]["network_class_name"], architecture,
        configuration["architecture"]["_kw_requires_import"], 1, heads, deep_supervision=False,
    )  # fmt: skip
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    state = {
        "network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
        "init_args": {"plans": plans, "configuration": name, "fold": 0, "dataset_json": dataset},
        "inference_allowed_mirroring_axes": tuple(range(n)),
    }  # fmt: skip
    torch.save(state, folder / "fold_0" / "checkpoint_final.pth")
    return f"nnunet:{folder}"


LOAD = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]
TURN = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
MR = [*LOAD, TURN, {"_target_": "NormalizeIntensityd", "keys": "image"}]
CT = [
    *LOAD, TURN,
    {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -300, "a_max": 450, "b_min": 0, "b_max": 1,
     "clip": True},
]  # fmt: skip
CROPPED = [
    *LOAD, TURN, {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "allow_smaller": True},
    {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
]  # fmt: skip


def bundle(folder: Path, labels: dict[str, int], transforms: list[dict[str, Any]]) -> str:
    """A bundle as the model zoo writes them, with a random network."""
    from monai.networks.nets import UNet

    network = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [8, 12, 16], "strides": [2, 2]}
    config = {
        "network_def": {"_target_": "UNet", **network},
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 24], "sw_batch_size": 2, "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
             "nearest_interp": False, "to_tensor": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ]},
    }  # fmt: skip
    names = {str(value): name for name, value in labels.items()}
    formats = {"inputs": {"image": {"num_channels": 1}}, "outputs": {"pred": {"num_channels": 3, "channel_def": names}}}
    for name, content in (("inference", config), ("metadata", {"name": folder.name, "network_data_format": formats})):
        (folder / "configs").mkdir(parents=True, exist_ok=True)
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content))
    (folder / "models").mkdir(exist_ok=True)
    torch.manual_seed(0)
    torch.save(UNet(**network).state_dict(), folder / "models" / "model.pt")
    return f"bundle:{folder}"


def pictures(out: Path, cases: int) -> Iterable[Cell]:
    """An SMP folder on colour pictures: its card states the encoder's preprocessing, or does not."""
    folder = smp_folder(out / "smp")
    windows = [{"low": mean * 255, "high": (mean + std) * 255, "clip": False} for mean, std in IMAGENET]
    recipes = {
        "SMP, card states ImageNet's mean and std": {"normalise": "window", "window": windows},
        "SMP, card states 0..1 (wrong)": {
            "normalise": "window", "window": {"low": 0, "high": 255},
        },
    }  # fmt: skip
    for ending in ("png", "bmp", "tif"):
        data = out / "data" / ending
        for i in range(cases):
            pixels = np.random.default_rng(i).integers(0, 256, (96, 64, 3), np.uint8)
            for kind, array in (("images", pixels), ("masks", (pixels[..., 0] > 128).astype(np.uint8))):
                (data / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(data / kind / f"c{i}.{ending}")
        for name, recipe in recipes.items():
            (folder / "imaseg.yaml").write_text(json.dumps({"recipe": recipe, "labels": {"1": "1"}}))
            yield name, f"{ending.upper()} pictures", list(compared(f"smp:{folder}", data))


def smp_folder(folder: Path) -> Path:
    """What `save_pretrained` writes, with random weights in the place of pretrained ones."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    smp.Unet("resnet18", encoder_weights=None, classes=2, decoder_channels=(8, 8, 8, 4, 4)).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"encoder_weights": "imagenet"}))
    return folder


if __name__ == "__main__":
    main()
