"""A function applied to many cases, in this process or in several; each holds one case in memory."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

from imaseg.errors import InputError

Result = TypeVar("Result")
_WORTH = 50_000_000
"""Total size of files in bytes up to which one process is faster than starting several."""
_MOST = 8


class Workers:
    """A pool of processes, or this process alone, that runs a function on many arguments.

    Args:
        count: number of processes; 1 starts none.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self._count > 1:
            self._pool = ProcessPoolExecutor(self._count, mp_context=get_context("spawn"), initializer=_begin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def each(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Result]]:
        """Index and result of `function(*job)` for every job, in the order of completion.

        Args:
            function: with several workers, it must be importable by name.
            jobs: arguments of each call.

        Raises:
            InputError: if a worker is killed, most likely for want of memory.
        """
        if self._pool is None:
            yield from ((i, function(*job)) for i, job in enumerate(jobs))
            return
        try:
            futures = {self._pool.submit(function, *job): i for i, job in enumerate(jobs)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            msg = (
                f"workers must be few enough for the memory, got {self._count} and one of them was killed. What is "
                "done is kept: run again with fewer, such as --workers 1."
            )
            raise InputError(msg) from error


def usual_workers(files: Sequence[Path]) -> int:
    """Number of workers for these files: 1 if they are small, else one per core, at most 8."""
    size = sum(path.stat().st_size for path in files if path.is_file())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST) if size > _WORTH else 1


def _begin() -> None:
    """Set up a worker: one thread for SimpleITK, and exit when the parent process ends."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # which end a worker without words of its own
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
