"""An audit of cases whose patients are known: they are what its intervals are over, and it says so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from imaseg import audit, load_cases
from imaseg.auditing import Plan
from imaseg.results import load
from tests.report.parser import Page

PLAN = {"name": "one", "probes": [{"attack": "fgsm", "perturbation": "l2", "unit": "rms", "eps": [0.3]}]}


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    cohort = load_cases(prepared_phantom)
    named = ["", *(f"p{place // 2}" for place in range(1, len(cohort)))]
    cases = [replace(case, patient=name) for case, name in zip(cohort, named, strict=True)]
    out = tmp_path_factory.mktemp("patients") / "a"
    return audit(tiny_run, replace(cohort, cases=tuple(cases)), Plan.model_validate(PLAN), out, select="all")


def test_records_and_summary_name_them(done):
    records = load(done.folder).cases
    assert [record.patient for record in records] == ["", "p0", "p1", "p1", "p2", "p2"]
    named = {record.case: record.patient for record in records[1:]}
    assert done.summary["intervals"] == {"over": "patients", "n": 4, "patients": named, "unnamed": 1}


def test_the_page_says_what_its_intervals_are_over(done):
    text = Page((done.folder / "report.html").read_text(encoding="utf-8")).text
    assert "95 % intervals over 4 patients" in text
    assert "1 case without a patient, each of which counts as one of its own" in text
    assert "Nothing says which cases" not in text


def test_audits_from_before_are_read(done):
    path = done.folder / "summary.json"
    content = json.loads(path.read_text())
    del content["intervals"]
    path.write_text(json.dumps(content))
    first = done.folder / "cases" / f"{content['metric_per_case'][0]['case']}.json"
    record = json.loads(first.read_text())
    del record["patient"]
    first.write_text(json.dumps(record))
    found = load(done.folder)
    assert (found.summary.intervals, found.cases[0].patient) == (None, "")
