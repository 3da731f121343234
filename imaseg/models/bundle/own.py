"""A bundle's own pipeline, run by MONAI: what the model predicts when its author's files have their way.

Preprocessing, inferer and postprocessing are the bundle's, built by MONAI's `ConfigParser`; nothing of this project's
own preparation is used, so that its predictions can be compared with ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imaseg.errors import InputError
from imaseg.models.bundle.config import BundleConfig
from imaseg.models.bundle.network import loaded_network, weights_file
from imaseg.models.bundle.places import ANNOTATIONS, inferer_at, postprocessing_at, preprocessing_at

_SAVING = ("SaveImage", "SaveImaged")


@dataclass(frozen=True)
class OwnPrediction:
    """What a bundle predicts by itself.

    Attributes:
        label: (X, Y, Z) whole numbers; or (K, X, Y, Z) true or false, where channels are decided each by itself.
        affine: of the image file, (4, 4).
        rounded: whether the bundle's inversion interpolates labels, so that they had to be rounded.
    """

    label: NDArray[np.int64] | NDArray[np.bool_]
    affine: NDArray[np.float64]
    rounded: bool = False


def own_pipeline(
    folder: Path | str, *, trust: bool, device: torch.device | str = "cpu", weights: Path | None = None
) -> BundlePipeline:
    """The pipeline of a bundle folder.

    Args:
        folder: the bundle.
        trust: whether its code may run, which it does here.
        device: where its network runs.
        weights: file of weights; None for the bundle's own.

    Raises:
        InputError: without trust, or if MONAI cannot make a part of it.
    """
    config = BundleConfig(Path(folder), trust=trust)
    before, after, inferer = preprocessing_at(config), postprocessing_at(config), inferer_at(config)
    if before is None or after is None:
        missing = "preprocessing" if before is None else "postprocessing"
        msg = f"{config.path} must hold {missing} for the bundle to predict by itself, got none."
        raise InputError(msg)
    from monai.inferers import SimpleInferer

    preprocess, postprocess = config.build(*before), config.build(*after)
    tiles = config.build(*inferer) if inferer is not None else SimpleInferer()
    network = loaded_network(config, [], weights or weights_file(config))
    return BundlePipeline(
        _flat(preprocess), network.eval().to(device), tiles, _flat(postprocess), source=str(config.path)
    )


class BundlePipeline:
    """Preprocessing, network, inferer and postprocessing of a bundle.

    Args:
        before: transforms from a file to what the network takes, the loader among them.
        network: with its weights, in eval mode.
        inferer: of MONAI: (image, network) -> output.
        after: transforms from the network's output to labels.
        source: names the bundle in errors.
    """

    def __init__(
        self,
        before: Sequence[Callable[[Any], Any]],
        network: torch.nn.Module,
        inferer: Callable[..., Any],
        after: Sequence[Callable[[Any], Any]],
        *,
        source: str,
    ) -> None:
        from monai.transforms import Compose, MapTransform

        for transform in (*before, *after):
            if isinstance(transform, MapTransform):
                transform.allow_missing_keys = True  # a new case has no label
        self._dictionaries = any(isinstance(transform, MapTransform) for transform in before)
        self._before = Compose(list(before))
        self._after = Compose([one for one in after if type(one).__name__ not in _SAVING])
        names = {type(one).__name__ for one in after}
        self._inverts, self._decides = "Invertd" in names, bool(names & {"AsDiscreted", "AsDiscrete"})
        self._network, self._inferer, self._source = network, inferer, source

    def preprocess(self, image: Path | Sequence[Path]) -> Tensor:
        """What the network takes of an image file: (C, *spatial).

        Args:
            image: the file, or one per channel.

        Raises:
            InputError: if a transform fails.
        """
        tensor: Tensor = self._items(image)["image"].as_tensor()
        return tensor

    def predict(self, image: Path | Sequence[Path]) -> OwnPrediction:
        """The prediction on the grid of the image file.

        Args:
            image: the file, or one per channel.

        Raises:
            InputError: if a part of the pipeline fails, or it ends in no labels.
        """
        items = self._items(image)
        with self._told("inferer and postprocessing"):
            items["pred"] = self._output(items)
            items = self._after(items)
            return self._decided(items["pred"] if self._inverts else self._inverted(items))

    def _items(self, image: Path | Sequence[Path]) -> dict[str, Any]:
        """The image after the bundle's preprocessing, in a dictionary as the bundle's transforms make it."""
        files = [str(image)] if isinstance(image, str | Path) else [str(one) for one in image]
        with self._told("preprocessing"):
            if not self._dictionaries:
                items: dict[str, Any] = {"image": self._before(files if len(files) > 1 else files[0])}
            else:
                keys = self._keys()
                if len(keys) not in (1, len(files)):
                    msg = f"{self._source} takes {len(keys)} images ({', '.join(keys)}), got {len(files)}."
                    raise InputError(msg)
                each = files if len(keys) > 1 else [files if len(files) > 1 else files[0]]
                items = dict(self._before(dict(zip(keys, each, strict=True))))
            items.setdefault("image", next(iter(items.values())))
            return {key: _undone_by_anyone(value) for key, value in items.items()}

    def _keys(self) -> list[str]:
        """Keys of the images that the bundle loads."""
        loader = next(one for one in self._before.transforms if hasattr(one, "keys"))
        return [key for key in loader.keys if key not in ANNOTATIONS]

    def _output(self, items: dict[str, Any]) -> Any:
        """What the network returns, with all that is known of the image's grid."""
        from monai.data import MetaTensor

        image = items["image"]
        placed = [one for one in (image, *items.values()) if isinstance(one, MetaTensor) and one.applied_operations]
        batch = torch.as_tensor(image)[None].as_subclass(Tensor).to(next(self._network.parameters()).device)
        with torch.no_grad():
            output = self._inferer(inputs=batch.float(), network=self._network)
        output = output[0] if isinstance(output, list | tuple) else output
        like = placed[0] if placed else MetaTensor(image)
        return MetaTensor(output[0].cpu(), meta=dict(like.meta), applied_operations=list(like.applied_operations))

    def _inverted(self, items: dict[str, Any]) -> Any:
        """The prediction on the grid of the file, where the bundle leaves it on that of the network."""
        from monai.transforms import Invertd

        if not self._dictionaries:
            return items["pred"]
        return Invertd(keys="pred", transform=self._before, orig_keys="image", nearest_interp=True)(items)["pred"]

    def _decided(self, pred: Any) -> OwnPrediction:
        values, affine = np.asarray(pred), np.asarray(pred.affine, float)
        whole = bool((values == np.rint(values)).all())
        if not whole and len(values) > 1:
            values, whole = values.argmax(0)[None], True
        if not whole and not self._decides:
            msg = f"postprocessing of {self._source} must end in labels, got values such as {values.max():g}."
            raise InputError(msg)
        values = values[..., None] if values.ndim == 3 else values
        label = np.rint(values[0]).astype(np.int64) if len(values) == 1 else values != 0
        return OwnPrediction(label, affine, rounded=not whole)

    @contextmanager
    def _told(self, part: str) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # whatever MONAI or the author's code raises
            told = " ".join(str(error.__cause__ or error).split())[:200]
            msg = f"{part} of {self._source} must run on the case, got {type(error).__name__}: {told}."
            raise InputError(msg) from error


