"""Ends a command on SIGTERM, SIGHUP and Ctrl-C with one sentence."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

_told = ""
"""What the user is to know when the command is stopped now; empty once it was said."""
_stopping = False


class _StoppedError(SystemExit):
    """Raised where the program is when the signal comes, so that it cleans up as after Ctrl-C."""


@contextlib.contextmanager
def told_when_stopped(text: str) -> Iterator[None]:
    """Say `text` where a signal or Ctrl-C ends the block; of two such blocks the inner one speaks."""
    global _told
    before, _told = _told, text
    try:
        yield
    except (KeyboardInterrupt, _StoppedError) as stop:
        _tell()
        raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else stop.code) from None
    finally:
        _told = before if _told else ""


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, with exit code 128 + signal.

    A second one ends it at once: results on disk are whole at any moment. SIGHUP stays ignored under `nohup`.
    """
    global _stopping
    _stopping = False
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _: object) -> None:
    global _stopping
    if _stopping:
        _tell()
        os._exit(128 + number)
    _stopping = True
    raise _StoppedError(128 + number)


def _tell() -> None:
    """Say it once, and of the processes of `torchrun` only the first."""
    global _told
    text, _told = _told, ""
    if text and os.environ.get("RANK", "0") == "0":
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the signal came while stderr was written
            print(f"imaseg: {text}", file=sys.stderr, flush=True)
