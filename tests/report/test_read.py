from __future__ import annotations

import json

import pytest

from imaseg.errors import InputError
from imaseg.report.read import read_audits


def remove(folder, *keys):
    path = folder / "summary.json"
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    path.write_text(json.dumps(content))


def test_reads_names_slices_and_numbers(write_audit):
    (audit,) = read_audits([write_audit("ima", cases=3)])
    assert audit.name == "ima"
    assert sorted(audit.slices) == ["case_000", "case_001", "case_002"]
    assert len(audit.summary.probes) == 25
    assert audit.run.hardware["threads"] == 2


def test_no_folder_at_all():
    with pytest.raises(InputError, match="at least one audit folder, got none"):
        read_audits([])


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere must be an audit folder, got no such folder"):
        read_audits([tmp_path / "nowhere"])


@pytest.mark.parametrize("file", ["summary.json", "run.json"])
def test_missing_file_is_named_with_a_mend(write_audit, file):
    folder = write_audit(cases=2, slices=False)
    (folder / file).unlink()
    with pytest.raises(InputError, match=rf"standard/{file} must exist, got no such file.*--resume"):
        read_audits([folder])


@pytest.mark.parametrize("text", ['{"model": ', "\x00\x01", ""])
def test_unreadable_json(write_audit, text):
    folder = write_audit(cases=2, slices=False)
    (folder / "summary.json").write_text(text)
    with pytest.raises(InputError, match=r"standard/summary.json must be readable JSON"):
        read_audits([folder])


@pytest.mark.parametrize("keys", [("model", "name"), ("probes",), ("foreground_mean",), ("probes", 3, "eps")])
def test_missing_field_is_named(write_audit, keys):
    folder = write_audit(cases=2, slices=False)
    remove(folder, *keys)
    where = ".".join(str(key) for key in keys)
    with pytest.raises(InputError, match=rf"complete summary.json, got nothing at {where} .*imaseg audit"):
        read_audits([folder])


def test_wrong_type_shows_the_value(write_audit):
    def edit(summary, run):
        summary["probes"][0]["eps"] = "large"

    with pytest.raises(InputError, match=r"got 'large' at probes.0.eps"):
        read_audits([write_audit(cases=2, slices=False, edit=edit)])


def test_a_list_instead_of_an_object(write_audit):
    folder = write_audit(cases=2, slices=False)
    (folder / "summary.json").write_text("[]")
    with pytest.raises(InputError, match="at the file"):
        read_audits([folder])


def test_nan_and_infinity_become_undefined(write_audit):
    def edit(summary, run):
        summary["foreground_mean"]["hd95"] = float("nan")
        summary["clean_dice_ci95"] = [float("nan"), float("inf")]

    (audit,) = read_audits([write_audit(cases=2, slices=False, edit=edit)])
    assert audit.summary.foreground_mean["hd95"] is None
    assert audit.summary.clean_dice_ci95 is None


def test_optional_parts_may_be_absent(write_audit):
    def edit(summary, run):
        for key in ("margins", "validity", "showcase", "clean_dice_ci95"):
            del summary[key]
        run.clear()

    (audit,) = read_audits([write_audit(cases=2, slices=False, edit=edit)])
    assert audit.summary.margins == []
    assert audit.summary.showcase is None
    assert audit.run.imaseg is None


def test_shared_model_names_give_way_to_folder_names(write_audit):
    folders = [write_audit("ima", folder=place, cases=2, slices=False) for place in ("first", "second")]
    assert [audit.name for audit in read_audits(folders)] == ["first", "second"]


def test_shared_folder_names_take_their_parent(write_audit):
    folders = [write_audit("ima", folder=place, cases=2, slices=False) for place in ("a/audit", "b/audit")]
    assert [audit.name for audit in read_audits(folders)] == ["a/audit", "b/audit"]


def test_the_same_folder_twice_is_told_apart(write_audit):
    folder = write_audit("ima", cases=2, slices=False)
    assert [audit.name for audit in read_audits([folder, folder])] == ["ima (1)", "ima (2)"]
