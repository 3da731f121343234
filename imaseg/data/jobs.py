"""A function over many cases, in this process or in several; no more cases are in memory than workers."""

from __future__ import annotations

import os
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


def each(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, Result]]:
    """Index and result of `function(*job)` for every job, as they are done.

    Args:
        function: importable by name, if there are several workers.
        jobs: arguments of each call.
        workers: processes; 1 calls here.

    Raises:
        InputError: if a worker is killed, most likely for want of memory.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from ((i, function(*job)) for i, job in enumerate(jobs))
        return
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_begin)
    try:
        futures = {pool.submit(function, *job): i for i, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        msg = (
            f"workers must be few enough for the memory, got {workers} and one of them was killed. What is done is "
            "kept: run again with fewer, such as --workers 1."
        )
        raise InputError(msg) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def usual_workers(files: Sequence[Path]) -> int:
    """Workers for a cohort of these files: one where there is little to read, else one per core, eight at most."""
    size = sum(path.stat().st_size for path in files if path.is_file())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST) if size > _WORTH else 1


def _begin() -> None:
    """Make a worker quiet: one thread each, and none outlives the process that started it."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
