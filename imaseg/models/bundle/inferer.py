"""Reads the inferer of a bundle: the tiles of its sliding window, or the axis that it slices along."""

from __future__ import annotations

from typing import Any

from imaseg.models.bundle.config import BundleConfig, KeyPath
from imaseg.models.bundle.places import inferer_at

_KNOWN = ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer", "SimpleInferer")
_USUAL = {"overlap": 0.25, "mode": "constant", "sw_batch_size": 1}
"""MONAI's own defaults."""
_SIGMA = 0.125
"""Width of the Gaussian, as a share of the tile."""


class Inferer:
    """The inferer of a bundle.

    Args:
        config: configuration of the bundle.
        dims: spatial dimensions of the network; None if unknown.

    Attributes:
        card: keys of a card: tiles and axes.
        left_out: what of it is not done.
    """

    def __init__(self, config: BundleConfig, *, dims: int | None) -> None:
        self.left_out: list[str] = []
        self.card: dict[str, Any] = {"pad_value": 0.0} | ({} if dims is None else {"axes": "xyz"[:dims]})
        where = inferer_at(config)
        if where is None:
            return
        said = config.entry(*where)[0]
        target = str(said.get("_target_", "")) if isinstance(said, dict) else "code"
        kind = target.rpartition(".")[2] if target.partition(".")[0] in ("monai", target) else target
        if kind not in _KNOWN:
            self.left_out.append(f"the bundle's own inferer ({target}): plain tiles are used")
        if kind == "SliceInferer":
            along = config.get(*where, "spatial_dim") or 0
            self.card["axes"] = "xyz"[:along] + "xyz"[along + 1 :]
        self.card |= _tiles(config, where, dims or 3)
        self.card["pad_value"] = float(config.get(*where, "cval") or 0.0)
        sigma = config.get(*where, "sigma_scale")
        if self.card.get("mode") == "gaussian" and sigma not in (None, _SIGMA):
            self.left_out.append(f"sigma_scale {sigma} of the inferer: tiles are blended with {_SIGMA}")


def _tiles(config: BundleConfig, where: KeyPath, dims: int) -> dict[str, Any]:
    """Size, overlap and blending of the tiles of the sliding window."""
    size = config.get(*where, "roi_size")
    if size is None:
        return {}
    said = {key: config.get(*where, key) for key in (*_USUAL, "padding_mode")}
    tiles = _USUAL | {key: value for key, value in said.items() if value is not None}
    tiles["batch_size"] = tiles.pop("sw_batch_size")
    return tiles | {"roi_size": [_side(side) for side in (size if isinstance(size, list | tuple) else [size] * dims)]}


def _side(side: Any) -> Any:
    """A side of a tile; MONAI takes the whole axis for 0 and all below."""
    return -1 if isinstance(side, int) and side <= 0 else side
