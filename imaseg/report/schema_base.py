"""What every part of an audit's results is built from: metrics, intervals, cases."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

MEAN = "foreground_mean"


def _known(value: Any) -> Any:
    """An interval whose ends are all null is no interval."""
    if isinstance(value, list) and all(end is None for end in value):
        return None
    return value


Metrics = dict[str, float | None]
Interval = Annotated[tuple[float | None, float | None] | None, BeforeValidator(_known)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Span(_Part):
    """Median and extremes over the cases."""

    median: float | None = None
    min: float | None = None
    max: float | None = None


class CaseMetrics(_Part):
    """One case: metrics per class and their mean over the foreground."""

    case: str
    metrics: dict[str, Metrics]

    @property
    def dice(self) -> float | None:
        """Mean foreground Dice of this case."""
        return self.metrics.get(MEAN, {}).get("dice")
