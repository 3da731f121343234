"""A function applied to many cases, in this process or in several; each holds one case in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar, cast

from imaseg.errors import how_ended

Result = TypeVar("Result")
_WORTH = 50_000_000
"""Total size of files in bytes up to which one process is faster than starting several."""
_MOST = 8


class Workers:
    """Processes, or this process alone, that run a function on many arguments.

    A process that dies loses its own job only, which is tried once more when nothing else takes memory.

    Args:
        count: number of processes; 1 starts none.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: list[_Worker] = []
        self._busy: dict[connection.Connection, tuple[_Worker, int]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for worker in self._idle:
            worker.connection.close()  # at which it ends
        for worker, _job in self._busy.values():
            worker.process.terminate()
        for worker in (*self._idle, *(worker for worker, _job in self._busy.values())):
            worker.process.join()

    def each(
        self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], lost: Callable[..., Result]
    ) -> Iterator[tuple[int, Result]]:
        """Index and result of `function(*job)` for every job, in the order of completion.

        Args:
            function: with several workers, it must be importable by name.
            jobs: arguments of each call.
            lost: called as `lost(how, *job)` for the result of a job on which a process died twice; `how` it ended
                follows "a process that was".
        """
        if self._count == 1:
            yield from ((i, function(*job)) for i, job in enumerate(jobs))
            return
        waiting, again = deque(range(len(jobs))), deque[int]()
        tried = set()
        while waiting or again or self._busy:
            while waiting and len(self._busy) < self._count:
                self._give(waiting.popleft(), function, jobs)
            if again and not self._busy:
                self._give(again.popleft(), function, jobs)
            for ready in connection.wait(list(self._busy)):
                worker, job = self._busy.pop(cast("connection.Connection", ready))
                try:
                    result, error = worker.connection.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    if job in tried:
                        yield job, lost(how_ended(worker.process.exitcode or 0), *jobs[job])
                    else:
                        tried.add(job)
                        again.append(job)
                    continue
                self._idle.append(worker)
                if error is not None:
                    raise error
                yield job, result

    def _give(self, job: int, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> None:
        worker = self._idle.pop() if self._idle else _Worker()
        self._busy[worker.connection] = worker, job
        with contextlib.suppress(BrokenPipeError):  # it died idle: reading says so
            worker.connection.send((function, jobs[job]))


class _Worker:
    """A process that waits for jobs at the other end of a pipe."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,))
        self.process.start()
        theirs.close()


def _work(jobs: connection.Connection) -> None:
    _begin()
    while True:
        try:
            function, arguments = jobs.recv()
        except EOFError:
            return
        result, failure = None, None
        try:
            result = function(*arguments)
        except Exception as error:
            error.add_note(traceback.format_exc())
            failure = error
        jobs.send((result, failure))


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
