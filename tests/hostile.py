"""What refusing a hostile input costs, measured in a child process: time of work and memory above the start."""

from __future__ import annotations

import os
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path

from imaseg.errors import InputError

MOST_SECONDS, MOST_MB = 2.0, 300


def refused_cheaply(call: Callable[[], object], told: str) -> str:
    """Check that a call ends in an `InputError` of one line, soon and without much memory; returns what was said.

    The child is forked, so that it begins with all that is imported here; what is imported later counts.
    """
    said, seconds, megabytes = _in_child(call)
    assert said.startswith("InputError: "), said
    text = said.removeprefix("InputError: ")
    assert re.search(told, text), text
    assert "\n" not in text
    assert seconds < MOST_SECONDS, (text, seconds)
    assert megabytes < MOST_MB, (text, megabytes)
    return text


def _in_child(call: Callable[[], object]) -> tuple[str, float, float]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            with os.fdopen(write, "wb") as file:
                pickle.dump(_measured(call), file)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        found = file.read()
    _, status = os.waitpid(pid, 0)
    assert found, f"the child ended with {os.waitstatus_to_exitcode(status)}"
    return pickle.loads(found)


def _measured(call: Callable[[], object]) -> tuple[str, float, float]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins at what is held now
    start, begin = _megabytes("VmRSS"), time.process_time()
    try:
        said = f"returned {call()!r:.80}"
    except InputError as error:
        said = f"InputError: {error}"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    return said, time.process_time() - begin, _megabytes("VmHWM") - start


def _megabytes(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024
