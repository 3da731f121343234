"""Four networks trained in minutes on one core, to race attacks on: 3D plain, 3D robust, 2D (SMP) and nnU-Net's.

    python benchmarks/four_nets.py DATA [--out DIR] [--only NET ...]

DATA is MSD Task04_Hippocampus with a `split.json`. The 3D ones work at 2 mm on whole cases in 24 x 32 x 24 voxels, the
2D one on slices (`slices.py`). nnU-Net plans, preprocesses and trains by itself, with a network of few channels,
which predicts mirrored eight times, and once as with nnU-Net's --disable_tta (`nnunet-unmirrored`).
Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from hippocampus_3d import prepare_data
from monai.networks.nets import UNet
from slices import train_slice_net
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, pad

from imaseg import L2, Linf, Perturbation, PGDTraining, Standard, load_cases, load_model
from imaseg.data.reading import read_volume
from imaseg.objectives import DiceCE
from imaseg.progress import bar
from imaseg.scores import foreground_dice
from imaseg.tiling import TiledModel

SHAPE = (24, 32, 24)
EPOCHS = {"standard": 30, "robust": 5}
BUDGETS: dict[str, Perturbation] = {
    "standard": L2(0.02, unit="rms"),
    "robust": L2(0.04, unit="rms"),
    "slices": Linf(8 / 255, bounds=(0.0, 1.0)),
    "nnunet": L2(0.02, unit="rms"),
    "nnunet-unmirrored": L2(0.02, unit="rms"),
}
"""What each network is attacked in."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work/four_nets"))
    parser.add_argument("--only", nargs="+", choices=list(BUDGETS), default=list(BUDGETS))
    arguments = parser.parse_args()
    for name in arguments.only:
        model, image, label = net_and_cases(name, arguments.data, arguments.out, "val", 8)
        with torch.no_grad():
            print(f"{name}: clean Dice {float(foreground_dice(model(image), label).mean()):.3f}", flush=True)


def net_and_cases(name: str, data: Path, out: Path, split: str, count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """One of `BUDGETS`' networks, trained if it is not there yet, and cases of a split as image and label."""
    if name == "slices":
        prepared = out / "prepared"
        if not (prepared / "prepare.json").is_file():
            prepare_data(data, out)
        model, ((image, label),) = train_slice_net(prepared, out / "slice_net.pt", count, split, every=4)
        return model, image, label
    image, label = coarse_cases(data, out, split)
    step = max(1, len(image) // count)
    image, label = image[::step][:count], label[::step][:count]
    if name.startswith("nnunet"):
        model = load_model(_train_nnunet(data, out / "nnunet"))
        for part in model.modules():
            if isinstance(part, TiledModel) and name == "nnunet-unmirrored":
                part.mirror_axes = ()
        return model, image, label
    return _train(name, data, out), image, label


def coarse_cases(data: Path, out: Path, split: str) -> tuple[Tensor, Tensor]:
    """The cases of a split at twice their voxel size, (n, 1, *SHAPE) and (n, *SHAPE); kept in a file."""
    file = out / f"coarse_{split}.pt"
    if not file.is_file():
        cohort = load_cases(prepare_data(data, out))
        volumes = [read_volume(case) for case in cohort.select(cohort.split[split])]
        images = [_fitted(avg_pool3d(torch.from_numpy(volume.image)[None].float(), 2)) for volume in volumes]
        labels = [_fitted(_halved(torch.from_numpy(np.asarray(volume.label)))[None, None]) for volume in volumes]
        torch.save((torch.cat(images), torch.cat(labels)[:, 0].long()), file)
    image, label = torch.load(file, weights_only=True)
    return image, label


def _halved(label: Tensor) -> Tensor:
    return label[tuple(slice(0, size // 2 * 2, 2) for size in label.shape)]


def _fitted(volume: Tensor) -> Tensor:
    """Centred in SHAPE: cut, or filled up with 0, the mean of a prepared image and the background of a label."""
    widths = []
    for have, want in zip(reversed(volume.shape[2:]), reversed(SHAPE), strict=True):
        widths += [(want - have) // 2, want - have - (want - have) // 2]
    return pad(volume, widths)


def _train(name: str, data: Path, out: Path) -> nn.Module:
    """The plain network, or from there half and half on PGD's cases."""
    torch.manual_seed(0)
    model = UNet(3, 1, 3, (12, 24, 48), (2, 2), num_res_units=0, norm="instance")
    file = out / f"{name}.pt"
    if not file.is_file():
        method, rate = Standard(DiceCE()), 4e-3
        if name == "robust":
            model = _train("standard", data, out)
            method, rate = PGDTraining(DiceCE(), BUDGETS["robust"], steps=3, mix=0.5), 2e-3
        _fit(model.train(), method, rate, EPOCHS[name], *coarse_cases(data, out, "train"))
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


def _fit(model: nn.Module, method: nn.Module, rate: float, epochs: int, image: Tensor, label: Tensor) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    with bar("network") as tell:
        for epoch in range(epochs):
            for chosen in torch.randperm(len(image)).split(8):
                optimizer.zero_grad()
                method(model, image[chosen], label[chosen], [str(int(one)) for one in chosen]).backward()
                optimizer.step()
            schedule.step()
            tell(epoch + 1, epochs, "")


def _train_nnunet(data: Path, out: Path) -> str:
    """nnU-Net's own planning and training on 40 cases at 2 mm."""
    import nnunet_hippocampus as nnunet

    out = out.resolve()
    nnunet.use_folders(out)
    if not (nnunet.results(out, "standard") / "fold_0" / "validation" / "summary.json").is_file():
        nnunet.convert(_coarse_files(data, out / "coarse"), out, train=40, val=1)
        nnunet.plan(out, features=[8, 16, 32], patch=list(SHAPE))
        nnunet.train(out, "standard", argparse.Namespace(epochs=20, iterations=100, rate=0.05, steps=8))
    return f"nnunet:{nnunet.results(out, 'standard')}@0"


def _coarse_files(data: Path, out: Path) -> Path:
    """An MSD folder at twice the voxel size, of the cases that `_train_nnunet` takes."""
    split = json.loads((data / "split.json").read_text())
    for folder, method in (("imagesTr", avg_pool3d), ("labelsTr", None)):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for name in (*split["train"][:40], *split["val"][:1]):
            scan = nib.load(data / folder / f"{name}.nii.gz")
            values = torch.from_numpy(scan.get_fdata())
            values = _halved(values) if method is None else method(values[None, None], 2)[0, 0]
            dtype = np.uint8 if method is None else np.float32
            coarse = nib.Nifti1Image(values.numpy().astype(dtype), scan.affine @ np.diag([2, 2, 2, 1]))
            nib.save(coarse, out / folder / f"{name}.nii.gz")
    for name in ("dataset.json", "split.json"):
        (out / name).write_text((data / name).read_text())
    return out


if __name__ == "__main__":
    main()
