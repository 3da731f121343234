"""Whose sample is this: the names that a table of margins is kept by."""

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
    found = _from_meta(image) if ids is None else ids
    if found is None or isinstance(found, str) or len(found) != len(image):
        msg = (
            f"ids must name each of the {len(image)} samples, got {found!r}. Give a list of strings, or a MetaTensor "
            "whose meta holds `filename_or_obj`: one margin is kept per case."
        )
        raise ValueError(msg)
    return [str(name) for name in found]


def _from_meta(image: Tensor) -> Sequence[str] | None:
    meta = getattr(image, "meta", None)
    if not isinstance(meta, Mapping):
        return None
    names = next((meta[key] for key in _KEYS if key in meta), None)
    return [names] if isinstance(names, str) and len(image) == 1 else names
