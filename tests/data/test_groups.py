"""Tables of cases: values, thirds of numbers, and what is refused."""

from __future__ import annotations

import pytest

from imaseg import InputError
from imaseg.data.groups import NOT_STATED, read_groups

CASES = [f"c{number}" for number in range(9)]


def written(tmp_path, text):
    path = tmp_path / "cases.csv"
    path.write_text(text)
    return path


def test_words_are_taken_as_they_are(tmp_path):
    path = written(tmp_path, "case,site\n" + "".join(f"c{n},{'AB'[n % 2]}\n" for n in range(9)))
    assert read_groups(path, CASES) == {"site": {f"c{n}": "AB"[n % 2] for n in range(9)}}


def test_numbers_of_many_values_become_thirds_of_as_many_cases(tmp_path):
    path = written(tmp_path, "case,age\n" + "".join(f"c{n},{10 * n + 20}\n" for n in range(9)))
    ages = read_groups(path, CASES)["age"]
    assert [*dict.fromkeys(ages.values())] == ["20 to 40", "50 to 70", "80 to 100"]
    assert [list(ages.values()).count(name) for name in dict.fromkeys(ages.values())] == [3, 3, 3]


def test_few_numbers_are_names(tmp_path):
    path = written(tmp_path, "case,tesla\n" + "".join(f"c{n},{(1.5, 3)[n % 2]}\n" for n in range(9)))
    assert {*read_groups(path, CASES)["tesla"].values()} == {"1.5", "3"}


def test_a_case_without_a_row_or_value_is_not_stated(tmp_path):
    path = written(tmp_path, "case,site\nc0,A\nc1,A\nc2,\nother,B\n")
    sites = read_groups(path, CASES)["site"]
    assert sites["c0"] == "A"
    assert sites["c2"] == sites["c8"] == NOT_STATED
    assert "other" not in sites


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,site\nc0,A\n", "must have the column case and others"),
        ("case\nc0\n", "must have the column case and others"),
        ("case,a,a\nc0,1,2\n", "each with a name of its own"),
        ("case,site\nx,A\n", "must hold cases that are audited"),
        ("case,site\nc0,A\nc0,B\n", "two that differ for c0"),
        ("case,name\n" + "".join(f"c{n},Doe {n}\n" for n in range(9)), "must group the cases, got 9 different values"),
        ("case,site\n" + "c0," + "x" * 200_000 + "\n", "must be a readable CSV file"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_groups(written(tmp_path, text), CASES)
