"""The command line as a user types it: output, exit codes, one clear line for bad input."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imaseg import progress
from imaseg.cli.main import app


def imaseg(*arguments, **environment):
    """Run `python -m imaseg`."""
    return subprocess.run(
        [sys.executable, "-m", "imaseg", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "120"} | environment,
    )


def _refused(done, text):
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("imaseg: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert text in done.stderr


def test_help_lists_the_commands_and_waits_for_no_library():
    # What it imports, and not how long it takes: that depends on the machine and on what else it does.
    code = (
        "import sys; from imaseg.cli.main import run; sys.argv = ['imaseg', '--help']\n"
        "heavy = {'torch', 'numpy', 'monai', 'scipy', 'pydantic'}\n"
        "try: run()\nexcept SystemExit: print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, imported = done.stdout.splitlines()
    assert all(command in "\n".join(lines) for command in ("demo", "prepare", "train", "audit", "report"))
    assert imported == ""


def test_an_unknown_command_is_wrong_usage(here):
    assert here("attac").returncode == 2


@pytest.fixture(scope="module")
def worked(raw_phantom, tmp_path_factory):
    """prepare -> train -> audit, each as a command."""
    home = tmp_path_factory.mktemp("work")
    (home / "tiny.yaml").write_text(
        "network: {name: UNet, channels: [4, 8], strides: [2], num_res_units: 0}\npatch: [24, 24, 16]\n"
        "method: {name: ima, perturbation: {name: l2, eps: 0.2, unit: rms}, steps: 2}\n"
    )
    (home / "plan.yaml").write_text(
        "name: tiny\nprobes: [{attack: gaussian-noise, unit: rms, eps: [0.2]}, {attack: fgsm, unit: rms, eps: [0.2]},"
        " {attack: pgd, unit: rms, eps: [0.2], steps: 3}]\nshowcase: {eps: 0.2}\n"
        "margins: [{unit: rms, eps: 0.5, steps: 3, rtol: 0.2}]\n"
    )
    data = home / "data"
    steps = [
        imaseg("prepare", raw_phantom, data),
        imaseg("train", home / "tiny.yaml", "--data", data, "--out", home / "run", "epochs=2", "batch_size=2"),
        imaseg("audit", home / "run", data, "--out", home / "audit", "--plan", home / "plan.yaml"),
    ]
    return home, steps


def test_the_main_path_works_and_names_what_it_made(worked):
    home, steps = worked
    for done, code in zip(steps, (0, 0, 3), strict=True):  # two epochs find nothing, which the audit says of itself
        assert done.returncode == code, done.stderr
        created = [line.removeprefix("Created ") for line in done.stdout.splitlines() if line.startswith("Created ")]
        assert created
        assert all(os.path.exists(path) for path in created)  # noqa: PTH110
    assert "6 cases prepared, 0 quarantined" in steps[0].stdout
    assert (home / "audit" / "report.html").read_text().startswith("<!")
    assert "2 cases (val), plan tiny: at most about" in steps[2].stderr
    assert "l2 0.2 rms" in steps[2].stdout
    told = "not valid: Some labelled structures are next to never found on unchanged images: Front at most"
    assert told in steps[2].stderr
    names = ("cases", "summary.json", "cases.csv", "report.html")
    assert [home / "audit" / name for name in names] == [Path(path) for path in created]


def test_report_joins_several_audits(worked, tmp_path, here):
    home, _ = worked
    done = here("report", home / "audit", home / "audit", "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Created {tmp_path / 'page.html'}\nCreated {tmp_path / 'comparison.csv'}\n"
    alone = here("report", home / "audit", "--out", tmp_path / "alone" / "page.html")
    assert alone.stdout == f"Created {tmp_path / 'alone' / 'page.html'}\n"


def test_running_again_asks_for_resume(worked, here):
    home, _ = worked
    _refused(
        here("audit", home / "run", home / "data", "--out", home / "audit", "--plan", home / "plan.yaml"), "--resume"
    )
    _refused(here("train", home / "tiny.yaml", "--data", home / "data", "--out", home / "run"), "--resume")


def test_a_failed_case_is_listed_and_exits_with_one_unless_the_rest_is_invalid(worked, tmp_path, here):
    home, _ = worked
    data = shutil.copytree(home / "data", tmp_path / "data")
    image = data / "imagesTr" / "phantom_006.nii.gz"
    image.write_bytes(image.read_bytes()[:300])
    command = ("audit", home / "run", data, "--out", tmp_path / "a", "--plan", home / "plan.yaml")
    done = here(*command)
    assert done.returncode == 3  # two epochs find nothing, and the audit says so of itself
    assert "failed phantom_006: " in done.stderr
    assert here(*command, "--resume", "--allow-invalid").returncode == 1


def _truncated(data):
    path = data / "imagesTr" / "phantom_001.nii.gz"
    path.write_bytes(path.read_bytes()[:500])


def _other_shape(data):
    import nibabel as nib

    path = data / "labelsTr" / "phantom_001.nii.gz"
    label = nib.load(path)
    nib.save(nib.Nifti1Image(label.get_fdata()[:-1].astype("uint8"), label.affine), path)


def _nan(data):
    import nibabel as nib
    import numpy as np

    path = data / "imagesTr" / "phantom_001.nii.gz"
    image = nib.load(path)
    voxels = image.get_fdata().astype("float32")
    voxels[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(voxels, image.affine), path)


@pytest.mark.parametrize(
    ("damage", "text"), [(_truncated, "complete NIfTI"), (_other_shape, "shape of"), (_nan, "finite numbers")]
)
def test_prepare_sets_bad_cases_aside_and_keeps_the_rest(raw_phantom, tmp_path, damage, text, here):
    data = shutil.copytree(raw_phantom, tmp_path / "raw")
    damage(data)
    done = here("prepare", data, tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "5 cases prepared, 1 quarantined" in done.stdout
    records = {case["id"]: case for case in json.loads((tmp_path / "out" / "prepare.json").read_text())["cases"]}
    assert records["phantom_001"]["status"] == "quarantined"
    assert text in " ".join(records["phantom_001"]["reasons"])
    assert sum(record["status"] == "ok" for record in records.values()) == 5


def test_bad_input_is_one_clear_line(worked, raw_phantom, tmp_path, here):
    home, _ = worked
    data, run, config = home / "data", home / "run", home / "tiny.yaml"
    out = tmp_path / "out"
    _refused(imaseg("prepare", tmp_path / "none", out), "nothing there")
    _refused(here("prepare", raw_phantom, out, "--recipe", "nonsense"), "msd")
    _refused(here("train", config, "--data", tmp_path / "none", "--out", out), "nothing there")
    _refused(here("train", config, "--data", raw_phantom, "--out", out), "imaseg prepare")
    _refused(here("train", config, "--data", data, "--out", out, "epochz=1"), "'epochz'")
    _refused(here("train", tmp_path / "none.yaml", "--data", data, "--out", out), "none.yaml")
    _refused(here("train", config, "--data", data, "--out", out, f"init={tmp_path}"), "weights.safetensors")
    other = ["network.channels=[8, 16]", f"init={run}"]
    _refused(here("train", config, "--data", data, "--out", out, *other), "another architecture")
    _refused(here("audit", tmp_path / "none", data, "--out", out), "which is no folder")
    _refused(here("audit", run, tmp_path / "none", "--out", out), "nothing there")
    _refused(here("audit", run, data, "--out", out, "--plan", "slow"), "plan must be one of quick")
    _refused(here("audit", run, data, "--out", out, "--cases", "phantom_999"), "phantom_999")
    _refused(here("audit", run, data, "--out", out, "--device", "cuda:99"), "device must exist")
    _refused(here("report", tmp_path, "--out", out / "x.html"), "summary.json")
    assert not out.exists(), "nothing is written for a refused command"


def test_gzip_of_nonsense_is_refused_like_any_other_file(worked, tmp_path, here):
    home, _ = worked
    data = shutil.copytree(home / "data", tmp_path / "data")
    for name in ("phantom_005", "phantom_006"):
        (data / "imagesTr" / f"{name}.nii.gz").write_bytes(gzip.compress(b"nonsense"))
    done = here("audit", home / "run", data, "--out", tmp_path / "a", "--plan", home / "plan.yaml")
    _refused(done, "phantom_005")


@pytest.mark.slow
def test_training_killed_for_good_resumes_to_the_same_weights(worked, tmp_path):
    home, _ = worked
    command = ["train", home / "tiny.yaml", "--data", home / "data", "epochs=12", "device=cpu", "--out"]
    assert imaseg(*command, tmp_path / "whole").returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "imaseg", *map(str, command), str(tmp_path / "part")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics = tmp_path / "part" / "metrics.csv"
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) > 3):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(metrics.read_text().splitlines()) < 13
    assert imaseg(*command, tmp_path / "part", "--resume").returncode == 0
    whole, part = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "part"))
    assert whole == part
    assert (tmp_path / "whole" / "margins.csv").read_text() == (tmp_path / "part" / "margins.csv").read_text()


@pytest.mark.parametrize("command", [["nnunet", "export"], ["nnunet", "train"], ["nnunet", "path"]])
def test_the_help_of_nested_commands_prints(command):
    done = imaseg(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"imaseg {' '.join(command)}" in done.stdout


def test_a_demo_stopped_while_it_draws_its_phantom_goes_on(tmp_path, monkeypatch):
    from imaseg import demo

    def stopped(out, *, cases):
        (out / "imagesTr").mkdir(parents=True)
        raise KeyboardInterrupt

    def drawn(out, *, cases):
        assert not out.exists()
        out.mkdir()

    class Reached(Exception):
        pass

    def prepare(raw, *_, **__):
        assert raw.is_dir()
        raise Reached

    monkeypatch.setattr(demo, "prepare", prepare)
    monkeypatch.setattr(demo, "write_phantom", stopped)
    with pytest.raises(KeyboardInterrupt):
        demo.demo(tmp_path)
    assert not (tmp_path / "raw").exists()
    monkeypatch.setattr(demo, "write_phantom", drawn)
    with pytest.raises(Reached):
        demo.demo(tmp_path)


def test_the_demo_ends_with_what_its_table_shows():
    from imaseg import demo
    from imaseg.results import load

    folder = Path(__file__).parents[2] / "docs" / "example" / "audits"
    said = demo.closing(*(load(folder / name).summary for name in ("standard", "ima")))
    page = (folder.parent / "index.md").read_text()  # whose table tells these audits, whole
    (_, *standard), (_, *robust) = (
        re.findall(r"[\w.]+", row) for row in re.findall(r"^\| (?:standard|IMA) .*", page, re.M)
    )
    assert f"Clean Dice is {float(standard[0]):.2f} of standard and {float(robust[0]):.2f} of ima, the price" in said
    assert f"at 0.1 rms, where the two are furthest apart, standard keeps {float(standard[3]):.2f} and ima 0.48" in said


def test_the_demo_opens_its_page_on_request_and_is_quiet_on_request(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(progress, "QUIET", False)  # put back at the end
    monkeypatch.setattr("imaseg.demo.demo", lambda out: out / "report.html")
    monkeypatch.setattr("typer.launch", opened.append)
    for words in (["demo"], ["--quiet", "demo", "--open"]):
        done = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert ("phantom cohort" in done.output) == (words == ["demo"])
    assert opened == [(tmp_path / "report.html").resolve().as_uri()]
