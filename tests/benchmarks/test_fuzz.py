"""The fuzzer of `benchmarks/` tells how reading ends and goes on where it was stopped; a small run finds nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imaseg import InputError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
QUICK = ["NIfTI, gzip", "NIfTI pair", "PNG", "nnU-Net raw folder", "plan"]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def _raise(error):
    raise error


def _refuse(told):
    """With a message that is not what `InputError` makes of every message."""
    error = InputError()
    error.args = (told,)
    raise error


def _spin():
    while True:
        pass


def _child_left_behind():
    subprocess.Popen(["sleep", "60"])
    time.sleep(60)


ENDS = {
    "accepted": lambda: "x",
    "refused": lambda: _raise(InputError("a.nii must be whole.")),
    "badly refused, several lines": lambda: _refuse("a.nii must be whole,\ngot half."),
    "badly refused, long": lambda: _refuse("a.nii must be whole, got " + "x" * 1000),
    "badly refused, nameless": lambda: _raise(InputError("The file must be whole.")),
    "traceback": lambda: _raise(KeyError("spam")),
    "traceback, exit": lambda: sys.exit(0),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hang": _spin,
    "hang, asleep": _child_left_behind,
    "memory": lambda: str(np.ones(2**30).sum()),
}


@pytest.mark.parametrize("end", ENDS)
def test_how_reading_ends_is_told(end, tmp_path):
    from fuzzing.child import verdict

    (tmp_path / "input").mkdir()
    how = {"seconds": 1, "memory": 2**30, "names": frozenset(["a.nii"])}
    found = verdict(lambda _: ENDS[end](), tmp_path / "input", **how)
    assert found["outcome"] == end.partition(",")[0]
    assert found["seconds"] < 6


def test_the_place_of_a_traceback_is_told(tmp_path):
    from fuzzing.child import verdict

    from imaseg.data.files import stem

    found = verdict(lambda _: stem(None), tmp_path, seconds=1, memory=2**30, names=frozenset())
    assert (found["error"], found["place"].partition(":")[0]) == ("AttributeError", "data/files.py")


def test_the_same_number_is_the_same_damage(tmp_path):
    from fuzzing.changes import damage

    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), tmp_path / "x.nii")
    whole, made = (tmp_path / "x.nii").read_bytes(), []
    for number in [*range(30), *range(30)]:
        (tmp_path / "x.nii").write_bytes(whole)
        damage(random.Random(number), tmp_path / "x.nii")
        made.append((tmp_path / "x.nii").read_bytes())
    assert made[:30] == made[30:]
    assert len({*made, whole}) > 25


def test_a_small_run_finds_nothing_and_goes_on_where_it_was_killed(tmp_path):
    def fuzz(inputs):
        command = [sys.executable, FOLDER / "fuzz.py", "--out", tmp_path, "--inputs", str(inputs), "--kinds", *QUICK]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    fuzz(5)
    lines = tmp_path / "inputs.jsonl"
    first = lines.read_text()
    lines.write_text(first + '{"kind": "PNG", "num')  # as a kill leaves it
    printed = fuzz(30)
    assert lines.read_text().startswith(first)
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    assert sorted((one["kind"], one["number"]) for one in results) == [(k, i) for k in sorted(QUICK) for i in range(6)]
    assert {one["outcome"] for one in results if one["number"] == 0} == {"same"}
    assert {one["outcome"] for one in results} == {"same", "changed", "refused"}, printed
    assert "| all | 30 |" in printed
