"""Cases as the model wants them: prepared ones as they are, raw ones prepared in memory by the model's own recipe."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from imaseg.auditing.inputs.selecting import ids_in, step_of, thinned, whole
from imaseg.data import Case, CaseSet
from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.inverse.invert import native_scale
from imaseg.data.preparation.intensity import method_of
from imaseg.data.preparation.labels import by_recipe
from imaseg.data.preparation.recipe import READING, Recipe, parse_recipe
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.reading import read_volume
from imaseg.data.relabel import relabel
from imaseg.data.spacing import states_spacing
from imaseg.data.volume import Step, Volume
from imaseg.errors import InputError
from imaseg.models.segmentation import ModelCard
from imaseg.progress import counted

Prepare = Callable[[Volume], tuple[Volume, list[Step]]]
Reference = Callable[["Loaded"], "Loaded"]


@dataclass(frozen=True)
class Loaded:
    """A case as the model takes it, next to what lies on disk.

    Attributes:
        native: as the files hold it.
        volume: as the model takes it.
        steps: what was done in between; none if the files are prepared.
        native_scale: native units per unit of the model; None if unknown.
        classes: class of the model by label value, where label values are not its classes.
        spaced: whether the files state how large a voxel is, as pictures do not.
        own: whether the label is the model's own prediction (`imaseg.auditing.inputs.reference`).
        truth, native_truth: of such a case, the label that the files hold, in the model's classes, on the grid of
            `volume` and on that of `native`; None where they hold none.
    """

    native: Volume
    volume: Volume
    steps: list[Step]
    native_scale: float | None
    classes: Mapping[int, int] = field(default_factory=dict)
    spaced: bool = True
    own: bool = False
    truth: NDArray[np.int64] | None = None
    native_truth: NDArray[np.int64] | None = None

    @property
    def label(self) -> NDArray[np.int64]:
        """Of `volume`; only `CaseSource.unjudged` loads a case without one."""
        return cast("NDArray[np.int64]", self.volume.label)

    @property
    def native_label(self) -> NDArray[np.int64]:
        """Of `native`, in the model's classes."""
        label = cast("NDArray[np.int64]", self.native.label)
        if all(value == k for value, k in self.classes.items()):
            return label
        table = np.zeros(max(*self.classes, int(label.max())) + 1, np.int64)
        for value, k in self.classes.items():
            table[value] = k
        return table[label]


