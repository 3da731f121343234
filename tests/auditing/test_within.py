"""`within`: changes only near the structures, in files and figures, and never in one group with whole images."""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt

from imaseg import L2, PGD, InputError, audit, load_cases, load_model
from imaseg.auditing import Plan
from imaseg.auditing.inputs.budget import Budgeted
from imaseg.auditing.probes.scene import Scene
from imaseg.auditing.shortcuts import attack_plan, margin_plan
from imaseg.auditing.table import ladder_table, margin_table, strongest
from imaseg.auditing.validity.gate import Gate
from imaseg.data.files import write_json
from imaseg.data.reading import read_volume
from imaseg.perturbations import Deformation
from imaseg.report import write_report
from imaseg.results.case import CaseScale
from imaseg.statistics import paired

MM = 5.0
L2_RMS = {"perturbation": "l2", "unit": "rms"}
PLAN = Plan.model_validate(
    {
        "name": "near",
        "probes": [
            {"attack": "pgd", **L2_RMS, "eps": [0.1, 0.4], "steps": 4},
            {"attack": "pgd", **L2_RMS, "eps": [0.1, 0.4], "steps": 4, "within": f"{MM:g} mm", "write": "nifti"},
            {"attack": "fgsm", **L2_RMS, "eps": [0.1, 0.4], "within": MM},
            {"attack": "pgd", "perturbation": "gamma", "eps": [0.3], "steps": 2, "within": MM},
            {"kind": "margin", **L2_RMS, "eps": 1.0, "steps": 3, "rtol": 0.3, "write": "csv"},
            {"kind": "margin", **L2_RMS, "eps": 1.0, "steps": 3, "rtol": 0.3, "write": "csv", "within": MM},
            {"kind": "voxel-margin", **L2_RMS, "eps": 0.5, "cases": 1, "rungs": 2, "focus": 0, "within": MM},
            {"kind": "voxel-margin", **L2_RMS, "eps": 0.5, "cases": 1, "rungs": 2, "focus": 0},
        ],
        "validity": {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.1},
        "showcase": {"eps": 0.4},
    }
)
NAMES = ["pgd-l2", "pgd-l2-within-5mm", "fgsm-l2-within-5mm", "pgd-gamma-within-5mm"]


def _far(path, mm):
    """Voxels of a label file beyond a distance from the structures."""
    label = nib.load(path)
    return distance_transform_edt(np.asarray(label.dataobj) == 0, sampling=label.header.get_zooms()[:3]) > mm


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    return audit(tiny_run, prepared_phantom, PLAN, tmp_path_factory.mktemp("near") / "a")


def test_files_hold_changes_only_near_the_structures(done, prepared_phantom):
    for record in done.audit.cases:
        name = f"{record.case}.nii.gz"
        before, after = prepared_phantom / "imagesTr" / name, done.folder / "images" / name
        change = np.asarray(nib.load(after).dataobj) - np.asarray(nib.load(before).dataobj)
        far = _far(prepared_phantom / "labelsTr" / name, MM)
        assert 0 < far.mean() < 1
        assert not change[far].any()
        assert change[~far].any()


def test_an_rms_is_over_the_voxels_near_the_structures(done, tiny_run, prepared_phantom):
    model = load_model(tiny_run)
    for record in done.audit.cases:
        volume = read_volume(load_cases(prepared_phantom).select([record.case])[0])
        image, label = torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None]
        mask = torch.from_numpy(~_far(prepared_phantom / "labelsTr" / f"{record.case}.nii.gz", MM))[None, None]
        attack = PGD(L2(0.4 * float(mask.float().mean()) ** 0.5, unit="rms", region=mask), steps=4)
        small = 0.1 * float(mask.float().mean()) ** 0.5
        *_, alone = attack.ladder(model, image, label, [small, attack.perturbation.eps])
        (row,) = [row for row in record.rows if row.probe == NAMES[1] and row.eps == 0.4]
        assert row.dice == pytest.approx(float(alone.foreground_dice), abs=1e-4)
        assert row.sizes["l2"] == pytest.approx(float(alone.sizes["l2"]), rel=1e-3)
        assert row.sizes["rms"] == pytest.approx(0.4, rel=1e-3)
        assert row.free == pytest.approx(float(mask.float().mean()))
        assert row.near == pytest.approx(1.0)  # 5 mm lie within the 10 mm that this counts


