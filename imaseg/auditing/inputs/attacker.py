"""Another model on which adversarial images are made, before the audited one judges them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from imaseg.auditing.inputs.fitting import fit
from imaseg.auditing.inputs.source import CaseSource, Loaded
from imaseg.data import Case, CaseSet
from imaseg.errors import InputError
from imaseg.models import SegmentationModel, load_model


@dataclass(frozen=True)
class Attacker:
    """The model that is attacked.

    Attributes:
        model: on the device of the audited one.
        spec: what it was loaded from; empty if it came loaded.
        source: reads the cases for it.
    """

    model: SegmentationModel
    spec: str
    source: CaseSource

    @classmethod
    def of(
        cls,
        model: str | Path | SegmentationModel,
        cases: CaseSet,
        judge: SegmentationModel,
        *,
        device: str | torch.device | None,
        trust: bool,
    ) -> Attacker:
        """Load it.

        Args:
            model: what `load_model` takes, or a loaded model.
            cases: of the audit.
            judge: the audited model.
            device: where it runs; None leaves it where it is.
            trust: as in `load_model`.

        Raises:
            InputError: if it cannot be loaded, or segments something else.
        """
        network = model if isinstance(model, SegmentationModel) else load_model(model, trust=trust)
        network = network if device is None else network.to(device)
        fitted = fit(network, cases).model
        if fitted.card.groups != judge.card.groups or fitted.independent != judge.independent:
            told = [", ".join(one.card.structures.values()) for one in (judge, fitted)]
            msg = (
                f"model of --from must segment the same structures in the same way as the audited one ({told[0]}), got "
                f"{told[1]}. Name a model for the same task."
            )
            raise InputError(msg)
        spec = "" if isinstance(model, SegmentationModel) else str(model)
        return cls(fitted, spec, CaseSource(cases, fitted.card, fitted.prepare))

    def require_same_input(self, case: Case, loaded: Loaded) -> None:
        """Refuse a case that this model takes in another form than the audited one.

        Args:
            case: with its files.
            loaded: as the audited model takes it.

        Raises:
            InputError: if voxels, values, or their size differ.
        """
        mine, theirs = self.source.load(case).volume, loaded.volume
        shapes, sizes = [mine.image.shape, theirs.image.shape], [mine.spacing, theirs.spacing]
        for what, told, same in (
            ("channels and voxels", shapes, shapes[0] == shapes[1]),
            ("voxel sizes", sizes, np.allclose(mine.spacing, theirs.spacing)),
            ("places", ["others", "its own"], np.allclose(mine.affine, theirs.affine)),
            ("intensities", ["others", "its own"], np.array_equal(mine.image, theirs.image)),
        ):
            if not same:
                msg = (
                    f"model of --from must take case {case.id} with the {what} of the audited model, {told[1]}, got "
                    f"{told[0]}. Name a model with the same preparation, or audit both on cases prepared for both."
                )
                raise InputError(msg)
