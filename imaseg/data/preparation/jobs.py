"""A function over many cases, in this process or in several; no more cases are in memory than workers."""

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
"""Bytes of files below which starting processes takes longer than the work."""
_MOST = 8


class Workers:
    """Processes that do jobs, or none: then jobs are done here.

    Args:
        count: processes; 1 does all here.
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
        """Index and result of `function(*job)` for every job, as they are done.

        Args:
            function: importable by name, if there are several workers.
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
    """Workers for a cohort of these files: one where there is little to read, else one per core, eight at most."""
    size = sum(path.stat().st_size for path in files if path.is_file())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST) if size > _WORTH else 1


def _begin() -> None:
    """Make a worker quiet: one thread each, and none outlives the process that started it."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without a traceback of its own
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
