"""Tells from the outputs of a network how it ends: in logits, or in probabilities or their logarithms.

    logits          leave [0, 1] and are above 0 somewhere
    softmax         in [0, 1], sum over channels 1
    sigmoid         in [0, 1], no such sum
    log-softmax     never above 0, sum of exponentials over channels 1
    log-sigmoid     never above 0, and just below it somewhere

Outputs that are nothing but 0 and 1 show none of these: they may be probabilities that underflowed, or decisions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

Activation = Literal["none", "softmax", "sigmoid", "log-softmax", "log-sigmoid", "unknown"]
PROBABILITIES = ("softmax", "sigmoid")
_ROUNDING, _SUM = 1e-6, 1e-3
_NEAR, _DOUBTFUL = -1e-3, -0.1


@dataclass(frozen=True)
class Ending:
    """How a network ends, and who says so.

    Attributes:
        activation: that is undone; "none" for logits, "unknown" where nothing shows it (then taken as logits).
        by: "card", "bundle", "probe" (noise) or "case" (a real one); "framework" for models that end in logits anyway.
    """

    activation: Activation = "none"
    by: str = "framework"


@dataclass(frozen=True)
class Seen:
    """What was seen of a network's outputs so far.

    Attributes:
        low, high: their range.
        channels: number of channels.
        inside: whether one lies strictly between 0 and 1.
        whole: whether all are whole numbers.
        sums, log_sums: whether all sums over channels, of values and of their exponentials, are 1.
    """

    low: float = math.inf
    high: float = -math.inf
    channels: int = 0
    inside: bool = False
    whole: bool = True
    sums: bool = True
    log_sums: bool = True

    def also(self, output: Tensor) -> Self:
        """The same with an output (B, K, *spatial) more; one that is not finite says nothing."""
        values = output.detach().float()
        rounding = _rounding(values)
        low, high = (float(value) for value in values.aminmax()) if values.numel() else (math.nan, math.nan)
        if not (math.isfinite(low) and math.isfinite(high)):
            return self
        slack, channels = max(_SUM, values.shape[1] * rounding), values.shape[1]
        return type(self)(
            low=min(self.low, low),
            high=max(self.high, high),
            channels=channels,
            inside=self.inside or bool(((values > 0) & (values < 1)).any()),
            whole=self.whole and bool((values == values.round()).all()),
            sums=self.sums and bool(((values.sum(1) - 1).abs() < slack).all()),
            log_sums=self.log_sums and bool((values.logsumexp(1).abs() < slack).all()),
        )

    @property
    def bounded(self) -> bool:
        """Whether all outputs lie in [0, 1]."""
        return self.low >= -_ROUNDING and self.high <= 1 + _ROUNDING

    @property
    def activation(self) -> Activation:
        """What the outputs look like."""
        if self.bounded and self.inside:
            return "softmax" if self.sums and self.channels > 1 else "sigmoid"
        if self.bounded or not self.channels:
            return "unknown"
        if self.high > _ROUNDING or self.high <= _DOUBTFUL:
            return "none"
        if self.log_sums and self.channels > 1:
            return "log-softmax"
        return "log-sigmoid" if self.high >= _NEAR else "unknown"

    @property
    def settled(self) -> bool:
        """Whether no further output can change that these are logits."""
        return bool(self.channels) and self.high > _ROUNDING and not self.bounded


def _rounding(values: Tensor) -> float:
    """Relative error of the values as their network made them, in half precision perhaps before they were widened."""
    kinds = (torch.bfloat16, torch.float16)
    kind = next((kind for kind in kinds if torch.equal(values.to(kind).float(), values)), torch.float32)
    return float(torch.finfo(kind).eps)


def doubt(believed: Activation, seen: Seen, where: str) -> str | None:
    """What in the outputs speaks against an activation, and the mend; None if nothing does.

    Args:
        believed: what is undone.
        seen: the outputs.
        where: they were seen, such as "noise".
    """
    shown = seen.activation
    span = f"On {where} outputs go from {seen.low:.3g} to {seen.high:.3g}"
    write = "Look at the end of the network and write `activation:` into the card."
    if not seen.channels:
        return f"On {where} no output is finite. Check weights and preparation."
    if believed == "unknown" and shown == "unknown":
        return f"{span}, which shows neither logits nor probabilities; they are taken for logits. {write}"
    if believed in PROBABILITIES and not seen.bounded:
        return f"{span} and are called {believed} probabilities, which never leave [0, 1]. {write}"
    if believed == "softmax" and seen.inside and not seen.sums:
        return f"On {where} the outputs of a {believed} do not sum to 1 over channels. {write}"
    if believed == "sigmoid" and shown == "softmax":
        return f"On {where} outputs sum to 1 over channels, as after a softmax, and are called sigmoids. {write}"
    if believed in ("log-softmax", "log-sigmoid") and (seen.high > _ROUNDING or shown in PROBABILITIES):
        return f"{span} and are called {believed}, which is never above 0. {write}"
    if believed == "none" and shown in (*PROBABILITIES, "log-sigmoid"):
        return f"{span}, as after a {shown}, and are called logits: what is above 0 would be foreground. {write}"
    return None