def test_whole_images_and_places_near_structures_never_share_a_group(done):
    summary = done.audit.summary
    assert {(entry.probe, entry.within) for entry in summary.probes} == {
        *zip(NAMES, [None, MM, MM, MM], strict=True),
        ("worst-case-l2-within-5mm", MM),
    }
    worst = [entry for entry in summary.probes if entry.members]
    assert all(entry.members == ["fgsm-l2-within-5mm", "pgd-l2-within-5mm"] for entry in worst)
    lowest, dice = strongest(summary), {(entry.probe, entry.eps): entry.dice for entry in summary.probes}
    assert lowest["l2", "rms", 0.4] == dice["pgd-l2", 0.4]
    assert lowest["l2-within-5mm", "rms", 0.4] == dice["worst-case-l2-within-5mm", 0.4]
    assert [entry.within for entry in summary.margins] == [None, MM]
    assert {one.within for entry in summary.voxel_margins for case in entry.per_case for one in case.maps} == {None, MM}


def test_tables_say_where(done):
    summary = done.audit.summary
    text = ladder_table([summary])
    assert "\nl2 0.4 rms  " in text
    assert "\nl2 0.4 rms within 5 mm of the structures" in text
    assert "\nl2 within 5 mm of the structures" in margin_table(summary.margins)
    rows = list(csv.DictReader((done.folder / "margins.csv").open()))
    assert {row["perturbation"] for row in rows} == {"l2", "l2-within-5mm"}


def test_gates_tell_them_apart(done):
    summary = done.audit.summary
    for target, probe in (("l2", "pgd-l2"), ("l2-within-5mm", "worst-case-l2-within-5mm")):
        (entry,) = [entry for entry in summary.probes if (entry.probe, entry.eps) == (probe, 0.4)]
        assert Gate.parse(f"dice@{target}-0.4=0.1", PLAN).value(summary) == entry.dice
    whole, close = (Gate.parse(f"margin@{name}=0.1", PLAN).value(summary) for name in ("l2", "l2-within-5mm"))
    assert (whole, close) == tuple(entry.median for entry in summary.margins)
    with pytest.raises(InputError, match="must name what plan near measures"):
        Gate.parse("dice@l2-within-9mm-0.4=0.1", PLAN)


def test_the_page_says_where_and_draws_a_curve_of_each(done):
    page = (done.folder / "report.html").read_text()
    assert "PGD, L2 ball within 5 mm of the structures" in page
    assert "Only what lies within 5 mm of the structures may change. A mean is over that part alone." in page
    for title in ("PGD, L2 ball", "L2 ball", "L2 ball within 5 mm of the structures"):
        assert f">{title}<" in page


def test_audits_are_compared_only_where_the_same_may_change(done, tmp_path):
    other = shutil.copytree(done.folder, tmp_path / "other")
    summary = json.loads((other / "summary.json").read_text())
    before = json.loads(json.dumps(summary))
    summary["model"]["name"] = "other"
    for entry in summary["probes"]:
        entry["within"] = 9.0 if entry["within"] else None
    write_json(other / "summary.json", summary)
    assert {row["probe"] for row in paired(before, summary)} == {"clean", "pgd-l2"}
    page = write_report([done.folder, other], tmp_path / "page.html").read_text()
    assert "PGD, L2 ball within 9 mm of the structures" in page
    assert "PGD, L2 ball within 5 mm of the structures" in page


class _Labelled(Scene):
    """A scene of which only label and spacing are known."""

    def __init__(self, label):
        self.label, self.spacing, self.loaded = label[None], (2.0, 1.0), SimpleNamespace(spaced=True)
        self._held = {"bounds": (0.0, 1.0)}

    def shown(self, classes):
        return classes


