"""A small DICOM series, and the objects that mark structures on it."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from fuzzing.seeds import label, voxels

SERIES, STUDY, FRAME = (generate_uid(entropy_srcs=[name]) for name in ("series", "study", "frame"))


def series(folder: Path) -> None:
    for k in range(3):
        header = _blank(CTImageStorage, f"slice {k}")
        header.Modality, header.InstanceNumber, header.SeriesNumber = "CT", k + 1, 1
        header.SeriesInstanceUID, header.ImageType = SERIES, ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.ImagePositionPatient, header.ImageOrientationPatient = [0.0, 0.0, 2.5 * k], [1.0, 0, 0, 0, 1.0, 0]
        header.PixelSpacing, header.SliceThickness = [0.9, 0.7], 2.5
        header.Rows, header.Columns = voxels().shape[1], voxels().shape[0]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
        header.PixelData = voxels()[:, :, k].T.astype(np.uint16).tobytes()
        header.save_as(folder / f"{k}.dcm", enforce_file_format=True)


def segmented(folder: Path) -> None:
    series(folder)
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=i,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for i, name in enumerate(("inner", "outer"), 1)
    ]
    pixels = np.stack([label()[:, :, :3].transpose(2, 1, 0) == i for i in (1, 2)], -1).astype(np.uint8)
    highdicom.seg.Segmentation(
        source_images=[pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))],
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=generate_uid(entropy_srcs=["seg"]),
        series_number=2,
        sop_instance_uid=generate_uid(entropy_srcs=["seg file"]),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
    ).save_as(folder / "seg.dcm")


def contoured(folder: Path) -> None:
    series(folder)
    header = _blank(RTStructureSetStorage, "contours")
    header.Modality, header.SeriesInstanceUID = "RTSTRUCT", generate_uid(entropy_srcs=["rt"])
    inner, study, frame, roi, item, contour = (Dataset() for _ in range(6))
    inner.SeriesInstanceUID, study.RTReferencedSeriesSequence = SERIES, [inner]
    frame.RTReferencedStudySequence, frame.FrameOfReferenceUID = [study], FRAME
    header.ReferencedFrameOfReferenceSequence = [frame]
    roi.ROINumber, roi.ROIName, item.ReferencedROINumber = 1, "inner", 1
    points = [(0.5, 0.5), (3.5, 0.5), (3.5, 3.5), (0.5, 3.5)]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    contour.ContourData = [str(value) for x, y in points for value in (x, y, 2.5)]
    item.ContourSequence = [contour]
    header.StructureSetROISequence, header.ROIContourSequence = [roi], [item]
    header.save_as(folder / "rt.dcm", enforce_file_format=True)


def _blank(kind: str, name: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = kind, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
    header = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    header.PatientID = header.PatientName = "x^"
    header.PatientBirthDate = header.PatientSex = header.AccessionNumber = header.StudyID = ""
    header.StudyDate, header.StudyTime, header.ReferringPhysicianName = "20200101", "120000", ""
    header.StudyInstanceUID, header.FrameOfReferenceUID = STUDY, FRAME
    header.PositionReferenceIndicator = header.Manufacturer = ""
    return header
