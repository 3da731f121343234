"""Case ids of the samples of a batch; margins and warm starts are stored by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

_KEYS = ("id", "filename_or_obj")


def case_ids(image: Tensor, ids: Sequence[str] | None) -> list[str]:
    """One name per sample: as given, or what a MONAI `MetaTensor` carries in its `meta` (`id`, or the file it is from).

    Args:
        image: (B, C, *spatial).
        ids: names, the same one for samples of the same case; None to take them from the image.

    Raises:
        ValueError: if there are none, or not one per sample.
    """
    names = _from_meta(image) if ids is None else ids
    names = names.tolist() if isinstance(names, Tensor) and names.ndim == 1 else names  # loaders stack numbers
    if names is None or isinstance(names, str) or len(names) != len(image):
        msg = (
            f"ids must name each of the {len(image)} samples, got {names!r}. Give a list of strings, or a MetaTensor "
            "whose meta holds `filename_or_obj`: one margin is kept per case."
        )
        raise ValueError(msg)
    return [str(name) for name in names]


def _from_meta(image: Tensor) -> Sequence[str] | None:
    meta = getattr(image, "meta", None)
    if not isinstance(meta, Mapping):
        return None
    names = next((meta[key] for key in _KEYS if key in meta), None)
    return [names] if isinstance(names, str) and len(image) == 1 else names
