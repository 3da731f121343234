"""Whether files say how large a voxel is: pictures do not, and are read as if of 1 mm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import is_picture

_UNSTATED = (1.0, 1.0, 1.0)


def states_spacing(cases: CaseSet, case: Case, spacing: Sequence[float]) -> bool:
    """Whether the voxel size of a case is that of its files.

    Args:
        cases: that the case is one of, for what its preparation read.
        case: with its files.
        spacing: as these are read, in mm.
    """
    prepared = cases.prepared or {}
    read = prepared.get("files", {}).get("used", {}).get(case.id, ())
    steps = next((record.get("steps", ()) for record in prepared.get("cases", ()) if record["id"] == case.id), ())
    native = next((step["spacing_from"] for step in steps if step["name"] == "resample"), spacing)
    pictures = any(is_picture(Path(file)) for file in (*case.image, *read))
    return not pictures or tuple(native) != _UNSTATED
