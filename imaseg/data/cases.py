"""`Case` and `CaseSet`: the files of each case, the names of its labels, and the splits of the cohort."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from imaseg.data.files import files_behind
from imaseg.data.splitting import Splitting
from imaseg.errors import InputError, did_you_mean

_NAME = re.compile("[^./\\\\\0\ud800-\udc7f\udd00-\udfff][^/\\\\\0\ud800-\udc7f\udd00-\udfff]*")
"""Names of files; of halves of characters only those stay that Python writes for bytes that are no UTF-8."""
_WHAT_IDS_ARE = "An id is the name of the image file without its format's ending and channel."


def names_file(text: str) -> bool:
    r"""Whether a text is the id of a case: a file named after it lies in its folder, and is not hidden.

    >>> [names_file(text) for text in ("case.1", "../case", "a/b", ".x", "", "a\0")]
    [True, False, False, False, False, False]
    """
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class Case:
    """The files of one image and of its label, if any.

    Attributes:
        id: unique in its cohort; names its files in a prepared folder.
        image: one file per channel, or a single file with all channels; for a DICOM series its first slice.
        label: file of the label; None in a cohort without labels.
        more_labels: further files whose structures join those of `label` (several DICOM SEG of one series, masks).
        slices: all files of a DICOM series, that of `image` included; empty for other formats.
        segments: label value by name, where structures have names (DICOM SEG, RTSTRUCT, a mask file each).
        patient: the same for all cases of one person; empty where the data do not say.
        modality: such as `CT`; empty where the files do not say.
        channels: number expected by the cohort, 0 if unknown; if 3, a grey picture is repeated to three.
        fault: why these files are no case, such as a channel too many; empty if they are one.
    """

    id: str
    image: tuple[Path, ...]
    label: Path | None
    more_labels: tuple[Path, ...] = ()
    slices: tuple[Path, ...] = ()
    segments: dict[str, int] = field(default_factory=dict, compare=False)
    patient: str = ""
    modality: str = ""
    channels: int = 0
    fault: str = ""

    def __post_init__(self) -> None:
        """Check the id.

        Raises:
            InputError: if a file named after it would lie in another folder, be hidden, or not be there at all.
        """
        if not names_file(self.id):
            msg = (
                f"case ids must name files: no / or \\, no null byte, no dot at the start, got {self.id!r:.300} for "
                f"{self.image[0] if self.image else 'no file'}. Rename the case."
            )
            raise InputError(msg)

    @property
    def files(self) -> tuple[Path, ...]:
        """Image files, then label files."""
        return (*self.image, *([self.label] if self.label else []), *self.more_labels)


@dataclass(frozen=True)
class CaseSet(Sequence[Case]):
    """An ordered cohort with its label names and splits.

    Attributes:
        root: the folder it was read from.
        name: name for tables and plots.
        modality: one name per channel, e.g. `("MRI",)`; empty if unknown.
        cases: the cases, in the order of the data set.
        declared_labels: label names by value, background included; None if no file declares them.
        split: ids per split name, e.g. `train` and `val`; empty if there is none.
        prepared: content of `prepare.json` if `imaseg prepare` wrote this folder.
        ignored: files that were looked at and belong to no case, with the reason in a few words, such as `localiser`.
    """

    root: Path
    name: str
    modality: tuple[str, ...]
    cases: tuple[Case, ...]
    declared_labels: dict[int, str] | None = None
    split: dict[str, list[str]] = field(default_factory=dict)
    prepared: dict[str, Any] | None = None
    ignored: dict[Path, str] = field(default_factory=dict, compare=False)

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Case]: ...
    def __getitem__(self, index: int | slice) -> Case | Sequence[Case]:
        return self.cases[index]

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    @property
    def ids(self) -> list[str]:
        """Ids of the cases, in order."""
        return [case.id for case in self.cases]

    def part(self, name: str) -> CaseSet:
        """Cases of one part of the split, such as `train`; without a split, of one that is made by patient.

        That one trains on 0.8 of the patients, shuffled by seed 0, and is the same at each call. A warning says so.
        """
        if self.split:
            return self.select(self.split.get(name, []))
        warnings.warn(
            f"{self.root} has no split.json: 0.8 of its patients are taken for train, the others for val "
            "(`imaseg prepare --split` writes a split).",
            stacklevel=2,
        )
        return self.select(Splitting("0.8").folds({case.id: case.patient or case.id for case in self.cases})[0][name])

    @cached_property
    def labels(self) -> dict[int, str]:
        """Label names by value, background included; read from the label files where none are declared."""
        if self.declared_labels is not None:
            return self.declared_labels
        from imaseg.data.formats.read import label_values  # heavy, and most cohorts declare their labels

        labels = [case.label for case in self.cases if case.label is not None and case.label.is_file()]
        values = set().union(*map(label_values, labels))
        return {0: "background"} | {value: str(value) for value in sorted(values - {0})}

    def sha256(self) -> str:
        """Hash over names and contents of all images and labels, in order."""
        digest = hashlib.sha256()
        for path in (inner for case in self.cases for named in case.files for inner in files_behind(named)):
            digest.update(path.name.encode())
            if path.is_file():
                digest.update(path.read_bytes())
        return digest.hexdigest()

    def select(self, ids: Iterable[str]) -> CaseSet:
        """Return the cases with these ids, in the order given; label names stay those of the whole cohort.

        Raises:
            InputError: if an id is not in the cohort.
        """
        by_id = {case.id: case for case in self.cases}
        ids = list(ids)
        for name in ids:
            if name not in by_id:
                few = ", ".join(list(by_id)[:5])
                msg = f"case id must be one of the {len(by_id)} in {self.root} ({few}, ...), got {name!r}."
                msg += f"{did_you_mean(name, by_id)} {_WHAT_IDS_ARE}"
                raise InputError(msg)
        return replace(self, cases=tuple(by_id[name] for name in ids), declared_labels=self.labels)
