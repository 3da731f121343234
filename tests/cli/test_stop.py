"""SIGTERM, as a job scheduler sends it, ends a command as Ctrl-C does: one sentence, no traceback, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import IMA_METHOD

_WAITING = """
import signal, sys, time
from contextlib import nullcontext
from imaseg.cli import main

def hang():
    while True:
        try:
            print("hangs", flush=True)
            time.sleep(60)
        except BaseException:
            pass

@main.app.command()
def wait():
    with {context}:
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            {after}

sys.argv = ["imaseg", "wait"]
main.run()
"""
_KEPT = "imaseg: stopped. Finished work is kept; the same command{} goes on.\n"
_RESUME = " with --resume"


class _Command(subprocess.Popen):
    def __exit__(self, *error):
        self.kill()  # where a test fails it would be waited for
        super().__exit__(*error)


def _start(*words):
    """In a session of its own, so that what it leaves behind can be counted."""
    return _Command(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("context", "said"), [("main.stoppable()", _KEPT.format(_RESUME)), ("nullcontext()", "imaseg: stopped.\n")]
)
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_one_sentence(context, said, sent, code):
    with _start("-c", _WAITING.format(context=context, after="pass")) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, said)


def test_a_second_signal_ends_a_cleanup_that_hangs_and_is_said_once():
    hanging = _WAITING.format(context="main.stoppable()", after="hang()")
    with _start("-c", hanging) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "hangs\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, _KEPT.format(_RESUME))


def test_a_closed_terminal_does_not_end_what_nohup_started():
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    with _start("-c", ignoring + _WAITING.format(context="nullcontext()", after="pass")) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "imaseg: stopped.\n")


@pytest.fixture
def jobs(tiny_run, raw_phantom, prepared_phantom, tiny_config, tmp_path):
    """Every long command, what it has written when it is stopped, and how it says that it goes on."""
    out, on = ("--out", tmp_path / "out", "--cases", "all"), (tiny_run, prepared_phantom)
    case = "cases/phantom_001.json"
    return {
        "prepare": (("prepare", raw_phantom, tmp_path / "out"), ".prepare/phantom_001.case.json", ""),
        "workers": (("prepare", raw_phantom, tmp_path / "out", "--workers", "2"), ".prepare/*.survey.json", ""),
        "train": (
            ("train", tiny_config, "--data", prepared_phantom, "--out", tmp_path / "out", IMA_METHOD, "epochs=40"),
            "checkpoint.pt",
            _RESUME,
        ),
        "loaders": (
            ("train", tiny_config, "--data", prepared_phantom, "--out", tmp_path / "out", "workers=2", "epochs=40"),
            "checkpoint.pt",
            _RESUME,
        ),
        "audit": (("audit", *on, *out), case, _RESUME),
        "attack": (("attack", *on, *out, "--eps", "0.1", "--attack", "strong"), case, _RESUME),
        "margin": (("margin", *on, *out), case, _RESUME),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prepare", "workers", "train", "loaders", "audit", "attack", "margin"])
def test_a_real_command_stops_and_leaves_nobody_behind(name, jobs, tmp_path):
    words, mark, how = jobs[name]
    with _start("-m", "imaseg", *words) as process:
        while not list((tmp_path / "out").glob(mark)):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 143, errors
    assert errors.endswith(_KEPT.format(how))
    assert "Traceback" not in errors
    assert errors.count("stopped.") == 1
    _wait_for_the_end_of(process.pid)


def _wait_for_the_end_of(group):
    """Until no process of the session is left."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a child outlived the command")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "audit"])
def test_torchrun_passes_it_on_and_no_process_hangs(name, jobs, tmp_path):
    words, mark, how = jobs[name]
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    with _start(*torchrun, "-m", "imaseg", *words) as process:
        while not list((tmp_path / "out").glob(mark)):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count(_KEPT.format(how)) == 1, errors
    _wait_for_the_end_of(process.pid)


@pytest.mark.slow
def test_a_process_of_torchrun_that_is_killed_ends_the_training_in_a_sentence(jobs, tmp_path):
    words, mark, _ = jobs["train"]
    with _start(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "imaseg", *words
    ) as process:
        while not list((tmp_path / "out").glob(mark)):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    ours, _, _ = errors.partition("Root Cause")
    assert "imaseg: every process of torchrun must live until the end" in ours or "imaseg: stopped." in ours, errors
    assert "RuntimeError" not in errors
    _wait_for_the_end_of(process.pid)


def test_a_full_stdout_is_one_sentence(tmp_path):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "imaseg", "list", "attacks"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "imaseg: the output must be readable and writable, got No space left on device. "
        "Correct this and run it again.\n"
    )


@pytest.mark.parametrize(("words", "code"), [(("doctor",), 2), (("schema", "run"), 0)])
def test_a_machine_without_any_temporary_folder_is_one_sentence(words, code):
    """As on a full disk: torch looks for one while it is loaded, and its own error names something else."""
    import resource

    ended = subprocess.run(
        [sys.executable, "-m", "imaseg", *words], check=False, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    if code:
        assert ended.stderr.startswith("imaseg: a temporary folder must be writable, got none among /tmp")
        assert ended.stderr.endswith("or set TMPDIR to a folder that has some.\n")
    else:
        assert ended.stderr == ""
