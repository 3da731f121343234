"""Changes near a structure through a tiled network: only the tiles that they reach are run, and the result is the same.

    logits = sum over tiles reached of s_t f(x_t)  +  sum over the others of s_t f(x_t), which is found once

Which tiles a change reaches is not computed from the layout, as a model may flip, permute or pad an image before its
tiles are cut: it is asked of the model itself, which is shown the image with other values where it may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from imaseg.frozen import Model
from imaseg.tiling import Layout, Still, TiledModel


class Narrowed:
    """A tiled model for images that equal one image outside of a region; made by `narrowed`.

    Gradients with respect to voxels outside of the region are not complete. Images that differ there from the first
    one are noticed, and run tile by tile as ever.

    Args:
        model: the whole model.
        tiled: the part of it that cuts tiles.
        still: what does not change.
    """

    def __init__(self, model: nn.Module, tiled: TiledModel, still: Still) -> None:
        self.model, self._tiled, self._still = model, tiled, still

    def __call__(self, image: Tensor) -> Tensor:
        """Logits, as the whole model gives them."""
        with self._tiled.resting(self._still):
            logits: Tensor = self.model(image)
        return logits


def narrowed(model: Model, image: Tensor, region: Tensor | None) -> Model:
    """The model for images that equal `image` (1, C, *spatial) outside of `region`, at the cost of fewer tiles.

    Args:
        model: image -> logits, deterministic.
        image: the unchanged image; the sum over tiles out of reach is found in the first call.
        region: boolean mask that broadcasts to the image; only there may it change.

    Returns:
        A `Narrowed`; the model itself where that saves nothing: it holds no `TiledModel` or several, the batch has
        several images, or all tiles are within reach; and where it refuses other values in the region.
    """
    tiled = [part for part in model.modules() if isinstance(part, TiledModel)] if isinstance(model, nn.Module) else []
    if region is None or len(image) > 1 or len(tiled) != 1 or not isinstance(model, nn.Module):
        return model
    first = _input_of_tiles(model, tiled[0], image)
    if first is None:
        return model
    cut, layout = first
    differs = torch.zeros_like(cut[0, 0], dtype=torch.bool)
    for changed in _changed(image, region):
        other = _input_of_tiles(model, tiled[0], changed)
        if other is None or other[0].shape != cut.shape:
            return model
        differs |= (other[0] != cut).any(1)[0]
    changing: Sequence[bool] = torch.stack([differs[tile].any() for tile in layout.tiles]).tolist()
    if all(changing):
        return model
    return Narrowed(model, tiled[0], Still(cut, layout, changing))


def _changed(image: Tensor, region: Tensor) -> list[Tensor]:
    """The image with other values in the region, three times: a window that clips one of them does not clip all."""
    low, high = image.aminmax()
    above = high + high.abs().clamp(min=1)  # 1 more would be rounded away from large values
    return [torch.where(region.to(image.device, torch.bool), value, image) for value in (low, (low + high) / 2, above)]


class _Seen(BaseException):
    """Ends a call of the model where its tiles would be cut; no error, which a model may handle."""


def _input_of_tiles(model: nn.Module, tiled: TiledModel, image: Tensor) -> tuple[Tensor, Layout] | None:
    """What tiles are cut from (1, C, *padded) when the model is shown an image, and where; the network is not run.

    None if the model takes this image without cutting tiles, or refuses it.
    """
    seen: list[tuple[Tensor, Layout]] = []

    def listen(given: Tensor, layout: Layout) -> None:
        seen.append((given.clone(), layout))
        raise _Seen

    with torch.no_grad(), suppress(_Seen, Exception), tiled.listening(listen):
        model(image)
    return seen[0] if seen else None
