from __future__ import annotations

import pytest

from imaseg.data.files import read_json, whole_file, write_json


def test_json_round_trip_and_untouched_when_equal(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_json(path, {"x": [1, 2.5], "name": "Gehör"})
    assert read_json(path) == {"x": [1, 2.5], "name": "Gehör"}
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_json(path, {"x": [1, 2.5], "name": "Gehör"})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_fails_leaves_nothing(tmp_path):
    def fail() -> None:
        with whole_file(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []
