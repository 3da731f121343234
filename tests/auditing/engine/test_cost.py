"""What is announced of an audit's length, against a clock that moves by calls of the model alone."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from imaseg import audit, load_model
from imaseg.attacks.search import Search
from imaseg.auditing import Plan
from imaseg.auditing.engine import cost
from imaseg.auditing.engine.cost import Seconds, costs, measure
from imaseg.auditing.engine.pace import Pace
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.probes import Cost, corruption
from imaseg.corruptions import Corruption
from imaseg.models import device

HALF = {"name": "dice-below", "threshold": 0.5, "relative": True}
SEARCHES = [
    {"attack": "fgsm", "unit": "rms", "eps": [0.05, 0.1]},
    {"attack": "pgd", "unit": "rms", "eps": [0.05, 0.1], "steps": 4},
    {"attack": "pgd", "perturbation": "gamma", "eps": [0.2], "steps": 4},
    {"kind": "margin", "unit": "rms", "eps": 1.0, "steps": 3, "rtol": 0.2, "criterion": HALF, "confirm": True},
    {"kind": "margin", "perturbation": "gamma", "eps": 1.0, "steps": 3, "rtol": 0.2, "criterion": HALF},
]
VALIDITY = {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.1}
CERTIFICATE = {"kind": "certificate", "sigma": 0.1, "unit": "std", "samples": 90}
UNIVERSAL = {"kind": "universal", "unit": "rms", "eps": [0.1], "steps": 5}


class Clock:
    """Says only what it was told."""

    def __init__(self, monkeypatch, *modules):
        self.now = 0.0
        for module in modules:
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def by_calls(self, model):
        """One second a pass, two more where a gradient follows."""

        def tick(_, images, __):
            self.now += len(images[0]) * (3.0 if torch.is_grad_enabled() and images[0].requires_grad else 1.0)

        model.register_forward_hook(tick)
        return model


@pytest.mark.parametrize(
    ("probes", "validity"),
    [(SEARCHES, None), (SEARCHES[:2], VALIDITY), ([CERTIFICATE, SEARCHES[0]], VALIDITY | {"attack": "fgsm"}),
     ([UNIVERSAL], None)],
    ids=["searches", "checks", "certificate", "universal"],
)  # fmt: skip
def test_an_audit_takes_what_was_announced(probes, validity, tiny_run, prepared_phantom, tmp_path, monkeypatch):
    clock, told = Clock(monkeypatch, cost, device), []
    plan = Plan.model_validate({"name": "clocked", "probes": probes, "validity": validity, "verify": False})
    audit(
        clock.by_calls(load_model(tiny_run)),
        prepared_phantom,
        plan,
        tmp_path / "a",
        select=["phantom_005"],
        announce=lambda text: told.append((clock.now, text)),
    )
    (begin, text), *_ = [one for one in told if "plan clocked" in one[1]]
    number, unit = re.search(r"about ([\d.]+) (s|min|h)\b", text).groups()
    announced = float(number) * {"s": 1, "min": 60, "h": 3600}[unit]
    assert 1 / 1.5 < (clock.now - begin) / announced < 1.5


def test_a_step_counts_what_a_search_does_besides_the_pass(tiny_run, prepared_phantom, monkeypatch):
    clock, record = Clock(monkeypatch, cost, device), Search._record

    def slow(self, *args, **kwargs):
        clock.now += 10
        record(self, *args, **kwargs)

    monkeypatch.setattr(Search, "_record", slow)
    plan = Plan.model_validate({"name": "p", "probes": [SEARCHES[1], SEARCHES[2]]})
    subject = Subject.of(tiny_run, prepared_phantom, select=None, device=None)
    clock.by_calls(subject.model)
    seconds = measure(subject, plan)
    assert seconds.forward == 1
    # Four steps and the last point are recorded; the clean image is not.
    assert seconds.gradient == pytest.approx({"l2": 3 + 10 * 5 / 4, "gamma": 3 + 10 * 5 / 4})


def test_corrupting_and_preparing_count(tiny_run, raw_phantom, monkeypatch):
    clock = Clock(monkeypatch, cost, device, corruption)
    subject = Subject.of(tiny_run, raw_phantom, select="all", device=None)
    ladder, fit = Corruption.ladder, type(subject.source).fit

    def slow(self, *args, **kwargs):
        clock.now += 4
        return ladder(self, *args, **kwargs)

    def prepare(self, volume):
        clock.now += 3
        return fit(self, volume)

    monkeypatch.setattr(Corruption, "ladder", slow)
    monkeypatch.setattr(type(subject.source), "fit", prepare)
    names = {"corruptions": ["gamma", "blur"], "severities": [1, 2]}
    plan = Plan.model_validate({"name": "p", "corruptions": names})
    (part,) = costs(plan, classes=2)
    seconds = measure(subject, plan)
    # One ladder makes both severities of a corruption, each of which is prepared.
    assert seconds.of(part) == pytest.approx(4 * (4 / 2 + 3 + seconds.forward + seconds.scoring))


def test_libraries_that_are_loaded_once_and_what_does_not_occur_do_not_count(tiny_run, raw_phantom, monkeypatch):
    clock = Clock(monkeypatch, cost, device, corruption)
    subject, loaded = Subject.of(tiny_run, raw_phantom, select="all", device=None), []
    ladder = Corruption.ladder

    def slow(self, *args, **kwargs):
        clock.now += 0.1 if self.name in loaded else 1.5
        loaded.append(self.name)
        return ladder(self, *args, **kwargs)

    monkeypatch.setattr(Corruption, "ladder", slow)
    names = {"corruptions": ["gamma", "ct-streaks"], "severities": [1]}  # the phantom is no CT
    plan = Plan.model_validate({"name": "p", "corruptions": names})
    assert measure(subject, plan).changing == pytest.approx({"corruptions": 0.1 / 2})


PARTS = [
    Cost("pgd", 10),
    Cost("margin", 20),
    Cost("checks", 100, first=1),
    Cost("margin: confirmed", 5, first=1, probe="margin"),
]
SECONDS = Seconds(1.0, {"l2": 2.0}, 0.0, {}, 0.0, "a")


def test_the_time_left_is_corrected_by_what_parts_took():
    pace = Pace(PARTS, SECONDS)
    assert pace.left([0, 1, 2]) == 3 * (20 + 40) + 200 + 10
    pace.took("pgd", 0, 60.0)  # three times what was expected: so may be the rest
    assert pace.left([0, 1, 2], begun=0, done=["pgd"]) == 3 * (2 * 20 + 3 * 40 + 200 + 10)
    pace.took("margin", 0, 50.0)  # as expected, confirmation included
    assert pace.left([0, 1, 2], begun=0, done=["pgd", "margin"]) == pytest.approx(
        3 * 40 + 2 * 40 + 200 * (60 + 50) / (20 + 50)
    )
    pace.took("checks", 0, 100.0)
    assert pace.left([1, 2]) == 2 * (3 * 20 + 40)


def test_without_a_measurement_the_pace_of_calls_is_found_on_the_way():
    pace = Pace(PARTS)
    assert pace.left([0, 1]) is None
    pace.took("pgd", 0, 5.0)
    assert pace.left([0, 1], begun=0, done=["pgd"]) == 0.5 * (10 + 2 * 20 + 100 + 5)


def test_a_search_anywhere_is_timed_where_there_is_one():
    near, far = {"attack": "pgd", "eps": [0.1], "search_near": 0.9}, {"attack": "fgsm", "eps": [0.1]}
    within = {"attack": "pgd", "eps": [0.1], "perturbation": "linf", "within": "5 mm"}
    plan = Plan.model_validate({"name": "x", "probes": [near, within, far, {**far, "attack": "pgd"}]})
    assert {kind: probe.name for kind, probe in cost._timed(plan).items()} == {
        "l2": "fgsm-l2",
        "linf": "pgd-linf-within-5mm",
    }
