"""Margins (`imaseg margin`) against a ruler: a model whose margins are closed forms; files read by other means."""

from __future__ import annotations

import csv
import shutil

import nibabel as nib
import numpy as np
import pytest

from imaseg import InputError, audit, load_cases, load_model
from imaseg.auditing.inputs.source import CaseSource
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import MarginProbe
from imaseg.auditing.shortcuts import margin_plan
from imaseg.data.reading import read_volume
from tests.auditing.ruler import distances, ruled, ruler

CASES = ("phantom_005", "phantom_006")
FLIPPED = {"name": "voxels-flipped", "fraction": 0.1}


def settings(*sets, **more):
    return margin_plan(sets, **{"criterion": {"name": "dice-below", "threshold": 0.5}} | more)


FAST = {"steps": 8, "rtol": 0.1}
LINF = settings("linf:2", criterion=FLIPPED, **FAST)


def measured(model, data, out, how=LINF, **more):
    return audit(model, data, how, out, **{"select": list(CASES)} | more)


def entry_of(done, structure):
    (entry,) = [one for one in done.audit.summary.margins if one.structure == structure]
    return entry


def rows(out):
    with (out / "margins.csv").open() as file:
        return {(row["case"], row["perturbation"], row["structure"]): row for row in csv.DictReader(file)}


def smallest(gaps, fraction):
    """The change of every voxel that turns more than that fraction of the right ones."""
    gaps = np.sort(gaps[np.isfinite(gaps)])
    return gaps[int(fraction * len(gaps))]


@pytest.fixture(scope="module")
def data(prepared_phantom, tmp_path_factory):
    return ruled(prepared_phantom, tmp_path_factory.mktemp("ruled") / "data")


@pytest.fixture(scope="module")
def done(tiny_run, data, tmp_path_factory):
    return measured(ruler(tiny_run), data, tmp_path_factory.mktemp("margin") / "a")


def test_margins_are_what_a_ruler_says(done, data):
    table = rows(done.folder)
    assert len(table) == 2 * 3
    for case in load_cases(data).select(CASES):
        volume = read_volume(case)
        gaps = distances(volume.image[0], volume.label)
        for name, where in (("whole", volume.label >= 0), ("Front", volume.label == 1), ("Back", volume.label == 2)):
            row = table[case.id, "linf", name]
            margin, expected = float(row["margin"]), smallest(gaps[where], 0.1)
            assert expected <= margin * (1 + 1e-5)
            assert margin <= expected * 1.11
            assert (row["unit"], row["censored"], row["confirmed"]) == ("max", "False", "True")
            voxel = np.prod(volume.spacing) / 1000
            assert float(row["volume_ml"]) == pytest.approx((volume.label[where] > 0).sum() * voxel)
            assert int(row["backward_calls"]) > 0
        right = {k: (np.isfinite(gaps) & (volume.label == k)).sum() for k in (1, 2)}
        found = {1: (volume.image[0] > 1.6).sum(), 2: ((volume.image[0] > 0.7) & (volume.image[0] < 1.6)).sum()}
        dice = {k: 2 * right[k] / ((volume.label == k).sum() + found[k]) for k in (1, 2)}
        assert float(table[case.id, "linf", "Front"]["clean_dice"]) == pytest.approx(dice[1], abs=1e-6)
        assert float(table[case.id, "linf", "whole"]["clean_dice"]) == pytest.approx((dice[1] + dice[2]) / 2, abs=1e-6)


def test_a_structure_that_survives_is_censored_at_the_ceiling(tiny_run, data, tmp_path):
    def margins(name, ceiling):
        measured(ruler(tiny_run), data, tmp_path / name, settings(f"linf:{ceiling}", **FAST), select=CASES[0])
        return rows(tmp_path / name)

    known = {name: float(row["margin"]) for (_, _, name), row in margins("a", 2).items()}
    weak, strong = sorted(("Front", "Back"), key=known.get)
    ceiling = (known[weak] + known[strong]) / 2
    row = margins("b", ceiling)[CASES[0], "linf", strong]
    assert (float(row["margin"]), row["censored"], row["confirmed"]) == (pytest.approx(ceiling), "True", "True")
    assert rows(tmp_path / "b")[CASES[0], "linf", weak]["censored"] == "False"


