"""YAML files of unknown origin are refused in one sentence before they take memory or time."""

from __future__ import annotations

import pytest
import yaml

from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError


def _laughs(of: str) -> str:
    return f"a0: &a0 {of}\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (_laughs("[lol]"), "more than 100000 values"),
        (f"a: &a '{'x' * 100_000}'\nb: [{', '.join(['*a'] * 1000)}]", "more than 100000 values"),
        ("a: &a {b: *a}", "alias .a inside of what it stands for"),
        (f"a: {'[' * 60}{']' * 60}", "more than 50 levels"),
        (f"a: {'[' * 100_000}", "must be valid YAML"),
        (f"a: 0x{'f' * 100_000}", "a number of 100002 digits"),
        (f"a: {'9' * 100_000}", "a number of 100000 digits"),
        ("a: 1\nb: {c: 1, d: 2, c: 3}", "key 'c' twice"),
        ("a: 2026-13-45", "must be valid YAML"),
        *((f"a: !!{tag} x", "a value that is not what its tag") for tag in ("timestamp", "bool")),
        ("a: !!int ''", "a value that is not what its tag"),
        ("x" * 3 * 2**20, "2 MB at most"),
    ],
)
def test_what_stands_for_too_much_is_refused(tmp_path, text, told):
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) <= 1000


def test_aliases_and_merged_keys_are_read_as_before(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text(
        "a: &a {x: 1, y: [1, 2]}\nb: {c: &c {<<: *a, x: 3}}\nd: {<<: *c}\ne: [*a, *a]\nf: 0x1f\ng: -12\n1: .nan\n"
    )
    assert str(read_yaml(path)) == str(yaml.safe_load(path.read_text()))


def test_a_long_list_of_cases_is_read(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump({"train_ids": [f"case_{i:05d}" for i in range(40_000)]}))
    assert len(read_yaml(path)["train_ids"]) == 40_000
