"""Where a bundle keeps its preprocessing, inferer and postprocessing: as its evaluator finds them, else by name."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.models.bundle.config import BundleConfig, KeyPath

_BEFORE: tuple[KeyPath, ...] = (
    ("evaluator", "val_data_loader", "dataset", "transform"), ("dataloader", "dataset", "transform"),
    ("dataset", "transform"), ("preprocessing",), ("pre_transforms",), ("preprocessing_transforms",),
    ("pre_processing",), ("preprocess",), ("inference_transforms",), ("infer_transforms",), ("val_transforms",),
    ("validation_transforms",), ("test_transforms",), ("transforms",),
)  # fmt: skip
_AFTER: tuple[KeyPath, ...] = (
    ("evaluator", "postprocessing"), ("postprocessing",), ("post_transforms",), ("postprocessing_transforms",),
    ("post_processing",), ("postprocess",), ("val_postprocessing",), ("val_post_transforms",),
)  # fmt: skip
_INFERER: tuple[KeyPath, ...] = (("evaluator", "inferer"), ("inferer",))
ANNOTATIONS = ("label", "labels", "pred", "seg", "segmentation", "mask", "gt")
"""Keys of transforms that hold no image."""


def preprocessing_at(config: BundleConfig) -> KeyPath | None:
    """The path of the preprocessing; None if there is none."""
    return _first(config, _BEFORE)


def postprocessing_at(config: BundleConfig) -> KeyPath | None:
    """The path of the postprocessing; None if there is none."""
    return _first(config, _AFTER)


def inferer_at(config: BundleConfig) -> KeyPath | None:
    """The path of the inferer; None if there is none."""
    return _first(config, _INFERER)


def _first(config: BundleConfig, places: Sequence[KeyPath]) -> KeyPath | None:
    found = (config.entry(*group, *place) for group in ((), ("validate",)) for place in places)
    return next((where for value, where in found if value is not None), None)
