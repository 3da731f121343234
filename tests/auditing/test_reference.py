"""Audits against the model's own prediction: equal to audits of labels that were written from that prediction."""

from __future__ import annotations

import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from imaseg import InputError, audit, load_cases, load_model
from imaseg.auditing import Plan
from imaseg.auditing.validity.gate import parse_gates
from imaseg.cli.audit import _tables
from imaseg.data.reading import read_volume
from imaseg.report import read_audits, write_report
from imaseg.report.evidence import evidence
from imaseg.report.sections import build_sections
from imaseg.results.base import MEAN
from imaseg.results.corruption import CorruptionRow
from imaseg.results.voxel_margin import VoxelMarginRow
from tests.report.vary import blocks_of, texts

PLAN = Plan.model_validate(
    {
        "name": "test",
        "probes": [
            {"attack": "pgd", "unit": "rms", "eps": [0.05, 0.4], "steps": 3},
            {"attack": "pgd", "perturbation": "deformation", "eps": [2.0], "steps": 2},
            {"kind": "margin", "perturbation": "l2", "unit": "rms", "eps": 1.0, "steps": 3, "rtol": 0.3},
            {"kind": "corruption", "corruptions": ["rician-noise", "motion"], "severities": [1, 4]},
        ],
        "showcase": {"attack": "pgd", "eps": 0.4},
    }
)
OWN = PLAN.against("prediction")


@pytest.fixture(scope="module")
def predicted(prepared_phantom, tiny_run, tmp_path_factory):
    """The cohort with labels that hold what the model says, and that prediction by case."""
    folder, network = tmp_path_factory.mktemp("predicted") / "cohort", load_model(tiny_run)
    shutil.copytree(prepared_phantom, folder)
    for case in load_cases(prepared_phantom):
        volume = read_volume(case)
        with torch.no_grad():
            decided = network(torch.from_numpy(volume.image)[None]).argmax(1)[0].numpy()
        scan = nib.load(case.label)
        nib.save(nib.Nifti1Image(decided.astype(np.uint8), scan.affine), folder / "labelsTr" / case.label.name)
    return folder


@pytest.fixture(scope="module")
def own(tiny_run, prepared_phantom, tmp_path_factory):
    return audit(tiny_run, prepared_phantom, OWN, tmp_path_factory.mktemp("own") / "a")


@pytest.fixture(scope="module")
def ordinary(tiny_run, prepared_phantom, tmp_path_factory):
    return audit(tiny_run, prepared_phantom, PLAN, tmp_path_factory.mktemp("ordinary") / "a")


@pytest.fixture(scope="module")
def unlabelled(prepared_phantom):
    """The same cases without any label."""
    cohort = load_cases(prepared_phantom)
    return replace(cohort, cases=tuple(replace(case, label=None) for case in cohort))


def test_it_finds_what_an_audit_of_written_predictions_finds(own, predicted, tiny_run, tmp_path):
    written = audit(tiny_run, predicted, PLAN, tmp_path / "a")
    assert [case.rows for case in own.audit.cases] == [case.rows for case in written.audit.cases]
    assert [case.clean for case in own.audit.cases] == [case.clean for case in written.audit.cases]
    assert [case.volumes for case in own.audit.cases] == [case.volumes for case in written.audit.cases]


def test_labels_are_not_needed_and_change_nothing(own, unlabelled, tiny_run, tmp_path):
    without = audit(tiny_run, unlabelled, OWN, tmp_path / "a")
    assert [case.rows for case in without.audit.cases] == [case.rows for case in own.audit.cases]
    assert all(not case.truth for case in without.audit.cases)
    assert without.audit.summary.stability.scores == []


def test_labels_that_are_there_say_how_right_the_clean_prediction_is(own, ordinary):
    assert [case.truth for case in own.audit.cases] == [case.clean for case in ordinary.audit.cases]
    assert all(case.truth[MEAN]["dice"] < 1 for case in own.audit.cases)


def test_clean_agreement_is_perfect(own):
    assert own.audit.summary.dice == 1
    assert own.audit.summary.foreground_mean["volume_error"] == 0


def test_a_case_without_a_label_is_refused_where_labels_are_the_reference(unlabelled, tiny_run, tmp_path):
    with pytest.raises(
        InputError, match="must have a label to be audited, got none. Without labels add --reference prediction"
    ):
        audit(tiny_run, unlabelled, PLAN, tmp_path / "a")


