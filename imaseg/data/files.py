"""Which files are volumes or pictures, and atomic writing of text and JSON files."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from imaseg.errors import InputError, OutputError

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".img.gz", ".img")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
SLICER_SUFFIX = ".seg.nrrd"
TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", *TIFF_SUFFIXES, ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm")
SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES, *PICTURE_SUFFIXES)
LONGEST_NAME = 255
"""Bytes that the name of a file may have on common systems."""
_ENDING = 12
_DEEPEST = 100
_TIMES = 5
"""How often folders are walked again by other ways, per folder and link that there is."""
_DETACHED = (".mhd", ".nhdr")
"""Header files, whose voxels are in another file in the same folder, which the header names."""
_PAIRS = {".img": ".hdr", ".img.gz": ".hdr.gz"}
"""Voxel files of Analyze and of NIfTI in two files, with the suffix of their headers."""


def stem(path: Path) -> str:
    """File name without the suffix of its format.

    >>> stem(Path("imagesTr/case.01.nii.gz")), stem(Path("Case00.mhd")), stem(Path("1.dcm.PNG"))
    ('case.01', 'Case00', '1.dcm')
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def list_volumes(folder: Path) -> list[Path]:
    """Image files of a folder, sorted by name, without hidden ones (temporary files, `._x.nii.gz` of macOS).

    Pictures are left out where there are volumes, since they are previews then.
    """
    images = images_among(sorted(path for path in folder.iterdir() if not path.name.startswith(".")))
    volumes = [path for path in images if not is_picture(path)]
    return volumes or images


def images_among(paths: Iterable[Path]) -> list[Path]:
    """Files that are images by their suffix, in the order given; voxel files are left out where their header lies.

    An `.img` without its header stays, so that reading it says what is missing.
    """
    images = [path for path in paths if path.name.lower().endswith(SUFFIXES)]
    headers = {
        (path.parent, stem(path)) for path in images if path.name.lower().endswith((".hdr", ".hdr.gz", *_DETACHED))
    }
    return [path for path in images if not _has_voxels_only(path) or (path.parent, stem(path)) not in headers]


def _has_voxels_only(path: Path) -> bool:
    return path.name.lower().endswith(tuple(_PAIRS))


def header_of(path: Path) -> Path:
    """File that holds the header of a NIfTI or Analyze file: of an `.img` its `.hdr`, else the file itself."""
    for voxels, header in _PAIRS.items():
        if path.name.lower().endswith(voxels):
            return path.with_name(path.name[: -len(voxels)] + header)
    return path


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield `folder` and all folders below it, sorted, each with the names of its files; hidden ones are left out.

    Symbolic links are followed, unless they lead back to a folder that they lie in.

    Raises:
        InputError: if a folder cannot be listed, for cases might be missing; or if links lead to the same folders so
            often that the walk would take forever.
    """
    yield from _Walk(folder).below(folder, os.path.realpath(folder), frozenset())


class _Walk:
    """Lists each folder once; links that lead from folder to folder make exponentially many paths of a few folders."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[str, tuple[list[str], list[tuple[str, str]]]] = {}
        """By real path: names of files; of folders names and real paths."""
        self._met, self._again = 0, 0

    def below(self, folder: Path, real: str, above: frozenset[str]) -> Iterator[tuple[Path, list[str]]]:
        """A folder and what lies below it; `above` are the real paths that it lies in."""
        if len(above) > _DEEPEST:  # each level costs more than the one before
            msg = f"{folder} must lie at most {_DEEPEST} folders deep in the data, got more. Take it out of the data."
            raise InputError(msg)
        self._again += real in self._listed
        if real not in self._listed:
            self._listed[real] = self._list(folder, real)
        if self._again > _TIMES * self._met:
            msg = (
                f"{self._root} must hold symbolic links that lead to each of its folders a few times only, got more "
                f"than {_TIMES * self._met} ways to {len(self._listed)} folders, {folder} among them. Take links "
                "between its folders out."
            )
            raise InputError(msg)
        files, folders = self._listed[real]
        yield folder, list(files)
        for name, there in folders:
            if there != real and there not in above:
                yield from self.below(folder / name, there, above | {real})

    def _list(self, folder: Path, real: str) -> tuple[list[str], list[tuple[str, str]]]:
        try:
            with os.scandir(folder) as listing:
                entries = sorted((e for e in listing if not e.name.startswith((".", "__MACOSX"))), key=lambda e: e.name)
        except OSError as error:
            got = "nothing there" if isinstance(error, FileNotFoundError) else error.strerror
            msg = f"{folder} must be a folder that can be listed, got {got}."
            raise InputError(msg) from error
        links = {entry.name for entry in entries if entry.is_symlink()}
        self._met += 1 + len(links)
        inner = {e.name: Path(e).is_dir() if e.name in links else e.is_dir() for e in entries}
        reals = {
            name: os.path.realpath(folder / name) if name in links else f"{real}{os.sep}{name}"
            for name, is_folder in inner.items()
            if is_folder
        }
        return [name for name, is_folder in inner.items() if not is_folder], list(reals.items())


