"""Rewrites the sections of a page whose cases state no voxel size, so that no length is said to be in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

from imaseg.report.audits import Audits
from imaseg.report.blocks import Code, Section
from imaseg.results.unsized import in_pixels

_Part = TypeVar("_Part")
_LONG = 2000
"""Characters from which on a text without a blank is an encoded file."""

_KEYS = ("key", "style")
"""Fields that nobody reads."""


def sized_as_stated(audits: Audits, sections: Sequence[Section]) -> list[Section]:
    """The sections as they are, or with pixels for mm where no audit's files state a voxel size."""
    if any(audit.summary.preparation.sized for audit in audits):
        return list(sections)
    return [_rewritten(section) for section in sections]


def _rewritten(part: _Part) -> _Part:
    """A block, a list or a text in which pixels stand for mm; what was typed and what is encoded stays."""
    done: object = part
    if isinstance(part, str):
        done = part if len(part) > _LONG and " " not in part[:_LONG] else in_pixels(part)
    elif isinstance(part, Code):
        pass
    elif is_dataclass(part) and not isinstance(part, type):
        named = [field.name for field in fields(part) if field.name not in _KEYS]
        done = replace(part, **{name: _rewritten(getattr(part, name)) for name in named})
    elif isinstance(part, tuple):
        values = [_rewritten(one) for one in part]
        done = type(part)(*values) if hasattr(part, "_fields") else tuple(values)
    elif isinstance(part, list):
        done = [_rewritten(one) for one in part]
    elif isinstance(part, Mapping):
        done = {key: _rewritten(value) for key, value in part.items()}
    return done  # type: ignore[return-value]
