"""Where the last search of each case ended, as the start of its next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed


class Starts:
    """Last parameters by case id, on the CPU and in half precision.

    As much memory, and room in a checkpoint, as the training images in half precision. A case whose image has another
    shape this time starts as if it was new. Where `torch.distributed` is initialised the ranks exchange what they found
    at the end of each epoch, since the next epoch may show a case to another rank.
    """

    def __init__(self) -> None:
        self._params: dict[str, Tensor] = {}
        self._fresh: set[str] = set()

    def keep(self, ids: Sequence[str], params: Tensor) -> None:
        """Note where the search of each sample ended; of samples with the same id, the last one counts."""
        # bfloat16 has the range of float32: images may be in thousands of HU.
        for key, values in zip(ids, params.detach().to("cpu", torch.bfloat16), strict=True):
            self._params[key] = values.clone()
            self._fresh.add(key)

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

    def end_epoch(self) -> None:
        """Exchange what was kept in this epoch; of a case seen by several ranks the last one's counts."""
        if distributed.is_available() and distributed.is_initialized():
            found: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(found, {key: self._params[key] for key in sorted(self._fresh)})
            for params in found:
                self._params |= params
        self._fresh.clear()

    def state_dict(self) -> dict[str, Any]:
        """All of them."""
        return dict(self._params)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._params = {str(key): value.to("cpu", torch.bfloat16) for key, value in state.items()}