def test_a_case_without_a_structure_is_attacked_as_a_whole(done, tmp_path):
    label = torch.zeros(6, 6, dtype=torch.long)
    assert _Labelled(label).room(3.0) == {"bounds": (0.0, 1.0)}
    label[0, 0] = 1
    assert int(_Labelled(label).room(3.0)["inside"].sum()) == 4 + 3  # 0 and 2 mm along the first axis
    assert "inside" not in _Labelled(label).room()


def test_cases_without_a_structure_are_counted_and_named(done, tmp_path):
    records = done.audit.cases
    bare = records[0].model_copy(update={"volumes": dict.fromkeys(records[0].volumes, 0.0)})
    assert PLAN.probes[1].confined([bare, *records]) == {"within": MM, "unrestricted": 1}
    assert PLAN.probes[0].confined([bare, *records]) == {"within": None, "unrestricted": 0}
    other = shutil.copytree(done.folder, tmp_path / "other")
    summary = json.loads((other / "summary.json").read_text())
    for entry in (*summary["probes"], *summary["margins"]):
        entry["unrestricted"] = 1
    write_json(other / "summary.json", summary)
    page = write_report([other], tmp_path / "page.html").read_text()
    assert page.count("1 case without a labelled structure") == 1


def test_pictures_have_no_mm(tiny_run, prepared_phantom, tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        pixels = np.zeros((24, 24), np.uint8)
        pixels[4:8] = 1
        Image.fromarray(pixels).save(tmp_path / "data" / kind / "a.png")
    plan = attack_plan("pgd", "l2", 0.4, within="5 mm")
    with pytest.raises(InputError, match=r"within must go with voxel sizes in mm, got case a from pictures"):
        audit(load_model(tiny_run), load_cases(tmp_path / "data"), plan, tmp_path / "out", select="all")


def test_prepared_pictures_have_no_mm_either(tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    content = json.loads((data / "prepare.json").read_text())
    assert content["cases"][0]["steps"]
    content["files"]["used"] = {record["id"]: [f"images/{record['id']}.png"] for record in content["cases"]}
    for record in content["cases"]:
        for step in record["steps"]:
            if step["name"] == "resample":
                step["spacing_from"] = [1.0, 1.0, 1.0]
    write_json(data / "prepare.json", content)
    with pytest.raises(InputError, match="from pictures, which state none"):
        audit(tiny_run, data, attack_plan("pgd", "l2", 0.4, within="5 mm"), tmp_path / "out")


def test_a_deformation_moves_only_what_lies_within():
    asked = Budgeted(perturbation="deformation", within="20 mm")
    scale = CaseScale(spacing=[1.0, 1.0, 2.0], std=1.0, span=1.0, native=None)
    inside = torch.zeros(1, 1, 40, 40, 24, dtype=torch.bool)
    inside[..., :30, :30, :20] = True
    built = asked.build_set(2.0, scale, {"inside": inside})
    assert isinstance(built, Deformation)
    image = torch.rand(1, 1, 40, 40, 24, generator=torch.Generator().manual_seed(0))
    params = built.project(image, 9 * torch.randn(built.zeros(image).shape, generator=torch.Generator().manual_seed(1)))
    change = built.apply(image, params) - image
    assert bool((change[~inside] == 0).all())
    assert bool((change[inside] != 0).any())
    inside[..., 10:, 10:, 6:] = False
    inside[..., 3:, :, :] = False
    with pytest.raises(ValueError, match="within of a deformation must be so wide .* got 20 mm"):
        asked.build_set(2.0, scale, {"inside": inside})


def test_the_command_line_hands_it_on():
    assert attack_plan("pgd", "linf", 0.1, within="20 mm").attacks[0].name == "pgd-linf-within-20mm"
    plan = margin_plan(["l2"], criterion={"name": "dice-below", "threshold": 0.5}, methods=["attack"], within="20 mm")
    assert [probe.within for probe in plan.probes] == [20.0, 20.0]
    with pytest.raises(InputError, match="within.*2 cm"):
        attack_plan("pgd", "l2", 0.1, within="2 cm")


def test_the_set_of_a_plan_says_where():
    near, whole = Budgeted(within="20 mm"), Budgeted()
    assert not near.same_set(whole)
    assert near.same_set(Budgeted(within=20))
