"""Audits of models of regions: every figure is of a region, against counting in painted segmentations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from scipy.ndimage import label as components
from torch import nn

from imaseg import PGD, InputError, Linf, audit, load_cases
from imaseg.auditing.inputs.examine import examine_data
from imaseg.auditing.inputs.fitting import fit
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan
from imaseg.auditing.validity.gate import Gate
from imaseg.data import write_nifti
from imaseg.models.adapted import adapt
from imaseg.models.card import parse_card
from imaseg.models.only import OnlyClasses
from imaseg.models.outputs.regions import masks, region_logits
from imaseg.report import read_audits
from imaseg.report.sections import build_sections
from tests.report.vary import blocks_of, texts

REGIONS = {"core": [1, 4], "whole": [1, 2, 4], "enhancing": [4]}
PLAN = Plan.model_validate(
    {
        "name": "regions",
        "instances": [1, 2],
        "probes": [
            {"attack": "pgd", "perturbation": "linf", "eps": [0.1], "steps": 4},
            {"attack": "pgd", "perturbation": "deformation", "eps": [1.0], "steps": 2, "write": "nifti"},
            {"kind": "certificate", "sigma": 0.05, "samples": 100},
            {
                "kind": "voxel-margin",
                "perturbation": "linf",
                "eps": 0.5,
                "rungs": 4,
                "focus": 2,
                "cases": 1,
                "write": "nifti",
            },
            {"kind": "corruption", "corruptions": ["blur"], "severities": [3]},
        ],
        "margins": [{"perturbation": "linf", "eps": 2.0, "steps": 3, "rtol": 0.3, "per_class": True}],
        "validity": {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.1},
        "showcase": {"eps": 0.1},
    }
)


class Sigmoids(nn.Module):
    """Three sigmoids: core and whole by the first channel of the image, enhancing by the second one."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv3d(2, 3, 1)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[6.0, 0], [6.0, 0], [0, 6.0]]).reshape(3, 2, 1, 1, 1))
            self.layer.bias.copy_(torch.tensor([-9.0, -3.0, -3.0]))

    def forward(self, image):
        return self.layer(image).sigmoid()


def _model(**card):
    return adapt(Sigmoids(), parse_card({"recipe": {}, **card}, source="card"), kind="test", name="brats")


def _write(tmp_path):
    """Tumours as BraTS labels them: oedema 2 around necrosis 1 around enhancing 4, in noise that breaks the nesting."""
    z, y, x = np.meshgrid(*[np.arange(12.0)] * 3, indexing="ij")
    for seed, name in enumerate("ab"):
        away = np.sqrt((z - 6) ** 2 + (y - 5.5 - seed) ** 2 + (x - 6) ** 2)
        label = np.select([away < 1.6, away < 3, away < 5], [4, 1, 2], 0)
        level = np.select([label == 4, label == 1, label == 2], [2.0, 2.0, 1.0], 0.0)
        noise = np.random.default_rng(seed).standard_normal((2, 12, 12, 12)) * 0.3
        for channel, volume in enumerate((level, (label == 4).astype(float))):
            write_nifti(
                tmp_path / "imagesTr" / f"{name}_{channel:04d}.nii.gz",
                volume + noise[channel],
                np.eye(4),
                dtype=np.float32,
            )
        write_nifti(tmp_path / "labelsTr" / f"{name}.nii.gz", label, np.eye(4), dtype=np.uint8)
    content = {"channel_names": {"0": "T1", "1": "T1c"}, "file_ending": ".nii.gz", "numTraining": 2}
    content["labels"] = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing tumour": 4}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def cohort(tmp_path):
    return _write(tmp_path)


VOXEL_NAMES = {"whole": "whole 1", "core": "core", "enhancing": "enhancing"}
"""In `margins.csv` too, "whole" is the whole case."""
NAMES = {1: "necrosis", 2: "oedema", 4: "enhancing tumour"}


def _painted(probabilities):
    """The segmentation of three probabilities, in the label values of BraTS."""
    core, whole, enhancing = probabilities > 0.5
    return np.select([enhancing, core, whole], [4, 1, 2], 0)


def _dice(found, label):
    values = {}
    for name, inside in REGIONS.items():
        one, other = np.isin(found, inside), np.isin(label, inside)
        values[name] = 2 * (one & other).sum() / (one.sum() + other.sum())
    return values


def _case(cohort, name):
    import nibabel as nib

    image = np.stack([nib.load(cohort / "imagesTr" / f"{name}_{c:04d}.nii.gz").get_fdata() for c in (0, 1)])
    return image.astype(np.float32), nib.load(cohort / "labelsTr" / f"{name}.nii.gz").get_fdata()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = _write(tmp_path_factory.mktemp("brats"))
    return audit(_model(regions=REGIONS, labels=NAMES), load_cases(folder), PLAN, folder / "out", select="all")


