"""Small DICOM series, SEG and RTSTRUCT objects, made by pydicom and highdicom."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, RTStructureSetStorage, generate_uid

SPACING = (0.9, 0.7)
"""Between rows, between columns."""


def write_series(
    folder: Path,
    volume: np.ndarray,
    *,
    step=2.5,
    rows=(0.0, 1.0, 0.0),
    columns=(1.0, 0.0, 0.0),
    origin=(-20.0, 30.0, -100.0),
    tilt=0.0,
    modality="CT",
    patient="Doe^Jane",
    number=1,
    study=None,
    prefix="",
    **more,
) -> list[pydicom.FileDataset]:
    """A series of (X, Y, Z) stored values; HU are value - 1024. Names of files say nothing of the order."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.asarray(rows, float), np.asarray(columns, float)
    normal = np.cross(columns, rows)
    series, frame, study = generate_uid(), generate_uid(), study or generate_uid()
    written = []
    for k in range(volume.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header = pydicom.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        header.PatientID, header.PatientName = patient, patient
        header.PatientBirthDate = header.PatientSex = header.AccessionNumber = header.StudyID = ""
        header.StudyDate, header.StudyTime, header.ReferringPhysicianName = "20200101", "120000", ""
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = study, series, frame
        header.PositionReferenceIndicator = header.Manufacturer = ""
        header.Modality, header.SeriesNumber, header.InstanceNumber = modality, number, k + 1
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        place = np.asarray(origin) + normal * step * k + rows * tilt * k
        header.ImagePositionPatient = [round(float(v), 6) for v in place]
        header.ImageOrientationPatient = [*map(float, columns.round(9)), *map(float, rows.round(9))]
        header.PixelSpacing, header.SliceThickness = list(SPACING), 9.9
        header.Rows, header.Columns = volume.shape[1], volume.shape[0]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
        if modality == "CT":
            header.RescaleSlope, header.RescaleIntercept = 1, -1024
        for key, value in more.items():
            setattr(header, key, value)
        header.PixelData = volume[:, :, k].T.astype(np.uint16).tobytes()
        header.filename = str(folder / f"{prefix}{(k * 7) % 97:03d}.dcm")
        header.save_as(header.filename, enforce_file_format=True)
        written.append(header)
    return written


def rewrite(folder: Path, change) -> None:
    """Read each slice of a folder, alter it by `change(number, header)`, and write it again."""
    read = [(pydicom.dcmread(path), path) for path in folder.glob("*.dcm")]
    for header, path in read:
        change(header.InstanceNumber - 1, header)
        header.save_as(path)


def strip(path: Path, *, meta=False) -> None:
    """Cut off the preamble of a file, and the meta header unless `meta`."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[140:144], "little")
    path.write_bytes(whole[132 if meta else 144 + length :])


def write_seg(path: Path, source: list[Dataset], masks: dict[str, np.ndarray]) -> None:
    """Segments of (X, Y, Z) on the grid of a series; empty frames are left out, as writers do."""
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=i,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for i, name in enumerate(masks, 1)
    ]
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in masks.values()], -1).astype(np.uint8)
    seg = highdicom.seg.Segmentation(
        source_images=source,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=100,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )
    seg.save_as(path)


def write_rtstruct(
    path: Path,
    source: list[Dataset],
    contours: dict[str, list[np.ndarray]] | list[tuple[str, list[np.ndarray]]],
    *,
    kind="CLOSED_PLANAR",
    frame_uid=None,
) -> None:
    """Contours of (n, 3) points in mm, each in the plane of a slice."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = pydicom.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    header.Modality, header.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    header.StudyInstanceUID, header.PatientID = source[0].StudyInstanceUID, source[0].PatientID
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [series], [study]
    frame.FrameOfReferenceUID = frame_uid or source[0].FrameOfReferenceUID
    header.ReferencedFrameOfReferenceSequence = [frame]
    header.StructureSetROISequence, header.ROIContourSequence = [], []
    for number, (name, drawn) in enumerate(contours.items() if isinstance(contours, dict) else contours, 1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        item.ReferencedROINumber, item.ContourSequence = number, []
        for points in drawn:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
            item.ContourSequence.append(contour)
        header.StructureSetROISequence.append(roi)
        header.ROIContourSequence.append(item)
    header.save_as(path, enforce_file_format=True)
