"""`imaseg margin` as a user types it: table, files named, exit codes, one clear line for bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from imaseg.cli.margin import table

from imaseg.cli.main import run

QUICK = ("--steps", "2", "--rtol", "0.9", "--cases", "phantom_005")


@pytest.fixture
def imaseg(monkeypatch, capsys):
    """Run the command in this process; exit code, stdout, stderr."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["imaseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run()
        return stop.value.code or 0, *capsys.readouterr()

    return command


def settings_of(out):
    return json.loads((out / "margins.json").read_text())["settings"]


def test_it_prints_a_row_per_set_and_structure_and_names_what_it_made(imaseg, tiny_run, raw_phantom, tmp_path):
    out = tmp_path / "a"
    chosen = ["--perturbation", "l2:1", "--perturbation", "gamma", "--relative"]
    code, stdout, stderr = imaseg("margin", tiny_run, raw_phantom, "--out", out, *QUICK[:4], *chosen)
    assert code == 0, stderr
    lines = stdout.splitlines()
    assert lines[0] == "Smallest change found that breaks a case (Dice below 0.5 of the clean Dice), over 2 cases"
    assert lines[1].split()[:3] == ["set", "structure", "median"]
    names = [(line.split()[0], line.split()[1]) for line in lines[2:8]]
    assert names == [(kind, name) for kind in ("l2", "gamma") for name in ("whole", "Front", "Back")]
    created = [line.removeprefix("Created ") for line in lines[8:]]
    assert created == [str(out / name) for name in ("cases", "margins.csv", "margins.json", "margins.html")]
    assert stderr.startswith("2 of 2 cases (val): about ")
    assert len(stderr.splitlines()) == 1
    assert max(map(len, lines[:8])) <= 120
    assert (out / "margins.html").read_text().startswith("<!DOCTYPE html>")


def test_without_a_word_it_measures_five_sets(imaseg, tiny_run, prepared_phantom, tmp_path):
    # At this threshold every case fails unattacked, so that nothing is searched.
    out = tmp_path / "a"
    code, stdout, stderr = imaseg("margin", tiny_run, prepared_phantom, "--out", out, "--threshold", "1", *QUICK)
    assert code == 0, stderr
    kinds = ["l2", "linf", "bias-field", "gamma", "deformation"]
    assert list(dict.fromkeys(line.split()[0] for line in stdout.splitlines()[2:-4])) == kinds
    settings = settings_of(out)
    assert [one["budget"]["perturbation"] for one in settings["sets"]] == kinds
    assert settings["criterion"] == {"name": "dice-below", "threshold": 1.0, "relative": False}
    assert (settings["voxel"], settings["certify"]) == ([], None)


def test_maps_and_certificates_are_named(imaseg, tiny_run, prepared_phantom, tmp_path):
    out = tmp_path / "a"
    more = ["--voxel", "--method", "gradient", "--certify", "0.1", "--samples", "60", "--seed", "3"]
    code, stdout, stderr = imaseg(
        "margin", tiny_run, prepared_phantom, "--out", out, *QUICK, "--perturbation", "gamma:1", *more
    )
    assert code == 0, stderr
    created = {line.removeprefix("Created ") for line in stdout.splitlines() if line.startswith("Created ")}
    assert {str(out / name) for name in ("voxel_margins", "certified", "voxel_margins.csv")} <= created
    assert (out / "voxel_margins" / "gamma-gradient" / "phantom_005.nii.gz").is_file()
    assert not (out / "voxel_margins" / "gamma").exists()
    settings = settings_of(out)
    assert (settings["voxel"], settings["voxel_sets"], settings["seed"]) == (["gradient"], ["gamma"], 3)
    assert (settings["certify"], settings["samples"]) == (0.1, 60)


def test_running_again_asks_for_resume_and_resuming_for_the_same_settings(imaseg, tiny_run, prepared_phantom, tmp_path):
    base = ["margin", tiny_run, prepared_phantom, "--out", tmp_path / "a", *QUICK, "--perturbation"]
    _, first, _ = imaseg(*base, "l2:1")
    for arguments, text in ((["l2:1"], "Add --resume"), (["l2:2", "--resume"], "another (sets)")):
        code, stdout, stderr = imaseg(*base, *arguments)
        assert (code, stdout) == (2, "")
        assert stderr.startswith("imaseg: ")
        assert len(stderr.splitlines()) == 1
        assert text in stderr
    assert imaseg(*base, "l2:1", "--resume")[:2] == (0, first)


