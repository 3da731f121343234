"""Instances of all cases together against counts by hand, and what an audit that counts them holds."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from imaseg import InputError, audit
from imaseg.auditing import Plan
from imaseg.auditing.metrics.instances import COUNTED, SIZES, Instances
from imaseg.auditing.metrics.lesions import instance_groups
from imaseg.auditing.validity.gate import parse_gates
from imaseg.results import load
from imaseg.results.base import MEAN, CaseScores
from imaseg.statistics import mean_interval
from tests.report.parser import Page

NAMES = [f"{name}{size}" for name in COUNTED for size in ("", *(f"_{size}" for size in SIZES))]
PLAN = {
    "name": "instances",
    "probes": [
        {"attack": "fgsm", "perturbation": "l2", "unit": "rms", "eps": [0.3]},
        {"kind": "corruption", "corruptions": ["gamma"], "severities": [1, 5]},
    ],
    "showcase": {"attack": "fgsm", "eps": 0.3},
}


def _case(name, labelled, missed, predicted, invented):
    """A case whose instances are all small."""
    counts = dict(zip(COUNTED, (labelled, missed, predicted, invented), strict=True))
    metrics = dict.fromkeys(NAMES, 0.0) | {
        f"{key}{end}": float(n) for key, n in counts.items() for end in ("", "_small")
    }
    return CaseScores(case=name, metrics={"1": metrics})


def _groups(cases, units=None):
    units = units or {case.case: case.case for case in cases}
    found = instance_groups([("clean", 0.0, cases)], Instances(classes=[1]), units)
    return {one.group: one for one in found}


def test_rates_are_of_the_instances_of_all_cases_together():
    found = _groups([_case("a", 10, 2, 9, 1), _case("b", 2, 2, 0, 0), _case("c", 0, 0, 3, 3)])
    one = found["all"]
    assert (one.labelled, one.missed, one.predicted, one.invented, one.n) == (12, 4, 12, 4, 3)
    assert one.recall == one.precision == one.f1 == pytest.approx(8 / 12)
    assert one.ci95 == {"recall": None, "precision": None, "f1": None}, "too few cases"
    assert found["small"].recall == one.recall
    assert (found["large"].labelled, found["large"].recall, found["large"].f1) == (0, None, None)


def test_f1_is_twice_the_pairs_over_all_and_0_without_a_pair():
    assert _groups([_case("a", 5, 2, 9, 6)])["all"].f1 == pytest.approx(2 * 3 / (5 + 9))
    assert _groups([_case("a", 5, 5, 9, 9)])["all"].f1 == 0
    assert _groups([_case("a", 5, 5, 0, 0)])["all"].f1 == 0, "an attack that takes every lesion away"
    assert _groups([_case("a", 0, 0, 4, 4)])["all"].f1 == 0
    assert _groups([_case("a", 0, 0, 0, 0)])["all"].f1 is None


def test_with_one_labelled_instance_per_case_the_interval_is_that_of_a_mean():
    found = [1, 1, 0, 1, 0, 1, 1, 1, 1]
    cases = [_case(str(i), 1, 1 - hit, 1, 1 - hit) for i, hit in enumerate(found)]
    one = _groups(cases)["all"]
    assert one.ci95["recall"] == pytest.approx(mean_interval(found, within=(0.0, 1.0)))
    assert one.ci95["f1"] == pytest.approx(one.ci95["recall"])


def test_intervals_are_over_patients_and_leave_out_those_without_an_instance():
    cases = [_case(str(i), 2, i % 2, 2, 0) for i in range(8)]
    bare = [_case(f"bare{i}", 0, 0, 0, 0) for i in range(8)]
    assert _groups(cases + bare)["all"].ci95 == _groups(cases)["all"].ci95
    pairs = {case.case: str(int(case.case) // 2) for case in cases}
    assert _groups(cases)["all"].ci95["recall"] is not None
    assert _groups(cases, pairs)["all"].ci95["recall"] is None, "4 patients"


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    plan = Plan.model_validate(PLAN | {"instances": [1]})
    return load(audit(tiny_run, prepared_phantom, plan, tmp_path_factory.mktemp("instances") / "a").folder)


def test_every_prediction_of_an_audit_is_counted_in_the_class_that_is_asked_for(done):
    for record in done.cases:
        for scores in (record.clean, *(row.scores for row in record.rows)):
            assert {*NAMES, "instance_pq"} <= scores["1"].keys()
            assert not [name for name in scores["2"] if name.startswith("instance")]
            assert scores[MEAN]["instances"] == scores["1"]["instances"]
    with (done.folder / "cases.csv").open() as file:
        lines = [row for row in csv.DictReader(file) if row["metric"] == "instances_missed" and row["class"] == "1"]
    assert {row["probe"] for row in lines} == {"clean", "fgsm-l2", "gamma"}


def test_the_summary_holds_every_probe_and_the_rule(done):
    found = {(one.probe, one.eps, one.group): one for one in done.summary.instances}
    probes = [("clean", 0.0), ("fgsm-l2", 0.3), ("gamma", 1.0), ("gamma", 5.0)]
    assert {key[:2] for key in found} == {*probes}
    assert len(found) == 4 * len(probes)
    clean = [record.clean["1"] for record in done.cases]
    one = found["clean", 0.0, "all"]
    assert (one.labelled, one.invented) == (
        sum(c["instances"] for c in clean),
        sum(c["instances_invented"] for c in clean),
    )
    assert one.labelled > 0
    assert "IoU 0.1 or more" in done.summary.instances_rule
    assert done.summary.mean["1"]["instance_pq"] == pytest.approx(np.mean([c["instance_pq"] for c in clean]))


def test_the_page_has_a_section_for_them_and_no_column_in_other_tables(done):
    page = Page((done.folder / "report.html").read_text())
    clean = next(one for one in done.summary.instances if (one.probe, one.group) == ("clean", "all"))
    assert (
        f"{clean.labelled - clean.missed} of {clean.labelled} found, {clean.invented} invented on unchanged images"
        in page.text
    )
    assert "#instances" in [attributes.get("href") for attributes in page.all("a")]
    assert done.summary.instances_rule in page.text
    assert "Instances missed small" not in page.text


def test_a_plan_that_does_not_ask_counts_none(real_audit):
    audited = load(real_audit)
    assert audited.summary.instances == []
    assert not any(row["metric"].startswith("instance") for row in audited.table())
    assert 'id="instances"' not in (real_audit / "report.html").read_text()


def test_a_class_that_the_model_lacks_is_refused_before_anything_runs(tiny_run, prepared_phantom, tmp_path):
    plan = Plan.model_validate(PLAN | {"instances": {"classes": [1, 7]}})
    with pytest.raises(InputError, match=r"instances\.classes must be among the structures of the model \(1 .*got 7\."):
        audit(tiny_run, prepared_phantom, plan, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def _is(row, corruption, severity):
    return (getattr(row, "corruption", ""), getattr(row, "severity", 0)) == (corruption, severity)


def test_a_gate_may_ask_for_them_if_the_plan_counts_them(done):
    (gate,) = parse_gates(["instance_f1@gamma-5=0"], Plan.model_validate(PLAN | {"instances": [1]}))
    passes, said = gate.judge(done.summary, allow_invalid=True)
    mean = np.mean([row.scores["1"]["instance_f1"] for case in done.cases for row in case.rows if _is(row, "gamma", 5)])
    assert passes
    assert f"got {mean:.4g} as the mean over cases (n = {len(done.cases)})" in said
    with pytest.raises(InputError, match="metric of --fail-below must be one of dice, .*got 'instance_f1'"):
        parse_gates(["instance_f1@gamma-5=0"], Plan.model_validate(PLAN))


def test_classes_of_the_command_line_keep_the_settings_of_the_plan():
    plan = Plan.model_validate(PLAN | {"instances": {"classes": [2], "iou": 0.5}}).counting([3, 1, 3])
    assert (plan.instances.classes, plan.instances.iou) == ([1, 3], 0.5)
    assert Plan.model_validate(PLAN).counting([1]).instances == Instances(classes=[1])
