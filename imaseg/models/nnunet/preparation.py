"""Preprocesses a case with nnU-Net's own preprocessor and records each step, in the axes of the volume.

nnU-Net reads (Z, Y, X), transposes, crops to the nonzero region, normalises, then resamples. The arrays are turned
back to (X, Y, Z) afterwards, so that everything else in imaseg (affine, spacing, voxel maps, files) stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaseg.data.orient import orient
from imaseg.data.preparation.room import require_grid
from imaseg.data.volume import Step, Volume
from imaseg.errors import InputError
from imaseg.models.nnunet.plans import Plans

_EPS = 1e-8  # the least standard deviation that nnU-Net divides by
_OF_PICTURES = (999.0, 1.0, 1.0)  # spacing that nnU-Net gives to pictures
_REORIENTING = ("NibabelIOWithReorient", "SimpleITKIOWithReorient")


@dataclass(frozen=True)
class Preparation:
    """Converts a raw volume to what an nnU-Net model takes.

    Attributes:
        plans: plans of the model.
        classes: for each label value that a case may hold, the channel it belongs to; -1 for ignored ones.
    """

    plans: Plans
    classes: dict[int, int]

    def __call__(self, volume: Volume) -> tuple[Volume, list[Step]]:
        """Prepare a case; the input is not changed.

        Raises:
            InputError: if nnU-Net cannot, or normalises in a way that this project cannot undo.
        """
        steps: list[Step] = []
        if self.plans.manager.plans["image_reader_writer"] in _REORIENTING:
            volume, step = orient(volume, "RAS")
            steps.append(step)
        image, label, properties = self._run(volume)
        crop = self._crop(volume, properties)
        steps += [crop, *self._normalised(volume, crop)]
        resampled = self._resampled(crop["shape"], image.shape[1:], volume.spacing)
        if resampled["shape_from"] != resampled["shape_to"]:
            steps.append(resampled)
        affine = volume.affine @ _to_old_index(crop, resampled)
        return replace(volume, image=image, label=label, affine=affine), steps

    @property
    def described(self) -> dict[str, Any]:
        """What of the plans rules how cases are prepared, fit for JSON."""
        plans = self.plans.manager.plans
        keys = ("image_reader_writer", "transpose_forward", "foreground_intensity_properties_per_channel")
        return {key: plans.get(key) for key in keys} | dict(self.plans.configuration.configuration)

    def _run(self, volume: Volume) -> tuple[NDArray[np.float32], NDArray[np.int64] | None, dict[str, Any]]:
        """Run nnU-Net's preprocessor; returns image (C, X, Y, Z), label (X, Y, Z) and nnU-Net's properties."""
        label = None if volume.label is None else volume.label.T[None].astype(np.int16)
        image, label_channels, properties = self._by_nnunet(volume, label)
        if label is not None and self._label_counts_as_inside(volume):
            image = self._by_nnunet(volume, None)[0]
        back = np.argsort(self.plans.axes)
        image = np.ascontiguousarray(image.transpose(0, *(back + 1)), dtype=np.float32)
        if label is None:
            return image, None, properties
        return image, self._channels(label_channels[0].transpose(back)), properties

    def _label_counts_as_inside(self, volume: Volume) -> bool:
        """Whether the label, where it lies outside of the nonzero region, would affect the normalisation.

        nnU-Net counts labelled voxels as inside when it trains; when it predicts there is no label.
        """
        if not any(self.plans.configuration.use_mask_for_norm):
            return False
        return bool(((volume.label != 0) & ~_nonzero(volume.image)).any())

    def _by_nnunet(
        self, volume: Volume, label: NDArray[np.int16] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.integer], dict[str, Any]]:
        """Run nnU-Net's preprocessor; returns image and label in nnU-Net's axes, and its properties of the case."""
        plans = self.plans
        pictures = plans.manager.plans["image_reader_writer"] == "NaturalImage2DIO"
        spacing = _OF_PICTURES if pictures else tuple(float(size) for size in reversed(volume.spacing))
        wanted = self.plans.configuration.spacing
        ratio = np.ones(3)
        for axis, size in zip(self.plans.axes[3 - len(wanted) :], wanted, strict=True):
            ratio[axis] = size / spacing[2 - axis]
        require_grid(volume.id, volume.shape, ratio, len(volume.image))
        properties: dict[str, Any] = {"spacing": list(spacing)}
        preprocessor = plans.configuration.preprocessor_class(verbose=False)
        try:
            image, label_channels, properties = preprocessor.run_case_npy(
                volume.image.transpose(0, 3, 2, 1), label, properties, plans.manager, plans.configuration, plans.dataset
            )
        except (ValueError, RuntimeError, AssertionError, KeyError, IndexError) as error:
            msg = f"case {volume.id} must be one that nnU-Net can preprocess, got {type(error).__name__}: {error}."
            raise InputError(msg) from error
        return image, label_channels, properties

    def _channels(self, label: NDArray[np.integer]) -> NDArray[np.int64]:
        """Map label values to classes; -1, which nnU-Net writes outside of the nonzero region, becomes background."""
        table = np.zeros(max(self.classes) + 1, np.int64)
        for value, channel in self.classes.items():
            table[value] = channel
        return table[np.maximum(label, 0)]

    def _crop(self, volume: Volume, properties: dict[str, Any]) -> Step:
        """The record of the crop to the nonzero region, along X, Y, Z."""
        box = [(0, 0)] * 3
        for axis, (start, stop) in zip(self.plans.axes, properties["bbox_used_for_cropping"], strict=True):
            box[axis] = int(start), int(stop)
        return {
            "name": "crop",
            "start": [start for start, _ in box],
            "shape": [stop - start for start, stop in box],
            "shape_from": list(volume.shape),
        }

    def _resampled(self, before: list[int], after: tuple[int, ...], spacing: tuple[float, ...]) -> Step:
        """The record of the resampling, with the voxel size that keeps both ends of each axis in place."""
        return {
            "name": "resample",
            "spacing_from": list(spacing),
            "spacing_to": [size * old / new for size, old, new in zip(spacing, before, after, strict=True)],
            "shape_from": list(before),
            "shape_to": list(after),
            "orders": self._orders(spacing, "data"),
            "back_orders": self._orders(spacing, "probabilities"),
            "border": "continued",
        }

    def _orders(self, spacing: tuple[float, ...], what: str) -> list[int]:
        """Spline orders along X, Y, Z; a coarse axis may have its own, and PyTorch resampling is linear.

        Args:
            spacing: of the volume.
            what: `data`, on the way in, or `probabilities`, on the way back.
        """
        from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

        configuration = self.plans.configuration
        settings = configuration.configuration[f"resampling_fn_{what}_kwargs"]
        here = [spacing[axis] for axis in self.plans.axes]
        there = [*here[: len(here) - len(configuration.spacing)], *configuration.spacing]
        ends = (here, there) if what == "data" else (there, here)
        apart, axis = determine_do_sep_z_and_axis(settings.get("force_separate_z"), *ends)
        linear = configuration.configuration[f"resampling_fn_{what}"].startswith("resample_torch")
        orders = [1 if linear else int(settings.get("order", 3))] * 3
        if apart:
            orders[self.plans.axes[axis]] = int(settings.get("order_z", 0))
        return orders

    def _normalised(self, volume: Volume, crop: Step) -> list[Step]:
        """The records of the normalisation, one per channel: what nnU-Net subtracted and divided by."""
        inside = tuple(slice(start, start + n) for start, n in zip(crop["start"], crop["shape"], strict=True))
        cut = volume.image[:, *inside]
        return [{"name": "normalise", "channel": i, **self._figures(i, cut)} for i in range(len(cut))]

    def _figures(self, channel: int, image: NDArray[np.float32]) -> Step:
        scheme = self.plans.configuration.normalization_schemes[channel]
        values = image[channel]
        if scheme == "NoNormalization":
            return {"method": "none"}
        if scheme == "RGBTo01Normalization":
            return {"method": "rescale", "mean": 0.0, "std": 255.0}
        if scheme == "RescaleTo01Normalization":
            low = float(values.min())
            return {"method": "rescale", "mean": low, "std": max(float(values.max()) - low, _EPS)}
        if scheme == "CTNormalization":
            properties = self.plans.manager.foreground_intensity_properties_per_channel[str(channel)]
            low, high = float(properties["percentile_00_5"]), float(properties["percentile_99_5"])
            return {
                "method": "ct",
                "low": low,
                "high": high,
                "mean": float(properties["mean"]),
                "std": float(properties["std"]),
            }
        if scheme != "ZScoreNormalization":
            msg = f"normalisation of {self.plans.source} must be one that nnU-Net ships, got {scheme!r}."
            raise InputError(msg)
        if self.plans.configuration.use_mask_for_norm[channel]:
            values = values[_nonzero(image)]
            return {"method": "masked-zscore", "mean": float(values.mean()), "std": max(float(values.std()), _EPS)}
        return {"method": "whole-zscore", "mean": float(values.mean()), "std": max(float(values.std()), _EPS)}


def _nonzero(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where any channel of (C, X, Y, Z) is not 0, with holes filled: the region that nnU-Net normalises by."""
    from nnunetv2.preprocessing.cropping.cropping import create_nonzero_mask

    mask: NDArray[np.bool_] = create_nonzero_mask(image)
    return mask


def _to_old_index(crop: Step, resampled: Step) -> NDArray[np.float64]:
    """Affine (4, 4) from voxel indices of the prepared grid to those of the native grid."""
    ratio = np.asarray(resampled["shape_from"]) / np.asarray(resampled["shape_to"])
    affine = np.diag([*ratio, 1.0])
    affine[:3, 3] = np.asarray(crop["start"]) + (ratio - 1) / 2
    return affine
