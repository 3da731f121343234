"""`imaseg nnunet`: what reaches nnU-Net's own commands."""

from __future__ import annotations

import errno
import os
import re
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


def _failing(monkeypatch, number, at):
    """From the `at`-th file on, no byte is written, as on a full or read-only disk."""
    write, count = Path.write_bytes, iter(range(100))

    def fail(self, content):
        if next(count) < at:
            return write(self, content)
        write(self, bytes(content)[:100])
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "write_bytes", fail)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_an_export_that_cannot_be_written_leaves_nothing(number, at, two_folds, here, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _failing(patch, number, at)
        done = here("nnunet", "export", two_folds, tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    name = ("checkpoint_final.pth", "checkpoint_final.pth", "plans.json", "dataset.json")[at]
    assert re.fullmatch(
        rf"imaseg: \S+{name} must be writable, got {os.strerror(number)}\. Free space .*\n", done.stderr
    )
    assert not (tmp_path / "out").exists()
    assert here("nnunet", "export", two_folds, tmp_path / "out").returncode == 0


def test_an_export_into_a_folder_that_may_not_be_made_is_one_line(two_folds, here, tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    done = here("nnunet", "export", two_folds, tmp_path / "out")
    assert done.returncode == 2
    assert re.fullmatch(r"imaseg: \S+ must be writable, got Read-only file system\. .*\n", done.stderr)


@pytest.fixture(scope="module")
def two_folds(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results") / "r", plans(), folds=("0", "1"))
