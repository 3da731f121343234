"""Predicts a picture as the documentation of segmentation-models-pytorch does: `preprocess_input`, then the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from imaseg.errors import InputError


class SMPPipeline:
    """The preprocessing that belongs to the pretrained weights of an encoder, the network, and a decision.

    Args:
        network: as the library builds it.
        arguments: of the network, as its folder states them.
        painted: class of each channel that is a structure by itself, in the order of painting; None if channels are
            classes, of which the largest wins.

    Raises:
        InputError: if nobody on this machine knows the preprocessing of that encoder's weights.
    """

    def __init__(
        self, network: nn.Module, arguments: Mapping[str, Any], painted: Mapping[int, int] | None = None
    ) -> None:
        self._network, self._activation, self._painted = network, arguments.get("activation"), painted
        encoder, weights = str(arguments.get("encoder_name", "resnet34")), str(arguments["encoder_weights"])
        self._settings, source = _settings(encoder, weights)
        self.name = f"SMP's preprocess_input for {weights} weights of {encoder} ({source}) and the network"

    def predict(self, files: Sequence[Path]) -> NDArray[np.int64]:
        """Return the class of each pixel as (columns, rows, 1).

        Args:
            files: one picture.

        Raises:
            InputError: if it is no colour or grey picture.
        """
        from segmentation_models_pytorch.encoders import preprocess_input

        try:
            with Image.open(files[0]) as picture:
                pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except (OSError, ValueError) as error:
            msg = f"{files[0]} must be a picture for SMP's preprocess_input, got another file. Audit pictures."
            raise InputError(msg) from error
        ready = preprocess_input(pixels.astype(np.float64), **self._settings)
        device = next(self._network.parameters()).device
        image = torch.from_numpy(np.ascontiguousarray(ready.transpose(2, 0, 1), np.float32))[None].to(device)
        with torch.no_grad():
            output = self._network(image)
        # With `aux_params` the network returns a pair: the mask, and a class of the whole picture.
        return self._decided((output[0] if isinstance(output, tuple) else output)[0]).T[..., None]

    def _decided(self, output: Tensor) -> NDArray[np.int64]:
        if self._painted is None:
            return output.argmax(0).cpu().numpy()
        inside = output > (0.5 if self._activation == "sigmoid" else 0)
        decided = torch.zeros(inside.shape[1:], dtype=torch.long)
        for channel, structure in self._painted.items():
            decided[inside[channel].cpu()] = structure
        return decided.numpy()


def _settings(encoder: str, weights: str) -> tuple[dict[str, Any], str]:
    """What `preprocess_input` takes, and where that is from: the library's own file if it was fetched before, or timm.

    The library itself would fetch the file from the network each time it is not there.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache
    from segmentation_models_pytorch.encoders import encoders

    known = encoders.get(encoder, {}).get("pretrained_settings", {}).get(weights)
    fetched = try_to_load_from_cache(known["repo_id"], "config.json", revision=known["revision"]) if known else None
    if isinstance(fetched, str):
        told, source = json.loads(Path(fetched).read_text(encoding="utf-8")), "its own settings"
    else:
        config = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-").removeprefix("timm-").replace("-", "_"))
        if config is None or weights != "imagenet":
            msg = (
                f"the preprocessing for {weights} weights of {encoder} must be on this machine, got none. It is "
                f"fetched by segmentation_models_pytorch.encoders.get_preprocessing_params('{encoder}', '{weights}')"
            )
            raise InputError(msg)
        told, source = config.to_dict(), "mean and std as timm lists them"
    return {
        "mean": list(told["mean"]),
        "std": list(told["std"]),
        "input_space": told.get("input_space", "RGB"),
        "input_range": list(told.get("input_range", [0, 1])),
    }, source
