"""DICOM SEG and RTSTRUCT files joined into a label on the grid of their image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.dicom_contours import fill_contours
from imaseg.data.formats.dicom_files import Header, broken, read_header, read_whole, require_pixels, structure_names
from imaseg.data.formats.dicom_series import from_highdicom
from imaseg.data.formats.names import chosen_structures
from imaseg.data.formats.scan import Scan
from imaseg.data.formats.structures import Mask, join_structures, placed
from imaseg.errors import InputError

_LARGER = 16
"""How many times as large as its image a segmentation may be."""


def read_structures(paths: tuple[Path, ...], image: Scan, values: Mapping[str, int]) -> Scan:
    """Join the structures of SEG and RTSTRUCT files on the grid of `image`.

    Args:
        paths: of the files.
        image: the series they were drawn on.
        values: label value by structure name; other structures are left out. Several spellings may have one value.

    Raises:
        InputError: if a file is unreadable, lies on another grid or in another frame of reference, or a structure is
            there twice: in two files, or in one by names that differ by case or blanks only.
    """
    return join_structures(paths, image, values, _masks)


def _masks(
    path: Path, image: Scan, values: Mapping[str, int]
) -> Iterator[tuple[str, int, NDArray[np.bool_], list[str]]]:
    header, kind = read_header(path), "SEG or RTSTRUCT"
    try:
        kind = header.Modality
        wanted = chosen_structures(path, structure_names(header), values)
        reader = _segments if kind == "SEG" else _contours
        for name, mask, notes in reader(path, header, image, wanted):
            yield name, wanted[name], mask, notes
    except InputError:
        raise
    except broken() as error:
        what = " ".join(str(error).split())
        msg = f"{path} must be a complete {kind}, got an unreadable one ({what}). Export it again."
        raise InputError(msg) from error


def _require_frame(path: Path, drawn_in: set[str], image: Scan) -> None:
    """Raise if the frame of reference is another than that of the image: its millimetres mean other places."""
    own = read_header(image.path).get("FrameOfReferenceUID")
    if own and drawn_in - {"", str(own)}:
        msg = f"{path} must lie in the frame of reference of its image, got another one. Export it on this series."
        raise InputError(msg)


def _segments(path: Path, header: Header, image: Scan, wanted: Mapping[str, int]) -> Iterator[Mask]:
    """Each wanted segment of a SEG; segments may overlap."""
    import highdicom

    _require_frame(path, {str(header.get("FrameOfReferenceUID") or "")}, image)
    require_pixels(path, header)
    seg = highdicom.seg.segread(path)
    grid = seg.get_volume_geometry(allow_missing_positions=True)
    if grid is not None and math.prod(grid.spatial_shape) > _LARGER * image.data.size:
        msg = f"{path} must lie on the voxels of its image, got slices far apart. Resample it to the image."
        raise InputError(msg)
    fractional = header.get("SegmentationType") == "FRACTIONAL"
    for number in seg.segment_numbers:
        name = str(seg.get_segment_description(number).segment_label)
        if name in wanted:
            volume = seg.get_volume(segment_numbers=[number])
            data, affine = from_highdicom(volume.array[..., 0], volume.affine)
            # Fractional segments hold shares: a voxel belongs to what fills half of it.
            part = Scan(path, data >= 0.5, affine, image.pixdim)
            mask = placed(part, image)
            outside = int(part.data.sum() - mask.sum())
            notes = [f"{outside} voxels outside the image, left out"] if outside else []
            yield name, mask, notes + ["fractional, cut at one half"] * fractional


def _contours(path: Path, header: Header, image: Scan, wanted: Mapping[str, int]) -> Iterator[Mask]:
    """Each wanted structure of an RTSTRUCT, one without contours too."""
    series = read_header(image.path).get("SeriesInstanceUID")
    frames = {
        str(frame.get("FrameOfReferenceUID") or "")
        for frame in header.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        if any(item.get("SeriesInstanceUID") == series for item in study.get("RTReferencedSeriesSequence", []))
    }
    drawn = {roi.ReferencedROINumber: roi for roi in read_whole(path).get("ROIContourSequence", [])}
    for item in header.StructureSetROISequence:
        name = str(item.get("ROIName", item.ROINumber))
        if name in wanted:
            _require_frame(path, frames | {str(item.get("ReferencedFrameOfReferenceUID") or "")}, image)
            yield name, *fill_contours(path, name, drawn.get(item.ROINumber, {}), image)