def test_margins_in_native_units_and_shares_of_the_range(done, tiny_run, raw_phantom, tmp_path):
    model = ruler(tiny_run)
    how = {
        "native": settings("linf:3:native", criterion=FLIPPED),
        "range": settings("linf:0.4:range", criterion=FLIPPED),
    }
    source = CaseSource(load_cases(raw_phantom), model.card)
    for unit, setting in how.items():
        out = measured(model, raw_phantom, tmp_path / unit, setting, select=CASES[0]).folder
        for case in load_cases(raw_phantom).select(CASES[:1]):
            loaded = source.load(case)
            one = {"native": loaded.native_scale, "range": 1 / float(np.ptp(loaded.volume.image))}[unit]
            row = rows(out)[case.id, "linf", "Back"]
            gaps = distances(loaded.volume.image[0], loaded.volume.label)[loaded.volume.label == 2]
            ceiling = setting.probes[0].eps
            expected = min(smallest(gaps, 0.1) * one, ceiling)
            assert row["unit"] == unit
            assert float(row["margin"]) == pytest.approx(expected, rel=0.11)
            assert (row["censored"] == "True") == (expected == ceiling)


def test_the_summary_is_what_the_table_says(done):
    table = [row for row in rows(done.folder).values() if row["structure"] == "Back"]
    entry = entry_of(done, "Back")
    margins = [float(row["margin"]) for row in table]
    assert entry.median == pytest.approx(np.median(margins))
    assert (entry.n, entry.censored, entry.clean_failures, entry.absent) == (2, 0, 0, 0)
    assert (entry.held, entry.tested) == (2, 2)
    assert (entry.perturbation, entry.unit, entry.eps) == ("linf", "max", 2.0)
    assert entry.probe == "margin-linf-class-2"
    assert [case.case for case in entry.per_case] == list(CASES)


def test_the_record_of_the_run_says_what_a_replay_needs(done):
    run, summary = done.audit.run, done.audit.summary
    (asked,) = run.plan["probes"]
    fixed = {"kind": "margin", "perturbation": "linf", "eps": 2.0, "per_class": True, "confirm": True}
    assert fixed.items() <= asked.items()
    assert asked["criterion"] == FLIPPED
    assert {entry.structure for entry in summary.margins} == {None, "Front", "Back"}
    assert {entry.criterion for entry in summary.margins} >= {"more than 10% of the right voxels flipped"}
    assert summary.data.selection == "chosen"
    assert len(run.model.sha256) == len(run.plan_sha256) == 64
    searches = list(rows(done.folder).values())
    assert run.forward_calls == len(CASES) + sum(int(row["forward_calls"]) for row in searches)
    assert run.backward_calls == sum(int(row["backward_calls"]) for row in searches)
    names = {path.name for path in done.folder.iterdir()}
    assert names == {"margins.csv", "cases.csv", "summary.json", "run.json", "report.html", "cases"}


def test_a_structure_that_the_label_lacks_has_no_margin(tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "copy")
    path = data / "labelsTr" / f"{CASES[0]}.nii.gz"
    image = nib.load(path)
    label = np.asarray(image.dataobj).copy()
    label[label == 1] = 0
    nib.save(nib.Nifti1Image(label, image.affine, image.header), path)
    done = measured(ruler(tiny_run), data, tmp_path / "a")
    row = rows(done.folder)[CASES[0], "linf", "Front"]
    assert (row["margin"], row["confirmed"], row["volume_ml"]) == ("", "", "0.0")
    entry = entry_of(done, "Front")
    assert (entry.n, entry.absent) == (1, 1)
    assert entry.median == float(rows(done.folder)[CASES[1], "linf", "Front"]["margin"])


def test_a_case_that_fails_unattacked_has_margin_zero(tiny_run, prepared_phantom, tmp_path):
    how = settings("linf", "gamma", criterion={"name": "dice-below", "threshold": 0.99})
    done = measured(ruler(tiny_run), prepared_phantom, tmp_path / "a", how)
    for row in rows(done.folder).values():
        assert (row["margin"], row["censored"], row["confirmed"]) == ("0.0", "False", "")
    assert all((one.clean_failures, one.tested) == (2, 0) for one in done.audit.summary.margins)


def test_a_structure_breaks_no_later_than_a_whole_that_takes_it_along(tiny_run, prepared_phantom, tmp_path):
    half = {"name": "dice-below", "threshold": 0.5, "relative": True}
    how = settings("l2:1", "deformation", "bias-field", criterion=half, steps=3, rtol=0.3)
    measured(load_model(tiny_run), prepared_phantom, tmp_path / "a", how, select=CASES[0])
    table = rows(tmp_path / "a")
    for kind in ("l2", "deformation", "bias-field"):
        whole, *parts = (float(table[CASES[0], kind, name]["margin"]) for name in ("whole", "Front", "Back"))
        # Half of the mean is lost only if one of the two has lost half.
        assert min(parts) <= whole * (1 + 1e-6)


