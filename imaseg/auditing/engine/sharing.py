"""Lock-based work sharing between processes, without a coordinator.

A case belongs to whoever holds the lock on its file below `.claims/`. The system gives locks back when a process ends,
even by `kill -9`, so that nothing is ever claimed by the dead: others take such cases over. That holds for processes
started by `torchrun` and for any others that are given the same folder.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from imaseg.data.files import told_if_unwritable

_PAUSE = 0.2


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
        lock, ours = FileLock(self.folder / f"{case}.lock"), True
        try:
            self._acquire(lock)
        except Timeout:
            ours = False
        except NotImplementedError:  # a disk without locks: every process does every case that is not there yet
            pass
        try:
            yield ours
        finally:
            lock.release()

    def _acquire(self, lock: FileLock) -> None:
        while True:
            with told_if_unwritable(self.folder):
                self.folder.mkdir(exist_ok=True)  # not the folders above: it would hide that they were removed
            with contextlib.suppress(FileNotFoundError):  # a process that is done may just have removed the folder
                lock.acquire(blocking=False)
                return

    def share(
        self, cases: Iterable[str], settled: Callable[[str], bool], work: Callable[[str], None], *, wait: bool
    ) -> None:
        """Work on every case that is neither settled nor held by somebody else.

        Args:
            cases: by name.
            settled: whether a case needs no more work here: it is on disk, or has failed.
            work: does a case, held while it runs, and settles it.
            wait: until all cases are settled; where another process dies, its case is done here.
        """
        names = list(cases)
        while self._round(names, settled, work) and wait:
            self.rest()

    def _round(self, names: Iterable[str], settled: Callable[[str], bool], work: Callable[[str], None]) -> bool:
        """Go through the cases once; whether some are left to others."""
        busy = False
        for name in names:
            if settled(name):
                continue
            with self.claim(name) as ours:
                if not ours:
                    busy = True
                elif not settled(name):  # it may have been finished just before the claim
                    work(name)
        return busy

    def rest(self) -> None:
        """Wait a moment for others."""
        time.sleep(_PAUSE)

    def idle(self) -> bool:
        """Whether no process holds anything here."""
        for path in self.folder.glob("*.lock"):
            with self.claim(path.stem) as ours:
                if not ours:
                    return False
        return True

    @contextlib.contextmanager
    def summing_up(self) -> Iterator[None]:
        """While the block writes what all cases together say, keep others from sweeping; then nothing is claimed."""
        with self.claim("summary of all"):
            yield
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(path: Path, seconds: float) -> bool:
    """Wait until a file is there; False if it does not come."""
    end = time.monotonic() + seconds
    while not path.is_file():
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE)
    return True
