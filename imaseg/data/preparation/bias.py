"""N4 bias field correction, with the field stored as few numbers, so that it can be inverted to float32 precision.

N4 (Tustison et al., IEEE Transactions on Medical Imaging 2010) runs on a shrunken copy. The logarithm of its field is
then fitted by a cubic spline through at most 10 nodes along each axis; that spline is the field that is divided out
and stored in the record of the step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imaseg.data.preparation.axes import along_axes, spline_weights
from imaseg.data.volume import Step
from imaseg.errors import InputError

_NODES = 10
_SMALL = 40
"""N4 runs on no more voxels than this along an axis."""
_ITERATIONS = (50, 40, 30)
_FEWEST = 8
"""Least voxels per axis; in smaller images a smooth field cannot be told from anatomy."""


def estimate_bias(channel: NDArray[np.float32], number: int, name: str) -> Step:
    """Estimate the bias field of one channel and return it as the record of an `n4` step.

    Raises:
        InputError: if the image is too small or has no bright tissue.
    """
    import SimpleITK

    if min(channel.shape) < _FEWEST:
        shape = " x ".join(map(str, channel.shape))
        msg = f"{name}: image must have {_FEWEST} voxels along each axis for N4, got {shape}. Use n4: false."
        raise InputError(msg)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(channel.T, np.float32))
    shrunk = SimpleITK.Shrink(image, [max(1, -(-side // _SMALL)) for side in channel.shape])
    inside = SimpleITK.OtsuThreshold(shrunk, 0, 1, 200)
    corrector = SimpleITK.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(list(_ITERATIONS))
    try:
        corrector.Execute(shrunk, inside)
    except RuntimeError as error:
        msg = f"{name}: image must have bright tissue for N4, got none to fit. Use n4: false."
        raise InputError(msg) from error
    field = np.asarray(SimpleITK.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(shrunk))).T
    counts = [min(_NODES, side) for side in field.shape]
    fits = [np.linalg.pinv(spline_weights(n, side).toarray()) for n, side in zip(counts, field.shape, strict=True)]
    nodes = along_axes([fit.astype(np.float32) for fit in fits], field.astype(np.float32))
    rounded = nodes.round(5)
    return {
        "name": "n4",
        "channel": number,
        "iterations": list(_ITERATIONS),
        "nodes_shape": list(rounded.shape),
        "log_bias_nodes": [round(float(value), 5) for value in rounded.ravel()],
    }


def bias_field(step: Step, shape: Sequence[int]) -> NDArray[np.float32]:
    """The field that an `n4` step divided its channel by, on a grid of `shape`."""
    nodes = np.asarray(step["log_bias_nodes"], np.float32).reshape(step["nodes_shape"])
    weights = [spline_weights(n, side) for n, side in zip(nodes.shape, shape, strict=True)]
    return np.exp(along_axes(weights, nodes))