class CaseSource:
    """Reads the cases of a cohort for one model.

    Args:
        cases: prepared or raw.
        card: of the model.
        prepare: from a raw volume to what the model takes, where the model brings that along.
        reference: puts something else in the place of the labels that cases have, which they then need not have.

    Raises:
        InputError: if the cases are raw and the model does not say how to prepare them, or the labels differ.
    """

    def __init__(
        self, cases: CaseSet, card: ModelCard, prepare: Prepare | None = None, reference: Reference | None = None
    ) -> None:
        self._card, self._prepare, self._recipe = card, prepare, None
        self.reference = reference
        recipe = recipe_of(cases, card, prepare)
        self._cases = cases = as_read(cases, recipe)
        self.labels = cases.labels
        self._known = {case.id: case for case in cases}
        self._values = {*card.labels, *card.other_labels}
        self.modality = cases.modality or tuple((card.fingerprint or {}).get("modality", ()))
        missing = sorted(cases.labels.keys() - ({0, *card.label_map} if card.label_map else self._values))
        if missing:
            msg = f"labels of {cases.root} must be among the model's {sorted(card.labels)}, got {missing} as well."
            raise InputError(msg)
        self._prepared = None
        if prepare is not None:
            if cases.prepared is not None:
                msg = (
                    f"{cases.root} must hold raw cases for this model, which prepares them itself, got what `imaseg "
                    "prepare` wrote. Name the folder that was prepared."
                )
                raise InputError(msg)
        elif cases.prepared is not None:
            _same_preparation(cases, card)
            self._prepared = {entry["id"]: entry["steps"] for entry in cases.prepared["cases"] if "steps" in entry}
        elif recipe is None or (card.fingerprint is None and _by_cohort(recipe)):
            msg = (
                f"{cases.root} must be prepared for this model, which does not say how. Run `imaseg prepare` first, or "
                "write `recipe:` into the model's card ({} takes images as they are)."
            )
            raise InputError(msg)
        else:
            statistics = (
                CohortStatistics.from_json(card.fingerprint)
                if card.fingerprint is not None
                else CohortStatistics(recipe.modality or (), (1.0,) * 3, (1,) * 3, ({},) * card.in_channels, {})
            )
            steps = recipe.model_copy(update={"label_map": None})  # `_raw` has done that
            self._recipe, self._prepare = recipe, lambda volume: apply_recipe(volume, steps, statistics)

    def patient(self, case: Case) -> str:
        """Of a case, as the data or the model's recipe name it; empty where neither does."""
        return self._known[case.id].patient

    def load(self, case: Case) -> Loaded:
        """The case in the model's units, with what is needed to go back to the files and with what it is judged by.

        Raises:
            InputError: if the case cannot be read, has no label though it is judged by that, or does not fit the model.
        """
        loaded = self.unjudged(case)
        return loaded if self.reference is None else self.reference(loaded)

    def unjudged(self, case: Case) -> Loaded:
        """As `load`, with the label that the files hold, if any.

        Raises:
            InputError: as `load`.
        """
        volume = self.open(case)
        prepared, steps = self.fit(volume)
        known = steps if self.prepares else (self._prepared or {}).get(case.id, [])
        spaced = states_spacing(self._cases, case, volume.spacing)
        return Loaded(volume, prepared, steps, native_scale(known), self.classes, spaced)

    def steps(self, loaded: Loaded) -> list[Step]:
        """All that was done to a case since it was raw, by whomever."""
        if not self.prepares:
            return (self._prepared or {}).get(loaded.volume.id, [])
        return [*self._read(), *loaded.steps]

    def _read(self) -> list[Step]:
        """What the recipe does to labels as they are read."""
        steps: list[Step] = []
        if self._recipe is not None and self._recipe.label_threshold is not None:
            steps.append({"name": "threshold", "from": self._recipe.label_threshold})
        if self._recipe is not None and self._recipe.label_map:
            steps.append({"name": "relabel", "map": {str(old): new for old, new in self._recipe.label_map.items()}})
        return steps

    @property
    def ids(self) -> list[str]:
        """Of the cases."""
        return [*self._known]

    def some(self, most: int) -> list[tuple[Case, Loaded]]:
        """The first cases that can be read, so many at most."""
        return [(self._known[one.volume.id], one) for one in islice(self.readable(), most)]

    def readable(self) -> Iterator[Loaded]:
        """The cases that can be read; the others are set aside later."""
        for case in self._known.values():
            with contextlib.suppress(InputError, MemoryError):
                yield self.load(case)

    @property
    def prepares(self) -> bool:
        """Whether the cases are raw, so that `fit` does something."""
        return self._prepare is not None

    @property
    def classes(self) -> Mapping[int, int]:
        """Class of the model by label value, where the model's own preparation maps them; else empty."""
        return cast("Mapping[int, int]", getattr(self._prepare, "classes", {}))

    def in_values(self, label: NDArray[np.int64]) -> NDArray[np.int64]:
        """A label in the model's classes as one in the values of label files; of several values the lowest."""
        values = {k: value for value, k in sorted(self.classes.items(), reverse=True) if k >= 0}
        if all(value == k for k, value in values.items()):
            return label
        table = np.zeros(max(values) + 1, np.int64)
        table[[*values]] = [*values.values()]
        return table[label]

    def open(self, case: Case) -> Volume:
        """A case as its files hold it, with the label values that the model knows.

        Raises:
            InputError: if the case cannot be read, has no label, or does not fit the model.
        """
        volume = self._raw(case)
        self._check(volume)
        return volume

    def fit(self, volume: Volume) -> tuple[Volume, list[Step]]:
        """What the model takes, of a volume as its files hold it.

        Raises:
            InputError: if it cannot be prepared.
        """
        if self._prepare is None:
            return volume, []
        prepared, steps = self._prepare(volume)
        # Flipped axes are views that run backwards, which torch does not take.
        label = None if prepared.label is None else np.ascontiguousarray(prepared.label)
        return replace(prepared, image=np.ascontiguousarray(prepared.image), label=label), steps

    def _raw(self, case: Case) -> Volume:
        """A case as its files hold it, with the label values that the model knows."""
        own, recipe = self._known.get(case.id, case), self._recipe
        settled = case.label != own.label  # an attack has moved this label and written the model's values
        if self._prepare is not None:
            case = replace(own, image=case.image, label=case.label, more_labels=case.more_labels)
        volume = read_volume(case, threshold=recipe.label_threshold if recipe and not settled else None)
        if recipe is not None and recipe.label_map and not settled:
            volume = relabel(volume, recipe.label_map)[0]
        if self._card.label_map and not settled:
            self._among(volume, {0, *self._card.label_map})
            volume = relabel(volume, self._card.label_map)[0]
        return volume

    def _check(self, volume: Volume) -> None:
        card = self._card
        if volume.label is None and self.reference is None:
            msg = (
                f"case {volume.id} must have a label to be audited, got none. Without labels add --reference "
                "prediction (in a plan `reference: prediction`), which says how stable predictions are, not how right."
            )
            raise InputError(msg)
        self._among(volume, self._values)
        if volume.image.shape[0] != card.in_channels or volume.image.ndim != card.spatial_dims + 1:
            msg = (
                f"case {volume.id} must have {counted(card.in_channels, 'channel')} and {card.spatial_dims} dimensions "
                f"for this model, got shape {volume.image.shape}."
            )
            raise InputError(msg)

    @staticmethod
    def _among(volume: Volume, values: set[int]) -> None:
        unknown = sorted(set(np.unique(volume.label).tolist()) - values) if volume.label is not None else []
        if unknown:
            msg = f"label of case {volume.id} must hold values among {sorted(values)}, got {unknown} as well."
            raise InputError(msg)


