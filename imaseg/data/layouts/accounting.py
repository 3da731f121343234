"""What became of every file of a folder: used by a case, set aside with it, or ignored for a stated reason."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import SUFFIXES, files_behind, walk
from imaseg.data.layouts.held_out import held_out_images

_DESCRIPTIONS = ("dataset.json", "split.json", "splits_final.json", "prepare.json", "prepare.html", "dicomdir")
_NAMED = 3
"""Files that the summary names for each reason."""


@dataclass(frozen=True)
class FileAccount:
    """Every file of a folder once, by its path below the folder; a file of two cases stands under both.

    Attributes:
        used: files of each case that was prepared.
        set_aside: files of each case that was not.
        ignored: why each of the other files is read for no case; a hidden folder counts as one file.
    """

    used: dict[str, list[str]]
    set_aside: dict[str, list[str]]
    ignored: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Content for `prepare.json`."""
        return {"summary": self.summary()} | asdict(self)

    def summary(self) -> str:
        """A sentence with the numbers, in which each reason names its first files.

        >>> FileAccount({"a": ["a.nii"]}, {}, {"notes.txt": "no image"}).summary()
        '2 files in the source: 1 used, 1 ignored (1 no image: notes.txt).'
        """
        used, set_aside = (len(set().union(*part.values())) for part in (self.used, self.set_aside))
        parts = [f"{used} used"]
        parts += [f"{set_aside} of cases set aside"] if set_aside else []
        parts += [f"{len(self.ignored)} ignored ({reasons_counted(self.ignored)})"] if self.ignored else []
        total = len(set().union(*self.used.values(), *self.set_aside.values(), self.ignored))
        return f"{total} file{'s' * (total != 1)} in the source: {', '.join(parts)}."


def reasons_counted(ignored: Mapping[str, str]) -> str:
    """Each reason with the number of its files and the names of the first.

    >>> reasons_counted({"a.txt": "no image", "b.txt": "no image", "c.dcm": "localiser"})
    '2 no image: a.txt, b.txt; 1 localiser: c.dcm'
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in ignored.items():
        by_reason.setdefault(reason, []).append(name)
    counted = []
    for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        more = ", ..." if len(names) > _NAMED else ""
        counted.append(f"{len(names)} {reason}: {', '.join(names[:_NAMED])}{more}")
    return "; ".join(counted)


def account_for_files(cohort: CaseSet, kept: Collection[str]) -> FileAccount:
    """Account for every file of the folder that a cohort was read from.

    A layout says by `CaseSet.ignored` why it left a file out; of other files the name tells.

    Args:
        cohort: all cases of the folder.
        kept: ids of the cases that were prepared.
    """
    files = dict.fromkeys(_files(cohort.root))
    used: dict[str, list[str]] = {}
    set_aside: dict[str, list[str]] = {}
    for case in cohort:
        names = [name for name in (_below(cohort.root, path) for path in _read_for(case)) if name in files]
        (used if case.id in kept else set_aside)[case.id] = names
    taken = set().union(*used.values(), *set_aside.values())
    reasons = {_below(cohort.root, path): reason for path, reason in cohort.ignored.items()}
    for case in held_out_images(cohort.root):
        reasons |= {_below(cohort.root, path): "of the test part, only compared" for path in _read_for(case)}
    ignored = {name: reasons.get(name) or _by_name(name) for name in files if name not in taken}
    return FileAccount(used, set_aside, ignored)


def _files(root: Path) -> Iterator[str]:
    """Files of a folder and below; hidden ones too, a hidden folder as one name."""
    for folder, names in walk(root):
        yield from (_below(root, folder / name) for name in names)
        for path in sorted(path for path in folder.iterdir() if _hidden(path.name)):
            yield _below(root, path) + "/" * path.is_dir()


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _read_for(case: Case) -> list[Path]:
    """All files read for a case: those it names, its other slices, and the voxels of detached headers."""
    named = [path for path in case.files if path not in case.slices]
    behind = [inner for path in named for inner in (files_behind(path) if _has_suffix(path) else [path])]
    return list(dict.fromkeys([*case.slices, *behind]))


def _has_suffix(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _by_name(name: str) -> str:
    last = name.rstrip("/").rsplit("/", 1)[-1]
    if _hidden(last):
        return "hidden"
    if last.lower() in _DESCRIPTIONS:
        return "describing the data set"
    if last.lower().endswith(SUFFIXES):
        return "of no case"
    if last.lower().endswith((".dcm", ".dicom", ".ima")):
        return "DICOM in a folder of another layout"
    return "of no format that is read"
