"""What `imaseg prepare` does to each case, as a YAML file with few keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imaseg.data.resources import resource
from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError

Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Normalise = Literal["auto", "zscore", "percentile", "ct", "none"]


class Recipe(BaseModel):
    """Steps of a preparation, applied in the order of the keys.

    Attributes:
        orientation: store the axes from left to right, back to front, foot to head; None leaves them.
        spacing: voxel size in mm (right, front, up) to resample to; `median` takes that of the cohort, None leaves
            each case.
        crop: `foreground` cuts away the dark rim of the image, None leaves it.
        crop_margin: voxels kept around the foreground.
        normalise: `zscore` and `percentile` per case over non-zero voxels, `ct` by the labelled voxels of the
            cohort, `none` leaves intensities; `auto` is `ct` for a channel called CT, else `zscore`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    orientation: Literal["RAS"] | None = "RAS"
    spacing: tuple[Millimetres, Millimetres, Millimetres] | Literal["median"] | None = "median"
    crop: Literal["foreground"] | None = "foreground"
    crop_margin: int = Field(default=4, ge=0)
    normalise: Normalise = "auto"


def load_recipe(name: str | Path) -> Recipe:
    """Recipe by the name of a shipped one (`msd`) or the path of a YAML file.

    Raises:
        InputError: if there is no such recipe, or it holds an unknown key or value.
    """
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        path = resource(f"data_prep/{name}.yaml")
    return parse_recipe(read_yaml(path), source=str(path))


def parse_recipe(content: dict[str, Any], *, source: str) -> Recipe:
    """Validate the content of a recipe; `source` names it in errors.

    Raises:
        InputError: naming the first wrong key, what it got, and the known keys or the constraint.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "recipe"
        known = ", ".join(Recipe.model_fields)
        if first["type"] == "extra_forbidden":
            msg = f"{source}: key must be one of {known}, got {key!r}."
        else:
            msg = f"{source}: {key} must be {_constraint(key)}, got {content.get(key)!r}."
        raise InputError(msg) from error


def _constraint(key: str) -> str:
    return {
        "orientation": "RAS or null",
        "spacing": "three positive numbers in mm, median or null",
        "crop": "foreground or null",
        "crop_margin": "a whole number of voxels from 0",
        "normalise": "auto, zscore, percentile, ct or none",
    }.get(key, "a known key")