def test_rows_summary_page_and_gate_are_of_regions(done, cohort):
    assert not done.failed
    labels = done.audit.summary.data.labels
    assert labels == {"1": "whole", "2": "core", "3": "enhancing"}
    network, wanted = Sigmoids(), {}
    for name in "ab":
        image, label = _case(cohort, name)
        with torch.no_grad():
            wanted[name] = _dice(_painted(network(torch.from_numpy(image)[None])[0].numpy()), label)
    for one in done.audit.summary.metric_per_case:
        for k, region in labels.items():
            assert one.metrics[k]["dice"] == pytest.approx(wanted[one.case][region], abs=1e-6), region
        assert one.dice == pytest.approx(np.mean([*wanted[one.case].values()]), abs=1e-6)
    assert 0.2 < min(min(dice.values()) for dice in wanted.values()) < max(wanted["a"].values()) < 1
    gate = Gate.parse("dice@clean=0.99", PLAN)
    assert gate.value(done.audit.summary) == pytest.approx(np.mean([[*d.values()] for d in wanted.values()]), abs=1e-6)
    page = (done.folder / "report.html").read_text()
    assert all(region in page for region in ("whole", "core", "enhancing"))
    assert page.count("enhancing tumour") == 1, "only where labels of the data are named"


def test_tables_by_structure_are_of_regions(done):
    found = {}
    for section in build_sections(read_audits([done.folder])):
        for table in blocks_of(section, "table"):
            if "Structure" in table.head:
                column = table.head.index("Structure")
                found.setdefault(section.key, set()).update(row[column] for row in texts(table))
    means = {"mean over foreground", "whole case"}
    assert {key: names - means for key, names in found.items()} == {
        **{key: {*REGIONS} for key in ("margins", "files", "clean", "sizes")},
        "voxels": {*VOXEL_NAMES.values(), "background"},
        "instances": {"whole", "core"},
    }


def test_margins_of_voxels_are_summed_up_over_whole_regions(done, cohort):
    label = _case(cohort, "a")[1]
    (row,) = [row for row in done.audit.cases[0].rows if row.kind == "voxel-margin"]
    bands = [band for shown in row.maps for band in shown.bands]
    for region, inside in {**REGIONS, "background": [0]}.items():
        name, voxels = VOXEL_NAMES.get(region, region), int(np.isin(label, inside).sum())
        every = [band for band in bands if band.structure == name]
        whole = [band.labelled for band in every if band.from_mm is None and band.to_mm is None]
        assert {*whole} == {voxels}
        assert sum(band.labelled for band in every) == 2 * voxels * len(whole)  # once more by distance
    depth = distance_transform_edt(np.isin(label, REGIONS["whole"]))
    (near,) = {b.labelled for b in bands if (b.structure, b.from_mm) == (VOXEL_NAMES["whole"], 1)}
    assert near == ((depth >= 1) & (depth < 2)).sum()


def test_instances_are_those_of_whole_regions(done, cohort):
    touching = np.ones((3, 3, 3))
    for record in done.audit.cases:
        image, label = _case(cohort, record.case)
        with torch.no_grad():
            painted = _painted(Sigmoids()(torch.from_numpy(image)[None])[0].numpy())
        for k in ("1", "2"):
            inside = REGIONS[done.audit.summary.data.labels[k]]
            counts = [components(np.isin(volume, inside), touching)[1] for volume in (label, painted)]
            assert [record.clean[k][name] for name in ("instances", "instances_predicted")] == counts
            assert counts[1] > 1


def test_volumes_are_those_of_whole_regions(done, cohort):
    label = _case(cohort, "a")[1]
    (record,) = [record for record in done.audit.cases if record.case == "a"]
    for k, region in done.audit.summary.data.labels.items():
        assert record.volumes[k] == pytest.approx(np.isin(label, REGIONS[region]).sum() / 1000)


def test_the_search_ranks_by_the_mean_over_regions(done, cohort):
    model = fit(_model(regions=REGIONS, labels=NAMES), load_cases(cohort)).model
    image, label = _case(cohort, "a")
    classes = np.select([label == 2, label == 1, label == 4], [1, 2, 3], 0)
    result = PGD(Linf(0.1), steps=4)(
        lambda given: region_logits(model(given), model.card.groups, independent=True),
        torch.from_numpy(image)[None],
        masks(torch.from_numpy(classes)[None], model.card.groups),
    )
    (entry,) = [e for e in done.audit.summary.probes if e.probe == "pgd-linf"]
    (row,) = [one for one in entry.metric_per_case if one.case == "a"]
    assert row.dice == pytest.approx(float(result.foreground_dice), abs=1e-6)
    with torch.no_grad():
        attacked = _painted(Sigmoids()(result.image)[0].numpy())
    assert row.dice == pytest.approx(np.mean([*_dice(attacked, label).values()]), abs=1e-6)


