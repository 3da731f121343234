"""A perturbation set that somebody else defines, in one file: in list, plan, units, results, page, contract tests."""

from __future__ import annotations

import json
import re

import pytest
import torch

from imaseg import audit
from imaseg.auditing import load_plan
from imaseg.auditing.shortcuts import margin_plan
from imaseg.cli.listing import perturbations
from imaseg.perturbations import Perturbation
from imaseg.results import load
from imaseg.results.attack import AttackRow
from tests.report.parser import Page
from tests.test_plugins import install, python

BRIGHTNESS = '''"""All voxels brighter or darker by one amount."""

from imaseg.perturbations import Linf
from imaseg.perturbations.base import expand


class Brightness(Linf):
    """Adds one number, of at most `eps`, to all voxels."""

    title = "brightness"
    meaning = "All voxels become brighter or darker by one and the same amount, at most the budget."
    usual_ladder = (0.2, 0.6, 2.0)
    usual_ceiling = 4.0

    def init(self, image, generator):
        return self.project(image, super().init(image, generator))

    def step(self, params, gradient, length):
        up = self.masked(gradient).flatten(1).sum(1).sign()
        return params + self.masked(expand(length * up, params).expand_as(params))

    def project(self, image, params):
        free = self.masked(params.new_ones(params.shape)).flatten(1)
        amount = self.masked(params).flatten(1).sum(1) / free.sum(1).clamp(min=1)
        amount = amount.clamp(-self.radius(image), self.radius(image))
        if (room := self._range_left(image)) is not None:
            low, high = (side.flatten(1) for side in room)
            amount = amount.clamp(low.amax(1), high.amin(1))
        return self.masked(expand(amount, params).expand_as(params))
'''
PLAN = """name: own
imports: [brightness.py]
probes:
  - {attack: gaussian-noise, perturbation: brightness, unit: std, eps: [0.5]}
  - {attack: fgsm, perturbation: brightness, unit: std, eps: [0.1, 0.5]}
margins:
  - {perturbation: brightness, unit: range, eps: 0.4, steps: 2, rtol: 0.3}
showcase: {attack: fgsm, eps: 0.5}
"""


@pytest.fixture(scope="module", autouse=True)
def _forgotten_afterwards():
    """Other tests list the sets that imaseg has itself."""
    yield
    Perturbation.registry.pop("brightness", None)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own-set")
    (folder / "brightness.py").write_text(BRIGHTNESS)
    (folder / "plan.yaml").write_text(PLAN)
    return load_plan(folder / "plan.yaml", trust=True)


@pytest.fixture(scope="module")
def done(plan, tiny_run, prepared_phantom, tmp_path_factory):
    return load(audit(tiny_run, prepared_phantom, plan, tmp_path_factory.mktemp("own-set") / "a").folder)


def test_it_is_listed(plan):
    (entry,) = [entry for entry in perturbations() if entry["name"] == "brightness"]
    assert (entry["title"], entry["usual_ladder"], entry["unit"]) == ("brightness", (0.2, 0.6, 2.0), ["max"])
    (probe,) = margin_plan(["brightness"], criterion={"name": "dice-below", "threshold": 0.5}).probes
    assert (probe.perturbation, probe.eps) == ("brightness", 4.0)


def test_its_budgets_stand_in_the_units_of_each_case(done):
    for record in done.cases:
        rows = record.rows_of(AttackRow, "fgsm-brightness")
        assert [row.eps_set for row in rows] == pytest.approx([0.1 * record.scale.std, 0.5 * record.scale.std])
        for row in rows:
            assert row.sizes["linf"] == pytest.approx(row.eps_set, rel=1e-4)
            assert row.sizes["rms"] == pytest.approx(row.eps_set, rel=1e-4), "every voxel changes by the same amount"
            assert row.sizes["linf_std"] == pytest.approx(row.eps, rel=1e-4)


def test_its_numbers_are_in_the_summary_and_its_change_within_the_budget(done):
    entries = {(entry.probe, entry.unit, entry.eps) for entry in done.summary.probes}
    assert entries >= {("fgsm-brightness", "std", 0.1), ("fgsm-brightness", "std", 0.5)}
    (margin,) = done.summary.margins
    assert (margin.perturbation, margin.unit, margin.n) == ("brightness", "range", 2)
    assert margin.median_share_of_range == pytest.approx(margin.median), "the unit is the share itself"
    (check,) = [check for check in done.summary.validity if check.check == "No change exceeds its budget"]
    assert check.ok
    assert json.loads((done.folder / "run.json").read_text())["plan"]["imports"] == ["brightness.py"]


def test_the_page_names_and_explains_it(done):
    page = Page((done.folder / "report.html").read_text())
    assert "FGSM in the brightness (" in page.text
    assert "in the brightness at eps 0.1, 0.5 standard deviations of the image" in page.text
    assert "All voxels become brighter or darker by one and the same amount, at most the budget." in page.text


@pytest.mark.slow
def test_the_contract_tests_take_it_up(tmp_path):
    install(tmp_path, "brightness", BRIGHTNESS, "imaseg.perturbations", brightness="Brightness")
    tests = ["tests/attacks/test_contract.py", "tests/perturbations/test_sets.py", "tests/test_knowledge.py"]
    code, stdout, _ = python(tmp_path, "-m", "pytest", "-q", *tests, "-k", "brightness and not strong")
    assert code == 0, stdout
    assert int(re.search(r"(\d+) passed", stdout)[1]) >= 100


def test_it_projects_on_to_the_one_amount(plan):
    torch.manual_seed(0)
    image, params = torch.rand(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    kind = Perturbation.build({"name": "brightness", "eps": 0.05, "bounds": (-0.01, 1.5)})
    found = kind.project(image, params)[:, 0, 0, 0]
    # The nearest constant image is that of the mean, cut off at the budget and where the darkest voxel meets the bound.
    mean = params.flatten(1).mean(1)
    assert found.tolist() == pytest.approx(
        [min(max(float(m), -0.05, -0.01 - float(x.min())), 0.05) for m, x in zip(mean, image, strict=True)]
    )