def test_a_killed_run_goes_on_and_does_nothing_twice(done, tiny_run, data, tmp_path):
    model, out = ruler(tiny_run), shutil.copytree(done.folder, tmp_path / "a")
    (out / "cases" / f"{CASES[1]}.json").unlink()
    (out / "margins.csv").unlink()
    kept = out / "cases" / f"{CASES[0]}.json"
    time = kept.stat().st_mtime_ns
    with pytest.raises(InputError, match="got one with an audit in it. Add --resume"):
        measured(model, data, out)
    said = []
    measured(model, data, out, resume=True, announce=said.append)
    assert said[0].endswith("as before.")  # the number of threads
    assert "2 cases (chosen), plan margin, 1 of them left: at most about" in said[-1]
    assert kept.stat().st_mtime_ns == time
    assert (out / "margins.csv").read_text() == (done.folder / "margins.csv").read_text()


def test_structures_never_outlast_a_whole_whose_change_breaks_them(done):
    for case in CASES:
        whole, *parts = (float(rows(done.folder)[case, "linf", name]["margin"]) for name in ("whole", "Front", "Back"))
        assert min(parts) <= whole * (1 + 1e-6)


def test_only_checked_cases_are_challenged_unless_all_are_to_be(tiny_run, data, tmp_path):
    margin = {"perturbation": "linf", "eps": 2.0, "criterion": FLIPPED, **FAST}
    spec = {
        "name": "m",
        "probes": [{"attack": "fgsm", "perturbation": "linf", "eps": [0.1]}],
        "margins": [margin, margin | {"name": "all", "confirm": True}],
        "validity": {"cases": 1, "attack": "fgsm", "large_eps": 5.0, "scaled_eps": 0.1},
    }
    done = measured(ruler(tiny_run), data, tmp_path / "a", Plan.model_validate(spec))
    assert done.failed == []
    few, every = done.audit.summary.margins
    assert [case.confirmed for case in few.per_case] == [True, None]
    assert [case.confirmed for case in every.per_case] == [True, True]
    assert ((few.held, few.tested), (every.held, every.tested)) == ((1, 1), (2, 2))


def test_a_deformation_of_any_length_has_a_grid(tiny_run, prepared_phantom, tmp_path):
    """Control points move apart with the budget, so that the image cannot fold."""
    how = settings("deformation:40", criterion={"name": "dice-below", "threshold": 0.99})
    done = measured(load_model(tiny_run), prepared_phantom, tmp_path / "a", how, select=CASES[0])
    assert {entry.unit for entry in done.audit.summary.margins} == {"mm"}


def test_a_table_that_no_case_came_to_is_left_out(tiny_run, data, tmp_path):
    """The only case with the margin cannot be read; the other one is audited all the same."""
    broken = shutil.copytree(data, tmp_path / "data")
    path = broken / "imagesTr" / f"{CASES[0]}.nii.gz"
    path.write_bytes(path.read_bytes()[:400])
    probe = MarginProbe(perturbation="linf", eps=2.0, criterion=FLIPPED, cases=1, write="csv")
    done = measured(ruler(tiny_run), broken, tmp_path / "a", Plan(name="m", probes=[probe]))
    assert [one.case for one in done.failed] == [CASES[0]]
    assert not (done.folder / "margins.csv").exists()
    (entry,) = done.audit.summary.margins
    assert (entry.n, entry.median, entry.median_ci95) == (0, None, None)


def test_the_table_tells_two_probes_of_one_set_apart(tiny_run, data, tmp_path):
    probe = {"kind": "margin", "perturbation": "linf", "eps": 2.0, "steps": 2, "rtol": 0.5, "write": "csv"}
    criteria = [{"name": "dice-below", "threshold": threshold} for threshold in (0.3, 0.9)]
    plan = Plan.model_validate({"name": "two", "probes": [{**probe, "criterion": one} for one in criteria]})
    done = measured(ruler(tiny_run), data, tmp_path / "a", plan, select=CASES[0])
    with (done.folder / "margins.csv").open() as file:
        margins = {row["probe"]: float(row["margin"]) for row in csv.DictReader(file)}
    assert margins == {entry.probe: entry.per_case[0].margin for entry in done.audit.summary.margins}
    assert margins["margin-linf-dice-below-0.9"] < margins["margin-linf-dice-below-0.3"]
