"""The perturbation of free adversarial training: moved by the backward pass that the caller makes for the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.perturbations import Perturbation


class Replay:
    """Parameters of the last batch; the next one goes on from them, as published, if its shape is the same."""

    def __init__(self) -> None:
        self._leaf: Tensor | None = None

    def attacked(self, perturbation: Perturbation, image: Tensor) -> Tensor:
        """The image (B, C, *spatial) one step of length eps further, with the graph to the parameters.

        The gradient is what the caller's backward pass left at the parameters of the call before.
        """
        perturbation.check(image)
        params = perturbation.zeros(image)
        before = self._leaf
        if before is not None and before.shape == params.shape:
            params = before.detach().to(params)
            if before.grad is not None:
                # The scale of mixed precision does not matter to a steepest-ascent step, but it may have overflowed.
                gradient = before.grad.to(params).nan_to_num(0.0, 0.0, 0.0)
                params = perturbation.step(params, gradient, perturbation.radius(image))
            params = perturbation.project(image, params)
        self._leaf = params.detach().requires_grad_()
        with torch.enable_grad():
            return perturbation.apply(image, self._leaf)

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and their gradient, as far as there are any."""
        if self._leaf is None:
            return {}
        state = {"params": self._leaf.detach()}
        return state if self._leaf.grad is None else {**state, "gradient": self._leaf.grad}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
        self._leaf = state["params"].clone().requires_grad_() if "params" in state else None
        if self._leaf is not None and "gradient" in state:
            self._leaf.grad = state["gradient"].clone()
