"""Predicts a case with nnU-Net's own predictor, from the files to the files, to compare with what imaseg does."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from imaseg.data.cases import Case
from imaseg.data.reading import read_images, read_label
from imaseg.errors import InputError
from imaseg.models.nnunet.plans import Plans

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor


class NNUNetPipeline:
    """nnU-Net's reader, preprocessor, tiles, mirroring, resampling and writer, with weights that were read as data.

    Args:
        folds: networks of the folds.
        plans: plans that all folds share.
        trainer: name of the trainer class.
        mirror_axes: axes of the network's input along which predictions are mirrored.
    """

    name = "nnU-Net's predictor"

    def __init__(self, folds: Sequence[nn.Module], plans: Plans, trainer: str, mirror_axes: Sequence[int]) -> None:
        self._folds, self._plans, self._trainer, self._mirror_axes = folds, plans, trainer, tuple(mirror_axes)

    def predict(self, files: Sequence[Path]) -> NDArray[np.int64]:
        """Return the class of each voxel (X, Y, Z) on the grid of the image files.

        Args:
            files: one image file per channel.

        Raises:
            InputError: if the model's reader of files does not take these.
        """
        with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
            try:
                self._predictor().predict_from_files_sequential([[str(file) for file in files]], [f"{folder}/case"])
            except Exception as error:  # readers raise anything for files they do not know
                told = " ".join(str(error).split())[:200]
                msg = f"{files[0]} must be one that nnU-Net can predict, got {type(error).__name__}: {told}."
                raise InputError(msg) from error
            written = Path(folder) / f"case{self._plans.dataset['file_ending']}"
            case = Case("case", tuple(files), written)
            label = read_label(case, read_images(case)[0])
            return np.asarray(label.data, np.int64) if label is not None else np.zeros(0, np.int64)

    def _predictor(self) -> nnUNetPredictor:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        network = copy.deepcopy(self._folds[0])  # it takes the weights of one fold after the other
        predictor = nnUNetPredictor(device=next(network.parameters()).device, allow_tqdm=False)
        predictor.manual_initialization(
            network,
            self._plans.manager,
            self._plans.configuration,
            [fold.state_dict() for fold in self._folds],
            self._plans.dataset,
            self._trainer,
            self._mirror_axes or None,
        )
        return predictor
