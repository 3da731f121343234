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


def test_a_number_in_two_spellings_is_one_group_and_a_code_keeps_its_zeros(tmp_path):
    path = written(
        tmp_path, "case,tesla,site\n" + "".join(f"c{n},{('1.50', '1.5', '3')[n % 3]},0{n % 2}\n" for n in range(9))
    )
    found = read_groups(path, CASES)
    assert [found["tesla"][case] for case in CASES[:3]] == ["1.5", "1.5", "3"]
    assert {*found["site"].values()} == {"00", "01"}


@pytest.mark.parametrize("missing", ["NA", "n/a", "nan"])
def test_a_number_that_is_missing_leaves_the_others_numbers(tmp_path, missing):
    path = written(tmp_path, f"case,age\nc0,{missing}\n" + "".join(f"c{n},{10 * n}\n" for n in range(1, 9)))
    ages = read_groups(path, CASES)["age"]
    assert ages["c0"] == NOT_STATED
    assert {*ages.values()} == {NOT_STATED, "10 to 30", "40 to 50", "60 to 80"}


def test_thirds_of_large_numbers_have_names_of_their_own(tmp_path):
    path = written(tmp_path, "case,code\n" + "".join(f"c{n},{20250100 + n}\n" for n in range(9)))
    assert {*read_groups(path, CASES)["code"].values()} == {
        "20250100 to 20250102", "20250103 to 20250105", "20250106 to 20250108",
    }  # fmt: skip


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
        ("case;site\nc0;A\n", "separated by commas, got case;site"),
        ("case,site,sex\nc0,Paris, FR,F\n", "must hold 3 cells in each row, got more for c0"),
        ("case,site\nx,A\n", "must hold cases that are audited"),
        ("case,site\nc0,A\nc0,B\n", "two that differ for c0"),
        ("case,name\n" + "".join(f"c{n},Doe {n}\n" for n in range(9)), "must group the cases, got 9 different values"),
        ("case,site\n" + "c0," + "x" * 200_000 + "\n", "must be a readable CSV file"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_groups(written(tmp_path, text), CASES)
