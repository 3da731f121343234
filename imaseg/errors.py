"""The one exception that means "your input", as opposed to a defect of imaseg."""

from __future__ import annotations


class InputError(ValueError):
    """Wrong usage or unusable input; the message is one sentence that names the file and the fix.

    The command line prints it without a traceback and exits with 2.
    """
