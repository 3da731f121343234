"""Several processes, one list of cases: who works on which, without anybody in charge.

A case belongs to whoever holds the lock on its file below `.claims/`. The system gives locks back when a process ends,
even by `kill -9`, so that nothing is ever claimed by the dead: others take such cases over. That holds for processes
started by `torchrun` and for any others that are given the same folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # a system without such locks: every process does every case that is not on disk yet
    fcntl = None  # type: ignore[assignment]

_PAUSE = 0.2


def rank() -> int:
    """Number of this process among those of `torchrun`; 0 without."""
    return _number("RANK", 0)


def world() -> int:
    """How many processes `torchrun` started; 1 without."""
    return max(1, _number("WORLD_SIZE", 1))


def local_rank() -> int:
    """Number of this process on its machine; 0 without `torchrun`."""
    return _number("LOCAL_RANK", 0)


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise


class Claims:
    """Cases of one folder.

    Args:
        folder: results folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ".claims"

    @contextlib.contextmanager
    def claim(self, case: str) -> Iterator[bool]:
        """Hold a case while the block runs; yields whether it could be had."""
        if fcntl is None:
            yield True
            return
        with self._open(case) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    def _open(self, case: str) -> IO[str]:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # somebody who is done may just have cleared up
                return (self.folder / f"{case}.lock").open("a")

    def idle(self) -> bool:
        """Whether no process holds anything here."""
        for path in self.folder.glob("*.lock"):
            with self.claim(path.stem) as ours:
                if not ours:
                    return False
        return True

    def rest(self) -> None:
        """Wait a moment for others."""
        time.sleep(_PAUSE)

    def clear(self) -> None:
        """Remove the files; only once no case is left."""
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(path: Path, seconds: float) -> bool:
    """Wait until a file is there; False if it does not come."""
    end = time.monotonic() + seconds
    while not path.is_file():
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE)
    return True
