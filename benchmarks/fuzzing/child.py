"""Reads one input in a process of its own, with limits, and tells how that ended."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imaseg import InputError

LONGEST_MESSAGE = 1000
_OUT_OF_MEMORY = re.compile(r"allocate memory|bad_alloc|not enough memory|Unable to allocate", re.IGNORECASE)


def verdict(
    read: Callable[[Path], str], folder: Path, *, seconds: float, memory: int, names: frozenset[str]
) -> dict[str, Any]:
    """How reading a folder ends, in a fork of this process.

    Args:
        read: reads the folder and returns a digest of what it holds.
        folder: the input.
        seconds: of processor time; four times as long by the clock.
        memory: bytes of address space beyond what this process has.
        names: one of which a refusal must hold.

    Returns:
        `outcome`, `seconds`, and `digest`, or `error`, `message` and `place`.
    """
    answer, told = os.pipe()
    log, begin = folder.with_name(f"{folder.name}.log"), time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        _child(read, folder, told, log, seconds, memory)
    os.close(told)
    content, killed = _answer(answer, pid, 4 * seconds)
    status = os.waitpid(pid, 0)[1]
    _kill_group(pid)  # processes that the child started
    found = json.loads(content) if content.endswith(b"}") else _ended(status, log, killed=killed)
    if found["outcome"] == "refused":
        found |= _judged(found["message"], names)
    log.unlink(missing_ok=True)
    return found | {"seconds": round(time.perf_counter() - begin, 3)}


def _child(read: Callable[[Path], str], folder: Path, told: int, log: Path, seconds: float, memory: int) -> None:
    os.setsid()
    with log.open("w") as err, Path(os.devnull).open("r+") as null:
        for old, new in ((null, 0), (null, 1), (err, 2)):
            os.dup2(old.fileno(), new)
    faulthandler.enable(sys.__stderr__)
    faulthandler.register(signal.SIGXCPU, sys.__stderr__, chain=True)
    faulthandler.dump_traceback_later(4 * seconds - 1, file=sys.__stderr__)
    warnings.simplefilter("ignore")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = int(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (size + memory, size + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**31, 2**31))
    os.chdir(folder)
    try:
        found = {"outcome": "accepted", "digest": read(folder)}
    except InputError as error:
        found = {"outcome": "refused", "message": str(error)}
    except BaseException as error:
        memory_ran_out = isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error))
        found = _told(error) | {"outcome": "memory" if memory_ran_out else "traceback"}
    os.write(told, json.dumps(found).encode()[:60_000])
    os._exit(0)


def _told(error: BaseException) -> dict[str, str]:
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "/imaseg/" in frame.filename]
    own, last = (inside or frames)[-1], frames[-1]
    place = f"{own.filename.rpartition('/imaseg/')[2]}:{own.lineno}"
    if last is not own:
        place += f" < {'/'.join(last.filename.split('/')[-2:])}:{last.lineno}"
    return {
        "error": type(error).__name__,
        "message": str(error)[:500],
        "place": place,
        "traceback": "".join(traceback.format_exception(error))[-6000:],
    }


def _answer(pipe: int, pid: int, seconds: float) -> tuple[bytes, bool]:
    """What the child wrote, and whether it was killed for taking too long."""
    content, end = b"", time.monotonic() + seconds
    with os.fdopen(pipe, "rb", buffering=0) as file:
        while select.select([file], [], [], max(0.0, end - time.monotonic()))[0]:
            part = file.read(65536)
            if not part:
                return content, False
            content += part
            if content.endswith(b"}"):
                return content, False
    _kill_group(pid)
    return content, True


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _ended(status: int, log: Path, *, killed: bool) -> dict[str, Any]:
    """What is known of a child that gave no answer: its signal, and where faulthandler saw it."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    text = log.read_text(errors="replace") if log.is_file() else ""
    seen = re.findall(r'File "(?:.*/)?imaseg/(.+)", line (\d+)', text)
    slow = killed or number == signal.SIGXCPU
    name = signal.Signals(number).name if number else f"exit code {os.waitstatus_to_exitcode(status)}"
    memory = not slow and bool(_OUT_OF_MEMORY.search(text))
    return {
        "outcome": "hang" if slow else "memory" if memory else "crash",
        "error": "by the clock" if killed else name,
        "message": " ".join(text.split())[:300],
        "place": ":".join(seen[0]) if seen else "?",
    }


def _judged(message: str, names: frozenset[str]) -> dict[str, str]:
    """Whether a refusal is one line, short, and names a file."""
    why = (
        "several lines" if "\n" in message or "\r" in message
        else f"{len(message)} characters" if len(message) > LONGEST_MESSAGE
        else "no file named" if not any(name in message for name in names)
        else ""
    )  # fmt: skip
    return {"outcome": "badly refused", "error": why, "message": message[:1500]} if why else {"message": message[:300]}
