"""Long jobs: killed for good, shared by processes, short of memory; always the same numbers in the end."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from imaseg import audit
from imaseg.auditing import Plan
from imaseg.auditing.engine import work
from imaseg.auditing.engine.cost import announcement, costs, measure
from imaseg.auditing.engine.memory import is_shortage
from imaseg.auditing.engine.sharing import Claims
from imaseg.auditing.engine.work import Work
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.probes.scene import Scene
from imaseg.auditing.shortcuts import attack_plan, margin_plan
from imaseg.cli.main import app
from imaseg.errors import InputError, OutputError
from imaseg.ranks import local_rank, rank, world

SPEC = {
    "name": "test",
    "probes": [
        {"attack": "gaussian-noise", "unit": "std", "eps": [0.1]},
        {"attack": "pgd", "unit": "std", "eps": [0.01, 0.05], "steps": 6},
    ],
    "margins": [{"unit": "std", "eps": 1.0, "steps": 3, "rtol": 0.3}],
    "validity": {"cases": 2, "large_eps": 5.0, "scaled_eps": 0.05},
    "showcase": {"eps": 0.05},
}
PLAN = Plan.model_validate(SPEC)


@pytest.fixture(scope="module")
def whole(tiny_run, prepared_phantom, tmp_path_factory):
    """All six cases by one process without a break."""
    out = tmp_path_factory.mktemp("shared") / "whole"
    audit(tiny_run, prepared_phantom, PLAN, out, select="all")
    return out


@pytest.fixture
def command(tiny_run, prepared_phantom, tmp_path):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(SPEC))
    words = ["-m", "imaseg", "audit", tiny_run, prepared_phantom, "--out", tmp_path / "a", "--cases", "all"]
    return [str(word) for word in (*words, "--plan", tmp_path / "plan.yaml", "--device", "cpu")]


def _start(*words):
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _results(folder):
    summary = json.loads((folder / "summary.json").read_text())
    del summary["cost"]
    return json.dumps(summary), (folder / "cases.csv").read_bytes()


def _finished(folder):
    """Cases on disk; a hidden name is a file that is being written."""
    return sorted(path.stem for path in (folder / "cases").glob("[!.]*.json"))


def test_killed_for_good_it_resumes_to_the_same_bytes(whole, command, tiny_run, prepared_phantom, tmp_path):
    process = _start(*command)
    while not _finished(tmp_path / "a"):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {
        name: (tmp_path / "a" / "cases" / f"{name}.json").stat().st_mtime_ns for name in _finished(tmp_path / "a")
    }
    assert 0 < len(before) < 6
    assert not (tmp_path / "a" / "summary.json").exists()
    audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", select="all", resume=True)
    assert _results(tmp_path / "a") == _results(whole)
    run = json.loads((tmp_path / "a" / "run.json").read_text())
    seconds = [json.loads(path.read_text())["seconds"] for path in (tmp_path / "a" / "cases").glob("*.json")]
    assert run["case_seconds"] == pytest.approx(sum(seconds)), "those of the killed process count too"
    assert run["processes"] == 2
    for name, written in before.items():
        assert (tmp_path / "a" / "cases" / f"{name}.json").stat().st_mtime_ns == written
    assert {path.name for path in (tmp_path / "a").iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.slow
def test_two_processes_of_torchrun_come_to_the_same_bytes(whole, command, tmp_path):
    process = _start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command)
    said, _ = process.communicate(timeout=300)
    # Training cases are among them, so the audit is not valid; torchrun ends with 1 and names the code of its process.
    assert process.returncode == 1, said
    assert re.search(r"exitcode\s*: 3", said)
    assert _results(tmp_path / "a") == _results(whole)
    assert "6 cases (all), plan test: at most about" in said
    assert "shared by 2 processes" in said
    assert said.count("Created ") == 4, "one of them speaks"
    run = json.loads((tmp_path / "a" / "run.json").read_text())
    records = [json.loads(path.read_text()) for path in (tmp_path / "a" / "cases").glob("*.json")]
    assert run["case_seconds"] == pytest.approx(sum(record["seconds"] for record in records))
    assert run["processes"] == len({record["process"] for record in records}) == 2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="who holds a case is read from /proc/locks")
def test_eight_processes_of_an_array_one_of_them_killed_come_to_the_same_bytes(whole, command, tmp_path):
    # As an array of a batch system starts them: at the same moment, none of them knowing of the others.
    jobs = [_start("-m", "imaseg", "--threads", "1", *command[2:], "--resume") for _ in range(8)]
    while not _finished(tmp_path / "a"):
        assert any(job.poll() is None for job in jobs), jobs[0].stdout.read()
        time.sleep(0.01)
    by_pid = {job.pid: job for job in jobs}
    _holder(tmp_path / "a" / ".claims", by_pid).send_signal(signal.SIGKILL)
    said = [job.communicate(timeout=600)[0] for job in jobs]
    codes = sorted(job.returncode for job in jobs)
    assert codes == [-signal.SIGKILL, *[3] * 7], "\n".join(said)  # training cases are among them: not valid
    assert _results(tmp_path / "a") == _results(whole)
    assert not (tmp_path / "a" / ".claims").exists()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {path.name for path in whole.iterdir()}


def _holder(claims, by_pid):
    """One of the processes that holds a case just now."""
    while True:
        for line in Path("/proc/locks").read_text().splitlines():
            pid = next((int(word) for word in line.split() if word.isdigit() and int(word) in by_pid), None)
            if pid is not None and by_pid[pid].poll() is None and claims.exists():
                return by_pid[pid]
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "table"),
    [
        (("margin", "--steps", "2", "--rtol", "0.9", "--perturbation", "l2:1"), "margins.csv"),
        (("attack", "--eps", "0.1", "--steps", "2"), "cases.csv"),
    ],
    ids=["margin", "attack"],
)
def test_margins_and_attacks_are_shared_too(job, table, tiny_run, prepared_phantom, tmp_path):
    name, *options = job
    found = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "imaseg"]
        words += [name, tiny_run, prepared_phantom, "--out", out, "--cases", "all", "--device", "cpu", *options]
        process = _start(*map(str, words))
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert f"6 cases (all), plan {name}: at most about" in said
        assert (", shared by 2 processes, less" in said) == (processes == 2)
        assert len(re.findall(rf"Created .*{table}", said)) == 1, "one of them speaks"
        assert not (out / ".claims").exists()
        found.append((out / table).read_bytes())
    assert found[0] == found[1]


def test_nobody_sweeps_while_the_summary_is_written(tmp_path):
    claims = Claims(tmp_path)
    with claims.summing_up():
        assert not Claims(tmp_path).idle()
    assert Claims(tmp_path).idle()
    assert not claims.folder.exists()


def test_a_case_belongs_to_one_process(tmp_path):
    with (
        Claims(tmp_path).claim("a") as first,
        Claims(tmp_path).claim("a") as second,
        Claims(tmp_path).claim("b") as other,
    ):
        assert (first, second, other) == (True, False, True)
    with Claims(tmp_path).claim("a") as again:
        assert again


def test_what_somebody_is_writing_is_not_swept_away(whole, tiny_run, prepared_phantom, tmp_path):
    out = shutil.copytree(whole, tmp_path / "a")
    part = out / "cases" / ".123-phantom_001.npz"
    part.write_text("half")
    with Claims(out).claim("phantom_001"):
        assert not Claims(out).idle()
        audit(tiny_run, prepared_phantom, PLAN, out, select="all", resume=True)
        assert part.exists()
    assert Claims(out).idle()
    audit(tiny_run, prepared_phantom, PLAN, out, select="all", resume=True)
    assert not part.exists()
    assert _results(out) == _results(whole)


def test_the_dead_hold_nothing(tmp_path):
    pytest.importorskip("fcntl")
    (tmp_path / ".claims").mkdir()
    held = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", held + "; time.sleep(60)", str(tmp_path / ".claims" / "a.lock")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    with Claims(tmp_path).claim("a") as ours:
        assert not ours
    process.kill()
    process.communicate()
    with Claims(tmp_path).claim("a") as ours:
        assert ours


def test_what_another_process_gives_up_is_done_here(whole, tiny_run, prepared_phantom, tmp_path):
    held, release = threading.Event(), threading.Event()
    (tmp_path / "a").mkdir()

    def hold():
        with Claims(tmp_path / "a").claim("phantom_001"):
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def resting(claims):
        assert "phantom_001" not in _finished(tmp_path / "a"), "a case that somebody holds is left alone"
        assert len(_finished(tmp_path / "a")) == 5
        release.set()
        thread.join()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Claims, "rest", resting)
        shutil.copyfile(whole / "run.json", tmp_path / "a" / "run.json")
        audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", select="all", resume=True)
    assert _results(tmp_path / "a") == _results(whole)


def test_all_but_the_first_process_leave_the_summary_to_it(whole, tiny_run, prepared_phantom, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert (rank(), world(), local_rank()) == (1, 2, 1)
    out = tmp_path / "a"
    out.mkdir()
    (out / "run.json").write_bytes((whole / "run.json").read_bytes())
    done = audit(tiny_run, prepared_phantom, PLAN, out, select="all")
    assert done.summary == {}
    assert len(_finished(out)) == 6
    assert not (out / "summary.json").exists()


PLANS = {
    "audit": PLAN,
    "attack": attack_plan("pgd", "l2", 0.05, unit="std", steps=2),
    "margin": margin_plan(["l2:0.1:std"], criterion={"name": "dice-below", "threshold": 0.5}, steps=1, rtol=0.9),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_case_short_of_memory_fails_alone(plan, tiny_run, prepared_phantom, tmp_path, monkeypatch):
    look = Scene.score

    def starved(self, *arguments, **more):
        if self.case.id == "phantom_005":
            msg = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise torch.OutOfMemoryError(msg)
        return look(self, *arguments, **more)

    monkeypatch.setattr(Scene, "score", starved)
    said = []
    done = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", announce=said.append)
    assert any("measured on phantom_006" in text for text in said), "the estimate outlives it too"
    (failed,) = done.failed
    assert failed.case == "phantom_005"
    assert re.match(r"it ran out of memory on cpu \(image of 1( x \d+){3}, \d+ MB at most\)", failed.reason)
    assert done.summary["data"]["cases"] == 1
    assert not [path for path in (tmp_path / "a").rglob("*phantom_005*") if path.suffix != ".lock"]


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_shortages_are_told_from_other_errors(error, short):
    assert is_shortage(error) == short


def test_a_full_disk_ends_the_audit_and_leaves_what_is_finished(
    whole, tiny_run, prepared_phantom, tmp_path, monkeypatch
):
    write = Path.write_bytes

    def full(self, content):
        if "phantom_003.json" in self.name:
            write(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match=r"phantom_003\.json must be writable, got No space left on device"):
            audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", select="all")
    assert _finished(tmp_path / "a") == ["phantom_001", "phantom_002"]
    audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", select="all", resume=True)
    assert _results(tmp_path / "a") == _results(whole)


@pytest.mark.parametrize("gone", ["run.json", "cases/phantom_001.json", "."])
def test_what_is_removed_while_it_runs_is_not_summed_up(gone, tiny_run, prepared_phantom, tmp_path, monkeypatch):
    out, run = tmp_path / "a", Work.run

    def robbed(self, *, wait):
        found = run(self, wait=wait)
        (shutil.rmtree if gone == "." else os.unlink)(out / gone)
        return found

    monkeypatch.setattr(Work, "run", robbed)
    name = "run.json" if gone == "." else Path(gone).name
    with pytest.raises(OutputError, match=rf"(must stay while it is written to, got {name} removed|must be writable)"):
        audit(tiny_run, prepared_phantom, PLAN, out, select=["phantom_001", "phantom_002"])
    assert not (out / "summary.json").exists()


def test_a_case_is_not_written_into_a_folder_that_was_removed(tiny_run, prepared_phantom, tmp_path, monkeypatch):
    out, score = tmp_path / "a", Scene.score

    def robbed(self, *arguments, **more):
        shutil.rmtree(out, ignore_errors=True)
        return score(self, *arguments, **more)

    plan = Plan.model_validate(SPEC | {"verify": False, "validity": None, "showcase": None, "margins": []})
    monkeypatch.setattr(Scene, "score", robbed)
    with pytest.raises(OutputError, match="must stay while it is written to"):
        audit(tiny_run, prepared_phantom, plan, out, select=["phantom_001"])
    assert list(out.rglob("*.json")) == []


@pytest.mark.parametrize("name", ["run.json", "cases/phantom_002.json"])
@pytest.mark.parametrize("left", [0, 100])
def test_a_file_cut_short_is_named_with_the_way_out(name, left, whole, tiny_run, prepared_phantom, tmp_path):
    out = shutil.copytree(whole, tmp_path / "a")
    os.truncate(out / name, left)
    way = "into a new folder" if name == "run.json" else "Delete it and run the same command with --resume"
    with pytest.raises(InputError, match=rf"{name} must be readable JSON, got .*{way}") as refused:
        audit(tiny_run, prepared_phantom, PLAN, out, select="all", resume=True)
    assert "\n" not in str(refused.value)
    if name != "run.json":
        (out / name).unlink()
        audit(tiny_run, prepared_phantom, PLAN, out, select="all", resume=True)
        assert _results(out) == _results(whole)


def test_control_c_keeps_what_is_finished_and_says_how_to_go_on(command, tmp_path, monkeypatch):
    write = work.write_json

    def interrupt(path, content):
        if content["case"] == "phantom_003":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(work, "write_json", interrupt)
    done = CliRunner().invoke(app, command[2:])
    assert done.exit_code == 130
    assert "Finished work is kept; the same command with --resume goes on." in done.output
    assert _finished(tmp_path / "a") == ["phantom_001", "phantom_002"]


def test_gates_decide_the_exit_code_and_are_free_on_a_finished_audit(command, tmp_path, monkeypatch):
    wrong = CliRunner().invoke(app, [*command[2:], "--fail-below", "dice@linf-0.05=0.1"])
    assert wrong.exit_code == 2 or "must name what plan test measures" in str(wrong.exception)
    assert not (tmp_path / "a").exists(), "a wrong name is refused before anything is run"
    few = [word if word != "all" else "phantom_005" for word in command[2:]]
    passed = CliRunner().invoke(app, [*few, "--fail-below", "dice@clean=0.0", "--fail-below", "margin@l2=0.0"])
    assert passed.exit_code == 0, passed.output
    assert passed.output.count("gate passed: ") == 2
    monkeypatch.setattr(work, "Scene", None)
    failed = CliRunner().invoke(app, [*few, "--resume", "--fail-below", "dice@l2-0.05=1.01"])
    assert failed.exit_code == 1
    assert "gate failed: dice@l2-0.05 must be at least 1.01, got 0." in failed.output
    assert "all finished before" in failed.output


def test_the_cost_counts_the_calls_that_are_made(tiny_run, prepared_phantom, tmp_path):
    small = [{"attack": "pgd", "unit": "std", "eps": [1e-6, 2e-6], "steps": 5, "restarts": 2}]
    noise = [{"attack": "gaussian-noise", "unit": "std", "eps": [1e-6]}]
    plan = Plan.model_validate({"name": "calls", "probes": [*small, *noise], "showcase": {"eps": 1e-6}})
    done = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", select=["phantom_005"])
    run = json.loads((done.folder / "run.json").read_text())
    parts = costs(plan, classes=2)
    assert sum(part.gradients for part in parts) == run["backward_calls"]
    assert sum(part.calls for part in parts) == pytest.approx(run["forward_calls"], abs=4)


def test_the_cost_is_told_part_by_part_for_what_is_left(tiny_run, prepared_phantom):
    subject = Subject.of(tiny_run, prepared_phantom, select="all", device=None)
    text = announcement("6 cases", measure(subject, PLAN), 6, costs(PLAN, classes=2), [1, 2, 3], processes=2)
    head, titles, *rows = text.splitlines()
    assert head.startswith("6 cases, 3 of them left: at most about ")
    assert "in all, shared by 2 processes, less where" in head
    assert "measured on phantom_001)" in head
    assert titles.split() == ["part", "cases", "calls", "per", "case", "time"]
    table = {row.split()[0]: row.split()[1:3] for row in rows}
    assert table["pgd-l2"] == ["3", "18"]
    assert table["checks"][0] == "1", "the checks are made on the first two cases, of which one is done"
    assert set(table) == {"gaussian-noise-l2", "pgd-l2", "margin-l2", "checks", "margin-l2:"}


def test_time_and_memory_of_each_case_are_kept(whole):
    run, summary = (json.loads((whole / name).read_text()) for name in ("run.json", "summary.json"))
    assert len(run["cost_per_case"]) == 6
    assert all(cost["seconds"] > 0 and cost["peak_memory_mb"] > 50 for cost in run["cost_per_case"].values())
    assert summary["cost"]["peak_memory_mb"] == max(c["peak_memory_mb"] for c in run["cost_per_case"].values())
