"""Searches that stay near the structures: attacks on the whole image all the same, said on the page, and checked."""

from __future__ import annotations

import csv

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from imaseg import L2, PGD, InputError, audit, load_cases, load_model
from imaseg.auditing import Plan
from imaseg.auditing.plan import checked_plan
from imaseg.auditing.probes import AttackProbe, MarginProbe
from imaseg.auditing.probes.near_search import NearSearch
from imaseg.auditing.validity.case import checks_cost
from imaseg.data.reading import read_volume
from imaseg.objectives import CrossEntropy, Dice
from imaseg.report import write_report

L2_RMS = {"perturbation": "l2", "unit": "rms"}
SHARE = 0.9985
CONTENT = {
    "name": "near",
    "probes": [
        {"attack": "pgd", **L2_RMS, "eps": [0.1, 0.4], "steps": 4},
        {"attack": "pgd", **L2_RMS, "eps": [0.1, 0.4], "steps": 4, "search_near": SHARE, "name": "near"},
        {"kind": "margin", **L2_RMS, "eps": 1.0, "steps": 3, "rtol": 0.3, "write": "csv", "search_near": SHARE},
    ],
    "validity": {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.1},
    "showcase": {"eps": 0.4},
}


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    plan = Plan.model_validate(CONTENT)
    return audit(tiny_run, prepared_phantom, plan, tmp_path_factory.mktemp("search-near") / "a")


def _case(folder, name):
    volume = read_volume(load_cases(folder).select([name])[0])
    label = torch.from_numpy(volume.label)[None]
    far = distance_transform_edt(label[0].numpy() == 0, sampling=volume.spacing)
    return torch.from_numpy(volume.image)[None], label, torch.from_numpy(far)[None, None]


def _promised(model, image, label, objective):
    image = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(model(image), label).sum(), image)
    return gradient


def test_the_smallest_distance_that_holds_the_share_is_searched(done, tiny_run, prepared_phantom):
    model = load_model(tiny_run).eval()
    distances = set()
    for record in done.audit.cases:
        image, label, far = _case(prepared_phantom, record.case)
        gradients = [_promised(model, image, label, loss) for loss in (Dice(), CrossEntropy())]

        def held(mm, gradients=gradients, far=far):
            return min(float((g * (far <= mm)).norm() / g.norm()) for g in gradients)

        rows = [row for row in record.rows if row.probe == "near"]
        for row in rows:
            assert row.searched_near.share == pytest.approx(held(row.searched_near.mm), abs=1e-4)
            assert row.searched_near.share >= SHARE
            smaller = [mm for mm in (10, 20, 40, 80) if mm < row.searched_near.mm]
            assert all(held(mm) < SHARE for mm in smaller)
            assert row.free == pytest.approx(float((far <= row.searched_near.mm).float().mean()))
            assert row.eps_set == pytest.approx(row.eps)  # over all of the image
            distances.add(row.searched_near.mm)
        assert all(row.searched_near is None for row in record.rows if row.probe == "pgd-l2")
    assert distances


def test_it_finds_what_pgd_in_that_region_finds(done, tiny_run, prepared_phantom):
    model, record = load_model(tiny_run).eval(), done.audit.cases[0]
    image, label, far = _case(prepared_phantom, record.case)
    (row,) = [row for row in record.rows if row.probe == "near" and row.eps == 0.4]
    region = far <= row.searched_near.mm
    alone = PGD(L2(0.1, unit="rms", region=region), steps=4).ladder(model, image, label, [0.1, 0.4])[-1]
    assert row.dice == pytest.approx(float(alone.foreground_dice), abs=1e-4)


def test_both_are_the_same_threat(done):
    worst = [entry for entry in done.audit.summary.probes if entry.members]
    assert {tuple(entry.members) for entry in worst} == {("near", "pgd-l2")}


def test_results_say_where_was_searched(done):
    summary = done.audit.summary
    (near, *_) = [entry for entry in summary.probes if entry.probe == "near"]
    rows = [row for record in done.audit.cases for row in record.rows if row.probe == "near" and row.eps == near.eps]
    assert near.searched_near.cases == near.n
    assert near.searched_near.share == min(row.searched_near.share for row in rows)
    assert near.searched_near.mm == max(row.searched_near.mm for row in rows)
    assert summary.margins[0].searched_near.cases == summary.margins[0].n
    page = (done.folder / "report.html").read_text()
    assert page.count("2 cases searched within 20 mm of the structures, where at least") >= 3
    assert list(csv.DictReader((done.folder / "margins.csv").open()))