def recipe_of(cases: CaseSet, card: ModelCard, prepare: Prepare | None) -> Recipe | None:
    """How raw cases are prepared for a model; None if they are prepared, the model does it, or nobody says."""
    if cases.prepared is not None or prepare is not None or card.recipe is None:
        return None
    return parse_recipe(card.recipe, source=f"model {card.name}")


def as_read(cases: CaseSet, recipe: Recipe | None) -> CaseSet:
    """The cohort with the channels, patients and label names that a recipe gives it."""
    if recipe is None:
        return cases
    if recipe.label_map and recipe.labels is None and recipe.label_threshold is None:
        cases = replace(cases, declared_labels=cases.labels)
    return by_recipe(cases, recipe)


def _by_cohort(recipe: Recipe) -> bool:
    """Whether a recipe refers to figures of the training cohort."""
    modality = recipe.modality or ()
    methods = {method_of(recipe.normalise, modality, channel) for channel in range(max(len(modality), 1))}
    return recipe.spacing == "median" or "ct" in methods


def _same_preparation(cases: CaseSet, card: ModelCard) -> None:
    """Refuse cases prepared otherwise than the model's own: the same eps would mean something else."""
    prepared = cases.prepared or {}
    if card.recipe is None:
        return
    recipes = {
        f"recipe of model {card.name}": card.recipe,
        f"{cases.root / 'prepare.json'}": prepared.get("recipe", {}),
    }
    excluded = {*READING, "labels"}
    differs = _difference(
        *(
            parse_recipe(dict(one), source=source).model_dump(mode="json", exclude=excluded)
            for source, one in recipes.items()
        )
    )
    if differs is None and card.fingerprint is not None:
        theirs = prepared["fingerprint"]
        ours = _figures_used(card.recipe, card.fingerprint)
        differs = "fingerprint" if theirs is None else _difference(ours, _figures_used(card.recipe, theirs))
    if differs is not None:
        msg = (
            f"{cases.root} must be prepared as the model's training cases were, got another {differs}. "
            "Audit the folder as it was before `imaseg prepare`: the model prepares raw cases itself."
        )
        raise InputError(msg)


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    return next((key for key in ours if ours[key] != theirs[key]), None)