class BundleSoftware:
    """The same as `SegmentationModel.own`: made when first asked, with overlapping structures painted as one label.

    Args:
        folder: the bundle, whose code is trusted.
        painted: class of each channel in the order of painting; None if channels are classes, background included.
        weights: as in `own_pipeline`.
    """

    name = "the bundle's own transforms and inferer, run by MONAI"

    def __init__(self, folder: Path, painted: Mapping[int, int] | None = None, weights: Path | None = None) -> None:
        self._folder, self._painted, self._weights = folder, painted, weights
        self._pipeline: BundlePipeline | None = None

    def predict(self, files: Sequence[Path]) -> NDArray[np.int64]:
        """Return the class of each voxel (X, Y, Z) on the grid of the image files.

        Raises:
            InputError: as `own_pipeline` and `BundlePipeline.predict`.
        """
        if self._pipeline is None:
            self._pipeline = own_pipeline(self._folder, trust=True, weights=self._weights)
        label = self._pipeline.predict(files).label
        if label.ndim == 3:
            return label.astype(np.int64)
        painted = np.zeros(label.shape[1:], np.int64)
        for channel, structure in (self._painted or {i: i for i in range(len(label))}).items():
            painted[label[channel] != 0] = structure
        return painted


def _flat(transform: Any) -> list[Callable[[Any], Any]]:
    """The transforms of nested `Compose` objects and lists."""
    inside = transform if isinstance(transform, list | tuple) else getattr(transform, "transforms", None)
    return [transform] if inside is None else [one for part in inside for one in _flat(part)]


def _undone_by_anyone(item: Any) -> Any:
    """An image whose record lets a copy of the transforms undo them, as after the workers of a data loader."""
    from monai.data import MetaTensor
    from monai.utils import TraceKeys

    if isinstance(item, MetaTensor):
        item.applied_operations = [dict(done) | {TraceKeys.ID: TraceKeys.NONE} for done in item.applied_operations]
    return item
