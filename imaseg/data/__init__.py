"""Reads, checks and prepares data sets, and converts results back to the grid and units of the original files.

Importing this and listing cases loads nothing heavy; nibabel, pydantic and SimpleITK are imported when a name that
needs them is first used. The function behind `imaseg prepare` is `imaseg.data.preparation.prepare.prepare`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from imaseg.data.cases import Case, CaseSet
from imaseg.data.layouts.load import load_cases

if TYPE_CHECKING:
    from imaseg.data.cohort.statistics import CohortStatistics
    from imaseg.data.formats.nifti import write_nifti
    from imaseg.data.inverse.invert import invert_image, invert_label, invert_logits, native_scale
    from imaseg.data.inverse.native_file import invert_file
    from imaseg.data.phantom import write_phantom
    from imaseg.data.preparation.recipe import Recipe, load_recipe, parse_recipe
    from imaseg.data.preparation.steps import apply_recipe
    from imaseg.data.reading import read_volume
    from imaseg.data.resources import resource, resource_names
    from imaseg.data.volume import Volume

__all__ = [
    "Case",
    "CaseSet",
    "CohortStatistics",
    "Recipe",
    "Volume",
    "apply_recipe",
    "invert_file",
    "invert_image",
    "invert_label",
    "invert_logits",
    "load_cases",
    "load_recipe",
    "native_scale",
    "parse_recipe",
    "read_volume",
    "resource",
    "resource_names",
    "write_nifti",
    "write_phantom",
]

_HOME = {
    "CohortStatistics": "cohort.statistics",
    "Recipe": "preparation.recipe",
    "Volume": "volume",
    "apply_recipe": "preparation.steps",
    "invert_file": "inverse.native_file",
    "invert_image": "inverse.invert",
    "invert_label": "inverse.invert",
    "invert_logits": "inverse.invert",
    "load_recipe": "preparation.recipe",
    "native_scale": "inverse.invert",
    "parse_recipe": "preparation.recipe",
    "read_volume": "reading",
    "resource": "resources",
    "resource_names": "resources",
    "write_nifti": "formats.nifti",
    "write_phantom": "phantom",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"imaseg.data.{_HOME[name]}"), name)