def test_the_whole_image_is_tried_on_checked_cases(done, tmp_path):
    title = "Attacks near the structures find what attacks on the whole image find"
    (check,) = [check for check in done.audit.summary.validity if "near the structures" in check.check]
    (pair,) = [record.checks.whole for record in done.audit.cases if record.checks is not None]
    (row,) = [row for row in done.audit.cases[0].rows if row.probe == "pgd-l2" and row.eps == 0.4]
    assert pair[1] == pytest.approx(row.dice, abs=0.05)  # the same attack, but for the ladder below it
    assert check.ok is (pair[0] - pair[1] < 0.01)
    assert (check.check == title) is check.ok
    assert write_report([done.folder], tmp_path / "page.html").read_text().count("near the structures") >= 1


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"attack": "pgd", "perturbation": "gamma"}, "search_near must go with l2 or linf"),
        ({"attack": "pgd", "within": "10 mm"}, "search_near must not go with within"),
        ({"attack": "gaussian-noise"}, "search_near must go with an attack that uses gradients"),
        ({"attack": "square"}, "search_near must go with an attack that uses gradients"),
        ({"attack": "pgd", "search_near": 1.5}, "a distance such as 20 mm, or a share"),
        ({"attack": "pgd", "search_near": "20"}, "a distance such as 20 mm, or a share"),
        ({"attack": "pgd", "search_near": "0 mm"}, "a distance such as 20 mm, or a share"),
    ],
)
def test_what_it_does_not_go_with_is_refused(probe, message):
    content = {"name": "x", "probes": [{"eps": [0.1], "search_near": 0.9, **probe}]}
    with pytest.raises(InputError, match=message):
        checked_plan(content, "plan.yaml")


def test_a_distance_that_is_given_is_taken_whatever_it_holds(tiny_run, prepared_phantom, tmp_path):
    probe = {"attack": "pgd", **L2_RMS, "eps": [0.1], "steps": 2, "search_near": "3mm"}
    plan = checked_plan({"name": "given", "probes": [probe], "verify": False}, "plan.yaml")
    assert plan.probes[0].search_near == "3 mm"
    done = audit(tiny_run, prepared_phantom, plan, tmp_path / "a")
    for record in done.audit.cases:
        (row,), (_, _, far) = record.rows, _case(prepared_phantom, record.case)
        assert row.searched_near.mm == 3.0
        assert 0 < row.searched_near.share < 1
        assert row.free == pytest.approx(float((far <= 3.0).float().mean()))


class _Nowhere:
    """A scene without a structure."""

    def __init__(self):
        self.reaches, self.scale = {}, None
        self.model = object()

    def near(self, mm):
        return None

    def room(self, within=None):
        return {"bounds": (0.0, 1.0)}


def test_a_case_without_a_structure_is_searched_as_a_whole(monkeypatch):
    monkeypatch.setattr(NearSearch, "build_set", lambda *_: None)
    for probe in (AttackProbe(attack="pgd", eps=[0.1], search_near=0.9), MarginProbe(eps=0.1, search_near=0.9)):
        assert probe.reach(_Nowhere()) is None
        assert probe.room(_Nowhere()) == {"bounds": (0.0, 1.0)}


def test_the_cost_counts_the_two_further_searches_and_what_is_looked_at_first():
    near, usual = (
        Plan.model_validate({**CONTENT, "probes": [probe]}) for probe in (CONTENT["probes"][1], CONTENT["probes"][0])
    )
    assert checks_cost(near)[0].gradients - checks_cost(usual)[0].gradients == 2 * 4
    assert near.probes[0].cost(1, 0).gradients - usual.probes[0].cost(1, 0).gradients == 2
    margins = (MarginProbe(eps=0.1), MarginProbe(eps=0.1, search_near="20 mm"))
    assert [probe.cost(1, 0).gradients - margins[0].cost(1, 0).gradients for probe in margins] == [0, 2]
