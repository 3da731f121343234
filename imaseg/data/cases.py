"""Cases on disk: which image belongs to which label, what the labels are called, who is in which split.

Nothing is opened here except JSON, so that listing a cohort costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from imaseg.errors import InputError

if TYPE_CHECKING:
    from imaseg.data.layouts.patterns import Layout


@dataclass(frozen=True)
class Case:
    """One subject: its image files (one per channel, or a single 4D file) and its label file, if any.

    Attributes:
        id: name of its files in a prepared folder.
        image: a file per channel, or one that holds all; of a DICOM series the first slice.
        label: None in a cohort without labels.
        more_labels: further files whose structures join those of `label` (several DICOM SEG of one series, masks).
        segments: label value by name, where structures have names (DICOM SEG, RTSTRUCT, a mask file each).
        patient: who it is, where the data say so; the same for all cases of one person.
        modality: of this case, where its files say so.
        channels: that its images should have, where the cohort says so; a grey picture among colours is repeated.
    """

    id: str
    image: tuple[Path, ...]
    label: Path | None
    more_labels: tuple[Path, ...] = ()
    segments: dict[str, int] = field(default_factory=dict, compare=False)
    patient: str = ""
    modality: str = ""
    channels: int = 0

    @property
    def files(self) -> tuple[Path, ...]:
        """All files named here."""
        return (*self.image, *([self.label] if self.label else []), *self.more_labels)


@dataclass(frozen=True)
class CaseSet(Sequence[Case]):
    """An ordered cohort with its label names and splits.

    Attributes:
        root: the folder it was read from.
        name: name for tables and plots.
        modality: one name per channel, e.g. `("MRI",)`; empty if nobody says.
        cases: the cases, in the order of the data set.
        declared_labels: label names by value, background included; None if no file declares them.
        split: ids per split name, e.g. `train` and `val`; empty if there is none.
        prepared: content of `prepare.json` if `imaseg prepare` wrote this folder.
    """

    root: Path
    name: str
    modality: tuple[str, ...]
    cases: tuple[Case, ...]
    declared_labels: dict[int, str] | None = None
    split: dict[str, list[str]] = field(default_factory=dict)
    prepared: dict[str, Any] | None = None

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
        """Ids in order."""
        return [case.id for case in self.cases]

    @cached_property
    def labels(self) -> dict[int, str]:
        """Label names by value, background included; read from the label files where none are declared."""
        if self.declared_labels is not None:
            return self.declared_labels
        from imaseg.data.formats.read import label_values

        values = set().union(*(label_values(case.label) for case in self.cases if case.label is not None))
        return {0: "background"} | {value: str(value) for value in sorted(values - {0})}

    def select(self, ids: Iterable[str]) -> CaseSet:
        """The cases with these ids, in the order given; label names stay those of the whole cohort.

        Raises:
            InputError: if an id is not in the cohort.
        """
        known = {case.id: case for case in self.cases}
        ids = list(ids)
        for name in ids:
            if name not in known:
                few = ", ".join(list(known)[:5])
                msg = f"case id must be one of the {len(known)} in {self.root} ({few}, ...), got {name!r}."
                raise InputError(msg)
        return replace(self, cases=tuple(known[name] for name in ids), declared_labels=self.labels)


def load_cases(path: Path | str, *, missing_ok: bool = False, layout: Layout | None = None) -> CaseSet:
    """Find the cases of a folder, its layout told by inspection.

    MSD and nnU-Net raw folders, `imagesTr` + `labelsTr`, `images` + `labels` (or `masks`), `x_image` + `x_label`
    files, folders of DICOM series with SEG or RTSTRUCT.

    Args:
        path: the folder.
        missing_ok: list a case whose named file is absent instead of raising; reading it will then fail.
        layout: file name patterns to go by instead of inspection.

    Raises:
        InputError: if the folder, its JSON files or a named file is missing or malformed.
    """
    from imaseg.data.layouts.inspect import find_cases

    root = Path(path)
    if not root.is_dir():
        what = "a file" if root.is_file() else "nothing there"
        msg = f"data must be a folder with imagesTr/ and labelsTr/, got {what}: {root}."
        raise InputError(msg)
    cohort = find_cases(root, layout)
    if not cohort.cases and layout is not None:
        wanted = f"files that match {layout.images[0]!r}, as the recipe says"
        msg = f"{root} must hold {wanted}, got none. Name another recipe."
        raise InputError(msg)
    if not cohort.cases:
        msg = (
            f"{root} must hold at least one case (.nii or .nii.gz), got none. "
            "MetaImage, NRRD, DICOM and pictures are read as well."
        )
        raise InputError(msg)
    if not missing_ok:
        _require_files(cohort)
    return cohort


def _require_files(cohort: CaseSet) -> None:
    for case in cohort:
        for path in case.files:
            if not path.is_file():
                msg = (
                    f"{path} must exist (case {case.id}), got nothing there. "
                    "Restore it, or run `imaseg prepare`, which sets such cases aside."
                )
                raise InputError(msg)
