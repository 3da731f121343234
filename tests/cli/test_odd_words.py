"""Words that no system takes as a path: one line from every command, wherever they stand."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

from imaseg.cli.main import app
from imaseg.errors import InputError
from imaseg.runs.claim import claim
from imaseg.runs.config import TrainConfig

PLACES = [
    "demo --out X", "prepare X o", "prepare . X", "prepare . o --recipe X", "prepare . o --config X",
    "prepare . o --patients X.csv", "train X --data . --out o", "train c.yaml --data X --out o",
    "audit X . --out o", "audit nnunet:X . --out o", "audit bundle:X . --out o", "audit smp:X . --out o",
    "audit torchscript:X . --out o --trust", "audit python:X:f . --out o --trust", "audit X.yaml . --out o",
    "audit . X --out o", "audit . . --out o --plan X.yaml", "attack X . --out o --eps 1", "margin X . --out o",
    "doctor X", "doctor . --data X", "report X --out r.html", "report . --out r.html --imports X --trust",
    "evidence X --out e.md", "evidence . --out e.md --imports X --trust", "audit . . --out o --groups X.csv",
    "audit . . --out o --budget X", "audit . . --out o --precision X",
    "schema X", "config X",
    "list X", "nnunet export X o", "nnunet export . X", "nnunet train 1 2d 0 --config X",
]  # fmt: skip
ODD = {"null": "a\0b", "half": "a\ud800b", "long": 300 * "y", "longer": "/".join(30 * [200 * "y"]), "bytes": "\udcff"}


def test_every_command_has_a_place_here():
    assert {place.split()[0] for place in PLACES} == set(get_command(app).commands)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("place", PLACES)
def test_words_that_name_no_file_are_refused_in_one_line(place, odd, here, tmp_path, monkeypatch):
    if place.startswith("demo") and odd == "bytes":
        pytest.skip("a name that a folder may have, and training refuses later")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("network: {name: UNet, channels: [4, 8], strides: [2]}\npatch: [16, 16, 16]\n")
    done = here(*(word.replace("X", ODD[odd]) for word in place.split()))
    assert done.returncode == 2
    *before, line = done.stderr.splitlines()
    assert line.startswith("imaseg: ")
    assert len(line) <= 1000
    assert len(before) <= place.startswith("demo")  # which says first what it is about to do


def test_a_training_into_a_folder_whose_name_is_no_text_is_refused(tmp_path):
    config = TrainConfig.model_validate({"network": {"name": "UNet"}, "patch": [16, 16, 16]})
    with pytest.raises(InputError, match=r"\\udcff must be a name in UTF-8, since TensorBoard writes to no other"):
        claim(tmp_path / "\udcff", config, None, resume=False)
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_text_are_printed_as_their_bytes(tmp_path):
    code = (
        "import sys, typer\nfrom imaseg.cli import main\n"
        "main.app = lambda **_: typer.echo('Created ' + sys.argv[1])\nmain.run()"
    )
    command = [sys.executable, "-c", code, b"o\xff"]
    done = subprocess.run(command, capture_output=True, check=False, env={"PYTHONIOENCODING": "utf-8:strict"})
    assert done.stdout == b"Created o\xff\n", done.stderr
