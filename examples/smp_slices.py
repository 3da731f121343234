"""IMA on 2D slices with a U-Net of segmentation-models-pytorch (ResNet-18, random weights): the same API as in 3D.

    python examples/smp_slices.py PREPARED [--epochs N]

PREPARED is what `imaseg prepare` wrote; `imaseg demo` leaves one in `imaseg-demo/prepared`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.nn.functional import pad

from imaseg import IMA, L2, PGD, load_cases
from imaseg.data.reading import read_volume

SIDE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--every", type=int, default=1, help="take every so many slices of a case")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    names, image, label = slices(arguments.prepared, "train", arguments.every)
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=int(label.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    ima = IMA(smp.losses.DiceLoss("multiclass"), L2(5.0), increment=0.5, fewest_steps=2)
    for epoch in range(arguments.epochs):
        model.train()
        for index in torch.randperm(len(image)).split(16):
            optimizer.zero_grad()
            loss = ima(model, image[index], label[index], [names[i] for i in index])
            loss.backward()
            optimizer.step()
        ima.end_epoch()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, mean margin {ima.last_epoch['mean_margin']:.2f}")

    _, image, label = slices(arguments.prepared, "val", arguments.every)
    result = PGD(L2(1.0), steps=10)(model, image, label)
    clean, attacked = result.foreground_dice_clean.mean().item(), result.foreground_dice.mean().item()
    print(f"{len(image)} held-out slices: Dice {clean:.3f}, under PGD at L2 1.0 {attacked:.3f}")


def slices(prepared: Path, split: str, every: int) -> tuple[list[str], Tensor, Tensor]:
    """Names, images (N, 1, 64, 64) and labels (N, 64, 64) of the slices with foreground."""
    names, images, labels = [], [], []
    for case in load_cases(prepared).part(split):
        volume = read_volume(case)
        image, label = torch.from_numpy(volume.image)[0].float(), torch.from_numpy(volume.label).long()
        for place in range(0, image.shape[2], every):
            if label[:, :, place].any():
                names.append(f"{case.id}/{place}")
                images.append(square(image[:, :, place]))
                labels.append(square(label[:, :, place]))
    return names, torch.stack(images)[:, None], torch.stack(labels)


def square(plane: Tensor) -> Tensor:
    """Filled up with 0, or cut, to 64 x 64 around the middle."""
    gaps = [SIDE - side for side in plane.shape]
    return pad(plane, (gaps[1] // 2, gaps[1] - gaps[1] // 2, gaps[0] // 2, gaps[0] - gaps[0] // 2))


if __name__ == "__main__":
    main()
