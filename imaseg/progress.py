"""Progress of long jobs on stderr: a bar with the time left on a terminal, else a line per step and per minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

QUIET = False
"""Whether nothing but results and errors is wanted."""
_REMEMBERED = 1800.0
"""Seconds whose pace the time left is judged by: steps of a long job may take minutes each."""
_FIXED = 48
"""Columns that bar, counts and times take."""
_EVERY = 60.0
"""Seconds between two lines of a job whose stderr is no terminal."""


class Tell(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, total: int, note: str, left: float | None = None, /) -> None:
        """So many steps of the total are done; seconds left, where the caller knows better than the pace says."""


@contextmanager
def bar(title: str, *, shown: bool = True, unit: str = "") -> Iterator[Tell]:
    """Show progress while the block runs; the yielded `tell(done, total, note)` moves it.

    Args:
        title: what is running.
        shown: whether it is; of processes that share a job only one shows it.
        unit: of the steps, in the plural.
    """
    console = Console(stderr=True)
    if QUIET or not shown:
        yield lambda *_: None
    elif console.is_terminal:
        with _bar(console, unit) as progress:
            task = progress.add_task(title, total=None, note="", until=None)

            def tell(done: int, total: int, note: str, left: float | None = None, /) -> None:
                until = None if left is None else time.monotonic() + left
                progress.update(task, completed=done, total=total, note=note, until=until)

            yield tell
    else:
        yield _Lines(title, unit).tell


def step_line(text: str) -> None:
    """Say that an epoch or a case is done, where no bar shows it."""
    if not QUIET and not sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def _bar(console: Console, unit: str) -> Progress:
    """Narrow terminals cut the note first, then the title, never the time left."""
    room = max(8, min(28, console.width - _FIXED - len(unit)))
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=room)),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        *([TextColumn(unit)] if unit else []),
        TimeElapsedColumn(),
        TextColumn("left"),
        _TimeLeft(),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    return Progress(*columns, console=console, expand=True, speed_estimate_period=_REMEMBERED)


class _TimeLeft(TimeRemainingColumn):
    """As the caller said, counted down since; else by the pace of the steps."""

    def render(self, task: Task) -> Text:
        until = task.fields["until"]
        if until is None or task.finished:
            return super().render(task)
        minutes, seconds = divmod(max(0, round(until - time.monotonic())), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02}", style="progress.remaining")


class _Lines:
    """A line per minute, with the time left as told or by the pace so far."""

    def __init__(self, title: str, unit: str = "") -> None:
        self.title, self.unit, self.begin = title, unit and f" {unit}", time.monotonic()
        self.last = self.begin
        self.first: int | None = None

    def tell(self, done: int, total: int, note: str, left: float | None = None, /) -> None:
        """Print a line if the last one is old."""
        now = time.monotonic()
        # What an earlier run finished was not done at this one's pace.
        self.first = done if self.first is None else self.first
        if now - self.last < _EVERY:
            return
        self.last, spent, made = now, now - self.begin, done - self.first
        if left is None and made > 0:
            left = spent / made * (total - done)
        told = "" if left is None else f", about {duration(left)} left"
        print(
            f"{self.title}: {done} of {total}{self.unit}, {duration(spent)} so far{told}. {note}".strip(),
            file=sys.stderr,
            flush=True,
        )


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
