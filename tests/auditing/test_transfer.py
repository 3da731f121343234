"""Adversarial images of one model, judged on another: exactly those images, exactly that judge."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from imaseg import L2, PGD, InputError, audit, load_cases, load_model
from imaseg.auditing import Plan
from imaseg.auditing.shortcuts import attack_plan
from imaseg.auditing.table import ladder_table, strongest
from imaseg.auditing.validity.gate import Gate
from imaseg.data.files import write_json
from imaseg.data.reading import read_volume
from imaseg.report import read_audits, write_report
from imaseg.report.sections import transfer
from imaseg.runs import TrainConfig, train
from imaseg.scores import foreground_dice

PLAN = Plan.model_validate(
    {
        "name": "transfer",
        "probes": [
            {"attack": "gaussian-noise", "unit": "rms", "eps": [0.3]},
            {"attack": "pgd", "unit": "rms", "eps": [0.1, 0.3], "steps": 4},
            {"attack": "fgsm", "unit": "rms", "eps": [0.3]},
        ],
        "showcase": {"eps": 0.3},
    }
)


@pytest.fixture(scope="module")
def other_run(prepared_phantom, tmp_path_factory):
    """Another network, trained on the same cases."""
    config = TrainConfig(
        network={"name": "UNet", "channels": [4, 6], "strides": [2], "num_res_units": 0, "norm": "batch"},
        patch=[24, 24, 16],
        epochs=12,
        learning_rate=0.02,
        seed=4,
    )
    return train(config, prepared_phantom, tmp_path_factory.mktemp("other") / "other")


@pytest.fixture(scope="module")
def done(tiny_run, other_run, prepared_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("transfer") / "a"
    return audit(tiny_run, prepared_phantom, PLAN, out, attacker=other_run)


def _tensors(folder, name):
    volume = read_volume(load_cases(folder).select([name])[0])
    return torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None]


def test_images_are_made_on_the_other_model_and_judged_on_the_audited_one(done, tiny_run, other_run, prepared_phantom):
    judge, attacked = load_model(tiny_run).eval(), load_model(other_run).eval()
    for record in done.audit.cases:
        image, label = _tensors(prepared_phantom, record.case)
        *_, made = PGD(L2(0.3, unit="rms"), steps=4, seed=0).ladder(attacked, image, label, [0.1, 0.3])
        with torch.no_grad():
            dice = float(foreground_dice(judge(made.image), label))
        (row,) = [row for row in record.rows if (row.probe, row.eps) == ("pgd-l2-transferred", 0.3)]
        assert row.dice == pytest.approx(dice, abs=1e-4)
        assert row.made_on == "other"
        (own,) = [row for row in record.rows if (row.probe, row.eps) == ("pgd-l2", 0.3)]
        assert own.made_on == ""


def test_every_attack_of_the_plan_is_transferred_and_none_is_pooled_with_the_own_ones(done):
    summary = done.audit.summary
    own, others = ["gaussian-noise-l2", "pgd-l2", "fgsm-l2"], ["pgd-l2-transferred", "fgsm-l2-transferred"]
    dice = {(entry.probe, entry.eps): entry.dice for entry in summary.probes}
    assert {name for name, _ in dice} == {*own, *others, "worst-case-l2", "worst-case-l2-transferred"}
    (worst,) = [entry for entry in summary.probes if entry.probe == "worst-case-l2"]
    assert worst.members == ["fgsm-l2", "pgd-l2"]
    assert strongest(summary)["l2", "rms", 0.3] <= dice["worst-case-l2", 0.3]
    assert strongest(summary)["l2-transferred", "rms", 0.3] == dice["worst-case-l2-transferred", 0.3]
    assert "l2 0.3 rms, attacked on other" in ladder_table([summary])
    plan = PLAN.transferred()
    assert Gate.parse("dice@l2-0.3=0.1", plan).value(summary) == dice["worst-case-l2", 0.3]
    assert Gate.parse("dice@l2-transferred-0.3=0.1", plan).value(summary) == dice["worst-case-l2-transferred", 0.3]
    assert done.audit.run.attacker.name == "other"
    page = (done.folder / "report.html").read_text()
    assert "PGD, L2 ball, attacked on other" in page


def test_the_page_of_several_audits_shows_who_was_attacked_and_who_judged(
    done, tiny_run, other_run, prepared_phantom, tmp_path
):
    back = audit(other_run, prepared_phantom, PLAN, tmp_path / "b", attacker=tiny_run)
    audits = read_audits([done.folder, back.folder])
    section = transfer.build(audits)
    (matrix,) = [one for one in section.blocks if "under PGD, L2 ball, at 0.3" in one.caption]
    assert matrix.head == ["Attacked on", "Judged on tiny", "Judged on other"]

    def dice(found, probe):
        return next(e.dice for e in found.audit.summary.probes if (e.probe, e.eps) == (probe, 0.3))

    cells = [[cell.text for cell in row] for row in matrix.rows]
    assert {row[0]: row[1:] for row in cells} == {
        "tiny": [f"{dice(done, 'pgd-l2'):.3f}", f"{dice(back, 'pgd-l2-transferred'):.3f}"],
        "other": [f"{dice(done, 'pgd-l2-transferred'):.3f}", f"{dice(back, 'pgd-l2'):.3f}"],
    }
    page = write_report([done.folder, back.folder], tmp_path / "page.html").read_text()
    assert "Attacked on one model, judged on another" in page
    (alone,) = read_audits([back.folder])
    assert transfer.build([alone]) is not None
    summary = alone.summary.model_copy(update={"probes": [one for one in alone.summary.probes if not one.made_on]})

    assert transfer.build([replace(alone, summary=summary)]) is None


def test_the_files_hold_images_of_the_other_model(tiny_run, other_run, prepared_phantom, tmp_path):
    plan = attack_plan("pgd", "l2", 0.3, unit="rms", steps=3, transferred=True)
    found = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", attacker=other_run)
    attacked, judge = load_model(other_run).eval(), load_model(tiny_run).eval()
    for record in found.audit.cases:
        image, label = _tensors(prepared_phantom, record.case)
        (made,) = PGD(L2(0.3, unit="rms"), steps=3, seed=0).ladder(attacked, image, label, [0.3])
        written = np.asarray(nib.load(found.folder / "images" / f"{record.case}.nii.gz").dataobj)
        assert np.allclose(written, made.image[0, 0].numpy(), atol=1e-4)
        (row,) = record.rows
        with torch.no_grad():
            dice = float(foreground_dice(judge(made.image), label))
        assert row.written.dice["foreground_mean"]["attacked"] == pytest.approx(dice, abs=1e-4)


def test_models_of_another_input_or_task_are_refused(tiny_run, other_run, prepared_phantom, tmp_path):
    other = shutil.copytree(other_run, tmp_path / "other")
    card = json.loads((other / "model.json").read_text())
    write_json(other / "model.json", card | {"labels": {"0": "background", "1": "Front", "2": "Side"}})
    with pytest.raises(InputError, match=r"label names of .* must agree with the model's \(1 Front, 2 Side\)"):
        audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", attacker=other)
    model = load_model(other_run)
    model.independent = True
    with pytest.raises(InputError, match=r"must segment the same structures in the same way .*Front, Back.*got Front"):
        audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", attacker=model)
    with pytest.raises(InputError, match="transferred attacks must be made on another model, got none. Name it with"):
        audit(tiny_run, prepared_phantom, PLAN.transferred(), tmp_path / "b")


def test_intensities_must_be_the_same(tiny_run, other_run, raw_phantom, tmp_path):
    """Raw cases, which each model prepares by its own recipe."""
    other = shutil.copytree(other_run, tmp_path / "other")
    card = json.loads((other / "model.json").read_text())
    changed = card["recipe"] | {"normalise": "percentile"}
    assert changed != card["recipe"]
    write_json(other / "model.json", card | {"recipe": changed})
    text = r"model of --from must take case .* with the intensities of the audited model, its own, got others"
    with pytest.raises(InputError, match=text):
        audit(tiny_run, raw_phantom, PLAN, tmp_path / "a", attacker=other, select="all")


def test_resuming_needs_the_same_attacked_model(done, tiny_run, prepared_phantom):
    with pytest.raises(InputError, match="with attacks made on the same model"):
        audit(tiny_run, prepared_phantom, PLAN, done.folder, attacker=tiny_run, resume=True)
