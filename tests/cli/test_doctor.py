"""`imaseg doctor`: this machine, a model, data for it."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner

from imaseg.cli import doctor
from imaseg.cli.main import app
from imaseg.data import load_cases
from imaseg.data.reading import read_volume
from imaseg.errors import InputError
from imaseg.models.outputs.probe import gradient_reaches

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]}


def _run(*arguments):
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def _json(*arguments):
    return json.loads(_run(*arguments, "--json").stdout)


@pytest.fixture
def card(tmp_path):
    from monai.networks.nets import UNet

    torch.save(UNet(**UNET).state_dict(), tmp_path / "w.pt")
    content = {"class": "monai.networks.nets.UNet", "arguments": UNET, "weights": "w.pt", "train_ids": ["phantom_001"]}
    content |= {"labels": {1: "Back", 2: "Front"}, "recipe": {"normalise": "zscore", "orientation": "RAS"}}
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "net.yaml"


def test_a_sound_machine_is_told_what_to_type():
    done = _run()
    assert done.exit_code == 0, done.stdout
    assert f"torch {metadata.version('torch')}" in done.stdout
    assert "Nothing is broken." in done.stdout
    assert done.stdout.strip().endswith("imaseg demo")
    facts = _json()
    assert facts["problems"] == []
    assert facts["packages"]["torch"] == metadata.version("torch")


def test_what_is_broken_is_named_with_its_mend(monkeypatch, tmp_path):
    monkeypatch.setitem(doctor._NEEDED, "no-such-package", "no_such_module_at_all")
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["torch>=999", 'nothing>=1; extra == "dev"'])
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "none"))
    done = _run()
    assert done.exit_code == 1
    assert "no-such-package cannot be imported (ModuleNotFoundError" in done.stdout
    assert "torch is" in done.stdout
    assert "imaseg needs >=999" in done.stdout
    assert "which is no folder. Create it" in done.stdout


def test_every_extra_that_adds_to_the_program_is_looked_for():
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(doctor._EXTRAS) == set(extras) - {"dev", "docs"}


def test_missing_extras_are_no_fault(monkeypatch):
    monkeypatch.setitem(doctor._EXTRAS, "dicom", {"no-such-package": "no_such_module_at_all"})
    done = _run()
    assert done.exit_code == 0
    assert 'install "imaseg[dicom]"' in done.stdout


def test_a_model_is_explained(card):
    done = _run(card)
    assert done.exit_code == 0, done.stdout
    for text in (
        "net (card): UNet,", "1 channel, 3D, sides multiples of 2", "0 background, 1 Back, 2 Front", "logits",
        "normalise: zscore", "1 known case", "reaches the image", f"imaseg audit {card} DATA --out audit",
    ):  # fmt: skip
        assert text in done.stdout, text
    facts = _json(card)
    assert (facts["kind"], facts["tiles"], facts["activation"]["found"]) == ("card", None, "none")
    assert facts["parameters"] == sum(one.numel() for one in torch.load(card.parent / "w.pt").values() if one.ndim > 0)


def test_data_are_looked_at_through_the_model(card, raw_phantom):
    done = _run(card, "--data", raw_phantom)
    assert done.exit_code in (0, 1), done.stdout
    assert "6 raw cases, 2 of them (val)" in done.stdout
    assert "by name: 1 Front is 2 Front, 2 Back is 1 Back" in done.stdout
    facts = _json(card, "--data", raw_phantom, "--cases", "all")["data"]
    assert facts["tried"][0]["shape"] == [24, 24, 16]
    assert any("was trained on 1 of these 6 cases (phantom_001)" in problem for problem in facts["problems"])
    assert set(facts["tried"][0]["dice"]) == {"Back", "Front"}
    assert facts["ids"] == load_cases(raw_phantom).ids


def test_data_without_labels_are_looked_at_by_what_the_model_finds(card, raw_phantom, tmp_path):
    images = shutil.copytree(raw_phantom / "imagesTr", tmp_path / "images")
    content = yaml.safe_load(card.read_text())
    card.write_text(yaml.safe_dump(content | {"train_ids": []}))
    with pytest.raises(InputError, match="add --reference prediction"):
        CliRunner().invoke(app, ["doctor", str(card), "--data", str(images)], catch_exceptions=False)
    done = _run(card, "--data", images, "--reference", "prediction")
    assert done.exit_code in (0, 1), done.output
    assert "6 raw cases (all)" in done.stdout
    assert "clean Dice:" not in done.stdout
    assert re.search(r"values .*, finds (nothing|(Back|Front) in \d+ voxels?)", done.stdout)
    facts = _json(card, "--data", images, "--reference", "prediction")["data"]
    assert [case["dice"] for case in facts["tried"]] == [{}] * 3
    assert all(set(case["found"]) == {"Back", "Front"} for case in facts["tried"])
    few = _run(card, "--data", images, "--reference", "prediction", "--cases", "every:2").stdout.strip()
    assert few.endswith("--out audit --cases every:2 --reference prediction")
    assert done.stdout.strip().endswith(f"imaseg audit {card} {images} --out audit --reference prediction")
    with pytest.raises(InputError, match="reference must be label or prediction, got 'truth'"):
        CliRunner().invoke(app, ["doctor", str(card), "--reference", "truth"], catch_exceptions=False)


def test_pictures_are_sized_in_pixels(tmp_path, monkeypatch):
    from PIL import Image

    for folder, values in (("images", range(30, 230)), ("labels", [0, 1])):
        (tmp_path / folder).mkdir()
        pixels = np.resize(np.array(values, np.uint8), (16, 24))
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    (tmp_path / "plain.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Conv2d(1, 2, 1), {'recipe': {}, 'labels': {1: '1'}}\n"
    )
    monkeypatch.chdir(tmp_path)
    done = _run("python:plain:make", "--trust", "--data", tmp_path)
    (tried,) = [line for line in done.stdout.splitlines() if line.startswith("tried")]
    assert "16 x 24 pixels, values" in tried or "24 x 16 pixels, values" in tried
    assert " mm" not in done.stdout


def test_cases_in_which_a_labelled_structure_is_never_found_are_pointed_at():
    from imaseg.auditing.inputs.examine import _missed

    def case(dice, labelled):
        return {"dice": {"tumour": dice}, "labelled": labelled, "found": {}}

    blind = [{"dice": {}, "labelled": [], "found": {"tumour": number}} for number in (0, 5, 0)]
    assert list(_missed(blind, [])) == [
        "Nothing is found in 2 of 3 cases tried: there stability says nothing of the model."
    ]
    tried = [case(0.8, ["tumour"]), case(0.0, ["tumour"]), case(0.05, ["tumour"])]
    (said,) = _missed(tried, [])
    assert said.startswith("tumour is labelled in 3 cases tried and next to never found in 2: a wrong recipe, or")
    assert list(_missed(tried, ["tumour"])) == []
    assert list(_missed([case(0.8, ["tumour"]), case(0.0, [])], [])) == []


def test_runs_are_explained_too(tiny_run, prepared_phantom):
    facts = _json(tiny_run, "--data", prepared_phantom)
    assert (facts["kind"], facts["trained_by"], facts["train_ids"]) == ("run", "standard", 3)
    assert facts["gradient_reaches_image"]
    assert facts["data"]["selection"] == "val"
    assert facts["problems"] == []


def test_what_needs_trust_is_one_line(tmp_path):
    done = _run("python:os:getcwd")
    assert done.exit_code == 1
    assert isinstance(done.exception, InputError)
    assert "--trust" in str(done.exception)


def test_a_network_without_gradient_is_found_out():
    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 2, 1)

        def forward(self, image):
            return self.layer(image.detach())

    assert gradient_reaches(nn.Conv2d(1, 2, 1), 1, [8, 8])
    assert not gradient_reaches(Rounded(), 1, [8, 8])


def test_an_activation_is_reported(card, tmp_path, monkeypatch):
    (tmp_path / "softmaxed.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.Softmax(1))\n"
    )
    monkeypatch.chdir(tmp_path)
    done = _run("python:softmaxed:make", "--trust")
    assert done.exit_code == 0, done.stdout
    assert "ends in a softmax (was found by a probe): it is undone" in done.stdout
    assert "Nobody says how its images are prepared" in done.stdout
    assert done.stdout.strip().endswith("imaseg audit python:softmaxed:make DATA --out audit --trust")


def test_one_structure_that_is_never_found_is_a_problem(raw_phantom, monkeypatch):
    from imaseg.auditing.inputs.examine import examine_data
    from imaseg.models.adapted import adapt
    from imaseg.models.card import Card

    names = {k: name for k, name in load_cases(raw_phantom).labels.items() if k > 0}
    truth = {case.id: read_volume(case).label for case in load_cases(raw_phantom)}
    read = []

    class Oracle(nn.Module):
        """Says what is labelled in the image that it is given, the second structure left out."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Conv3d(1, 3, 1)

        def forward(self, image):
            sums = {float(volume.sum()): name for name, volume in read}
            if (name := sums.get(float(image.sum()))) is None:
                return self.layer(image)
            label = torch.from_numpy(np.where(truth[name] == 1, 1, 0)).long()
            return nn.functional.one_hot(label, 3).permute(3, 0, 1, 2)[None].float() * 4 - 2

    model = adapt(Oracle(), Card(labels=names, recipe={}), kind="test", name="net")
    read.extend((case.id, torch.from_numpy(read_volume(case).image)) for case in load_cases(raw_phantom))
    problems = examine_data(model, raw_phantom)["problems"]
    (told,) = [text for text in problems if "next to nothing" in text]
    assert f"of what is labelled {names[2]} in" in told
    assert all(word in told for word in ("label_map", "orientation", "spacing", "structure"))
