"""A metric that somebody adds, as two tables hold it: rows, tables, summary, gate and page take it up."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from imaseg import InputError, audit
from imaseg.auditing import Plan
from imaseg.auditing.metrics import scores
from imaseg.auditing.validity.gate import parse_gates
from imaseg.report import metrics, write_report
from imaseg.results import load
from imaseg.results.attack import AttackRow
from imaseg.results.base import MEAN
from imaseg.statistics import paired
from tests.report.parser import Page


def _jaccard(pair, k):
    union = pair.painted[k] + pair.real[k] - pair.both[k]
    return float(pair.both[k] / union) if union else None


MEASURED = scores.Metric(_jaccard, higher_is_better=True)
SHOWN = metrics.Metric("jaccard", "Jaccard", "Jaccard", "the Jaccard index", 4, "Jaccard: overlap over union")
PLAN = {"name": "own", "probes": [{"attack": "fgsm", "perturbation": "l2", "unit": "rms", "eps": [0.3]}]}


@pytest.fixture(scope="module", autouse=True)
def _added():
    """The lines that a new metric takes, for this file only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scores.METRICS, "jaccard", MEASURED)
        patch.setattr(metrics, "METRICS", (*metrics.METRICS, SHOWN))
        yield


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("own-metric") / "a"
    return load(audit(tiny_run, prepared_phantom, Plan.model_validate(PLAN), out).folder)


def test_it_stands_in_every_row_and_follows_from_dice(done):
    for record in done.cases:
        (row,) = record.rows_of(AttackRow)
        for found in (record.clean, row.scores):
            for k in record.volumes:
                dice = found[k]["dice"]
                assert found[k]["jaccard"] == pytest.approx(dice / (2 - dice), abs=1e-6)
            assert found[MEAN]["jaccard"] == pytest.approx(np.mean([found[k]["jaccard"] for k in record.volumes]))


def test_its_means_and_undefined_values_are_in_the_summary_and_the_table(done):
    by_case = [record.rows_of(AttackRow)[0].scores[MEAN]["jaccard"] for record in done.cases]
    (entry,) = done.summary.probes
    assert entry.foreground_mean["jaccard"] == pytest.approx(np.mean(by_case))
    assert {"jaccard"} <= entry.ci95.keys() & entry.mean_ci95["1"].keys()
    with (done.folder / "cases.csv").open() as file:
        lines = [row for row in csv.DictReader(file) if row["metric"] == "jaccard" and row["class"] == MEAN]
    assert [float(row["value"]) for row in lines if row["probe"] == "fgsm-l2"] == by_case
    assert scores.mean_scores([{"jaccard": None}, {"jaccard": 0.5}]) == {"jaccard": 0.5, "jaccard_undefined": 1.0}
    summary = done.summary.model_dump()
    assert {row["difference"] for row in paired(summary, summary) if row["metric"] == "jaccard"} == {0.0}


def test_a_gate_may_ask_for_it_if_more_is_better(done, monkeypatch):
    value = done.summary.probes[0].foreground_mean["jaccard"]
    for least, passes in ((value - 0.001, True), (value + 0.001, False)):
        (gate,) = parse_gates([f"jaccard@fgsm-l2-0.3={least}"], Plan.model_validate(PLAN))
        assert gate.judge(done.summary)[0] == passes
    monkeypatch.setitem(scores.METRICS, "jaccard", scores.Metric(_jaccard))
    with pytest.raises(InputError, match="metric of --fail-below must be one of dice, .*got 'jaccard'"):
        parse_gates(["jaccard@clean=0.1"], Plan.model_validate(PLAN))


def test_the_page_heads_a_column_with_it_and_says_what_it_means(done, tmp_path):
    page = Page(write_report([done.folder], tmp_path / "page.html").read_text())
    assert "Jaccard: overlap over union." in page.text
    assert "and the Jaccard index, each averaged over the foreground" in page.text
    assert f"{done.summary.foreground_mean['jaccard']:.4f}" in page.text
    assert f"{done.summary.probes[0].foreground_mean['jaccard']:.4f}" in page.text


def test_the_page_knows_every_metric_that_audits_measure():
    assert {metric.name for metric in metrics.METRICS} == set(scores.METRICS)
