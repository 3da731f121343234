"""A limit on the time that matching names by expressions of a recipe may take: some of them never come to an end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from imaseg.errors import InputError

_SECONDS = 10.0
"""A sound expression goes through 100,000 names in less than one."""


@contextmanager
def matching_ends(expression: str) -> Iterator[None]:
    """Stop the block, which matches names by an expression, after 10 s.

    Only in the main thread, on systems that have interval timers, and where nobody else uses the timer.

    Raises:
        InputError: that names the expression.
    """

    def stop(*_: object) -> None:
        msg = (
            f"pattern must match names in a few seconds, got {expression!r:.200}, which had not after {_SECONDS:g} s. "
            "Use fewer `*` and `+` in it."
        )
        raise InputError(msg)

    ours = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if not ours or signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
