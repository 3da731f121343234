"""`imaseg nnunet`: what reaches nnU-Net's own commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imaseg import InputError
from imaseg.cli.main import app
from tests.nnunet_folder import plans, write_results

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")


@pytest.fixture
def called(monkeypatch):
    """What `nnUNetv2_train` would have been started with."""
    from nnunetv2.run import run_training

    seen = {}

    def entry():
        names = ("nnUNet_extTrainer", "IMASEG_CONFIG")
        seen.update(argv=sys.argv[1:], **{name: os.environ.get(name) for name in names})

    monkeypatch.setattr(run_training, "run_training_entry", entry)
    monkeypatch.setattr(sys, "argv", ["imaseg"])
    for name in ("nnUNet_extTrainer", "IMASEG_CONFIG"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    return seen


def _run(*arguments):
    return CliRunner().invoke(app, ["nnunet", *(str(argument) for argument in arguments)])


def test_path_is_a_folder_with_nothing_but_the_re_export():
    folder = Path(_run("path").output.strip())
    assert [path.name for path in sorted(folder.glob("*.py"))] == ["__init__.py", "imaseg_nnunet_trainers.py"]


def test_train_forwards_everything_and_knows_the_trainers(called, tmp_path, monkeypatch):
    config = tmp_path / "c.yaml"
    config.write_text("epochs: 3\n")
    monkeypatch.setenv("nnUNet_extTrainer", "/mine")
    done = _run("train", "4", "3d_fullres", "0", "-p", "tiny", "--c", "-device", "cpu", "--config", config, "--npz")
    assert done.exit_code == 0, done.output
    forwarded = ["-tr", "nnUNetTrainerIMA", "4", "3d_fullres", "0", "-p", "tiny", "--c", "-device", "cpu", "--npz"]
    assert called["argv"] == forwarded
    assert called["nnUNet_extTrainer"] == f"{_run('path').output.strip()}:/mine"
    assert called["IMASEG_CONFIG"] == str(config)


@pytest.mark.parametrize("named", [["-tr", "nnUNetTrainerPGD"], ["-tr=nnUNetTrainerPGD"], []])
def test_nnunets_own_parser_gets_the_trainer_that_was_named(named, monkeypatch):
    from nnunetv2.run import run_training

    monkeypatch.setattr(sys, "argv", ["imaseg"])
    monkeypatch.setenv("nnUNet_extTrainer", "")
    started = []
    monkeypatch.setattr(run_training, "run_training", lambda *arguments, **_: started.append(arguments[:5]))
    monkeypatch.setattr(run_training.torch, "set_num_threads", lambda _: None)
    done = _run("train", "4", "2d", "all", *named, "-device", "cpu", "-p", "tiny")
    assert done.exit_code == 0, done.output
    assert started == [("4", "2d", "all", "nnUNetTrainerPGD" if named else "nnUNetTrainerIMA", "tiny")]


def test_wrong_settings_stop_before_nnunet_starts(called, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("epoch: 3\n")
    done = _run("train", "4", "2d", "0", "--config", config)
    assert isinstance(done.exception, InputError)
    assert called == {}


def test_export_writes_and_says_what(tmp_path):
    folder = write_results(tmp_path / "r", plans())
    done = _run("export", f"nnunet:{folder}@0", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"Created {tmp_path / 'out' / 'fold_0' / 'checkpoint_final.pth'}" in done.output.replace("\n", "")
