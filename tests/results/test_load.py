"""Audit folders read back as objects, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from imaseg import InputError, audit
from imaseg.auditing import Plan
from imaseg.results import Audit, CaseRecord, Run, Summary, load
from imaseg.results.attack import AttackEntry, AttackRow
from imaseg.results.certificate import CertificateEntry
from imaseg.results.corruption import CorruptionEntry
from imaseg.results.load import read_case
from imaseg.results.margin import MarginEntry
from imaseg.results.voxel_margin import VoxelMarginEntry


@pytest.fixture(scope="module")
def folder(real_audit):
    return real_audit


@pytest.fixture(scope="module")
def read(folder):
    return load(folder)


def test_a_folder_gives_objects(folder, read):
    assert isinstance(read, Audit)
    assert (type(read.summary), type(read.run), read.folder) == (Summary, Run, folder)
    assert [record.case for record in read.cases] == [one.case for one in read.summary.metric_per_case]
    assert all(isinstance(record, CaseRecord) for record in read.cases)
    kinds = {AttackEntry: "probes", MarginEntry: "margins", VoxelMarginEntry: "voxel_margins"}
    kinds |= {CertificateEntry: "certified", CorruptionEntry: "corruptions"}
    for kind, place in kinds.items():
        entries = getattr(read.summary, place)
        assert entries
        assert all(type(entry) is kind for entry in entries)
    rows = read.cases[0].rows_of(AttackRow, "pgd-l2")
    assert [row.eps for row in rows] == [0.1, 0.5]
    entry = next(entry for entry in read.summary.probes if (entry.probe, entry.eps) == ("pgd-l2", 0.5))
    dice = [case.dice for case in entry.metric_per_case]
    assert entry.dice == pytest.approx(sum(dice) / len(dice))
    assert entry.dice_ci95 == entry.ci95["dice"]


def test_the_table_is_that_of_the_file(folder, read):
    with (folder / "cases.csv").open() as file:
        written = list(csv.DictReader(file))
    table = read.table()
    assert len(table) == len(written) > 100
    for ours, theirs in zip(table, written, strict=True):
        assert {key: "" if value is None else str(value) for key, value in ours.items()} == theirs
    assert {row["probe"] for row in table} >= {"clean", "pgd-l2", "margin-l2", "certified-l2", "gamma"}


def test_the_table_keeps_the_order_in_which_cases_were_chosen(tiny_run, prepared_phantom, tmp_path):
    plan = Plan.model_validate({"name": "p", "probes": [{"attack": "fgsm", "eps": [0.1]}]})
    done = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", select=["phantom_006", "phantom_005"])
    (tmp_path / "a" / "cases" / "phantom_999.json").write_text("of no case that the summary counts")
    with (done.folder / "cases.csv").open() as file:
        order = [row["case"] for row in csv.DictReader(file)]
    assert list(dict.fromkeys(order)) == ["phantom_006", "phantom_005"]
    assert [row["case"] for row in load(done.folder).table()] == order


def test_what_is_read_is_what_was_written(folder, read):
    assert json.loads((folder / "summary.json").read_text()) == read.summary.model_dump(mode="json")
    assert json.loads((folder / "run.json").read_text()) == read.run.model_dump(mode="json")
    for record in read.cases:
        path = folder / "cases" / f"{record.case}.json"
        assert json.loads(path.read_text()) == record.model_dump(mode="json")


def test_records_do_not_change(read):
    with pytest.raises(ValueError, match="frozen"):
        read.summary.valid = False


def _paths(content, path=()):
    """Every key of nested mappings, by one path each; of lists of alike things the first."""
    for key, value in content.items():
        yield (*path, key)
        inside = value[0] if isinstance(value, list) and value else value
        if isinstance(inside, dict):
            yield from _paths(inside, (*path, key, *([0] if isinstance(value, list) else [])))


def _renamed(content, path, name):
    for step in path[:-1]:
        content = content[step]
    content[name] = content.pop(path[-1])


FREE = {
    "labels", "mean", "mean_ci95", "foreground_mean", "ci95", "metrics", "sizes", "written", "parameters",
    "parameter_range", "per_corruption", "per_corruption_ci95", "left_out", "against_attack",
}  # fmt: skip
"""Mappings whose keys are names of metrics, classes, units, corruptions or places, which may be any."""


def test_every_key_of_the_summary_is_refused_when_renamed(folder):
    text = (folder / "summary.json").read_text()
    fixed = [path for path in _paths(json.loads(text)) if not FREE & {*path[:-1]}]
    assert len(fixed) > 150
    for path in fixed:
        content = json.loads(text)
        _renamed(content, path, "renamed")
        with pytest.raises(ValueError, match="renamed"):
            Summary.model_validate(content)


@pytest.mark.parametrize(
    "path",
    [
        ("clean_dice_ci95",),
        ("ci95",),
        ("foreground_mean",),
        ("probes", 0, "ci95"),
        ("probes", 0, "mean_ci95"),
        ("probes", 0, "metric_per_case", 0, "metrics"),
        ("probes", 0, "eps_native"),
        ("margins", 0, "median_ci95"),
        ("margins", 0, "q75_at_least"),
        ("margins", 0, "per_case", 0, "censored"),
        ("voxel_margins", 0, "per_case", 0, "maps", 0, "median"),
        ("certified", 0, "dice_at_radius"),
        ("certified", 0, "per_case", 0, "radii_rms"),
        ("corruptions", 0, "change", "median"),
        ("degradation", "relative", "ci95"),
        ("by_size", 0, "clean_ci95"),
        ("by_size", 0, "probes", 0, "ci95"),
        ("validity", 0, "ok"),
        ("showcase", "unit"),
        ("cost", "seconds_per_case"),
        ("data", "training_known"),
        ("model", "sha256"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_file_with_another_key_is_refused_in_one_sentence(path, folder, tmp_path):
    out = tmp_path / "a"
    out.mkdir()
    shutil.copy(folder / "run.json", out)
    content = json.loads((folder / "summary.json").read_text())
    _renamed(content, path, f"{path[-1]}_95")
    (out / "summary.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="summary.json must be a complete summary.json, .*--resume") as caught:
        load(out)
    assert len(str(caught.value).splitlines()) == 1
    assert f"{path[-1]}" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [(("format",), 1), (("probes", 0, "n"), "2"), (("valid",), 1), (("cost", "peak_memory_mb"), None),
     (("clean_dice",), float("inf")), (("cost", "seconds_per_case"), float("nan"))],
)  # fmt: skip
def test_values_of_another_type_are_refused(path, value, folder):
    content = json.loads((folder / "summary.json").read_text())
    inside = content
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    with pytest.raises(ValueError, match=r"\.".join(map(str, path))):
        Summary.model_validate(content)


OLD = r"must be of results format 2, got one of another version \(imaseg 0.1\). Run the audit again into a new folder"


@pytest.mark.parametrize("content", [{"imaseg": "0.1"}, {"imaseg": "0.1", "format": 1}, {"imaseg": "0.1", "format": 3}])
def test_a_folder_of_another_version_says_what_to_do(content, folder, tmp_path):
    out = tmp_path / "a"
    out.mkdir()
    shutil.copy(folder / "run.json", out)
    (out / "summary.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=OLD) as caught:
        load(out)
    assert len(str(caught.value).splitlines()) == 1


def test_an_old_case_is_no_finished_one(folder, tiny_run, prepared_phantom, tmp_path):
    """The record of a case that another version wrote: resuming is refused, not guessed."""
    out = shutil.copytree(folder, tmp_path / "a")
    path = out / "cases" / "phantom_001.json"
    path.write_text(json.dumps({"case": "phantom_001", "probes": []}))
    plan = Plan.model_validate(load(folder).run.plan)
    with pytest.raises(InputError, match="phantom_001.json must be of results format 2, got one of another version"):
        audit(tiny_run, prepared_phantom, plan, out, select="all", resume=True)


def test_what_is_no_audit_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="must be an audit folder, got no such folder"):
        load(tmp_path / "none")
    with pytest.raises(InputError, match="summary.json must exist, got no such file. Finish the run with --resume"):
        load(tmp_path)
    shutil.copy(folder / "summary.json", tmp_path)
    with pytest.raises(InputError, match="run.json must exist"):
        load(tmp_path)
    for text in ("{", "[]", '{"format": 2, ', "[" * 100_000, f'{{"format": {"1" * 5000}}}'):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(InputError, match="summary.json must be (readable JSON|of results format 2)"):
            load(tmp_path)


def test_a_kind_that_nobody_here_knows_is_refused(folder, tmp_path):
    out = shutil.copytree(folder, tmp_path / "a")
    path = out / "cases" / "phantom_001.json"
    content = json.loads(path.read_text())
    content["rows"][0]["kind"] = "foreign"
    path.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match="kind must be one of attack, .*got 'foreign'. Install the plug-in that adds it"
    ):
        _ = load(out).cases


@pytest.mark.parametrize("kind", [["attack"], {"attack": 1}, None, 3])
def test_a_kind_that_is_no_name_is_refused(kind, folder, tmp_path):
    out = shutil.copytree(folder, tmp_path / "a")
    path = out / "cases" / "phantom_001.json"
    content = json.loads(path.read_text())
    content["rows"][0]["kind"] = kind
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="kind must be one of attack, .*got"):
        _ = load(out).cases


def test_the_record_of_another_case_or_without_scores_is_refused(folder, tmp_path):
    out = shutil.copytree(folder, tmp_path / "a")
    one, other = (out / "cases" / f"{case.case}.json" for case in load(folder).summary.metric_per_case[:2])
    content = json.loads(one.read_text())
    for key in ("clean", "volumes"):
        one.write_text(json.dumps(content | {key: {}}))
        with pytest.raises(InputError, match=f"{one.name} must be a complete .*clean must have scores of"):
            _ = load(out).cases
    shutil.copy(other, one)
    with pytest.raises(InputError, match=f"{one.name} must be of case {one.stem}, got {other.stem}. Delete it"):
        _ = load(out).cases


def test_nobody_is_told_to_delete_what_resuming_needs(folder, tmp_path):
    out = shutil.copytree(folder, tmp_path / "a")
    for damage in ("{", json.dumps({"format": 2})):
        (out / "run.json").write_text(damage)
        with pytest.raises(InputError, match="run.json must be .* Run the audit again into a new folder.$"):
            load(out)
    (out / "run.json").unlink()
    with pytest.raises(InputError, match="run.json must exist, .* Run the audit again into a new folder, or give"):
        load(out)


@pytest.mark.parametrize("name", ["../../x", "/x", "a/x", ".x", "", "a\0b"])
def test_names_of_cases_lead_nowhere_else(folder, tmp_path, name):
    """`x.json` holds a sound record of a case of that name, wherever the name leads."""
    out = tmp_path / "deep" / "a"
    shutil.copytree(folder, out)
    case = min((out / "cases").glob("*.json"))
    (tmp_path / "x.json").write_text(json.dumps(json.loads(case.read_text()) | {"case": name}))
    with pytest.raises(InputError, match=r"case ids of .* must name files in its folder cases, got"):
        read_case(out, name)
    summary = json.loads((out / "summary.json").read_text())
    summary["metric_per_case"][0]["case"] = name
    (out / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=r"summary\.json, metric_per_case\.0\.case must be valid, got") as caught:
        load(out)
    assert "must name a file" in str(caught.value)


@pytest.mark.parametrize("view", ["../../x.npz", "/x.npz", "cases/../../x.npz"])
def test_maps_of_a_page_come_from_the_folder(folder, tmp_path, view):
    shutil.copytree(folder, tmp_path / "a")
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    place = next(entry for entry in summary["voxel_margins"] if entry["per_case"][0]["maps"])
    place["per_case"][0]["maps"][0]["view"] = view
    (tmp_path / "a" / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=r"view must be valid, got .* it must be a path below the audit folder"):
        load(tmp_path / "a")