def _figures_used(recipe: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a cohort that rule how its cases are prepared."""
    modality = tuple(fingerprint["modality"])
    channels = range(len(fingerprint["intensity"]))
    by_cohort = "ct" in {method_of(recipe["normalise"], modality, channel) for channel in channels}
    return {
        "spacing": [round(size, 3) for size in fingerprint["spacing"]] if recipe["spacing"] == "median" else None,
        "intensity": fingerprint["intensity"] if by_cohort else None,
    }


def held_out(cases: CaseSet, card: ModelCard) -> tuple[CaseSet, str]:
    """Cases the model was not trained on, as far as anybody says.

    Returns:
        The cases that the model's training held out, where its card names them; else the `val` split where there is
        one; else the cases that the card does not list as training cases; else all of them; and which of these it was.
    """
    held = [name for name in cases.ids if name in set(card.val_ids)]
    if held:
        return cases.select(held), "held out"
    if "val" in cases.split:
        return cases.select(cases.split["val"]), "val"
    unseen = [name for name in cases.ids if name not in set(card.train_ids)]
    if unseen and len(unseen) < len(cases):
        return cases.select(unseen), "unseen"
    return cases, "all"


def held_out_missing(cases: CaseSet, card: ModelCard) -> bool:
    """Whether the model names cases that it held out, and none of them is in the cohort."""
    return bool(card.val_ids) and not {*card.val_ids} & {*cases.ids}


def reason_for(cases: CaseSet, card: ModelCard, selection: str) -> str:
    """A sentence on why these cases are audited, and by whose word they were held out of training."""
    selection, step = whole(selection)
    taken = f" Of these one in {step} is taken, in the order of the data." if step else ""
    if held_out_missing(cases, card):
        return (
            f"Warning: none of the cases that {card.name} held out ({len(card.val_ids)}: {card.val_ids[0]}, ...) is "
            f"among these data ({cases.ids[0]}, ...), so nothing shows that the audited cases were not in its training."
        )
    if selection == "held out":
        return f"Audited are the cases that {card.name} held out of its training, as its checkpoint says.{taken}"
    if selection == "val":
        return f"Audited is the val split of {cases.name}, as its split.json says.{taken}"
    if selection == "unseen":
        return f"Audited are the cases that {card.name} does not list as training cases.{taken}"
    if selection == "all":
        unknown = "" if card.train_ids or card.val_ids else ", and the model does not say which it was trained on"
        nobody = f"{cases.name} has no split.json{unknown}: no case is known to be held out. "
        held = "" if "val" in cases.split else nobody
        every = f"All {len(cases)} cases are" if len(cases) > 1 else "The only case is"
        which = f"Of all {len(cases)} cases one in {step} is" if step else every
        return f"{held}{which} audited; `--cases` names others, `imaseg prepare --split` makes a split."
    return f"Audited are the cases that were asked for ({selection})."


def training_cases_among(cases: CaseSet, card: ModelCard) -> str | None:
    """A warning if the model was trained on some of the cases."""
    seen = [name for name in cases.ids if name in set(card.train_ids)]
    if not seen:
        return None
    few = ", ".join(seen[:3]) + (", ..." if len(seen) > 3 else "")
    return (
        f"Warning: {card.name} was trained on {len(seen)} of {_these(cases)} ({few}), which makes it look "
        "better than it is."
    )


def _these(cases: CaseSet) -> str:
    return "this 1 case" if len(cases) == 1 else f"these {len(cases)} cases"


def choose(cases: CaseSet, card: ModelCard, wanted: str | Sequence[str] | None) -> tuple[CaseSet, str]:
    """The cases an audit runs on.

    Args:
        cases: the cohort.
        card: of the model.
        wanted: None for those held out, "all", the name of a split, or ids; "every:12" for each twelfth of those held
            out, "@FILE" for ids that stand in a file, one a line.

    Raises:
        InputError: if there is no such split, id or file.
    """
    step = step_of(wanted) if isinstance(wanted, str) and wanted not in {*cases.split, *cases.ids} else None
    if step is not None:
        chosen, selection = held_out(cases, card)
        chosen, selection = chosen.select(chosen.ids[step]), thinned(selection, step)
    elif wanted is None:
        chosen, selection = held_out(cases, card)
    elif wanted == "all":
        chosen, selection = cases, "all"
    elif isinstance(wanted, str) and wanted in cases.split:
        chosen, selection = cases.select(cases.split[wanted]), wanted
    else:
        chosen, selection = cases.select(dict.fromkeys(_ids(cases, wanted))), "chosen"  # no case counts twice
    if not len(chosen):
        msg = (
            f"selection must hold at least one case of {cases.root}, got none in {selection!r}. Choose others, or all."
        )
        raise InputError(msg)
    return chosen, selection


def _ids(cases: CaseSet, wanted: str | Sequence[str]) -> Sequence[str]:
    if not isinstance(wanted, str):
        return wanted
    if wanted in cases.ids:
        return [wanted]
    return ids_in(Path(wanted[1:])) if wanted.startswith("@") else wanted.split(",")
