"""Files that claim what they do not hold, or hold what they do not claim, written byte by byte."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset

MB = 1 << 20
NOISE = np.random.default_rng(0).bytes(MB + MB // 4)


def meta_image(voxels: bytes = b"x" * 64, **fields: object) -> bytes:
    stated = {"ObjectType": "Image", "NDims": 3, "BinaryData": True, "DimSize": "4 4 4", "ElementType": "MET_UCHAR"}
    stated |= fields | ({} if "ElementDataFile" in fields else {"ElementDataFile": "LOCAL"})
    return "".join(f"{key} = {value}\n" for key, value in stated.items()).encode() + voxels


def nrrd(voxels: bytes = b"x" * 64, **fields: object) -> bytes:
    stated = {"type": "uchar", "dimension": 3, "sizes": "4 4 4", "encoding": "raw"} | fields
    lines = "".join(f"{key.replace('_', ' ')}: {value}\n" for key, value in stated.items())
    return f"NRRD0004\n{lines}\n".encode() + voxels


def nifti(shape: tuple[int, ...], voxels: bytes, offset: float = 352) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"], header["sform_code"] = offset, b"n+1", 1
    header["srow_x"], header["srow_y"], header["srow_z"] = np.eye(4)[:3]
    return header.binaryblock + b"\0" * 4 + voxels


def png(width: int, height: int, packed: bytes) -> bytes:
    chunks = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b"")
    written = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def tiff(width: int, height: int, strip: bytes, *, compression: int = 1, pages: int = 1, tile: int = 0) -> bytes:
    out, strip_at = bytearray(struct.pack("<2sHI", b"II", 42, 8 + len(strip))) + strip, 8
    for page in range(pages):
        tags = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 277: 1}
        names = (324, 325) if tile else (273, 279)
        tags |= {names[0]: strip_at, names[1]: len(strip)} | ({322: tile, 323: tile} if tile else {278: height})
        after = len(out) + 2 + 12 * len(tags) + 4
        out += struct.pack("<H", len(tags))
        for tag, value in sorted(tags.items()):
            out += struct.pack("<HHII", tag, 4, 1, value)
        out += struct.pack("<I", after if page < pages - 1 else 0)
    return bytes(out)


def dicom(path: Path, pixels: bytes = b"\0" * 128, *, deflated: int = 0, **stated: object) -> None:
    syntax = pydicom.uid.DeflatedExplicitVRLittleEndian if deflated else pydicom.uid.ExplicitVRLittleEndian
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2.3.4", syntax
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4", "1.2.3"
    data.Modality, data.PhotometricInterpretation, data.SamplesPerPixel = "CT", "MONOCHROME2", 1
    data.Rows = data.Columns = 8
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [1, 1], 1
    for key, value in stated.items():
        setattr(data, key, value)
    data.add_new("PixelData", "OW", pixels if not deflated else b"\0" * deflated)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def nested(depth: int) -> list[Dataset]:
    """A sequence in a sequence in a sequence; writing it in one go would need as deep a stack."""
    item = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedSeriesSequence = [item]
        item = outer
    return [item]


def write_all(folder: Path) -> None:
    """Write every file into a folder of its own kind; each must be refused."""
    # A bomb of 4 GB costs no time to make: members of a gzip file may repeat.
    small, zeros = gzip.compress(nifti((4, 4, 4), bytes(64))), gzip.compress(bytes(64 * MB))
    whole = zlib.compressobj(1, wbits=31)
    files = {
        **{f"ndims{n}.mha": meta_image(NDims=n) for n in (-1, 0, 99, 10**9)},
        "negative.mha": meta_image(DimSize="-4 4 4"), "zero.mha": meta_image(DimSize="0 4 4"),
        "large.mha": meta_image(DimSize="100000 100000 4"), "huge.mha": meta_image(DimSize="4 4 " + "9" * 18),
        "few.mha": meta_image(DimSize="4 4"), "type.mha": meta_image(ElementType="MET_STRING"),
        "channels.mha": meta_image(ElementNumberOfChannels=10**9), "skip.mha": meta_image(HeaderSize=10**11),
        "length.mha": meta_image(CompressedData=True, CompressedDataSize=-7),
        "rubbish.mha": meta_image(CompressedData=True),
        "short.mha": meta_image(NOISE, CompressedData=True, DimSize="1024 1024 1024"),
        "behind.mha": meta_image(zeros * 64, CompressedData=True),
        "step.mhd": meta_image(ElementDataFile="%d.raw 0 5 0"),
        "many.mhd": meta_image(ElementDataFile="%d.raw 0 2000000000 1"),
        "format.mhd": meta_image(ElementDataFile="%n%s%s%s.raw 0 5 1"),
        "alone.mhd": meta_image(ElementDataFile="LIST 900000000\na.raw"),
        **{f"dimension{n}.nrrd": nrrd(dimension=n, sizes=" ".join("4441111111111111")) for n in (-1, 0, 16, 99)},
        "zero.nrrd": nrrd(sizes="0 4 4"), "negative.nrrd": nrrd(sizes="-4 4 4"),
        "large.nrrd": nrrd(sizes="99999 99999 99"), "block.nrrd": nrrd(type="block", block_size=10**9),
        "skip.nrrd": nrrd(byte_skip=10**11), "line.nrrd": b"NRRD0004\n" + b"a" * 200_000,
        "rubbish.nrrd": nrrd(encoding="gzip"), "short.nrrd": nrrd(NOISE, encoding="gzip", sizes="1024 1024 1024"),
        "packed.nrrd": nrrd(gzip.compress(bytes(99)), encoding="gzip", sizes="1000 1000 1000"),
        "large.nii": nifti((30000, 30000, 30000), bytes(64)), "offset.nii": nifti((4, 4, 4), bytes(64), offset=1e9),
        "large.nii.gz": gzip.compress(nifti((30000, 30000, 30000), bytes(64))),
        "offset.nii.gz": gzip.compress(nifti((4, 4, 4), bytes(64), offset=1e9)),
        "short.nii.gz": gzip.compress(nifti((1024, 1024, 1000), NOISE)),
        "behind.nii.gz": whole.compress(nifti((4, 4, 4), bytes(400 * MB))) + whole.flush(),
        "member.nii.gz": small + zeros * 64, "empty.nii.gz": small + gzip.compress(b"") * 100_000,
        "large.png": png(13000, 13000, zlib.compress(bytes(99))),
        "bomb.png": png(60000, 60000, zlib.compress(bytes(99))),
        "large.tif": tiff(60000, 60000, bytes(99)),
        "packed.tif": tiff(60000, 60000, zlib.compress(bytes(MB)), compression=8),
        "pages.tif": tiff(4000, 4000, zlib.compress(bytes(99)), compression=8, pages=300),
        "tile.tif": tiff(64, 64, zlib.compress(bytes(99)), compression=8, tile=65536),
        "endless.tif": tiff(8, 8, bytes(64), pages=60_000),
        "large.jpg": b"\xff\xd8\xff\xe0" + bytes(60), "a.gif": b"GIF89a\xff\xff\xff\xff" + bytes(20),
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_bytes(content)
    dicom(folder / "rows" / "a.dcm", Rows=65535, Columns=65535)
    dicom(folder / "frames" / "a.dcm", NumberOfFrames=2**31 - 1)
    dicom(folder / "deflated" / "a.dcm", deflated=400 * MB)
    dicom(folder / "nested" / "a.dcm", ReferencedSeriesSequence=nested(150))
    whole = (folder / "nested" / "a.dcm").read_bytes()
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff"
    (folder / "nested" / "a.dcm").write_bytes(
        whole[:-140] + b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff" + item * 50_000
    )
    (folder / "length").mkdir()
    (folder / "length" / "a.dcm").write_bytes(whole[:-140] + b"\x09\x00\x10\x10OB\x00\x00\xf0\xff\xff\xff")
