"""The one exception that means "your input", as opposed to a defect of imaseg."""

from __future__ import annotations

from typing import Any


class InputError(ValueError):
    """Wrong usage or unusable input; the message is one sentence that names the file and the mend.

    The command line prints it without a traceback and exits with 2.
    """


def first_mistake(error: Any, *, known: str = "") -> str:
    """The first mistake that pydantic found, as the middle of a sentence: what was got, where, and why it is wrong.

    Args:
        error: a `pydantic.ValidationError`.
        known: what stands where the mistake has no place of its own.
    """
    mistake = error.errors(include_url=False)[0]
    where = ".".join(map(str, mistake["loc"])) or known or "the top level"
    got = "nothing" if mistake["type"] == "missing" else f"{mistake['input']!r:.60}"
    return f"got {got} at {where} ({mistake['msg'].removeprefix('Value error, ')})"
