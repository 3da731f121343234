"""Training that perturbs only near the structures: what it changes, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest

from imaseg import InputError
from imaseg.data.files import write_json
from imaseg.perturbations import L2
from imaseg.runs import load_config, train
from imaseg.runs.build import build_method
from imaseg.training import PGDTraining
from imaseg.training import build_method as build_from_settings

SPEC = "{name: %s, eps: 0.2, within: %s}"


def _method(name="l2", within="20 mm"):
    return f"method={{name: pgd-training, steps: 2, perturbation: {SPEC % (name, within)}}}"


def test_only_what_lies_near_a_structure_is_perturbed(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    seen = []

    def look(self, model, image, label, ids=None, *, inside=None):
        seen.append((inside, self.attack.perturbation))
        return original(self, model, image, label, ids, inside=inside)

    original = PGDTraining.__call__
    monkeypatch.setattr(PGDTraining, "__call__", look)
    run = train(load_config(tiny_config, [_method(within="4 mm"), "epochs=1"]), prepared_phantom, tmp_path / "run")
    assert all(isinstance(each, L2) for _, each in seen)
    assert all(0 < float(inside.float().mean()) < 0.9 for inside, _ in seen)
    card = json.loads((run / "model.json").read_text())
    assert card["method"]["perturbation"]["within"] == "4 mm"


def test_the_settings_of_a_set_are_checked(tiny_config):
    assert build_method(load_config(tiny_config, [_method()])).attack.perturbation.eps == 0.2
    with pytest.raises(InputError, match=r"tiny.yaml: method.perturbation: within must be a distance .* got '2 cm'"):
        build_method(load_config(tiny_config, [_method(within="2 cm")]))
    with pytest.raises(InputError, match="within must go with a set that changes intensities, got deformation"):
        build_method(load_config(tiny_config, [_method("deformation")]))


def test_voxel_sizes_must_be_known(prepared_phantom, tiny_config, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    content = json.loads((data / "prepare.json").read_text())
    content["files"]["used"] = {record["id"]: [f"images/{record['id']}.png"] for record in content["cases"]}
    for record in content["cases"]:
        for step in record["steps"]:
            if step["name"] == "resample":
                step["spacing_from"] = [1.0, 1.0, 1.0]
    write_json(data / "prepare.json", content)
    with pytest.raises(InputError, match="within must go with voxel sizes in mm, got case .* prepared from pictures"):
        train(load_config(tiny_config, [_method()]), data, tmp_path / "run")


def test_where_nobody_tells_the_structures_it_is_refused():
    spec = {"name": "pgd-training", "perturbation": {"name": "l2", "eps": 0.1, "within": "20 mm"}}
    with pytest.raises(ValueError, match=r"within must be told with each batch.*inside=near\(label"):
        build_from_settings(spec, lambda logits, label: logits.sum())


@pytest.mark.parametrize(
    "method",
    [
        f"{{name: ima, perturbation: [{SPEC % ('l2', '20 mm')}, {{name: gamma, eps: 0.3}}]}}",
        f"{{name: one-of, methods: [{{name: standard}}, {{name: ima, perturbation: {SPEC % ('l2', '20 mm')}}}]}}",
    ],
)
def test_several_sets_that_take_turns_are_told_to_leave_it_out(tiny_config, method):
    with pytest.raises(InputError, match="within must go with a method of one set, .* Leave `within` out"):
        build_method(load_config(tiny_config, [f"method={method}"]))
