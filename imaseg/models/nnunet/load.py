"""`load_model("nnunet:DIR[@FOLD]")`: loads folds of an nnU-Net results folder as one model."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.errors import InputError
from imaseg.models.nnunet.checkpoint import Checkpoint, read_checkpoint
from imaseg.models.nnunet.folder import ResultsFolder
from imaseg.models.nnunet.model import NNUNetModel
from imaseg.models.nnunet.network import build_network
from imaseg.models.nnunet.own import NNUNetPipeline
from imaseg.models.nnunet.plans import Plans
from imaseg.models.nnunet.preparation import Preparation
from imaseg.models.nnunet.split import cases_of
from imaseg.models.outputs.decision import class_of_label
from imaseg.models.segmentation import ModelCard


def load_nnunet(text: str, *, trust: bool = False) -> NNUNetModel:
    """Load folds of an nnU-Net results folder as one model.

    Args:
        text: `DIR`, `DIR@FOLD` or `DIR@all`, followed by `/CHECKPOINT` for a checkpoint other than the final one.
        trust: whether code that the folder names or its checkpoints hold may be run.

    Raises:
        InputError: if there is no such model, it is a cascade's second stage, or it needs trust.
    """
    folder = ResultsFolder.parse(text)
    checkpoints = [read_checkpoint(folder.file(fold), trust=trust) for fold in folder.folds]
    first = checkpoints[0]
    _same(checkpoints)
    plans = Plans.read(folder.path, first.configuration, trust=trust)
    networks = [build_network(plans, checkpoint) for checkpoint in checkpoints]
    classes = _classes(plans)
    regions, names = _regions(plans, classes), plans.class_names
    trained, held = cases_of(folder, str(plans.manager.dataset_name))
    card = ModelCard(
        name=folder.name,
        network={"name": plans.configuration.network_arch_class_name.rpartition(".")[2]},
        labels={channel: names[channel] for channel in sorted({*classes.values()} - {-1})},
        regions=regions,
        other_labels=sorted(value for value, channel in classes.items() if channel != value),
        in_channels=plans.in_channels,
        spatial_dims=3,
        method={"name": first.trainer} | ({"settings": first.method} if first.method else {}),
        train_ids=trained,
        val_ids=held,
    )
    model = NNUNetModel(networks, plans, first.mirror_axes, card, Preparation(plans, classes))
    model.own = NNUNetPipeline(networks, plans, first.trainer, first.mirror_axes)
    return model


def _same(checkpoints: Sequence[Checkpoint]) -> None:
    """Raise unless all folds were trained with the same configuration and mirroring."""
    first, *others = checkpoints
    for other in others:
        if (other.configuration, other.mirror_axes) != (first.configuration, first.mirror_axes):
            msg = (
                f"{other.path} must be of the same configuration and mirroring as {first.path}, got "
                f"{other.configuration} {other.mirror_axes}. Name one fold: DIR@FOLD."
            )
            raise InputError(msg)


def _regions(plans: Plans, classes: dict[int, int]) -> dict[str, list[int]]:
    """Classes inside each region, the largest region first; empty for models of classes.

    Raises:
        InputError: if a region is painted with a class that does not say what is inside of which regions.
    """
    if not plans.labels.has_regions:
        return {}
    inside = dict(zip(plans.region_names, map(_values, plans.labels.foreground_regions), strict=True))
    for value, painted in classes.items():
        if painted >= 0 and any((value in values) != (painted in values) for values in inside.values()):
            order = [int(color) for color in plans.labels.regions_class_order]
            msg = (
                f"regions_class_order in {plans.source.parent / 'dataset.json'} must paint label {value} so that it "
                f"stays in its regions, got {order}, which makes it {painted}. Correct it, larger regions first."
            )
            raise InputError(msg)
    painted_classes = {*classes.values()}
    return {
        name: sorted(values & painted_classes) for name, values in sorted(inside.items(), key=lambda one: -len(one[1]))
    }


def _values(region: int | Sequence[int]) -> set[int]:
    return {int(value) for value in (region if isinstance(region, Sequence) else [region])}


def _classes(plans: Plans) -> dict[int, int]:
    """The output class of each label value that a case may hold; -1 for the ignored value.

    Raises:
        InputError: if regions paint classes that are not 1, 2, ... without gaps.
    """
    labels = plans.labels
    classes = {int(value): int(value) for value in labels.all_labels}
    if labels.has_regions:
        order = [int(color) for color in labels.regions_class_order]
        if sorted(set(order)) != list(range(1, max(order) + 1)):
            msg = (
                f"regions_class_order in {plans.source.parent / 'dataset.json'} must be made of 1, 2, ..., got {order}."
            )
            raise InputError(msg)
        classes = {value: class_of_label(value, labels.foreground_regions, order) for value in classes}
    if labels.has_ignore_label:
        classes[int(labels.ignore_label)] = -1
    return classes
