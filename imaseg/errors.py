"""The one exception that means "your input", as opposed to a defect of imaseg, and a hint for its message."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong usage or unusable input; the message is one sentence that names the file and the fix.

    The command line prints it without a traceback and exits with 2. Line breaks and other characters that a name of a
    file may hold and a terminal would obey are escaped.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


def printable(text: str) -> str:
    r"""Text on one line: control characters, and bytes that are not text, as escapes.

    >>> print(printable("a\nb\x1b[2J \udcff ä"))
    a\nb\x1b[2J \udcff ä
    """
    escaped = "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)
    return escaped.encode("utf-8", "backslashreplace").decode()


def how_ended(code: int) -> str:
    """How a process came to its end, in words, by its exit code, which is a signal's number below 0.

    >>> how_ended(-11), how_ended(3)
    ('ended by signal 11 (Segmentation fault)', 'ended with exit code 3')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    if code == -9:
        return "killed by signal 9 (by the system for want of memory, or by somebody)"
    return f"ended by signal {-code} ({signal.strsignal(-code)})"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the known one that looks most like it; empty if none does.

    >>> did_you_mean("pdg", ["fgsm", "pgd"]), did_you_mean("nonsense", ["fgsm", "pgd"])
    (" Did you mean 'pgd'?", '')
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
