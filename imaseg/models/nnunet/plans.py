"""Reads the plans and the data set description of a results folder with nnU-Net's own managers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaseg.data.plain import read_json
from imaseg.errors import InputError
from imaseg.models.nnunet.documents import ConfigurationDocument, DatasetDocument, PlansDocument
from imaseg.models.nnunet.names import check_names
from imaseg.validated import validated


@dataclass(frozen=True)
class Plans:
    """One configuration of a plans file.

    Attributes:
        source: file it was read from.
        manager: nnU-Net's `PlansManager`.
        configuration: nnU-Net's `ConfigurationManager`.
        labels: nnU-Net's `LabelManager`.
        dataset: content of `dataset.json`.
    """

    source: Path
    manager: Any
    configuration: Any
    labels: Any
    dataset: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, configuration: str, *, trust: bool) -> Plans:
        """Read `plans.json` and `dataset.json` of a results folder.

        Args:
            folder: the results folder.
            configuration: such as "3d_fullres".
            trust: whether they may name code that is not nnU-Net's own.

        Raises:
            InputError: if nnU-Net is not installed, a file is damaged, it is a cascade's second stage, or needs trust.
        """
        try:
            from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
        except ImportError as error:
            msg = 'nnunetv2 must be installed to read nnU-Net\'s folders, got none. Run pip install "imaseg[nnunet]".'
            raise InputError(msg) from error
        source, described = folder / "plans.json", folder / "dataset.json"
        plans, dataset = read_json(source), read_json(described)
        document = validated(PlansDocument, plans, source=str(source))
        validated(DatasetDocument, dataset, source=str(described), constraint=_constraint)
        if configuration not in document.configurations:
            known = ", ".join(document.configurations)
            msg = f"{source} must describe the checkpoint's configuration, {configuration!r}, got only {known}."
            raise InputError(msg)
        try:
            manager = PlansManager(plans)
            chosen = manager.get_configuration(configuration)
            typed = validated(ConfigurationDocument, chosen.configuration, source=f"{source}, {configuration}")
            if not trust:
                check_names(plans, chosen, source=source)
            labels = manager.get_label_manager(dataset)
        except InputError:
            raise
        except Exception as error:  # nnU-Net trusts what it reads
            msg = f"{source} and dataset.json must fit nnU-Net v2, got {type(error).__name__}: {error}."
            raise InputError(msg) from error
        if (previous := typed.previous_stage) is not None:
            msg = (
                f"{folder} must be a model of its own, got {configuration}, a cascade's second stage that needs the "
                f"prediction of {previous}. Use {previous} or 3d_fullres."
            )
            raise InputError(msg)
        whole = cls(source, manager, chosen, labels, dataset)
        if (schemes := len(typed.normalization_schemes)) != whole.in_channels:
            msg = (
                f"{described} must have the {schemes} channels that {source.name} normalises, got {whole.in_channels}."
            )
            raise InputError(msg)
        return whole

    @property
    def in_channels(self) -> int:
        """Channels of the image."""
        return len(self.dataset.get("channel_names") or self.dataset["modality"])

    @property
    def heads(self) -> int:
        """Channels of the network's output: classes, or regions."""
        return int(self.labels.num_segmentation_heads)

    @property
    def is_2d(self) -> bool:
        """Whether the network is 2D and sees single slices."""
        return len(self.configuration.patch_size) == 2

    @property
    def axes(self) -> tuple[int, int, int]:
        """For each axis of nnU-Net's array, the volume axis (X, Y, Z); nnU-Net reads Z, Y, X and transposes."""
        z, y, x = (2 - int(axis) for axis in self.manager.transpose_forward)
        return z, y, x

    @property
    def region_names(self) -> list[str]:
        """Names of the regions, in the order of the network's channels."""
        stated = {
            name: {*value} if isinstance(value, list) else {value} for name, value in self.dataset["labels"].items()
        }
        return [str(name) for name, values in stated.items() if name != "ignore" and values != {0}]

    @property
    def class_names(self) -> dict[int, str]:
        """Name of each label value from 0 on; a value that occurs only inside regions is named by its number."""
        own = {int(value): str(name) for name, value in self.dataset["labels"].items() if isinstance(value, int | str)}
        return {int(value): own.get(int(value), str(value)) for value in self.labels.all_labels}


def _constraint(key: str) -> str | None:
    return {"file_ending": "like .nii.gz"}.get(key)