def test_expected_failure_is_the_mean_agreement_under_the_smallest_changes(own):
    stable = own.audit.summary.stability
    assert stable.smallest == ["pgd-l2", "pgd-deformation", "rician-noise", "motion"]
    record = own.audit.cases[0]
    small = [row.dice for row in record.rows if getattr(row, "eps", None) in (0.05, 2.0) and hasattr(row, "scores")]
    small += [row.dice for row in record.rows if getattr(row, "severity", None) == 1]
    found = next(case for case in stable.cases if case.case == record.case)
    assert len(small) == 4
    assert found.agreement == pytest.approx(sum(small) / 4)
    assert [case.agreement for case in stable.cases] == sorted(case.agreement for case in stable.cases)


def test_volumes_move_as_the_predictions_do(own):
    record, limit = own.audit.cases[0], own.audit.summary.stability.limit
    for one in own.audit.summary.stability.volumes:
        moves = [_move(case, one.change, one.structure) for case in own.audit.cases]
        moves = [move for move in moves if move is not None]
        assert one.n == len(moves)
        assert one.mean == pytest.approx(np.mean(moves))
        assert one.moved == pytest.approx(np.mean(np.abs(moves) > limit))
    assert {one.structure for one in own.audit.summary.stability.volumes} <= {*record.volumes}


def _move(case, change, structure):
    name, size = change.split(" ")
    for row in case.rows:
        at = getattr(row, "severity", getattr(row, "eps", None))
        if hasattr(row, "scores") and name in (row.probe, getattr(row, "corruption", "")) and at == float(size):
            volume = case.volumes[structure]
            return row.scores[structure]["volume_error"] / volume if volume else None
    return None


def test_the_page_says_that_no_labels_were_used(own):
    page = (own.folder / "report.html").read_text()
    assert "No labels were used" in page
    assert "Cases to look at first, by expected failure" in page
    assert "Clean metrics per structure" not in page
    assert any("No labels were used" in text for text in _tables(own.audit))


def test_one_page_does_not_mix_agreement_and_dice(own, ordinary, tmp_path):
    with pytest.raises(InputError, match="against labels only, or without labels only"):
        write_report([ordinary.folder, own.folder], tmp_path / "page.html")


def test_a_gate_on_clean_agreement_is_refused():
    with pytest.raises(InputError, match="clean Dice is 1 by definition"):
        parse_gates(["dice@clean=0.8"], OWN)
    assert parse_gates(["dice@pgd-l2-0.05=0.6"], OWN)[0].name == "pgd-l2"


def test_an_audit_is_not_resumed_with_another_reference(ordinary, tiny_run, prepared_phantom, tmp_path):
    shutil.copytree(ordinary.folder, tmp_path / "a")
    with pytest.raises(InputError, match=r"same plan to be resumed, got another \(reference: "):
        audit(tiny_run, prepared_phantom, OWN, tmp_path / "a", resume=True)


def test_raw_cases_are_judged_on_the_grid_of_the_files_too(tiny_run, raw_phantom, tmp_path):
    plan = Plan.model_validate(
        {"name": "w", "probes": [{"attack": "pgd", "unit": "rms", "eps": [0.3], "steps": 2, "write": "nifti"}]}
    ).against("prediction")
    cohort = load_cases(raw_phantom)
    bare = replace(cohort, cases=tuple(replace(case, label=None) for case in cohort.select(cohort.split["val"][:1])))
    done = audit(tiny_run, bare, plan, tmp_path / "a", select="all")
    (row,) = done.audit.cases[0].rows
    stages = row.written.dice[MEAN]
    assert stages["clean"] == stages["clean_native"] == 1
    assert stages["attacked"] < 0.95
    assert stages["reread"] < 0.95  # 1 if it were compared with the prediction of what was read again
    assert stages["reread_native"] < 0.95


def test_a_folder_of_images_alone_takes_the_names_of_the_model(tiny_run, raw_phantom, tmp_path):
    cohort = load_cases(raw_phantom)
    for case in [*cohort][:2]:
        shutil.copy(case.image[0], tmp_path)
    found = load_cases(tmp_path)
    assert found.ids == cohort.ids[:2]
    assert all(case.label is None for case in found)
    done = audit(tiny_run, tmp_path, Plan.model_validate(
        {"name": "f", "probes": [{"attack": "fgsm", "unit": "rms", "eps": [0.1]}], "reference": "prediction"}
    ), tmp_path / "out", select="all")  # fmt: skip
    assert done.audit.summary.data.labels == {str(k): name for k, name in load_model(tiny_run).card.labels.items() if k}
    assert {*done.audit.cases[0].volumes} == {*done.audit.summary.data.labels}


