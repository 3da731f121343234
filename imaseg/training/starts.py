"""Where the last search of each case ended, as the start of its next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Starts:
    """Last parameters by case id, on the CPU and in half precision.

    As much memory, and room in a checkpoint, as the training images in half precision. A case whose image has another
    shape this time starts as if it was new.
    """

    def __init__(self) -> None:
        self._params: dict[str, Tensor] = {}

    def keep(self, ids: Sequence[str], params: Tensor) -> None:
        """Note where the search of each sample ended; of samples with the same id, the last one counts."""
        # bfloat16 has the range of float32: images may be in thousands of HU.
        for key, values in zip(ids, params.detach().to("cpu", torch.bfloat16), strict=True):
            self._params[key] = values.clone()

    def fill(self, ids: Sequence[str], params: Tensor) -> Tensor:
        """Put what is known into params (B, ...), in place.

        Returns:
            (B,) bool, which samples were known.
        """
        known = torch.zeros(len(params), dtype=torch.bool, device=params.device)
        for place, key in enumerate(ids):
            values = self._params.get(key)
            if values is not None and values.shape == params.shape[1:]:
                params[place] = values.to(params)
                known[place] = True
        return known

    def state_dict(self) -> dict[str, Any]:
        """All of them."""
        return dict(self._params)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._params = {str(key): value.to("cpu", torch.bfloat16) for key, value in state.items()}
