"""Every corruption at its five severities on a phantom, as one picture.

    python benchmarks/corruption_montage.py --out docs/corruptions.jpg [--small]

Axial slices in one window; across the slices for those two that act there. The phantom has one channel, which "Missing
channel" loses, and values in HU for what occurs in CT only. Prints what each severity changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from imaseg.corruptions import Corruption
from imaseg.data.phantom import draw
from imaseg.data.volume import Volume

SPACING = np.array([1.0, 1.0, 1.6])
ACROSS = ("slice-thickness", "missing-slices")
GAP, TEXT, HEAD = 2, 104, 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JPEG or PNG")
    parser.add_argument("--small", action="store_true", help="a phantom a quarter as wide, for tests")
    arguments = parser.parse_args()
    side = 20 if arguments.small else 80
    image, label = draw(np.random.default_rng(4), (side, side, side * 5 // 8), SPACING)
    affine = np.diag([*SPACING, 1.0])
    mr = Volume("phantom", np.stack([image, image]) * 300, label.astype(np.int64), affine)
    hounsfield = np.where(image > 0, 1040 * image - 1000, -1000)[None].astype(np.float32)
    ct = Volume("phantom", hounsfield, mr.label, affine)
    rows = []
    print("| corruption | 1 | 2 | 3 | 4 | 5 |\n| --- | --- | --- | --- | --- | --- |")
    for name, kind in sorted(Corruption.known().items()):
        case, modality = (mr, ("T1", "T2")) if kind.other else (ct, ("CT",))
        found = list(kind().ladder(case, modality=modality))
        channel = int(found[0].parameters.get("channel", 0))
        volumes = [case, *(corrupted.volume for corrupted in found)]
        rows.append((kind.title, [plane(volume.image[channel], name in ACROSS) for volume in volumes]))
        print(f"| {name} | {' | '.join(f'{corrupted.change:.2f}' for corrupted in found)} |")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    picture(rows).save(arguments.out, quality=75)
    print(f"Created {arguments.out}")


def plane(image: NDArray[np.float32], across: bool) -> NDArray[np.float32]:
    """The middle slice with rows from the top down; across the slices on square pixels."""
    cut = image[:, image.shape[1] // 2] if across else image[:, :, image.shape[2] // 2]
    tall = cut[:, np.arange(len(cut)) * cut.shape[1] // len(cut)] if across else cut
    return np.rot90(tall)


def picture(rows: list[tuple[str, list[NDArray[np.float32]]]]) -> Image.Image:
    """Two blocks of rows side by side; each row is a title, the clean slice and five corrupted ones."""
    side, half = len(rows[0][1][0]) + GAP, (len(rows) + 1) // 2
    block = TEXT + 6 * side
    canvas = Image.new("L", (2 * block, HEAD + half * side), 255)
    pen = ImageDraw.Draw(canvas)
    for i, (title, planes) in enumerate(rows):
        left, top = i // half * block, HEAD + i % half * side
        pen.text((left + 4, top + side // 2 - 6), title, fill=0)
        low, high = planes[0].min(), np.percentile(planes[0], 99.5)
        for column, values in enumerate(planes):
            grey = ((values - low) / (1.15 * (high - low))).clip(0, 1) * 255
            canvas.paste(Image.fromarray(grey.astype(np.uint8)), (left + TEXT + column * side, top))
            if i % half == 0:
                pen.text(
                    (left + TEXT + column * side + side // 2 - 10, 1), "clean" if column == 0 else str(column), fill=0
                )
    return canvas


if __name__ == "__main__":
    main()
