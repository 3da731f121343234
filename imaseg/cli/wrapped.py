"""Prints sentences without breaking words at the edge of the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap

import typer

from imaseg import progress
from imaseg.errors import printable


def say(text: str, *, err: bool = False, indent: int = 0) -> None:
    """Print text; on a terminal, break lines that are wider than it between words.

    Args:
        text: one line or several; lines that fit stay as they are.
        err: whether it goes to stderr.
        indent: blanks before the lines that follow a broken one.
    """
    text = printable(text)
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else 0
    lines = [broken(line, width, indent) for line in text.split("\n")] if width else [text]
    typer.echo("\n".join(lines), err=err)


def note(text: str) -> None:
    """Print something worth knowing on stderr, unless only results are wanted (`--quiet`)."""
    if not progress.QUIET:
        say(text, err=True)


def broken(line: str, width: int, indent: int = 0) -> str:
    r"""A line, broken between words where it is wider than `width`.

    >>> broken("one two three", 8, 2)
    'one two\n  three'
    >>> broken("/a/path/that/is/long", 8)
    '/a/path/that/is/long'
    """
    if len(line) <= width:
        return line
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
