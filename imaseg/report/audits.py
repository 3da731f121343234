"""The audits that a page is about, each with a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imaseg import results
from imaseg.errors import InputError
from imaseg.progress import counted
from imaseg.report.wording import listing


@dataclass(frozen=True)
class Audit(results.Audit):
    """An audit folder and what it is called on the page."""

    name: str

    def slice_of(self, case: str) -> Path | None:
        """Where the slice that shows the attack on a case lies; None if none was stored."""
        path = self.folder / "cases" / f"{case}.npz"
        return path if path.is_file() else None

    def structure(self, number: str) -> str:
        """Name of a class; `class 1` where the data have no better name than its number."""
        name = self.summary.data.labels.get(number, number)
        return f"class {number}" if name == number else name


Audits = Sequence[Audit]


def read_audits(folders: Sequence[Path]) -> list[Audit]:
    """Read audit folders, the reference first.

    Args:
        folders: what `imaseg audit`, `attack` or `margin` wrote, one or several.

    Returns:
        One `Audit` per folder in the same order. Where two models share a name the folders' names are used.

    Raises:
        InputError: if there is no folder, one lacks a readable `summary.json` or `run.json`, or only some of them are
            audits against labels.
    """
    if not folders:
        msg = "folders must be at least one audit folder, got none. Name a folder that `imaseg audit` wrote."
        raise InputError(msg)
    loaded = [results.load(folder) for folder in folders]
    if len({audit.summary.data.reference for audit in loaded}) > 1:
        own = next(audit.folder for audit in loaded if audit.summary.data.reference == "prediction")
        msg = (
            f"folders of one page must hold audits against labels only, or without labels only, got {own}, which "
            "compares with the model's own prediction. Make a page of each kind."
        )
        raise InputError(msg)
    names = _names([audit.folder.resolve() for audit in loaded], [audit.summary.model.name for audit in loaded])
    return [
        Audit(audit.folder, audit.summary.in_hu(), audit.run, name) for audit, name in zip(loaded, names, strict=True)
    ]


def labels_are_predictions(audits: Audits) -> bool:
    """Whether predictions are compared with the model's own of the unchanged image."""
    return audits[0].summary.data.reference == "prediction"


def dice_word(audits: Audits) -> str:
    """What Dice says of these audits: nothing is right or wrong without labels."""
    return "Agreement" if labels_are_predictions(audits) else "Dice"


def dice_in_words(audits: Audits) -> str:
    """The same inside a sentence."""
    return "agreement" if labels_are_predictions(audits) else "Dice"


def reference_word(audits: Audits) -> str:
    """What predictions are compared with, as keys to pictures call it."""
    return "prediction of the unchanged image" if labels_are_predictions(audits) else "label"


def lacking(audits: Audits, held: Sequence[Audit], said: str) -> str:
    """A sentence about the audits that are not among those held; empty if there are none.

    Args:
        audits: all.
        held: some of them.
        said: what is true of the others, whose names follow.
    """
    names = [audit.name for audit in audits if audit not in held]
    return f"{said}: {listing(names)}." if names else ""


def owner(audits: Audits, audit: Audit) -> str:
    """Whose number follows, where there are several models."""
    return f"{audit.name}: " if len(audits) > 1 else ""


def unrestricted(audits: Audits, place: str) -> Iterator[str]:
    """Of how many cases all could change though a distance to structures was given; `place` is of the entries."""
    for audit in audits:
        if bare := max((entry.unrestricted for entry in getattr(audit.summary, place)), default=0):
            yield (
                f"{owner(audits, audit)}{counted(bare, 'case')} without a labelled structure: there nothing can lie "
                "near one, and the whole image could change."
            )


def model_column(audits: Audits, audit: Audit) -> dict[str, str]:
    """Column of a table that names the model, where there are several."""
    return {"Model": audit.name} if len(audits) > 1 else {}


def _names(folders: list[Path], models: list[str]) -> list[str]:
    """Shortest naming under which every audit has its own name."""
    last, two = (["/".join(folder.parts[-parts:]) for folder in folders] for parts in (1, 2))
    every = (names for names in (models, last, two) if len(set(names)) == len(names))
    return next(every, [f"{name} ({number})" for number, name in enumerate(models, start=1)])
