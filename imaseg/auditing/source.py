"""Cases as the model wants them: prepared ones as they are, raw ones prepared in memory by the model's own recipe."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.data import Case, CaseSet
from imaseg.data.cohort import CohortStatistics
from imaseg.data.invert import native_scale
from imaseg.data.nifti import Volume, read_volume
from imaseg.data.recipe import parse_recipe
from imaseg.data.steps import apply_recipe
from imaseg.errors import InputError
from imaseg.models.segmentation import ModelCard


class CaseSource:
    """Reads the cases of a cohort for one model.

    Args:
        cases: prepared or raw.
        card: of the model.

    Raises:
        InputError: if the cases are raw and the model does not say how to prepare them, or the labels differ.
    """

    def __init__(self, cases: CaseSet, card: ModelCard) -> None:
        missing = sorted(cases.labels.keys() - card.labels.keys())
        if missing:
            msg = f"labels of {cases.root} must be among the model's {sorted(card.labels)}, got {missing} as well."
            raise InputError(msg)
        self._prepared = None
        if cases.prepared is not None:
            self._prepared = {entry["id"]: entry["steps"] for entry in cases.prepared["cases"] if "steps" in entry}
        elif card.recipe is None or card.fingerprint is None:
            msg = f"{cases.root} must be prepared for this model, which does not say how. Run `imaseg prepare` first."
            raise InputError(msg)
        else:
            self._recipe = parse_recipe(card.recipe, source=f"model {card.name}")
            self._statistics = CohortStatistics.from_json(card.fingerprint)

    def read(self, case: Case) -> tuple[Volume, float | None]:
        """The case in the model's units, and how many native units one of them is.

        Raises:
            InputError: if the case cannot be read.
        """
        volume = read_volume(case)
        if self._prepared is not None:
            return volume, native_scale(self._prepared.get(case.id, []))
        prepared, steps = apply_recipe(volume, self._recipe, self._statistics)
        return prepared, native_scale(steps)


def held_out(cases: CaseSet, card: ModelCard) -> tuple[CaseSet, str]:
    """Cases the model was not trained on, as far as anybody says.

    Returns:
        The `val` split where there is one; else the cases that the model's card does not list as training cases;
        else all of them; and which of these it was.
    """
    if "val" in cases.split:
        return cases.select(cases.split["val"]), "val"
    unseen = [name for name in cases.ids if name not in set(card.train_ids)]
    if unseen and len(unseen) < len(cases):
        return cases.select(unseen), "unseen"
    return cases, "all"


def choose(cases: CaseSet, card: ModelCard, wanted: str | Sequence[str] | None) -> tuple[CaseSet, str]:
    """The cases an audit runs on.

    Args:
        cases: the cohort.
        card: of the model.
        wanted: None for those held out, "all", the name of a split, or ids.

    Raises:
        InputError: if there is no such split or id.
    """
    if wanted is None:
        return held_out(cases, card)
    if wanted == "all":
        return cases, "all"
    if isinstance(wanted, str) and wanted in cases.split:
        return cases.select(cases.split[wanted]), wanted
    ids = wanted.split(",") if isinstance(wanted, str) else wanted
    return cases.select(ids), "chosen"
