from __future__ import annotations

import shutil

import pytest

from imaseg.data.files import must_remain, walk, whole_file, write_json
from imaseg.data.plain import read_json
from imaseg.errors import InputError, OutputError


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


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"x.json must be writable, got .*\. Free space .* or name another folder"):
        write_json(tmp_path / "file" / "a" / "x.json", {})


def test_a_folder_that_is_removed_while_a_file_is_written_is_named(tmp_path):
    path = tmp_path / "a" / "x.json"
    with pytest.raises(InputError, match=r"x.json must be writable, got No such file"), whole_file(path) as part:
        part.write_text("")
        shutil.rmtree(path.parent)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_json_that_no_parser_can_build_is_one_clear_line(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="x.json must be valid JSON, got"):
        read_json(tmp_path / "x.json")


def test_a_full_disk_is_one_sentence_and_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "x").write_text("before")
    with (
        pytest.raises(OutputError, match=r"x must be writable, got No space left on device\. Free space"),
        whole_file(tmp_path / "x"),
        open("/dev/full", "wb") as full,  # noqa: PTH123
    ):
        full.write(b"x" * 100_000)
    assert (tmp_path / "x").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_whose_first_file_is_gone_is_refused(tmp_path):
    (tmp_path / "mark").write_text("")
    must_remain(tmp_path / "mark")
    (tmp_path / "mark").unlink()
    with pytest.raises(OutputError, match="must stay while it is written to, got mark removed"):
        must_remain(tmp_path / "mark")


def test_folders_without_end_are_refused(tmp_path):
    (tmp_path / "/".join(120 * "d")).mkdir(parents=True)
    with pytest.raises(InputError, match="must lie at most 100 folders deep"):
        list(walk(tmp_path))
