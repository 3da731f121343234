"""A kind of probe that somebody else defines: through the engine, the summary, the tables and the files."""

from __future__ import annotations

import csv
import shutil
from typing import Literal

import pytest

from imaseg import InputError, audit
from imaseg.auditing import Plan, load_plan
from imaseg.auditing.probes import Cost, Probe
from imaseg.auditing.probes.scene import dice_by_counting
from imaseg.results import json_schema, load
from imaseg.results.base import MEAN, Entry, Row


class MirrorRow(Row):
    """Dice of a mirrored image, the prediction mirrored back."""

    kind: Literal["mirror"] = "mirror"
    axis: int
    dice: float

    def table(self):
        """One line."""
        return [(float(self.axis), MEAN, "dice", self.dice)]


class MirrorEntry(Entry):
    """Mean over the cases."""

    kind: Literal["mirror"] = "mirror"
    axis: int
    n: int
    dice: float


class MirrorProbe(Probe):
    """Whether a model minds which side is left."""

    kind: Literal["mirror"] = "mirror"
    axis: int = 0

    def check(self, seed):
        """Axes are those of a volume."""
        if self.axis not in (0, 1, 2):
            msg = f"axis must be 0, 1 or 2, got {self.axis}."
            raise ValueError(msg)

    def cost(self, classes, seed):
        """One pass."""
        return Cost(self.name, 0, 1, 1, first=self.cases)

    def run(self, scene):
        """Predict the mirrored image."""
        decided = scene.logits(scene.image.flip(self.axis + 2)).argmax(0).flip(self.axis)
        dice = dice_by_counting(decided.numpy(), scene.label[0].numpy(), scene.groups)
        return [MirrorRow(probe=self.name, axis=self.axis, dice=dice)]

    def summarise(self, records, labels, seed):
        """The mean."""
        dice = [row.dice for record in records for row in record.rows_of(MirrorRow, self.name)]
        return [MirrorEntry(probe=self.name, axis=self.axis, n=len(dice), dice=sum(dice) / len(dice))]

    def tables(self, records, labels):
        """A file of its own."""
        rows = [(record.case, row) for record in records for row in record.rows_of(MirrorRow, self.name)]
        return {"mirrored.csv": [{"case": case, "axis": row.axis, "dice": row.dice} for case, row in rows]}


PLAN = {
    "name": "own",
    "probes": [{"kind": "mirror", "axis": 2}, {"attack": "fgsm", "unit": "rms", "eps": [0.1]}],
    "showcase": {"attack": "fgsm", "eps": 0.1},
}


@pytest.fixture(scope="module", autouse=True)
def _forgotten_afterwards():
    """Other tests list the kinds that imaseg has itself."""
    yield
    for family in (Probe, Row, Entry):
        family.registry.pop("mirror", None)


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    return audit(tiny_run, prepared_phantom, Plan.model_validate(PLAN), tmp_path_factory.mktemp("own") / "a")


def _rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_its_entries_stand_among_the_others(done):
    read = load(done.folder)
    (entry,) = read.summary.others
    assert isinstance(entry, MirrorEntry)
    assert (entry.probe, entry.axis, entry.n) == ("mirror", 2, 2)
    dice = [record.rows_of(MirrorRow)[0].dice for record in read.cases]
    assert entry.dice == pytest.approx(sum(dice) / 2)
    assert [entry.probe for entry in read.summary.probes] == ["fgsm-l2"]


def test_its_rows_are_in_the_table_and_in_a_file_of_their_own(done):
    lines = [row for row in _rows(done.folder / "cases.csv") if row["probe"] == "mirror"]
    assert [(row["case"], row["eps"], row["class"], row["metric"]) for row in lines] == [
        (case, "2.0", MEAN, "dice") for case in ("phantom_005", "phantom_006")
    ]
    assert [row["dice"] for row in _rows(done.folder / "mirrored.csv")] == [row["value"] for row in lines]
    read = [row["value"] for row in load(done.folder).table() if row["probe"] == "mirror"]
    assert read == [float(row["value"]) for row in lines]


def test_a_killed_run_goes_on_with_its_rows(done, tiny_run, prepared_phantom, tmp_path):
    out = shutil.copytree(done.folder, tmp_path / "a")
    (out / "cases" / "phantom_006.json").unlink()
    audit(tiny_run, prepared_phantom, Plan.model_validate(PLAN), out, resume=True)
    assert load(out).summary.others == load(done.folder).summary.others
    for name in ("cases.csv", "mirrored.csv"):
        assert (out / name).read_text() == (done.folder / name).read_text()


def test_its_forms_are_in_the_schemas():
    for file, name in (("case", "MirrorRow"), ("summary", "MirrorEntry")):
        definitions = json_schema(file)["$defs"]
        assert definitions[name]["properties"].keys() >= {"kind", "probe", "axis", "dice"}


def test_its_settings_are_checked_with_the_plan(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("name: own\nprobes: [{kind: mirror, axis: 7}]\n")
    with pytest.raises(InputError, match="axis must be 0, 1 or 2, got 7"):
        load_plan(path)
    path.write_text("name: own\nprobes: [{kind: mirror, axes: 0}]\n")
    with pytest.raises(InputError, match="axes"):
        load_plan(path)
