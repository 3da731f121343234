"""The configuration of a bundle, read as data: references are followed, code is run only with trust.

`@a#b#0` and `@a::b::0` refer to other entries (`@#b`, `@##b`: of the same level, of the one above), `%a` copies one as
it is written, also from another file (`%train.json::a`), and `$...` is Python, of which `expression.py` follows some.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imaseg.data.plain import is_number, read_json
from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError
from imaseg.models.bundle.expression import NotDataError, followed
from imaseg.models.trusted import forget_other, importable, require_trust

_REFERENCE = re.compile(r"^(?:\$\s*)?[@%](?P<id>[\w#:]+)\s*$")
_ELSEWHERE = re.compile(r"^%(?P<file>[^:#]+\.(?:json|ya?ml))(?:(?:::|#)(?P<id>[\w#:]+))?$")
_SEPARATOR = re.compile("#|::")
_COMPOSE = ("Compose", "monai.transforms.Compose", "monai.transforms.compose.Compose")
_DEEP = 20
_MOST = 50_000
"""Values that an entry may stand for."""
_SUFFIXES = ("json", "yaml", "yml")
KeyPath = tuple[str | int, ...]


class BundleConfig:
    """The entries of `configs/inference.json` or `.yaml`; without it, those of `train` with `evaluate` over them.

    Args:
        folder: the bundle.
        trust: whether its code may be run.

    Raises:
        InputError: if there is no such file, or it is malformed.

    Attributes:
        path: the file, of which errors speak.
        content: its entries.
        notes: sentences on files that are not read.
    """

    def __init__(self, folder: Path, *, trust: bool) -> None:
        files = _files(folder / "configs")
        if not files:
            msg = f"{folder} must be a MONAI bundle, got no configs/inference.json or .yaml in it."
            raise InputError(msg)
        self.path, self.folder, self.trust = files[-1], folder, trust
        self.content: dict[str, Any] = {}
        others = [path.name for path in _named(folder / "configs", files[0].stem)[1:]]
        self.notes = [f"{files[0].name} is read, not {other} beside it." for other in others]
        for file in files:
            for key, value in _read(file).items():
                _put(self.content, _keys(key), value)
        self._parser: Any = None
        self._others: dict[Path, dict[str, Any]] = {}
        self._left = _MOST

    def entry(self, *where: str | int) -> tuple[Any, KeyPath]:
        """Return the entry at a path of keys, following references on the way, and its own path; None if there is none.

        Raises:
            InputError: if a reference leads nowhere.
        """
        value: Any = self.content
        at: KeyPath = ()
        for key in where:
            known = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
            if key not in known:
                return None, where
            value, at = self._followed(value[key], (*at, key))
        return value, at

    def get(self, *where: str | int) -> Any:
        """Return the entry at a path of keys with all references in it resolved; None if it does not exist.

        Raises:
            InputError: if a reference leads nowhere, or an expression needs trust.
        """
        value, keys = self.entry(*where)
        outer, self._left = self._left, _MOST
        try:
            return self._resolved(value, keys, 0)
        finally:
            self._left = outer

    def parts(self, *where: str | int) -> list[KeyPath]:
        """The paths of all objects in an entry, which may be a list, nest lists in `transforms`, or join others.

        Raises:
            NotDataError: if it is code.
            InputError: if a reference leads nowhere.
        """
        self._left = _MOST
        return self._parts(*self.entry(*where), 0)

    def build(self, *where: str | int) -> Any:
        """Build the object that an entry describes with MONAI's own parser, which runs any code in the entry.

        Raises:
            InputError: if trust was not given, or the parser fails.
        """
        name = "::".join(map(str, where))
        require_trust(f"{name} in {self.path}", trust=self.trust)
        try:
            with _as_author(self.folder):
                return self._parsing().get_parsed_content(name)
        except Exception as error:  # whatever the author's code raises
            told = " ".join(str(error.__cause__ or error).split())[:200]
            msg = f"{name} in {self.path} must be something that MONAI can make, got {type(error).__name__}: {told}."
            raise InputError(msg) from error

    def _parsing(self) -> Any:
        if self._parser is None:
            from monai.bundle import ConfigParser

            self._parser = ConfigParser(_on_this_machine(self.content) | {"bundle_root": str(self.folder)})
        return self._parser

    def _followed(self, value: Any, where: KeyPath) -> tuple[Any, KeyPath]:
        """What a bare reference leads to, and its path."""
        for _ in range(_DEEP):
            if isinstance(value, str) and (match := _ELSEWHERE.match(value)):
                return self._of_file(match["file"], match["id"] or "", where)
            match = _REFERENCE.match(value) if isinstance(value, str) else None
            if match is None:
                return value, where
            value, where = self._referenced(match["id"], where)
        self._in_circles(where)
        return None, where

    def _count(self, where: KeyPath, depth: int) -> None:
        """Stop following references that lead in circles, or to ever more of themselves."""
        if depth > _DEEP:
            self._in_circles(where)
        self._left -= 1
        if self._left < 0:
            msg = f"{self.path} must stand for {_MOST} values at most, got more at {'#'.join(map(str, where))}."
            raise InputError(msg)

    def _resolved(self, value: Any, where: KeyPath, depth: int) -> Any:
        self._count(where, depth)
        if isinstance(value, dict):
            return {key: self._resolved(part, (*where, key), depth + 1) for key, part in value.items()}
        if isinstance(value, list):
            return [self._resolved(part, (*where, i), depth + 1) for i, part in enumerate(value)]
        if not isinstance(value, str):
            return value
        there, keys = self._followed(value, where)
        if there is not value:
            return self._resolved(there, keys, depth + 1)
        if value.startswith("$"):
            try:
                return followed(value[1:], lambda name: self._resolved(*self._referenced(name, where), depth + 1))
            except NotDataError:
                what = f"the expression {value!r} at {'#'.join(map(str, where))} in {self.path}"
                require_trust(what, trust=self.trust)
            return self.build(*where)
        return value

    def _parts(self, value: Any, where: KeyPath, depth: int) -> list[KeyPath]:
        self._count(where, depth)
        value, where = self._followed(value, where)
        if isinstance(value, dict) and str(value.get("_target_", "Compose")) in _COMPOSE and "transforms" in value:
            if str(self.get(*where, "_disabled_")).lower() == "true":
                return []
            if str(self.get(*where, "lazy")).lower() not in ("none", "false"):
                msg = (
                    f"{'#'.join(map(str, where))} in {self.path} must not be lazy, which joins transforms into others."
                )
                raise InputError(msg)
            return self._parts(value["transforms"], (*where, "transforms"), depth + 1)
        if isinstance(value, list):
            return [part for i, one in enumerate(value) for part in self._parts(one, (*where, i), depth + 1)]
        if isinstance(value, dict):
            return [where]
        if isinstance(value, str) and value.startswith("$"):
            return _flat(followed(value[1:], lambda name: self._part_or_value(name, where, depth)))
        raise NotDataError(str(value))

    def _part_or_value(self, name: str, where: KeyPath, depth: int) -> Any:
        """For an expression that joins lists of objects: their paths; else the value."""
        value, keys = self._followed(*self._referenced(name, where))
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | str) for one in value)):
            return self._parts(value, keys, depth + 1)
        return self._resolved(value, keys, depth + 1)

    def _referenced(self, name: str, where: KeyPath) -> tuple[Any, KeyPath]:
        """The entry of that name as it is written, and its path of keys."""
        up = len(name) - len(name.lstrip("#"))
        keys = (*where[: len(where) - up], *_keys(name[up:])) if up else _keys(name)
        value: Any = self.content
        try:
            for i, key in enumerate(keys):
                value = value[key]
                if i + 1 < len(keys):
                    value, _ = self._followed(value, keys[: i + 1])
        except (KeyError, IndexError, TypeError) as error:
            msg = f"{self.path} must hold {name!r}, which {'#'.join(map(str, where))} refers to, got nothing there."
            raise InputError(msg) from error
        return value, keys

    def _of_file(self, file: str, name: str, where: KeyPath) -> tuple[Any, KeyPath]:
        """The entry of another file of the bundle, which is kept here so that references can be followed in it."""
        path = self.folder / "configs" / Path(file).name
        if not path.is_file():
            msg = f"{self.path} must refer to files in configs/, got {file!r} at {'#'.join(map(str, where))}."
            raise InputError(msg)
        if path not in self._others:
            self._others[path] = _read(path)
        value: Any = self._others[path]
        for key in _keys(name) if name else ():
            value = value.get(key) if isinstance(value, dict) else None
        _put(self.content, where, value)
        return value, where

    def _in_circles(self, where: KeyPath) -> None:
        msg = f"{self.path} must not refer in circles, got one at {'#'.join(map(str, where))}."
        raise InputError(msg)


def _files(configs: Path) -> list[Path]:
    """The files to read, each over those before it."""
    first = {name: _named(configs, name)[:1] for name in ("inference", "train", "evaluate")}
    return first["inference"] or [*first["train"], *first["evaluate"]]


def _named(configs: Path, name: str) -> list[Path]:
    return [path for suffix in _SUFFIXES if (path := configs / f"{name}.{suffix}").is_file()]


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.suffix == ".json" else read_yaml(path)


def _keys(name: str) -> KeyPath:
    return tuple(int(key) if is_number(key) else key for key in _SEPARATOR.split(name))


def _put(content: Any, keys: KeyPath, value: Any) -> None:
    """Set a nested entry, whose name in a file may hold `#`."""
    for key in keys[:-1]:
        content = content.setdefault(key, {}) if isinstance(content, dict) else content[key]
    content[keys[-1]] = value


def _flat(value: Any) -> list[KeyPath]:
    """Paths in lists of lists as one list."""
    if isinstance(value, tuple) and value and all(isinstance(key, str | int) for key in value):
        return [value]
    if not isinstance(value, list | tuple):
        raise NotDataError(str(value))
    return [path for one in value for path in _flat(one)]


def _on_this_machine(content: dict[str, Any]) -> dict[str, Any]:
    """The entries with the CPU in place of a GPU, and MONAI's choice in place of a reader, that this machine lacks."""
    import torch

    text = json.dumps(content, default=str)
    if not torch.cuda.is_available():
        text = re.sub(r"torch\.device\(\s*(['\"]|\\\")cuda(?::\d+)?\1\s*\)", r"torch.device(\1cpu\1)", text)
    if find_spec("itk") is None:
        text = re.sub(r'"reader": "(?:monai\.data\.)?ITKReader"', '"reader": null', text)
    usable: dict[str, Any] = json.loads(text)
    return usable


@contextmanager
def _as_author(folder: Path) -> Iterator[None]:
    """Context in which a bundle's own modules are found, and its files of plain Python objects can be read."""
    before = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    forget_other("scripts", (folder,))
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with importable((folder,)):
            yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = before