def is_picture(path: Path) -> bool:
    """Whether the suffix is that of a picture (PNG, TIFF, JPEG, BMP, GIF, PPM)."""
    return path.name.lower().endswith(PICTURE_SUFFIXES)


def files_behind(path: Path) -> list[Path]:
    """All files read for `path`: with it the data file of a detached header, or the other slices of a DICOM series."""
    name = path.name.lower()
    if name.endswith(_DETACHED):
        return sorted(p for p in path.parent.glob(f"{glob.escape(path.stem)}.*") if p.is_file()) or [path]
    for voxels, header in _PAIRS.items():
        if name.endswith((voxels, header)):
            return [p for p in (path.with_name(stem(path) + end) for end in (header, voxels, ".mat")) if p.is_file()]
    if name.endswith(TIFF_SUFFIXES):
        return [path, *side_files(path)]
    if name.endswith(SUFFIXES) or not path.is_file():
        return [path]
    return sorted(p for p in path.parent.iterdir() if p.is_file() and not p.name.startswith("."))


def side_files(path: Path) -> list[Path]:
    """JSON files beside a TIFF that may state its voxel size, as nnU-Net has them: `a_0000.json`, or `a.json`."""
    names = dict.fromkeys((stem(path), re.sub(r"_\d{4}$", "", stem(path))))
    return [file for file in (path.with_name(f"{name}.json") for name in names) if file.is_file()]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file atomically: yields a hidden temporary path, which replaces `path` if the block does not raise.

    The temporary name holds the process id, so that two writers do not collide, and keeps the suffix, by which writers
    choose the format.

    Raises:
        OutputError: if the folder cannot be made, or the file not be written whole; the block should only write.
    """
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with told_if_unwritable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # gone together with its folder
            temporary.unlink(missing_ok=True)


def _temporary_name(name: str) -> str:
    longer = f".{os.getpid()}-{name}"
    if len(os.fsencode(longer)) <= LONGEST_NAME:
        return longer
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{os.getpid()}-{digest}{name[-_ENDING:]}"


@contextlib.contextmanager
def told_if_unwritable(path: Path) -> Iterator[None]:
    """Turn an error of the system inside the block into an `OutputError` about `path`."""
    try:
        yield
    except OSError as error:
        msg = (
            f"{path} must be writable, got {error.strerror or error}. Free space or give access and run the command "
            "again (with --resume where it has that), or name another folder."
        )
        raise OutputError(msg) from error


def must_remain(mark: Path) -> None:
    """Check that the folder of a job still holds the file that the job began with.

    Raises:
        OutputError: if it is gone, and with it what was finished before.
    """
    if not mark.is_file():
        msg = f"{mark.parent} must stay while it is written to, got {mark.name} removed. Start again in a new folder."
        raise OutputError(msg)


def occupied(folder: Path) -> bool:
    """Whether `folder` is a file, or holds anything but temporary files of a killed `whole_file`."""
    return folder.exists() and (not folder.is_dir() or any(not _left_over(path) for path in folder.iterdir()))


def sweep(folder: Path) -> None:
    """Delete temporary files that a killed `whole_file` left in `folder` and below."""
    for path in folder.rglob(".[0-9]*-*"):
        if path.is_file() and _left_over(path):
            path.unlink()


def _left_over(path: Path) -> bool:
    return re.fullmatch(r"\.\d+-.+", path.name) is not None


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON, atomically; a file that already holds the same is not touched.

    Raises:
        ValueError: if `content` holds NaN or infinity, which JSON cannot express.
    """
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically; a file that already holds the same is not touched.

    Bytes of file names that are not UTF-8 are written as escapes, which JSON turns back into the same bytes.
    """
    content = text.encode("utf-8", "backslashreplace")
    if path.is_file() and path.read_bytes() == content:
        return
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Lock a folder for one writing process; the system releases the lock when the process ends, however it does.

    Raises:
        InputError: if another process holds the lock.
    """
    with told_if_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        msg = f"{folder.parent} must be written by one process at a time, got another at it. Wait for it to end."
        raise InputError(msg) from error
    except (NotImplementedError, OSError):  # no such locks on this system or disk
        yield
        return
    try:
        yield
    finally:
        lock.release()
