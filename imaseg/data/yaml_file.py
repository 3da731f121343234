"""Reads YAML files of `key: value` lines: configurations, plans and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from imaseg.errors import InputError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; nothing in it is executed.

    Raises:
        InputError: if the file cannot be read, is not YAML, or holds something else than a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path} must be a readable YAML file, got {error.strerror}."
        raise InputError(msg) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bytes, dates and numbers that are none
        msg = f"{path} must be valid YAML, got {' '.join(str(error).split())}."
        raise InputError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold `key: value` lines, got {type(content).__name__}."
        raise InputError(msg)
    return content
