"""Plays a page of the documentation in the current folder: all its blocks, from the top down, in one process.

    python tests/tutorials/play.py PAGE.md

A block with a title is a file to write; Python runs in one namespace; of `sh` each line runs, `imaseg` in this process,
since a new one would spend seconds on imports, and `export` sets its variables. `# exit code N` or `N or M` at its end
says how a command ends. Blocks of `console` and `text` are to be read only; a block of any other kind is refused.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
READ_ONLY = ("console", "text")


class Block(NamedTuple):
    """A fenced block: its language, the file it is to be written to, its first line and its text."""

    language: str
    title: str
    line: int
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    for found in BLOCK.finditer(text):
        title = re.search(r'title="([^"]+)"', found[2])
        yield Block(found[1], title[1] if title else "", text.count("\n", 0, found.start()) + 2, found[3])


def play(page: Path) -> None:
    """Run every block of a page; the first that fails ends it."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        print(f"--- {page.name}, line {block.line}", flush=True)
        if block.title:
            Path(block.title).write_text(block.text)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        elif block.language == "sh":
            for command in block.text.replace("\\\n", " ").splitlines():
                _run(command)
        elif block.language not in READ_ONLY:
            sys.exit(f"{page}, line {block.line}: a block of {block.language or 'no language'} is not run")


def _run(command: str) -> None:
    said = re.search(r"# exit code (\d+(?: or \d+)*)", command)
    wanted = [int(code) for code in said[1].split(" or ")] if said else [0]
    words = [os.path.expandvars(word) for word in shlex.split(command, comments=True)]
    if not words:
        return
    if words[0] == "export":
        os.environ |= dict(one.split("=", 1) for one in words[1:])
        return
    if words[:2] == ["imaseg", "nnunet"]:  # nnU-Net sets threads and variables of the process that it trains in
        words = [sys.executable, "-m", *words]
    code = _imaseg(words) if words[0] == "imaseg" else subprocess.run(words, check=False).returncode
    if code not in wanted:
        sys.exit(f"{command}: exit code {code}")


def _imaseg(words: list[str]) -> int:
    from imaseg.cli.main import run

    sys.argv = words
    try:
        run()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


if __name__ == "__main__":
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of this environment
    os.environ["PWD"] = str(Path.cwd())
    play(Path(sys.argv[1]))