def test_a_failed_case_is_listed_and_exits_with_one(imaseg, tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    path = data / "imagesTr" / "phantom_006.nii.gz"
    path.write_bytes(path.read_bytes()[:400])
    out = tmp_path / "a"
    code, stdout, stderr = imaseg("margin", tiny_run, data, "--out", out, "--threshold", "1", "--perturbation", "l2")
    assert code == 1
    assert "failed phantom_006: " in stderr
    assert "over 1 cases" in stdout
    assert "1 case could not be measured (phantom_006" in (out / "margins.html").read_text()


REFUSED = [
    (["--perturbation", "nonsense"], "perturbation must be one of "),
    (["--perturbation", "l2:x"], "must be NAME, NAME:EPS or NAME:EPS:UNIT"),
    (["--perturbation", "l2:1:nonsense"], "unit must be 'norm' or 'rms'"),
    (["--perturbation", "gamma:1:native"], "must go with l2 and linf"),
    (["--perturbation", "l2", "--perturbation", "l2:1"], "must be different sets, got l2 twice"),
    (["--criterion", "nonsense"], "criterion must be one of dice-below, voxels-flipped"),
    (["--criterion", "voxels-flipped", "--threshold", "0.5"], "--threshold must go with another criterion"),
    (["--threshold", "7"], "threshold must be in (0, 1]"),
    (["--method", "gradient"], "method must be attack, gradient or both, next to --voxel"),
    (["--voxel", "--method", "nonsense"], "method must be attack, gradient or both"),
    (["--voxel", "--focus", "-1"], "focus must be a whole number >= 0"),
    (["--certify", "0"], "sigma must be finite and > 0"),
    (["--rtol", "0"], "rtol must be in [0.0001, 1)"),
    (["--steps", "0"], "steps must be a whole number >= 1"),
    (["--cases", "phantom_999"], "case id must be one of the 6"),
    (["--device", "cuda:99"], "device must exist"),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED, ids=[" ".join(pair[0]) for pair in REFUSED])
def test_bad_input_is_one_clear_line(imaseg, tiny_run, prepared_phantom, tmp_path, arguments, text):
    code, stdout, stderr = imaseg("margin", tiny_run, prepared_phantom, "--out", tmp_path / "a", *arguments)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("imaseg: ")
    assert len(stderr.splitlines()) == 1, stderr
    assert text in stderr
    assert not (tmp_path / "a").exists()


def test_a_median_that_rests_on_unbroken_cases_is_printed_as_a_bound():
    fixed = {"perturbation": "l2", "structure": "whole", "unit": "rms", "n": 3, "clean_failures": 0, "held": 2}
    entry = fixed | {"tested": 3, "censored": 1, "q25": 0.1, "median": 0.25, "q75": 0.4}
    bounds = {"q25_at_least": False, "median_at_least": True, "q75_at_least": True}
    line = table([entry | bounds]).splitlines()[1]
    assert line.split() == ["l2", "whole", ">=0.25", "rms", "0.1", "to", ">=0.4", "1", "of", "3", "0", "2", "of", "3"]
    assert "-" in table([entry | bounds | {"q25": None, "median": None, "q75": None}])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_killed_in_between_it_resumes(imaseg, tiny_run, prepared_phantom, tmp_path):
    arguments = [
        "margin", tiny_run, prepared_phantom, "--cases", "train", "--steps", "2", "--rtol", "0.9", "--relative",
        "--perturbation", "linf:1", "--voxel", "--method", "gradient",
    ]  # fmt: skip
    out, whole = tmp_path / "a", tmp_path / "whole"
    assert imaseg(*arguments, "--out", whole)[0] == 0
    command = [sys.executable, "-m", "imaseg", *map(str, arguments), "--out", str(out)]
    process = subprocess.Popen(command)
    while process.poll() is None and not list((out / "cases").glob("[!.]*.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "margins.csv").exists()
    assert imaseg(*arguments, "--out", out, "--resume")[0] == 0
    for name in ("margins.csv", "voxel_margins.csv"):
        assert (out / name).read_text() == (whole / name).read_text()
    assert not [path for path in out.rglob(".*") if path.is_file()]
