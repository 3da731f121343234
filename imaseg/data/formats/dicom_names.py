"""Names of the structures of a SEG or RTSTRUCT, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from imaseg.data.formats.dicom_files import Header
from imaseg.errors import InputError


def structure_names(header: Header) -> list[str]:
    """Names of the structures of a SEG or RTSTRUCT, in its order."""
    if header.Modality == "SEG":
        return [str(item.SegmentLabel) for item in header.get("SegmentSequence", [])]
    return [str(item.get("ROIName", item.ROINumber)) for item in header.get("StructureSetROISequence", [])]


def letters(name: str) -> str:
    """A name without what people write now one way, now another: case and blanks.

    >>> letters("Lung L "), letters("lungL")
    ('lungl', 'lungl')
    """
    return "".join(name.split()).casefold()


def chosen_structures(path: Path, names: Sequence[str], values: Mapping[str, int]) -> dict[str, int]:
    """Label value of each wanted name of a file; a name matches as it is spelled, else without case and blanks.

    Args:
        path: of the file, for errors.
        names: of its structures.
        values: label value by wanted name.

    Raises:
        InputError: if names that differ by case or blanks only match one value.
    """
    loosely = {letters(name): value for name, value in values.items()}
    spellings: dict[int, list[str]] = {}
    for name in dict.fromkeys(names):
        value = values.get(name, loosely.get(letters(name)))
        if value is not None:
            spellings.setdefault(value, []).append(name)
    chosen = {}
    for value, found in spellings.items():
        best = [name for name in found if name in values] or found
        if len(best) > 1:
            got = " and ".join(map(repr, best))
            msg = (
                f"{path} must hold structures whose names differ by more than case and blanks, got {got}. Rename one, "
                f"or name the one to take in a --config file, such as labels: {{{value}: {best[0]!r}}}."
            )
            raise InputError(msg)
        chosen[best[0]] = value
    return chosen
