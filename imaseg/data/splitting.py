"""Splits of a cohort by patient, for training and for what an audit holds out."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imaseg.data.plain import MOST_BYTES, read_text
from imaseg.data.table_file import unescaped
from imaseg.errors import InputError

Parts = dict[str, list[str]]
"""Ids of the cases in `train` and `val`."""
_FOLDS = re.compile(r"^(?P<count>\d{1,9})-fold(?::(?P<fold>\d{1,9}))?$")


@dataclass(frozen=True)
class Splitting:
    """How a cohort is split: patients are shuffled and dealt out, so that those of one patient stay together.

    Attributes:
        text: a share of patients to train on such as `0.8`, or `5-fold`, or `5-fold:2` for fold 2 of 0 to 4.
        seed: of the shuffling.
    """

    text: str
    seed: int = 0

    def folds(self, patients: Mapping[str, str]) -> list[Parts]:
        """The split, or one for each fold; those who are in `val` of one fold are in `train` of all others.

        Args:
            patients: patient by case id.

        Raises:
            InputError: if `text` is no split, or there are fewer patients than parts.
        """
        share, count, _ = self._meaning()
        people = sorted(set(patients.values()))
        random.Random(self.seed).shuffle(people)
        fewest = max(count, 2)
        if len(people) < fewest:
            msg = f"split {self.text} needs at least {fewest} patients, got {len(people)} in {len(patients)} cases."
            raise InputError(msg)
        if count:
            held = [set(people[fold::count]) for fold in range(count)]
        else:
            held = [set(people[min(max(round(share * len(people)), 1), len(people) - 1) :])]
        return [
            {
                "train": [case for case, patient in patients.items() if patient not in out],
                "val": [case for case, patient in patients.items() if patient in out],
            }
            for out in held
        ]

    @property
    def chosen(self) -> int:
        """The fold that `split.json` is to hold."""
        return self._meaning()[2]

    def _meaning(self) -> tuple[float, int, int]:
        """Share, number of folds (0 for a share), chosen fold."""
        match = _FOLDS.match(self.text)
        if match and int(match["count"]) >= 2 and int(match["fold"] or 0) < int(match["count"]):
            return 0.0, int(match["count"]), int(match["fold"] or 0)
        try:
            share = float(self.text)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            known = "a share between 0 and 1 (0.8), 5-fold, or 5-fold:2 for its third fold"
            msg = f"split must be {known}, got {self.text!r}."
            raise InputError(msg)
        return share, 0, 0


def read_patients(path: Path) -> dict[str, str]:
    """Patient by case id, of a CSV file with the columns `case` and `patient`.

    Raises:
        InputError: if it cannot be read, lacks a column, or names two patients for a case.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, "CSV", most=MOST_BYTES), newline=""))
        if not {"case", "patient"} <= set(reader.fieldnames or ()):
            got = ", ".join(reader.fieldnames or ()) or "none"
            msg = f"{path} must have the columns case and patient, got {got}."
            raise InputError(msg)
        rows = [[unescaped((row[name] or "").strip()) for name in ("case", "patient")] for row in reader]
    except csv.Error as error:
        msg = f"{path} must be a readable CSV file with the columns case and patient, got {error}."
        raise InputError(msg) from error
    patients: dict[str, str] = {}
    for case, patient in rows:
        if not patient or patients.setdefault(case, patient) != patient:
            msg = f"{path} must name one patient for each case, got {patient or 'none'} for {case}."
            raise InputError(msg)
    return patients
