"""The exceptions that mean "your input", as opposed to a defect of imaseg, and what their messages are made of."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable

_LONGEST = 1000
_CUT = " [...] "


class InputError(ValueError):
    """Wrong usage or unusable input; the message is one sentence that names the file and the fix.

    The command line prints it without a traceback and exits with 2. Characters that a terminal would obey are escaped,
    and what is too long is cut.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


def one_line(message: str) -> str:
    r"""A message of 1,000 characters at most, without what moves the cursor of a terminal or is no text.

    What a file holds may be of any length and any characters, its name too. The middle is cut: a message begins with
    the file and ends with the mend.

    >>> print(one_line("a\nb\x1b[2J \udcff ä"))
    a\nb\x1b[2J \udcff ä
    >>> len(one_line("file" + 2000 * "x" + "mend")), one_line("file" + 2000 * "x" + "mend")[-8:]
    (1000, 'xxxxmend')
    """
    plain = printable(_cut(message.strip(), 2 * _LONGEST).replace("\n", "\\n"))
    return _cut(plain.encode("utf-8", "backslashreplace").decode(), _LONGEST)


def printable(text: str) -> str:
    r"""Lines of text in which what a terminal would obey is escaped: names in files of others may hold it.

    >>> print(printable("a\nb\x1b[2J"))
    a
    b\x1b[2J
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = (most - len(_CUT)) // 2
    return text[: most - len(_CUT) - half] + _CUT + text[-half:]


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


class OutputError(InputError):
    """A file cannot be written (disk full, folder gone or read-only): that ends the job, not one case of it."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the known one that looks most like it; empty if none does.

    >>> did_you_mean("pdg", ["fgsm", "pgd"]), did_you_mean("nonsense", ["fgsm", "pgd"])
    (" Did you mean 'pgd'?", '')
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
