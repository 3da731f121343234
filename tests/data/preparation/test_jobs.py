"""Several processes: the same result, one sentence when one dies, nobody left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imaseg.data.preparation.jobs import Workers, usual_workers
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.errors import OutputError

RECIPE = Recipe(crop_margin=1)


def double(number: int, pause: float = 0.0) -> int:
    time.sleep(pause)
    return 2 * number


def die(number: int, how: int) -> int:
    if number == 2:
        os.kill(os.getpid(), how)
    return number


def die_once(number: int, folder: Path) -> int:
    if number == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    if number == 2:
        raise KeyError(number)
    return number


def lost(how: str, number: int, *_: object) -> str:
    return f"{number} was {how}"


def test_here_jobs_are_done_in_order():
    with Workers(1) as team:
        assert list(team.each(double, [(i,) for i in range(4)], lost)) == [(0, 0), (1, 2), (2, 4), (3, 6)]


def test_workers_are_worth_it_for_much_data_only(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    with large.open("wb") as file:
        file.truncate(60_000_000)
    assert usual_workers([small]) == 1
    assert 1 <= usual_workers([small, large]) <= 8
    assert usual_workers([tmp_path / "gone"]) == 1


def test_several_workers_write_the_same_bytes(raw, tmp_path, save, ball):
    save(raw / "labelsTr" / "case_3.nii.gz", ball() * 0)
    summaries = [prepare(raw, tmp_path / f"out{n}", RECIPE, workers=n) for n in (1, 2)]
    assert summaries[0].kept == summaries[1].kept
    assert summaries[0].quarantined == summaries[1].quarantined
    for path in (tmp_path / "out1").rglob("*"):
        if path.is_file() and path.parent.name != ".prepare":
            assert (tmp_path / "out2" / path.relative_to(tmp_path / "out1")).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (signal.SIGKILL, "killed by signal 9 (by the system for want of memory, or by somebody)"),
        (signal.SIGSEGV, "ended by signal 11 (Segmentation fault)"),
    ],
)
def test_a_worker_that_dies_loses_its_own_job_only(how, words):
    with Workers(2) as team:
        for _ in range(2):  # the team goes on
            done = dict(team.each(die, [(i, how) for i in range(6)], lost))
            assert done == {i: i for i in range(6) if i != 2} | {2: f"2 was {words}"}


def test_a_job_is_tried_again_alone_before_it_is_lost(tmp_path):
    with Workers(3) as team:
        assert dict(team.each(die_once, [(i, tmp_path) for i in range(6)], lost)) == {i: i for i in range(6)}
    assert (tmp_path / "died").exists()


def test_an_exception_of_a_worker_is_raised_here():
    with pytest.raises(KeyError) as caught, Workers(2) as team:
        list(team.each(fail, [(i,) for i in range(6)], lost))
    assert "in fail" in caught.value.__notes__[0]


KILLED = """
import os, signal
from imaseg.data.formats import nifti
from imaseg.data.preparation import prepare, writing
real = nifti.read_nifti
def read(path, dtype):
    if path.name == "case_3.nii.gz":
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(path, dtype)
import imaseg.data.formats.read as r
r.read_nifti = read
if __name__ == "__main__":
    import sys
    from pathlib import Path
    from imaseg.data.preparation.recipe import Recipe
    summary = prepare.prepare(Path(sys.argv[1]), Path(sys.argv[2]), Recipe(crop_margin=1), workers=2)
    print(summary.kept, summary.quarantined)
"""


def test_a_case_that_kills_its_worker_is_set_aside_and_the_others_are_prepared(raw, tmp_path):
    (tmp_path / "script.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "script.py"), str(raw), str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['case_0', 'case_1', 'case_2', 'case_4', 'case_5'] {'case_3': [")
    assert "case_3 must be prepared without a fault, got a process that was ended by signal 11" in done.stdout
    assert "fewer workers or more memory, or take its files out of the data." in done.stdout


def test_killed_with_workers_it_leaves_nobody_and_resumes(raw, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "imaseg", "prepare", str(raw), str(out), "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not list(out.glob(".prepare/*.survey.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.01)
    children = _children(process.pid)
    assert children
    process.kill()
    process.wait()
    while any(_alive(child) for child in children):
        assert time.monotonic() < limit, "a worker outlived its parent"
        time.sleep(0.05)
    assert not (out / "prepare.json").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    prepare(raw, tmp_path / "fresh", Recipe())
    for name in ("prepare.json", "dataset.json", "imagesTr/case_5.nii.gz", "labelsTr/case_0.nii.gz"):
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert list(out.rglob(".[0-9]*-*")) == []


def _children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def _alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")


def test_cases_taken_out_of_the_source_leave_the_folder_too(raw, tmp_path):
    out = tmp_path / "out"
    prepare(raw, out, RECIPE)
    description = json.loads((raw / "dataset.json").read_text())
    description["training"] = description["training"][:-1]
    (raw / "dataset.json").write_text(json.dumps(description))
    (raw / "split.json").unlink()
    summary = prepare(raw, out, RECIPE)
    assert len(summary.kept) == 5
    assert not (out / "imagesTr" / "case_5.nii.gz").exists()
    assert not (out / ".prepare" / "case_5.png").exists()


@pytest.mark.parametrize("written", [".survey.json", ".png", ".nii.gz"])
def test_a_full_disk_ends_the_preparation_and_sets_no_case_aside(written, raw, tmp_path, save, ball, monkeypatch):
    save(raw / "labelsTr" / "case_0.nii.gz", ball()[:-1])  # unfit, so that its picture is drawn when it is checked
    replace = Path.replace

    def full(self, target):
        if str(target).endswith(written):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="must be writable, got No space left"):
        patch.setattr(Path, "replace", full)
        prepare(raw, tmp_path / "out", RECIPE)
    assert not (tmp_path / "out" / "prepare.json").exists()
    reasons = prepare(raw, tmp_path / "out", RECIPE).quarantined
    assert reasons == prepare(raw, tmp_path / "fresh", RECIPE).quarantined
    assert list(reasons) == ["case_0"]


def test_a_folder_removed_while_it_is_written_is_not_finished(raw, tmp_path):
    out = tmp_path / "out"

    def rob(done, total, _):
        if done == total - 1:
            shutil.rmtree(out)

    with pytest.raises(OutputError, match=r"\.prepare must stay while it is written to, got job\.json removed"):
        prepare(raw, out, RECIPE, rob)
    assert not (out / "prepare.json").exists()


def test_an_error_ends_workers_in_the_middle_of_a_case():
    begin = time.monotonic()
    with pytest.raises(ValueError, match="enough"), Workers(2) as team:
        results = team.each(double, [(1, 0.0), (2, 60.0), (3, 60.0)], lost)
        assert next(results) == (0, 2)
        raise ValueError("enough")
    assert time.monotonic() - begin < 40
