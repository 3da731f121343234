"""IMA in a plain MONAI training loop: four changed lines, names of the cases from MONAI's own metadata.

    python examples/monai_loop.py PREPARED [--epochs N]

PREPARED is what `imaseg prepare` wrote; `imaseg demo` leaves one in `imaseg-demo/prepared`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandSpatialCropd, SpatialPadd

from imaseg import IMA, L2, load_cases  # 1 of 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 40, 24])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    both = ["image", "label"]
    transform = Compose(
        [
            LoadImaged(both),
            EnsureChannelFirstd(both),
            SpatialPadd(both, arguments.patch),
            RandSpatialCropd(both, arguments.patch, random_size=False),
        ]
    )
    cases = load_cases(arguments.prepared).part("train")
    items = [{"image": str(case.image[0]), "label": str(case.label)} for case in cases]
    loader = DataLoader(CacheDataset(items, transform, progress=False), batch_size=2, shuffle=True)
    model = UNet(3, 1, len(cases.labels), channels=(8, 16, 32), strides=(2, 2), norm="instance")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    loss_function = DiceCELoss(softmax=True, to_onehot_y=True)

    ima = IMA(loss_function, L2(0.2, unit="rms"))  # 2 of 4
    for epoch in range(arguments.epochs):
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            loss = ima(model, batch["image"], batch["label"])  # 3 of 4, instead of loss_function(model(image), label)
            loss.backward()
            optimizer.step()
        ima.end_epoch()  # 4 of 4
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, mean margin {ima.last_epoch['mean_margin']:.3f}")


if __name__ == "__main__":
    main()
