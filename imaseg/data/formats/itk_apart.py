"""Files read by ITK and GDCM in a process apart, which is started once and again after a fault."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaseg.errors import InputError, how_ended

_SCRIPT = Path(__file__).with_name("itk_process.py")
_SECONDS = 60.0
_BYTES_PER_SECOND = 1 << 20
"""A read may last a minute, and as long as a slow disk takes for its files."""


@dataclass(frozen=True)
class ItkImage:
    """An image as ITK has it: voxels (..., Z, Y, X[, components]), geometry with axes (X, Y, Z, ...) in LPS, mm."""

    voxels: NDArray[np.generic]
    components: int
    origin: Sequence[float]
    spacing: Sequence[float]
    direction: Sequence[float]


class ItkError(Exception):
    """ITK says in an orderly way that it cannot read a file; the message is its reason."""


def read_apart(reader: str, files: Sequence[Path], *, seconds: float | None = None) -> ItkImage:
    """Read an image file, or the slices of a series, in another process.

    Args:
        reader: name of an ImageIO of ITK, such as `NrrdImageIO`; or `series`, for all `files` as slices by GDCM.
        files: one, or the slices in their order.
        seconds: that it may last; None for a minute, and longer if the files are large.

    Raises:
        ItkError: if ITK refuses the files.
        InputError: if ITK crashes on them or does not come to an end.
    """
    for file in files:
        if any("\ud800" <= letter <= "\udfff" for letter in str(file.absolute())):
            msg = f"{file} must have a path of UTF-8 text for ITK to read it, got other bytes. Rename it."
            raise InputError(msg)
    if seconds is None:
        seconds = _SECONDS + sum(file.stat().st_size for file in files) / _BYTES_PER_SECOND
    return _PROCESS.read(reader, files, seconds)


class _Process:
    """The other process, started when it is first needed, and by each process for itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None

    def read(self, reader: str, files: Sequence[Path], seconds: float) -> ItkImage:
        request = {"reader": reader, "files": [str(file.absolute()) for file in files], "seconds": seconds}
        with self._lock:
            process = self._started()
            late = threading.Event()
            timer = threading.Timer(seconds, _end, (process, late))
            timer.start()
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                told = json.loads(_line(process))
                voxels = np.zeros(0) if "error" in told else _voxels(process, told)
            except (OSError, ValueError, EOFError) as error:
                self.stop()
                raise InputError(_told(files[0], process, seconds if late.is_set() else None)) from error
            except BaseException:  # such as Ctrl-C: what is still to come would be taken for the next answer
                self.stop()
                raise
            finally:
                timer.cancel()
        if "error" in told:
            raise ItkError(told["error"])
        return ItkImage(voxels, told["components"], told["origin"], told["spacing"], told["direction"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._running is None or self._running.poll() is not None:
            places = os.pathsep.join(place for place in sys.path if place)
            self._running = subprocess.Popen(
                [sys.executable, "-P", str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": places},
            )
        return self._running

    def stop(self) -> None:
        process, self._running = self._running, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate()

    def forget(self) -> None:
        """In a forked process: the other one belongs to the parent."""
        if self._running is not None:
            self._running.returncode = 0  # not ours to wait for
        self._lock, self._running = threading.Lock(), None


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line


def _voxels(process: subprocess.Popen[bytes], told: dict[str, Any]) -> NDArray[np.generic]:
    assert process.stdout is not None
    voxels = np.empty(told["shape"], np.dtype(told["dtype"]))
    part = memoryview(voxels.reshape(-1).view(np.uint8).data)
    while part.nbytes:
        got = process.stdout.readinto(part)  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        part = part[got:]
    return voxels


def _told(path: Path, process: subprocess.Popen[bytes], seconds: float | None) -> str:
    """What became of a read, in one sentence."""
    if seconds is not None:
        return f"{path} must be a sound image file, got one that ITK had not read after {seconds:g} s. Remove it."
    how = how_ended(process.returncode)
    if process.returncode == -9:
        return f"{path} must be read in a process of its own, got that {how}. Use fewer workers, or more memory."
    return (
        f"{path} must be a sound image file, got one that the reader crashed on ({how}). Copy it again, or remove it."
    )


_PROCESS = _Process()
atexit.register(_PROCESS.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_PROCESS.forget)
