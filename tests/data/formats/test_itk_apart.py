"""A fault of ITK ends a process apart, costs one sentence, and the next file is read."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from imaseg.data.formats import itk_apart
from imaseg.data.formats.itk import read_itk
from imaseg.data.formats.itk_apart import ItkError, read_apart
from imaseg.errors import InputError

from .hostile_files import meta_image, nrrd

VOXELS = bytes(range(64))


@pytest.fixture
def sound(tmp_path) -> Path:
    path = tmp_path / "sound.nrrd"
    path.write_bytes(nrrd(VOXELS))
    return path


def voxels_of(path: Path) -> bytes:
    return read_itk(path, None).data.tobytes("F")


def test_a_crash_costs_one_sentence_and_the_next_file_is_read(tmp_path, sound):
    path = tmp_path / "x.nrrd"
    path.write_bytes(b"NRRD0004\n" + b"a" * 200_000)
    sentence = (
        r"x\.nrrd must be a sound image file, got one that the reader crashed on \(ended by signal 11 .*remove it\."
    )
    for _ in range(2):
        with pytest.raises(InputError, match=sentence):
            read_apart("NrrdImageIO", [path])
        assert voxels_of(sound) == VOXELS


def test_an_endless_read_is_ended(tmp_path, sound):
    path = tmp_path / "x.mha"
    path.write_bytes(meta_image(NDims=-1))
    with pytest.raises(InputError, match=r"x\.mha must be a sound .* ITK had not read after 0\.5 s\. Remove it\."):
        read_apart("MetaImageIO", [path], seconds=0.5)
    assert voxels_of(sound) == VOXELS


def test_a_killed_reader_is_told_from_a_crash(sound):
    read_itk(sound, None)
    reader = itk_apart._PROCESS._running
    reader.send_signal(signal.SIGSTOP)  # so that it is killed at the read that comes
    threading.Timer(0.3, reader.kill).start()
    with pytest.raises(InputError, match=r"sound\.nrrd must be read in .* killed by signal 9 .*Use fewer workers"):
        read_itk(sound, None)
    assert voxels_of(sound) == VOXELS


def test_what_itk_refuses_in_words_keeps_the_process(tmp_path, sound):
    read_itk(sound, None)
    before = itk_apart._PROCESS._running.pid
    with pytest.raises(ItkError, match="No such file|could not|does not exist|Unable"):
        read_apart("NrrdImageIO", [tmp_path / "gone.nrrd"], seconds=9)
    assert voxels_of(sound) == VOXELS
    assert itk_apart._PROCESS._running.pid == before


def _read_and_tell(path: Path, answers: multiprocessing.Queue) -> None:
    answers.put(voxels_of(path))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_daemons_and_forked_processes_have_readers_of_their_own(sound, start):
    """As the workers of a DataLoader are."""
    assert voxels_of(sound) == VOXELS
    context = multiprocessing.get_context(start)
    answers = context.Queue()
    daemons = [context.Process(target=_read_and_tell, args=(sound, answers), daemon=True) for _ in range(2)]
    for daemon in daemons:
        with itk_apart._PROCESS._lock:  # as if another thread were reading when the process forks
            daemon.start()
    assert [answers.get(timeout=60) for _ in daemons] == [VOXELS, VOXELS]
    for daemon in daemons:
        daemon.join(60)
        assert daemon.exitcode == 0
    assert voxels_of(sound) == VOXELS


SCRIPT = """
import os, signal, sys
from pathlib import Path
from imaseg.data.formats import itk_apart
from imaseg.data.formats.itk import read_itk
read_itk(Path(sys.argv[1]), None)
print(itk_apart._PROCESS._running.pid, flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_reader_ends_with_a_script_that_has_no_main_guard(sound, end, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(end=end))
    command = [sys.executable, str(tmp_path / "script.py"), str(sound)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    reader, limit = int(done.stdout), time.monotonic() + 20
    while Path(f"/proc/{reader}/stat").exists() and " Z " not in Path(f"/proc/{reader}/stat").read_text():
        assert time.monotonic() < limit, "the reader outlived its process"
        time.sleep(0.02)


def test_modules_in_the_current_folder_are_not_imported(sound, tmp_path, monkeypatch):
    (tmp_path / "SimpleITK.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    itk_apart._PROCESS.stop()
    assert voxels_of(sound) == VOXELS


def test_it_costs_little_beside_reading_here(tmp_path):
    import SimpleITK

    path = tmp_path / "x.nrrd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((16, 64, 64), np.int16)), str(path))
    read_itk(path, None)

    def seconds(read) -> float:
        times = []
        for _ in range(30):
            began = time.perf_counter()
            read()
            times.append(time.perf_counter() - began)
        return sorted(times)[len(times) // 4]

    extra = seconds(lambda: read_itk(path, None)) - seconds(
        lambda: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    )
    assert extra < 0.01
