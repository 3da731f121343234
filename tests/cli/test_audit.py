"""What an audit that calls itself invalid does to exit codes and gates."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from imaseg import InputError, load_model
from imaseg.cli.main import app


@pytest.fixture
def invalid(tiny_run, prepared_phantom, tmp_path):
    """A command whose case was trained on, which one check holds against it."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: p\nprobes:\n  - {attack: gaussian-noise, unit: std, eps: 0.01}\n")
    seen = load_model(tiny_run).card.train_ids[0]
    words = ["audit", tiny_run, prepared_phantom, "--out", tmp_path / "a", "--plan", plan, "--cases", seen]
    return [*map(str, words)]


def test_an_invalid_audit_ends_with_3_and_passes_no_gate(invalid):
    done = CliRunner().invoke(app, [*invalid, "--fail-below", "dice@clean=0.0"])
    assert done.exit_code == 3, done.output
    assert "gate failed: the audit calls itself invalid" in done.output
    assert "not valid: 1 of 1 audited cases were in the training set" in done.output


def test_on_request_the_numbers_of_an_invalid_audit_decide_and_that_is_said(invalid):
    free = CliRunner().invoke(app, [*invalid, "--allow-invalid", "--fail-below", "dice@clean=0.0"])
    assert free.exit_code == 0, free.output
    assert "gate passed: dice@clean" in free.output
    assert "calls itself invalid: gates are judged by its numbers, as --allow-invalid asks" in free.stderr
    failed = CliRunner().invoke(app, [*invalid, "--resume", "--allow-invalid", "--fail-below", "dice@clean=1.01"])
    assert failed.exit_code == 1
    assert CliRunner().invoke(app, [*invalid, "--resume"]).exit_code == 3


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(tiny_run, prepared_phantom, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["audit", str(tiny_run), str(prepared_phantom), "--out", str(out), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "about" in done.output
    assert "calls per case" in done.output
    assert "Nothing was run. It would write to" in done.output
    assert not out.exists()
    done = CliRunner().invoke(
        app, ["attack", str(tiny_run), str(prepared_phantom), "--out", str(out), "--eps", "0.1", "--dry-run"]
    )
    assert done.exit_code == 0, done.output
    assert not out.exists()


def test_every_command_on_cases_takes_one_in_so_many_and_ids_of_a_file(tiny_run, prepared_phantom, tmp_path):
    (tmp_path / "ids.txt").write_text("phantom_006\n")
    for words, said in (
        ("every:2", "1 case (val, 1 in 2), plan"),
        (f"@{tmp_path / 'ids.txt'}", "1 case (chosen), plan"),
    ):
        for command in (["audit"], ["attack", "--eps", "0.1"], ["margin", "--perturbation", "gamma"]):
            name, *more = command
            given = [str(tiny_run), str(prepared_phantom), "--out", str(tmp_path / "a"), "--cases", words, "--dry-run"]
            done = CliRunner().invoke(app, [name, *given, *more])
            assert done.exit_code == 0, done.output
            assert said in done.output
        done = CliRunner().invoke(app, ["doctor", str(tiny_run), "--data", str(prepared_phantom), "--cases", words])
        assert "6 prepared cases, 1 of them" in done.output


def test_a_dry_run_of_training_checks_the_configuration_and_writes_nothing(prepared_phantom, tiny_config, tmp_path):
    out = tmp_path / "out"
    arguments = ["train", str(tiny_config), "--data", str(prepared_phantom), "--out", str(out), "--dry-run"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "3 cases, 2 epochs, method standard: about" in done.output
    assert not out.exists()
    with pytest.raises(InputError):
        CliRunner().invoke(app, [*arguments, "loss.name=Nonsense"], catch_exceptions=False)


def test_a_dry_run_refuses_a_folder_that_the_run_would_refuse(tiny_run, prepared_phantom, tiny_config, tmp_path):
    run, audited = tmp_path / "run", tmp_path / "audit"
    train = ["train", str(tiny_config), "--data", str(prepared_phantom), "--out", str(run), "epochs=1"]
    look = ["attack", str(tiny_run), str(prepared_phantom), "--out", str(audited), "--eps", "0.1", "--attack", "fgsm"]
    for command, other in ((train, "network.channels=[4,6]"), (look, "--seed=3")):
        assert CliRunner().invoke(app, command).exit_code == 0
        held = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        for more, told in (([], "Add --resume"), (["--resume", other], "Name another --out")):
            done = CliRunner().invoke(app, [*command, "--dry-run", *more])
            assert told in str(done.exception)
        assert CliRunner().invoke(app, [*command, "--dry-run", "--resume"]).exit_code == 0
        assert held == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_verbose_shows_where_a_case_failed(tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    damaged = next((data / "imagesTr").glob("phantom_005*"))
    damaged.write_bytes(b"not a volume")
    arguments = ["audit", str(tiny_run), str(data), "--plan", str(_plan(tmp_path))]
    shown = {}
    for name, more in (("plain", []), ("verbose", ["--verbose"])):
        command = [sys.executable, "-m", "imaseg", *more, *arguments, "--out", str(tmp_path / name)]
        shown[name] = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        assert "failed phantom_005" in shown[name]
    assert "Traceback" not in shown["plain"]
    assert "imaseg: case phantom_005 failed\nTraceback" in shown["verbose"]


def _plan(folder):
    path = folder / "plan.yaml"
    path.write_text("name: p\nprobes: [{attack: fgsm, eps: [0.1]}]\nverify: false\n")
    return path