def test_every_kind_of_probe_speaks_of_regions(done):
    summary = done.audit.summary
    assert [entry.structure for entry in summary.margins] == [None, "whole", "core", "enhancing"]
    assert all(entry.n == 2 for entry in summary.margins)
    (certified,) = summary.certified
    assert 0 < certified.dice_at_radius[0] <= certified.dice
    assert [corrupted.n for corrupted in summary.corruptions] == [2]
    (moved,) = [entry for entry in summary.probes if entry.perturbation == "deformation"]
    assert set(moved.written["dice"]) == {"1", "2", "3", "foreground_mean"}
    for stage in ("attacked", "reread"):
        assert moved.written["dice"]["foreground_mean"][stage] == pytest.approx(moved.dice, abs=0.02)
    replay = next(check for check in summary.validity if "evaluated again" in check.check)
    assert replay.ok


@pytest.mark.parametrize("named", [True, False])
def test_data_of_parts_are_understood_by_name_or_by_number(cohort, named):
    if not named:
        (cohort / "dataset.json").unlink()
    fitted = fit(_model(regions=REGIONS, **({"labels": NAMES} if named else {})), load_cases(cohort))
    assert fitted.model.card.label_map == {2: 1, 1: 2, 4: 3}
    told = " ".join(fitted.notes)
    assert "Scored are regions" in told
    assert ("names are missing" in told) == (not named)


def test_data_that_name_regions_are_understood(cohort):
    names = {"background": 0, "Whole": 5, "CORE": 7, "enhancing": 9}
    content = json.loads((cohort / "dataset.json").read_text()) | {"labels": names}
    (cohort / "dataset.json").write_text(json.dumps(content))
    fitted = fit(_model(regions=REGIONS, labels=NAMES), load_cases(cohort))
    assert fitted.model.card.label_map == {5: 1, 7: 2, 9: 3}


def test_data_of_other_names_are_refused(cohort):
    with pytest.raises(InputError, match=r"got 1 necrosis, 2 oedema.*label_map: {1: 1, 2: 2, 4: 4}"):
        fit(_model(regions=REGIONS, labels={1: "non-enhancing", 2: "edema", 4: "enhancing tumour"}), load_cases(cohort))


def test_regions_that_the_data_do_not_label_are_left_out_and_said(cohort):
    names = {"background": 0, "necrosis": 1, "oedema": 2}
    content = json.loads((cohort / "dataset.json").read_text()) | {"labels": names}
    (cohort / "dataset.json").write_text(json.dumps(content))
    fitted = fit(_model(regions=REGIONS, labels=NAMES), load_cases(cohort))
    assert not isinstance(fitted.model, OnlyClasses)
    assert fitted.model.card.regions == {"whole": [1, 2, 3], "core": [2, 3]}
    assert any("do not label enhancing" in note for note in fitted.notes)


def test_doctor_speaks_of_regions(cohort):
    examined = examine_data(_model(regions=REGIONS, labels=NAMES), cohort)
    image, label = _case(cohort, "a")
    with torch.no_grad():
        wanted = _dice(_painted(Sigmoids()(torch.from_numpy(image)[None])[0].numpy()), label)
    assert examined["tried"][0]["dice"] == pytest.approx(wanted, abs=1e-3)
    assert examined["problems"] == []


@pytest.mark.parametrize("regions", [None, {1: 1, 0: 2, 2: 3}])
def test_sigmoids_that_hold_each_other_need_their_regions_stated(cohort, regions):
    names = {1: "necrosis", 2: "oedema", 3: "enhancing tumour"}
    model = _model(labels=names, regions=regions, label_map={4: 3})
    wanted = r"hold each other \(.*necrosis inside oedema.*`regions: {necrosis: \[...\]"
    if regions is None:
        with pytest.raises(InputError, match=wanted):
            Subject.of(model, cohort, select="all", device=None)
        with pytest.raises(InputError, match=wanted):
            examine_data(model, cohort)
    else:  # their order is stated
        (told,) = [text for text in Subject.of(model, cohort, select="all", device=None).notes if "hold" in text]
        assert told.startswith("Warning: On a real case")
        assert any("hold each other" in problem for problem in examine_data(model, cohort)["problems"])


def test_sigmoids_side_by_side_need_nothing(cohort):
    class Apart(Sigmoids):
        def forward(self, image):
            core, whole, enhancing = self.layer(image).unbind(1)
            apart = [torch.minimum(core, -enhancing), torch.minimum(whole, -torch.maximum(core, enhancing)), enhancing]
            return torch.stack(apart, 1).sigmoid()

    card = parse_card(
        {"recipe": {}, "labels": {1: "a", 2: "b", 3: "c"}, "label_map": {1: 1, 2: 2, 4: 3}}, source="card"
    )
    subject = Subject.of(adapt(Apart(), card, kind="test", name="net"), cohort, select="all", device=None)
    assert not any("hold" in note for note in subject.notes)
