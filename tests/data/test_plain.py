"""JSON files of unknown origin are refused in one sentence before they take memory or time."""

from __future__ import annotations

import json
import os

import pytest

from imaseg.data.plain import MOST_BYTES, is_plain, read_any_json, read_json
from imaseg.errors import InputError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 200_000, "must be valid JSON"),
        (f'{{"a": {"[" * 60}{"]" * 60}}}', "more than 50 deep"),
        (f'{{"a": {"9" * 100_000}}}', "a number of 100000 digits"),
        ('{"a": 1e308}', "a number beyond 1e"),
        ('{"a": -1e999}', "a number beyond 1e"),
        ("[1, 2]", "must hold a JSON object"),
        ("{", "must be valid JSON"),
    ],
)
def test_what_is_no_plain_object_is_refused(tmp_path, text, told):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_json(path)


def test_files_that_cannot_be_read_as_a_whole_are_refused(tmp_path):
    large, pipe = tmp_path / "large.json", tmp_path / "pipe"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    os.mkfifo(pipe)
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    for path, told in (
        (large, "32 MB at most"),
        (pipe, "no regular file"),
        (tmp_path, "a folder"),
        (tmp_path / "none", "No such file"),
        (tmp_path / "latin.json", "UTF-8"),
    ):
        with pytest.raises(InputError, match=told):
            read_any_json(path)


def test_what_is_nested_as_deep_as_real_files_is_read(tmp_path):
    path, content = tmp_path / "x.json", {"a": [[[[[[[[1, 2**63, 0.5, None, "x"]]]]]]]]}
    path.write_text(json.dumps(content))
    assert read_json(path) == content


def test_what_was_unpickled_may_be_more_than_it_seems():
    once = [0]
    for _ in range(12):
        once = [once] * 9
    inside_itself = []
    inside_itself.append(inside_itself)
    assert not any(is_plain(value) for value in (once, inside_itself, {"a": {1, 2}}, [object()]))
    assert is_plain({"name": "ima", "steps": 3, "eps": [0.1, None, True]})
