"""Names for attacks, objectives, perturbations and criteria: a class enters its family's table by being defined.

Installed packages add members by entry points (docs/plugins.md); they are loaded when a name is not known or all names
are asked for, never before.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from imaseg.errors import did_you_mean
from imaseg.plugins import NameTakenError, plugins


def kebab(name: str) -> str:
    """Turn a class name into its command-line name.

    >>> kebab("BiasField"), kebab("DiceCE"), kebab("L2"), kebab("PGDTraining"), kebab("UniformNoise")
    ('bias-field', 'dice-ce', 'l2', 'pgd-training', 'uniform-noise')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


class Registered:
    """Base of a family: the first subclass starts a table, every later named subclass is an entry in it.

    Attributes:
        registry: the members defined so far; `known` adds those of installed packages.
        plugin_group: group of entry points by which packages add members; empty for families that take none.
        required: class attributes that every member must have.
        name: in plans, configurations and on the command line; made from the name of the class if that gives none.
    """

    registry: ClassVar[dict[str, type[Self]]]
    plugin_group: ClassVar[str] = ""
    required: ClassVar[tuple[str, ...]] = ()
    name: ClassVar[str]
    _unshown: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if Registered in cls.__bases__:
            cls.registry = {}
        elif not cls.__name__.startswith("_"):
            cls.name = cls.__dict__.get("name", kebab(cls.__name__))
            cls._enter()

    @classmethod
    def _enter(cls) -> None:
        """Put the class into its family's table.

        Raises:
            TypeError: if it does not say what every member must.
            NameTakenError: if another class has its name.
        """
        for attribute in cls.required:
            if not getattr(cls, attribute, None):
                msg = f"{attribute} must be given by class {cls.__qualname__}, got none. Write it below the docstring."
                raise TypeError(msg)
        table: dict[str, Any] = cls.registry
        known = table.setdefault(cls.name, cls)
        if _home(known) != _home(cls):
            msg = f"name {cls.name!r} must stand for one class, got {_home(cls)} next to {_home(known)}. Rename it."
            raise NameTakenError(msg)
        table[cls.name] = cls  # a class that is defined anew, as in a notebook, replaces itself

    @classmethod
    def known(cls) -> dict[str, type[Self]]:
        """All classes of this family by name, those of installed packages included.

        Raises:
            NameTakenError: if a package brings a name that is taken.
        """
        if cls.plugin_group:
            plugins(cls.plugin_group)
        return cls.registry

    @classmethod
    def find(cls, name: str) -> type[Self] | None:
        """Class of this family called `name`, None if there is none."""
        return cls.registry[name] if name in cls.registry else cls.known().get(name)

    @classmethod
    def named(cls, name: str) -> type[Self]:
        """Class of this family called `name`.

        Raises:
            ValueError: if no member has that name; the message lists those that exist.
        """
        member = cls.find(name)
        if member is None:
            msg = f"{cls.__name__.lower()} must be one of {', '.join(sorted(cls.registry))}, got {name!r}."
            raise ValueError(msg + did_you_mean(name, cls.registry))
        return member

    @classmethod
    def arguments(cls) -> dict[str, inspect.Parameter]:
        """Arguments of the constructor by name."""
        _, *own = inspect.signature(cls.__init__).parameters.items()
        return dict(own)

    @classmethod
    def build(cls, spec: str | Mapping[str, Any], *args: Any, **extra: Any) -> Self:
        """Make a member from plain data, as a configuration file holds it.

        Args:
            spec: a name, or a mapping with `name` and the constructor's arguments.
            args: positional arguments put before those of `spec`.
            extra: arguments added to those of `spec`.

        Raises:
            ValueError: if the name or an argument is unknown, or a value is refused.
        """
        given = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
        if "name" not in given:
            msg = f"{cls.__name__.lower()} must be a name or a mapping with a name, got {spec!r}."
            raise ValueError(msg)
        member = cls.named(str(given.pop("name")))
        accepted = list(member.arguments())[len(args) :]
        for key in given:
            if key not in accepted:
                msg = f"arguments of {member.name} must be among {', '.join(accepted)}, got {key!r}."
                raise ValueError(msg + did_you_mean(key, accepted))
        try:
            return member(*args, **given, **extra)
        except (TypeError, RuntimeError) as error:
            msg = f"arguments of {member.name} must fit {accepted}, got {given} ({error})."
            raise ValueError(msg) from error

    def __repr__(self) -> str:
        """The constructor's call, as far as its arguments are kept under their names."""
        kept = [name for name in self.arguments() if hasattr(self, name)]
        kept = [name for name in kept if name not in self._unshown]
        return f"{type(self).__name__}({', '.join(f'{name}={_shown(getattr(self, name))}' for name in kept)})"


def _home(member: type) -> str:
    return f"{member.__module__}.{member.__qualname__}"


def _shown(value: Any) -> str:
    """Large tensors by their shape, small ones by their values."""
    if not hasattr(value, "numel"):
        return repr(value.tolist() if hasattr(value, "tolist") else value)  # scalars of NumPy as plain ones
    return f"<{tuple(value.shape)}>" if value.numel() > 8 else repr(value.flatten().tolist())
