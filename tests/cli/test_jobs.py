"""What `imaseg audit`, `attack` and `margin` share: folders, resuming, failed cases, killed processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from imaseg.auditing.inputs.source import CaseSource

PLAN = "name: tiny\nprobes: [{attack: pgd, unit: rms, eps: [0.2], steps: 2}]\nseed: %d\n"
MARGIN = ["--steps", "2", "--rtol", "0.9", "--threshold", "1", "--perturbation", "l2:1"]
COMMANDS = {
    "audit": (["--plan"], ["{plan}"], ["{other}"], "seed: 0 there, 1 now"),
    "attack": (
        ["--steps", "2"],
        ["--eps", "0.5"],
        ["--eps", "0.6"],
        "probes.0.eps: [0.5] there, [0.6] now; showcase.eps: 0.5 there, 0.6 now",
    ),
    "margin": (MARGIN, [], ["--perturbation", "gamma"], "probes"),
}


@pytest.fixture(params=COMMANDS)
def job(request, tiny_run, tmp_path):
    """The words of a command up to its data, its options, other options, and the keys of the plan that then differ."""
    for seed, name in enumerate(("plan", "other")):
        (tmp_path / f"{name}.yaml").write_text(PLAN % seed)
    fixed, own, other, differs = COMMANDS[request.param]
    paths = {name: tmp_path / f"{name}.yaml" for name in ("plan", "other")}
    own, other = ([word.format(**paths) for word in (*fixed, *words)] for words in (own, other))
    return [request.param, tiny_run], own, other, differs


def test_running_again_asks_for_resume_and_resuming_for_the_same_plan(job, imaseg, prepared_phantom, tmp_path):
    command, options, other, differs = job
    base = [*command, prepared_phantom, "--out", tmp_path / "a", "--cases", "phantom_005"]
    _, first, _ = imaseg(*base, *options)
    for arguments, text in ((options, "Add --resume"), ([*other, "--resume"], f"another ({differs})")):
        code, stdout, stderr = imaseg(*base, *arguments)
        assert (code, stdout) == (2, "")
        assert stderr.startswith("imaseg: ")
        assert len(stderr.splitlines()) == 1
        assert text in stderr
    assert imaseg(*base, *options, "--resume")[:2] == (0, first)


def test_a_failed_case_is_listed_and_exits_with_one(job, imaseg, prepared_phantom, tmp_path):
    command, options, _, _ = job
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    path = data / "imagesTr" / "phantom_006.nii.gz"
    path.write_bytes(path.read_bytes()[:400])
    out = tmp_path / "a"
    code, _, stderr = imaseg(*command, data, "--out", out, *options)
    assert code == 1
    assert "failed phantom_006: " in stderr
    run, summary = (json.loads((out / name).read_text()) for name in ("run.json", "summary.json"))
    assert [one["case"] for one in run["failed"]] == ["phantom_006"]
    assert summary["data"]["cases"] == 1
    code, stdout, stderr = imaseg(*command, data, "--out", tmp_path / "b", *options, "--cases", "phantom_006")
    assert (code, stdout) == (2, "")
    assert "no case of" in stderr.splitlines()[-1]
    assert "could be audited. First reason: " in stderr.splitlines()[-1]


def test_a_case_that_memory_does_not_suffice_for_is_set_aside(job, imaseg, prepared_phantom, tmp_path, monkeypatch):
    command, options, _, _ = job
    load = CaseSource.load

    def short(source, case):
        if case.id == "phantom_005" and short.armed:
            raise MemoryError
        return load(source, case)

    short.armed = True
    monkeypatch.setattr(CaseSource, "load", short)
    out = tmp_path / "a"
    code, _, stderr = imaseg(*command, prepared_phantom, "--out", out, *options)
    assert code == (3 if command[0] == "audit" else 1)  # of the other case alone an audit is invalid
    assert "failed phantom_005: it ran out of memory on cpu (while it was read" in stderr
    assert [path.name for path in (out / "cases").glob("*.json")] == ["phantom_006.json"]
    short.armed = False
    assert imaseg(*command, prepared_phantom, "--out", out, *options, "--resume")[0] == 0
    assert json.loads((out / "summary.json").read_text())["data"]["cases"] == 2


def test_a_folder_of_another_version_is_refused_in_one_sentence(job, imaseg, prepared_phantom, tmp_path):
    command, options, _, _ = job
    out = tmp_path / "a"
    out.mkdir()
    (out / "run.json").write_text(json.dumps({"imaseg": "0.9", "plan": {}}))
    code, stdout, stderr = imaseg(*command, prepared_phantom, "--out", out, *options, "--resume")
    assert (code, stdout, len(stderr.splitlines())) == (2, "", 1)
    assert stderr.endswith(
        "run.json must be of results format 2, got one of another version (imaseg 0.9). Run the audit again into a new "
        "folder, or read it with the version of imaseg that wrote it.\n"
    )


FILES = {
    "attack": (["--eps", "0.1", "--steps", "2"], "images"),
    "margin": (
        ["--steps", "2", "--rtol", "0.9", "--relative", "--perturbation", "linf:1", "--voxel", "--method", "gradient"],
        "voxel_margins",
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
@pytest.mark.parametrize("name", FILES)
def test_killed_in_between_it_resumes_to_the_same_bytes(name, imaseg, tiny_run, prepared_phantom, tmp_path):
    """Of `audit` tests/auditing/engine/test_sharing.py says the same."""
    options, folder = FILES[name]
    arguments = [name, tiny_run, prepared_phantom, "--cases", "all", "--device", "cpu", *options]
    out, whole = tmp_path / "a", tmp_path / "whole"
    assert imaseg(*arguments, "--out", whole)[0] == 0
    command = [sys.executable, "-m", "imaseg", *map(str, arguments), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((out / "cases").glob("[!.]*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "summary.json").exists()
    assert imaseg(*arguments, "--out", out, "--resume")[0] == 0
    written = [path.relative_to(whole) for path in (*whole.glob("*.csv"), *(whole / folder).rglob("*.gz"))]
    assert len(written) > 6
    for path in written:
        assert (out / path).read_bytes() == (whole / path).read_bytes()
    ours, theirs = (json.loads((each / "summary.json").read_text()) for each in (out, whole))
    del ours["cost"], theirs["cost"]
    assert ours == theirs
    assert not [path for path in out.rglob(".*") if path.is_file()]
