"""Which arguments of a checkpoint reach a network: those that its class itself declares, and no others.

What a class takes as `**keywords` goes on to libraries below it, where a keyword may be a file that is unpickled or an
address that is fetched.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from imaseg.errors import InputError, did_you_mean

_OPEN = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def declared(kind: Callable[..., Any], arguments: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return the arguments, all of which the class declares by name.

    Args:
        kind: class of the network.
        arguments: as the checkpoint gives them.
        source: names them in errors.

    Raises:
        InputError: naming the first that is not declared.
    """
    known = [name for name, parameter in inspect.signature(kind).parameters.items() if parameter.kind not in _OPEN]
    for name in arguments:
        if name not in known:
            msg = (
                f"{source} must hold arguments that {kind.__name__} takes, which are {', '.join(known)}, got {name!r}."
                f"{did_you_mean(name, known) or ' Take it out, or make the network in a python:module:factory.'}"
            )
            raise InputError(msg)
    return dict(arguments)
