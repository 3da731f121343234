"""Plans cut to fit a time, with a clock that moves by calls of the model alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaseg import InputError, audit, load_model
from imaseg.auditing import Plan
from imaseg.auditing.engine import cost
from imaseg.auditing.engine.shortened import _fitting, _spare_gates, _worth, seconds_in, shorten
from imaseg.auditing.validity.checks import _Evidence
from imaseg.auditing.validity.gate import Gate
from imaseg.models import device
from imaseg.results.run import Shortened
from tests.auditing.engine.test_cost import Clock

RMS = {"perturbation": "l2", "unit": "rms"}
PLAN = Plan.model_validate(
    {
        "name": "long",
        "probes": [
            {"kind": "voxel-margin", **RMS, "eps": 0.5, "cases": 1, "rungs": 2, "focus": 0},
            {"attack": "strong", **RMS, "eps": [0.1], "steps": 6},
            {"attack": "gaussian-noise", **RMS, "eps": [0.1]},
            {"attack": "pgd", **RMS, "eps": [0.1], "steps": 4},
            {"attack": "pgd", "perturbation": "gamma", "eps": [0.2], "steps": 4},
            {"kind": "margin", **RMS, "eps": 1.0, "steps": 3, "rtol": 0.3},
            {"kind": "corruption", "corruptions": ["gamma"]},
        ],
        "validity": {"cases": 2, "large_eps": 5.0, "scaled_eps": 0.1},
        "showcase": {"eps": 0.1},
        "verify": False,
    }
)
ORDER = ["pgd-l2", "strong-l2", "gaussian-noise-l2", "margin-l2", "corruptions", "pgd-gamma", "voxel-margin-l2"]


def _names(plan):
    return [probe.name for probe in plan.probes]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("1.5 h", 5400), ("1h30min", 5400), ("90 min", 5400), ("45s", 45), ("1h 5m", 3900)],
)
def test_times_as_people_write_them(text, seconds):
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "0h", "-1h", "2 hours", "h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match="budget must be a time above 0"):
        seconds_in(text)


def test_the_order_of_worth():
    ordered = sorted(PLAN.probes, key=lambda probe: _worth(PLAN, probe))
    assert [probe.name for probe in ordered] == ORDER


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.lists(st.integers(1, 90), min_size=7, max_size=7), st.integers(1, 60))
def test_what_is_kept_fits_and_nothing_of_more_worth_would(seconds, each, check):
    times = dict(zip(_names(PLAN), each, strict=True))

    def takes(probes, checked):
        return sum(times[probe.name] for probe in probes) + check * checked

    if times["pgd-l2"] > seconds:
        with pytest.raises(InputError, match=r"--budget must be at least about .* for pgd-l2 alone"):
            _fitting(PLAN, seconds, takes)
        return
    kept, checked = _fitting(PLAN, seconds, takes)
    spent = takes(kept, checked)
    assert spent <= seconds
    assert checked == 2 or spent + check > seconds
    names = [probe.name for probe in kept]
    assert names == [name for name in _names(PLAN) if name in names]
    for probe in PLAN.probes:
        before = [one for one in kept if _worth(PLAN, one) < _worth(PLAN, probe)]
        if probe not in kept:  # what comes before it in worth leaves no room for it
            assert takes([*before, probe], min(checked, 1)) > seconds


@pytest.fixture
def run(tiny_run, prepared_phantom, tmp_path, monkeypatch):
    clock = Clock(monkeypatch, cost, device)

    def of(budget, *, told=None, slower=1.0, **how):
        model = clock.by_calls(load_model(tiny_run))
        if slower != 1.0:
            model.register_forward_hook(lambda *_: setattr(clock, "now", clock.now + slower))
        say = None if told is None else told.append
        cases = ["phantom_005"]
        return audit(model, prepared_phantom, PLAN, tmp_path / "a", select=cases, budget=budget, announce=say, **how)

    return of


def test_an_audit_is_cut_says_so_and_resumes_with_the_same_plan(run):
    told = []
    done = run(60.0, told=told).audit
    names = [probe["name"] for probe in done.run.plan["probes"]]
    assert "pgd-l2" in names
    assert "voxel-margin-l2" not in names
    cut = done.run.plan["shortened"]
    assert set(names) | set(cut["left_out"]) == set(_names(PLAN))
    sentence = next(text for text in told if text.startswith("To fit a budget of 60 s this audit left out "))
    assert all(name in sentence for name in cut["left_out"])
    page = (done.folder / "report.html").read_text()
    assert "To fit a budget of 60 s this audit left out" in page
    for record in (done.folder / "cases").glob("*.json"):
        record.unlink()
    again = run(60.0, slower=5.0, resume=True).audit  # measured anew much less would fit
    assert again.run.plan == done.run.plan
    assert json.loads((done.folder / "run.json").read_text())["plan"] == done.run.plan
    with pytest.raises(InputError, match="with the same plan"):
        run(None, resume=True)


def test_where_all_fits_the_plan_is_the_whole_one(run):
    done = run(1e6).audit
    assert done.run.plan["shortened"] is None
    assert run(None, resume=True).audit.run.plan == done.run.plan


def test_a_budget_that_holds_nothing_is_refused_and_nothing_is_written(run, tmp_path):
    with pytest.raises(InputError, match=r"--budget must be at least about .* s for pgd-l2 alone, got 1 s\."):
        run(1.0)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("gate", ["margin@l2=0.1", "dice@gamma-0.2=0.1", "dice@gamma-3=0.1"])
def test_a_gate_keeps_what_it_is_judged_by(gate, run):
    with pytest.raises(InputError, match=r"--budget must leave what --fail-below is judged by"):
        run(18.0, gates=[Gate.parse(gate, PLAN)])
    run(18.0, gates=[Gate.parse("dice@clean=0.1", PLAN)])


GATED = Plan.model_validate(
    {
        "name": "gated",
        "probes": [
            {"attack": "pgd", **RMS, "eps": [0.1]},
            {"attack": "pgd", **RMS, "eps": [0.5], "name": "larger"},
            {"attack": "gaussian-noise", **RMS, "eps": [0.1]},
            {"kind": "voxel-margin", **RMS, "eps": 0.1},
            {"kind": "universal", **RMS, "eps": [0.1]},
            {"kind": "margin", **RMS, "eps": 1.0},
            {"kind": "corruption", "corruptions": "all", "severities": [3]},
        ],
    }
)


@pytest.mark.parametrize(
    ("gate", "judged_by"),
    [
        ("dice@l2-0.1=0.1", ["pgd-l2"]),
        ("dice@l2-0.5=0.1", ["larger"]),
        ("dice@gaussian-noise-l2-0.1=0.1", ["gaussian-noise-l2"]),
        ("dice@universal-l2-0.1=0.1", ["universal-l2"]),
        ("dice@gaussian-noise-3=0.1", ["corruptions"]),
        ("margin@l2=0.1", ["margin-l2"]),
        ("dice@clean=0.1", []),
    ],
)
def test_a_gate_asks_for_the_probes_that_it_is_judged_by_and_for_no_other(gate, judged_by):
    gates, refused = [Gate.parse(gate, GATED)], []
    for probe in GATED.probes:
        try:
            _spare_gates(gates, [probe], GATED.seed)
        except InputError:
            refused.append(probe.name)
    assert refused == judged_by


def test_a_plan_that_this_version_cannot_read_is_left_to_the_claim_of_the_folder(monkeypatch):
    monkeypatch.setattr("imaseg.auditing.engine.shortened.measure", lambda *_: None)
    with pytest.raises(InputError, match="a case that can be timed"):
        shorten(None, PLAN, 60.0, before={"name": "old", "probes": [{"kind": "gone"}]})


@pytest.mark.parametrize(("checked", "said"), [(0, "--budget left no time"), (None, "the plan asks for no extra")])
def test_checks_that_fell_to_the_budget_are_not_laid_to_the_plan(checked, said):
    cut = Shortened(seconds=60.0, left_out=["x"], checked=checked, whole_sha256="")
    plan = PLAN.model_copy(update={"validity": None, "shortened": cut})
    assert _Evidence([], plan, None, None, random=False).why.startswith(said)


@pytest.mark.parametrize(
    ("checked", "said"), [(None, "left out a, b."), (1, "on 1 case only."), (0, "left out a, b and did not check the")]
)
def test_what_was_left_out_in_words(checked, said):
    cut = Shortened(seconds=7200, left_out=["a", "b"], checked=checked, whole_sha256="")
    assert said in cut.words
