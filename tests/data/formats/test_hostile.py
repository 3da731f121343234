"""No file takes more memory or time than it can pay for; each is refused in one sentence that names it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from imaseg.data.formats.read import read_scan

from .hostile_files import nifti, write_all

MEASURE = """
import json, resource, sys, time
from pathlib import Path
from imaseg.data.formats import itk_apart, dicom_files
from imaseg.data.formats.read import read_scan
from imaseg.errors import InputError

def most():
    reader = itk_apart._PROCESS._running
    lines = Path(f"/proc/{reader.pid}/status").read_text().splitlines() if reader and reader.poll() is None else []
    theirs = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, theirs >> 10

sound, *files = map(Path, sys.argv[1:])
read_scan(sound)  # imports and starts what it takes
dicom_files.require_pydicom(sound)
start = most()
for file in files:
    began, busy = time.monotonic(), time.process_time()
    try:
        text = f"read {read_scan(file).data.shape}"
    except InputError as error:
        text = str(error)
    now = most()
    spent = time.process_time() - busy, time.monotonic() - began
    print(json.dumps([str(file), text, *spent, max(b - a for a, b in zip(start, now))]), flush=True)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Of every hostile file: path, what was said, seconds of work, seconds, MB above the start; in one process."""
    folder = tmp_path_factory.mktemp("hostile")
    write_all(folder)
    sound = folder.parent / "sound.nrrd"
    sound.write_bytes(b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n\n" + b"x" * 64)
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    command = [sys.executable, "-c", MEASURE, str(sound), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.stderr, lines[-1:])
    assert len(lines) == len(files)
    return lines, done.stderr


def test_every_hostile_file_is_refused_in_one_sentence_that_names_it(told):
    for path, text, *_ in told[0]:
        assert " must " in text, (path, text)
        assert path in text
        assert "\n" not in text
    assert told[1] == ""


def test_none_takes_long_or_much_memory(told):
    for path, _, work, seconds, megabytes in told[0]:
        assert work < 2, (path, work)
        assert seconds < 5, (path, seconds)  # of a machine with others at work
        assert megabytes < 300, (path, megabytes)


def test_none_reaches_what_would_crash(told):
    crashed = [path for path, text, *_ in told[0] if "crashed" in text or "killed" in text]
    assert crashed == []


def test_an_empty_label_map_that_packs_a_thousandfold_is_read(tmp_path):
    path = tmp_path / "empty.nii.gz"
    path.write_bytes(gzip.compress(nifti((512, 512, 800), bytes(512 * 512 * 800))))
    assert 512 * 512 * 800 / path.stat().st_size > 900
    scan = read_scan(path, dtype=None)
    assert scan.data.shape == (512, 512, 800)
    assert scan.data.dtype == np.uint8
    assert not scan.data.any()
