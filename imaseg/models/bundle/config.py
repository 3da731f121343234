"""The configuration of a bundle, read as data: references are followed, expressions are run only with trust.

`@a#b#0` and `@a::b::0` refer to other entries, `%a` copies one as it is written, and `$...` is Python.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from imaseg.data.files import read_json
from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError
from imaseg.models.trusted import importable, require_trust

_REFERENCE = re.compile(r"^\$?[@%](?P<id>[\w#:]+)$")
_DEEP = 20
KeyPath = tuple[str | int, ...]


class BundleConfig:
    """The entries of `configs/inference.json` or `.yaml`.

    Args:
        folder: the bundle.
        trust: whether its expressions may be run.

    Raises:
        InputError: if there is no such file, or it is malformed.
    """

    def __init__(self, folder: Path, *, trust: bool) -> None:
        candidates = [folder / "configs" / f"inference.{suffix}" for suffix in ("json", "yaml", "yml")]
        config_file = next((path for path in candidates if path.is_file()), None)
        if config_file is None:
            msg = f"{folder} must be a MONAI bundle, got no configs/inference.json or .yaml in it."
            raise InputError(msg)
        self.path, self.folder, self._trust = config_file, folder, trust
        self.content = read_json(config_file) if config_file.suffix == ".json" else read_yaml(config_file)
        self._parser: Any = None

    def entry(self, *where: str | int) -> tuple[Any, KeyPath]:
        """Return the entry at a path of keys, following a bare reference, and its path; None if it does not exist.

        Raises:
            InputError: if a reference leads nowhere.
        """
        value: Any = self.content
        for key in where:
            there = key in value if isinstance(value, dict) else isinstance(value, list) and int(key) < len(value)
            if not there:
                return None, where
            value = value[key]
        for _ in range(_DEEP):
            match = _REFERENCE.match(value) if isinstance(value, str) else None
            if match is None:
                return value, where
            value, where = self._referenced(match["id"], where)
        return None, where

    def get(self, *where: str | int) -> Any:
        """Return the entry at a path of keys with all references in it resolved; None if it does not exist.

        Raises:
            InputError: if a reference leads nowhere, or an expression needs trust.
        """
        value, keys = self.entry(*where)
        return self._resolved(value, keys, 0)

    def build(self, name: str) -> Any:
        """Build the object that an entry describes with MONAI's own parser, which runs any code in the entry.

        Raises:
            InputError: if trust was not given, or the parser fails.
        """
        require_trust(f"{name} in {self.path}", trust=self._trust)
        if self._parser is None:
            from monai.bundle import ConfigParser

            self._parser = ConfigParser(dict(self.content) | {"bundle_root": str(self.folder)})
        try:
            with importable((self.folder,)):
                return self._parser.get_parsed_content(name)
        except Exception as error:  # whatever the author's code raises
            told = " ".join(str(error).split())[:200]
            msg = f"{name} in {self.path} must be something that MONAI can make, got {type(error).__name__}: {told}."
            raise InputError(msg) from error

    def _resolved(self, value: Any, where: KeyPath, depth: int) -> Any:
        if depth > _DEEP:
            msg = f"{self.path} must not refer in circles, got one at {'#'.join(map(str, where))}."
            raise InputError(msg)
        if isinstance(value, dict):
            return {key: self._resolved(part, (*where, key), depth + 1) for key, part in value.items()}
        if isinstance(value, list):
            return [self._resolved(part, (*where, i), depth + 1) for i, part in enumerate(value)]
        if not isinstance(value, str):
            return value
        if match := _REFERENCE.match(value):
            referenced, keys = self._referenced(match["id"], where)
            return self._resolved(referenced, keys, depth + 1)
        if value.startswith("$"):
            require_trust(f"the expression {value!r} at {'#'.join(map(str, where))} in {self.path}", trust=self._trust)
            return self.build("::".join(map(str, where)))
        return value

    def _referenced(self, name: str, where: KeyPath) -> tuple[Any, KeyPath]:
        """The entry of that name as it is written, and its path of keys."""
        value: Any = self.content
        keys = tuple(int(key) if key.isdecimal() else key for key in re.split("#|::", name))
        try:
            for key in keys:
                value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            msg = f"{self.path} must hold {name!r}, which {'#'.join(map(str, where))} refers to, got nothing there."
            raise InputError(msg) from error
        return value, keys
