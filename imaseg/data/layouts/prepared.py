"""The form of `prepare.json`, checked before its figures are computed with: of the keys that are read again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imaseg.validated import validated

_Side = Annotated[int, Field(ge=1, le=2**16)]
_Sides = tuple[_Side, _Side, _Side]
_Size = Annotated[float, Field(gt=0)]
_Sizes = tuple[_Size, _Size, _Size]
_Axes = Annotated[
    str, Field(pattern="^([RL][AP][SI]|[RL][SI][AP]|[AP][RL][SI]|[AP][SI][RL]|[SI][RL][AP]|[SI][AP][RL])$")
]
_Row = tuple[float, float, float, float]
_SCALES = {"none": (), "percentile": ("low", "high"), "range": ("lowest", "highest")}
"""Figures that undo a normalisation, by its method; of all others mean and standard deviation."""


class _Part(BaseModel):
    """Further keys are allowed: they are for the reader, or of a later version."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Threshold(_Part):
    name: Literal["threshold"]


class _Relabel(_Part):
    name: Literal["relabel"]
    map: dict[str, int]


class _Orient(_Part):
    name: Literal["orient"]
    from_: _Axes = Field(alias="from")
    to: _Axes


class _Resample(_Part):
    name: Literal["resample"]
    spacing_from: _Sizes
    spacing_to: _Sizes
    shape_from: _Sides
    shape_to: _Sides
    start: tuple[float, float, float] = (0.0, 0.0, 0.0)


class _Crop(_Part):
    name: Literal["crop"]
    start: tuple[int, int, int]
    shape: _Sides
    shape_from: _Sides


class _N4(_Part):
    name: Literal["n4"]
    channel: int = Field(ge=0)
    nodes_shape: _Sides
    log_bias_nodes: list[float]

    @model_validator(mode="after")
    def _full(self) -> _N4:
        x, y, z = self.nodes_shape
        if len(self.log_bias_nodes) != x * y * z:
            msg = f"n4 must have {x * y * z} log_bias_nodes, got {len(self.log_bias_nodes)}"
            raise ValueError(msg)
        return self


class _Normalise(_Part):
    name: Literal["normalise"]
    channel: int = Field(ge=0)
    method: str

    @model_validator(mode="after")
    def _invertible(self) -> _Normalise:
        keys = _SCALES.get(self.method, ("mean", "std"))
        figures = [(self.model_extra or {}).get(key) for key in keys]
        if not all(isinstance(figure, int | float) for figure in figures):
            msg = f"normalise by {self.method} must have the numbers {' and '.join(keys)}, got {figures!r:.80}"
            raise ValueError(msg)
        return self


_Step = Annotated[_Threshold | _Relabel | _Orient | _Resample | _Crop | _N4 | _Normalise, Field(discriminator="name")]


class _Case(_Part):
    id: str
    status: str
    reasons: list[str] = []
    steps: list[_Step] = []
    native_affine: tuple[_Row, _Row, _Row, _Row] | None = None


class Fingerprint(_Part):
    """Figures of a cohort, which a recipe may refer to."""

    modality: list[str]
    spacing: _Sizes
    shape: _Sides
    intensity: list[dict[str, float]]
    class_volume_ml: dict[str, float]


class _Prepared(_Part):
    recipe: dict[str, Any]
    fingerprint: Fingerprint | None
    cases: list[_Case]


def checked_preparation(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The content of a `prepare.json` as it is, if what is read again of it has its form.

    Raises:
        InputError: if a key is missing or has another type, a side is no size, or a figure is not finite.
    """
    validated(_Prepared, content, source=f"{path}, which `imaseg prepare` writes")
    return content
