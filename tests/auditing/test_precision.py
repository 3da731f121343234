"""Audits whose searches take gradients in half precision: every number is the model's own; said and checked."""

from __future__ import annotations

import pytest
import torch

from imaseg import InputError, audit, load_model
from imaseg.auditing import Plan
from imaseg.auditing.engine import run
from imaseg.auditing.probes import scene
from imaseg.auditing.probes.scene import Scene, dice_by_counting
from imaseg.auditing.validity.checks import validity
from imaseg.data import load_cases
from imaseg.data.reading import read_volume
from imaseg.models.precision import Chosen
from imaseg.results.base import MEAN

CONTENT = {
    "name": "half",
    "probes": [
        {"attack": "pgd", "unit": "rms", "eps": [0.1, 0.4], "steps": 4},
        {"kind": "margin", "unit": "rms", "eps": 1.0, "steps": 3, "rtol": 0.3},
    ],
    "validity": {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.1},
    "showcase": {"eps": 0.4},
}
TITLE = "Attacks with gradients in half precision find what those in full precision find"


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    root = tmp_path_factory.mktemp("precision")
    plan = Plan.model_validate(CONTENT)
    return {
        name: audit(tiny_run, prepared_phantom, plan, root / name, precision=name, announce=[].append)
        for name in ("float32", "bfloat16")
    }


def test_searches_differ_and_what_they_find_is_near(done):
    (full, half) = (result.audit for result in done.values())
    sizes = [
        [row.scores[MEAN]["dice"] for one in found.cases for row in one.rows if row.probe == "pgd-l2"]
        for found in (full, half)
    ]
    assert sizes[0] == pytest.approx(sizes[1], abs=0.03)
    objectives = [
        [row.objective for one in found.cases for row in one.rows if row.probe == "pgd-l2"] for found in (full, half)
    ]
    assert objectives[0] != objectives[1]
    for one, other in zip(full.cases, half.cases, strict=True):
        assert one.clean == other.clean


def test_the_dice_of_the_attacked_image_is_that_of_the_model_in_full(done, tiny_run, prepared_phantom):
    found, model = done["bfloat16"].audit, load_model(tiny_run).eval()
    record = found.cases[0]
    assert record.checks.replay < 1e-6
    assert record.checks.in_full is not None
    volume = read_volume(load_cases(prepared_phantom).select([record.case])[0])
    with torch.no_grad():
        decided = model(torch.from_numpy(volume.image)[None]).argmax(1)[0].numpy()
    assert dice_by_counting(decided, volume.label, model.card.groups) == pytest.approx(record.clean[MEAN]["dice"])


def test_it_is_said_and_checked(done):
    full, half = (result.audit for result in done.values())
    titles = [[check.check for check in found.summary.validity] for found in (full, half)]
    assert TITLE in titles[1]
    assert TITLE not in titles[0]
    assert half.run.precision == "bfloat16"
    page = (done["bfloat16"].folder / "report.html").read_text()
    assert "bfloat16. Searches take their gradients in bfloat16, as asked for" in page
    assert full.run.precision == "float32"


@pytest.mark.parametrize(("pair", "ok"), [([0.5, 0.495], True), ([0.5, 0.48], False), ([0.5, 0.7], True)])
def test_the_check_turns_red_where_full_precision_finds_more(done, pair, ok):
    found = done["bfloat16"].audit
    records = [
        one.model_copy(update={"checks": one.checks and one.checks.model_copy(update={"in_full": pair})})
        for one in found.cases
    ]
    checks = validity(records, Plan.model_validate(CONTENT), found.summary.data, found.run.agreement)
    (check,) = [one for one in checks if one.check == TITLE]
    assert check.ok is ok
    assert ok or "--precision float32" in check.detail


def test_an_audit_is_resumed_in_the_precision_it_was_begun_in(done, tiny_run, prepared_phantom):
    plan, folder = Plan.model_validate(CONTENT), done["bfloat16"].folder
    again = audit(tiny_run, prepared_phantom, plan, folder, resume=True)
    assert again.audit.run.precision == "bfloat16"
    with pytest.raises(InputError, match=r"must be resumed in bfloat16, as it was begun, got --precision float32"):
        audit(tiny_run, prepared_phantom, plan, folder, resume=True, precision="float32")


def test_a_process_that_chose_otherwise_meanwhile_takes_what_was_begun(
    tiny_run, prepared_phantom, tmp_path, monkeypatch
):
    """Two processes find no folder, choose, and one of them writes it first."""
    plan, folder = Plan.model_validate(CONTENT | {"validity": None}), tmp_path / "a"
    first = audit(tiny_run, prepared_phantom, plan, folder, precision="bfloat16").audit
    (folder / "cases" / f"{first.cases[0].case}.json").unlink()
    led = []
    searched = Scene.searched
    monkeypatch.setattr(Scene, "searched", lambda scene, model: led.append(scene.precision) or searched(scene, model))
    monkeypatch.setattr(run, "_precision", lambda *_, **__: Chosen("float32", "otherwise"))
    again = audit(tiny_run, prepared_phantom, plan, folder, resume=True).audit
    assert {*led} == {"bfloat16"}
    assert (again.run.precision, again.run.precision_because) == (first.run.precision, first.run.precision_because)
    with pytest.raises(InputError, match=r"must be resumed in bfloat16, as it was begun, got --precision float32"):
        audit(tiny_run, prepared_phantom, plan, folder, resume=True, precision="float32")


def test_nothing_is_chosen_where_nothing_is_led(tiny_run, prepared_phantom, tmp_path):
    said = []
    plan = Plan.model_validate(
        {"name": "blind", "probes": [{"attack": "square", "unit": "rms", "eps": 0.1, "steps": 2}]}
    )
    found = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", precision="bfloat16", announce=said.append)
    assert found.audit.run.precision == "float32"
    assert "bfloat16" not in " ".join(said)


def test_another_models_searches_stay_in_full_precision(tiny_run, prepared_phantom, tmp_path, monkeypatch):
    plan = Plan.model_validate({"name": "t", "probes": [{"attack": "pgd", "unit": "rms", "eps": 0.1, "steps": 2}]})
    made = []
    monkeypatch.setattr(scene, "HalfPrecisionGradients", lambda model, _: made.append(model) or model)
    found = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", precision="bfloat16", attacker=str(tiny_run))
    assert {row.made_on for case in found.audit.cases for row in case.rows} == {"", found.audit.summary.model.name}
    assert len({id(model) for model in made}) == 1


def test_a_precision_that_there_is_not_is_named_also_where_an_audit_goes_on(done, tiny_run, prepared_phantom):
    plan = Plan.model_validate(CONTENT)
    for folder in (done["bfloat16"].folder, done["bfloat16"].folder.parent / "none"):
        with pytest.raises(InputError, match=r"precision must be one of auto, float32, bfloat16, float16, got 'half'"):
            audit(tiny_run, prepared_phantom, plan, folder, resume=True, precision="half")