def test_a_folder_of_which_some_cases_are_labelled_fails_none(tiny_run, raw_phantom, tmp_path):
    folder = shutil.copytree(raw_phantom, tmp_path / "some")
    first, second = [*load_cases(folder)][:2]
    second.label.unlink()
    plan = {"name": "f", "probes": [{"attack": "fgsm", "unit": "rms", "eps": [0.1]}], "reference": "prediction"}
    done = audit(tiny_run, folder, Plan.model_validate(plan), tmp_path / "out", select=[first.id, second.id])
    assert not done.failed
    dice = {case.case: case.dice for case in done.audit.summary.stability.cases}
    assert dice[first.id] is not None
    assert dice[second.id] is None
    (note,) = [one for one in done.audit.summary.data.notes if "label file" in one]
    assert note.startswith(f"1 case of 2, first {second.id}, without the label file")


def test_an_evidence_sheet_calls_it_agreement_and_leaves_accuracy_blank(own):
    text = evidence(read_audits([own.folder]))
    assert "| Art. 15(1) | a level of accuracy that suits the purpose | ____ |" in text
    assert "no accuracy" in text
    assert "mean_dice" not in text


REDRAWN = {"kind": "corruption", "corruptions": ["gaussian-noise"], "severities": [1, 5]}


@pytest.fixture(scope="module")
def redrawn(tiny_run, prepared_phantom, tmp_path_factory):
    """Three draws of noise, and margins of the voxels of every case."""
    voxels = {"kind": "voxel-margin", "unit": "rms", "eps": 1.0, "rungs": 3, "focus": 0, "cases": None}
    plan = {"name": "redrawn", "reference": "prediction", "probes": [{**REDRAWN, "seed": 4, "draws": 3}, voxels]}
    return audit(tiny_run, prepared_phantom, Plan.model_validate(plan), tmp_path_factory.mktemp("redrawn") / "a")


def test_draws_are_those_of_the_next_seeds(redrawn, tiny_run, prepared_phantom, tmp_path):
    plan = {"name": "next", "reference": "prediction", "probes": [{**REDRAWN, "seed": 6}]}
    later = audit(tiny_run, prepared_phantom, Plan.model_validate(plan), tmp_path / "a")
    for mine, other in zip(redrawn.audit.cases, later.audit.cases, strict=True):
        for row, third in zip(mine.rows_of(CorruptionRow), other.rows_of(CorruptionRow), strict=True):
            assert len(row.volumes) == 3
            assert third.volumes == []
            for k, ml in mine.volumes.items():
                assert row.volumes[0][k] == pytest.approx(ml + row.scores[k]["volume_error"])
                assert row.volumes[2][k] == pytest.approx(ml + third.scores[k]["volume_error"])


def test_the_variation_of_volumes_and_surfaces_are_shown_apart(redrawn):
    found = redrawn.audit.summary.stability
    assert {one.variation is None for one in found.volumes} == {False}
    by_severity = {(one.change, one.structure): one.variation for one in found.volumes}
    assert by_severity["gaussian-noise 5", "1"] > by_severity["gaussian-noise 1", "1"] >= 0
    section = next(one for one in build_sections(read_audits([redrawn.folder])) if one.key == "stability")
    surfaces, volumes = (block.blocks[0] for block in blocks_of(section, "details"))
    assert surfaces.head[2:] == ["Dice", "HD95 (mm)", "Surface Dice (1 voxel)", "Surface Dice (2 mm)"]
    entry = redrawn.audit.summary.corruptions[0]
    assert texts(surfaces)[0][3] == f"{entry.foreground_mean['hd95']:.3f}"
    assert volumes.head[-1] == "Coefficient of variation over draws"


def test_voxel_margins_order_the_cases(redrawn):
    found = redrawn.audit.summary.stability
    assert [one.score for one in found.scores] == ["agreement", "voxel_margin"]
    for record in redrawn.audit.cases:
        (one,) = record.rows_of(VoxelMarginRow)[0].maps
        arrays = np.load(redrawn.folder / one.view)
        inside = arrays["label"] > 0
        margins = np.minimum(arrays["attack"][inside].astype(float), 1.0)
        case = next(case for case in found.cases if case.case == record.case)
        assert case.voxel_margin == pytest.approx(margins.mean(), rel=1e-3)
