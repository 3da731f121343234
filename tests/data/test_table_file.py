"""Names in tables: shown by spreadsheets, never run, and read back as they were."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import imaseg
from imaseg.data.splitting import read_patients
from imaseg.data.table_file import unescaped, write_table
from imaseg.integrations.trajectories import write_trajectories
from imaseg.training import MarginTable

EVIL = ["=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "'", "''a"]
PLAIN = ["case_1", "a=b", "1-2", "", "Größe", "a,b", 'a"b']


def _starts_a_formula(cell):
    return cell[:1] in {*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"}


def _read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", EVIL + PLAIN)
def test_names_are_shown_and_come_back(tmp_path, name):
    write_table(tmp_path / "t.csv", ("case", "value"), [{"case": name, "value": -1.5}, {"case": "x", "value": None}])
    first, second = _read(tmp_path / "t.csv")
    assert not _starts_a_formula(first["case"])
    assert unescaped(first["case"]) == name
    assert (first["case"] == name) == (name in PLAIN)
    assert (first["value"], second["value"]) == ("-1.5", "")  # numbers stay numbers


def test_bytes_of_names_that_are_no_text_are_written_as_escapes(tmp_path):
    write_table(tmp_path / "t.csv", ("case",), [{"case": "a\udcff"}])
    assert _read(tmp_path / "t.csv") == [{"case": "a\\udcff"}]


def test_tables_that_imaseg_goes_on_with_keep_the_names(tmp_path):
    table = MarginTable(0.1, 1.0)
    table.margins = dict.fromkeys(EVIL, 0.5)
    for epoch in (1, 2, 3):
        write_trajectories(tmp_path / "t.csv", epoch, table)
    rows = _read(tmp_path / "t.csv")
    assert [unescaped(row["case"]) for row in rows] == 3 * sorted(EVIL)
    assert not any(_starts_a_formula(row["case"]) for row in rows)


def test_a_table_of_patients_may_take_its_ids_from_such_a_table(tmp_path):
    names = [name for name in EVIL if name.strip() == name]
    write_table(tmp_path / "p.csv", ("case", "patient"), [{"case": name, "patient": "=p"} for name in names])
    assert read_patients(tmp_path / "p.csv") == dict.fromkeys(names, "=p")


def test_every_table_is_written_in_this_way():
    writers = [
        path.name
        for path in Path(imaseg.__file__).parent.rglob("*.py")
        if any(word in path.read_text() for word in ("csv.writer", "DictWriter", "to_csv"))
    ]
    assert writers == ["table_file.py"]
