"""The one exception that means "your input", as opposed to a defect of imaseg, and a hint for its message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong usage or unusable input; the message is one sentence that names the file and the fix.

    The command line prints it without a traceback and exits with 2.
    """


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the known one that looks most like it; empty if none does.

    >>> did_you_mean("pdg", ["fgsm", "pgd"]), did_you_mean("nonsense", ["fgsm", "pgd"])
    (" Did you mean 'pgd'?", '')
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
