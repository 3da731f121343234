"""One progress bar for all long jobs: on stderr, only on a terminal, with the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Tell = Callable[[int, int, str], None]
_REMEMBERED = 1800.0
"""Seconds whose pace the time left is judged by: steps of a long job may take minutes each."""


@contextmanager
def bar(title: str, *, shown: bool = True) -> Iterator[Tell]:
    """Show a bar while the block runs; the yielded `tell(done, total, note)` moves it.

    Args:
        title: what is running.
        shown: whether it is, on a terminal; of processes that share a job only one shows it.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    hidden = not (shown and console.is_terminal)
    with Progress(*columns, console=console, disable=hidden, speed_estimate_period=_REMEMBERED) as progress:
        task = progress.add_task(title, total=None, note="")

        def tell(done: int, total: int, note: str) -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield tell


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(42.4), duration(150), duration(7300)
    ('42 s', '2.5 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(number: int, noun: str) -> str:
    """A number and its noun, in agreement.

    >>> counted(1, "case"), counted(17, "case")
    ('1 case', '17 cases')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
