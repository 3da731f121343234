"""Describes a registered class from its own documentation: title, paper, first sentence, arguments, units."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from typing import Any

from imaseg.registry import Registered

Entry = dict[str, Any]
_KNOWLEDGE = ("title", "meaning", "reference", "cited", "usual_unit", "usual_ladder", "usual_ceiling")
_YEAR = re.compile(r"\b(19|20)\d\d\b|arXiv")
_SENTENCE = re.compile(r"(?<=[\w)\"`])\.\s+(?=[A-Z`])")
_ELSEWHERE = re.compile(r"; (?:see|arguments as in) `")
_BRACKETS = re.compile(r"\(([^()]*)\)")


def described(member: type, *, leave_out: str = "") -> Entry:
    """Return summary, arguments with and without defaults, attributes and sources of a class."""
    words = " ".join((inspect.getdoc(member) or "").partition("\n\n")[0].split())
    parameters = member.arguments() if issubclass(member, Registered) else inspect.signature(member).parameters
    arguments = {key: value for key, value in parameters.items() if key != leave_out}
    bare = [key for key, argument in arguments.items() if argument.default is inspect.Parameter.empty]
    return {
        "summary": _ELSEWHERE.split(_SENTENCE.split(words)[0])[0].rstrip(".") + ".",
        "required": bare,
        "settings": {key: argument.default for key, argument in arguments.items() if key not in bare},
        **knowledge(member),
        "source": _source(member) or getattr(member, "reference", ""),
    }


def knowledge(member: object) -> Entry:
    """Return those descriptive attributes, such as title and reference, that this class has."""
    return {key: getattr(member, key) for key in _KNOWLEDGE if hasattr(member, key)}


def _source(member: type) -> str:
    """The works that the docstring of the class's module cites."""
    sources: list[str] = []
    for paragraph in (sys.modules[member.__module__].__doc__ or "").split("\n\n"):
        for sentence in _SENTENCE.split(" ".join(paragraph.split())):
            inside = [part for part in _BRACKETS.findall(sentence) if _YEAR.search(part)]
            sources += inside or ([sentence] if _YEAR.search(sentence) else [])
    return "; ".join(part.rstrip(".") for part in sources)


def objective_of(member: Any) -> str:
    """Name of the objective that an attack uses by default."""
    from imaseg.perturbations import L2

    return str(getattr(member(L2(0.0)).objective, "name", "its own"))


def units_of(member: Any) -> list[str]:
    """Units in which eps can be given; the set's own comes first."""
    parameters = inspect.signature(member).parameters
    if "unit" in parameters:
        return list(typing.get_args(typing.get_type_hints(member.__init__)["unit"]))
    units = [member(0.0).unit]
    return [*units, member(0.0, spacing=(1.0, 1.0, 1.0)).unit] if "spacing" in parameters else units
