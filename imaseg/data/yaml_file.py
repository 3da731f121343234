"""Reads YAML files of `key: value` lines: configurations, plans and recipes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from imaseg.data.plain import LONGEST_NUMBER, read_text
from imaseg.errors import InputError

_MOST_BYTES = 2 * 2**20
_MOST_VALUES = 100_000
_DEEPEST = 50
_LONG = 100
"""Characters of a text that count as one more value."""
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; nothing in it is executed.

    Raises:
        InputError: if the file cannot be read, is too large, is not YAML, or holds something else than a mapping.
    """
    text = read_text(path, "YAML", most=_MOST_BYTES)
    try:
        content = parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: dates and numbers that are none
        msg = f"{path} must be valid YAML, got {' '.join(str(error).split())}. Correct that line."
        raise InputError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold `key: value` lines, got {type(content).__name__}."
        raise InputError(msg)
    return content


def parse_yaml(text: str) -> Any:
    """The plain data that a text in YAML stands for.

    Raises:
        YAMLError: if it is not YAML, has a key twice or a number beyond 64 bits, or stands for too much: by aliases of
            aliases a few lines can stand for more values than any memory holds.
        ValueError: if a date or number is none.
    """
    _check_size(text)
    try:
        return yaml.load(text, _Loader)
    except (AttributeError, LookupError, TypeError) as error:  # of `!!timestamp`, `!!bool` or `!!int` before other text
        msg = f"a value that is not what its tag (!!) says ({type(error).__name__}: {error})"
        raise yaml.YAMLError(msg) from error


class _Loader(_Parser):
    """The safe loader of PyYAML, which takes the last of several equal keys, and numbers of any length."""

    def get_single_node(self) -> yaml.Node | None:
        """Return what is written; merged keys (`<<`) come later, and may be said again."""
        root: yaml.Node | None = super().get_single_node()
        waiting, seen = [] if root is None else [root], set()
        while waiting:
            node = waiting.pop()
            if id(node) in seen or not isinstance(node, yaml.CollectionNode):
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
                waiting += [value for _, value in node.value]
            else:
                waiting += node.value
        return root

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > LONGEST_NUMBER:
            msg = f"a number of {len(node.value)} digits"
            raise yaml.constructor.ConstructorError(None, None, msg, node.start_mark)
        return int(super().construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _check_keys(node: yaml.MappingNode) -> None:
    keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    twice = next((key for (_, key), times in keys.items() if times > 1), None)
    if twice is not None:
        msg = f"key {twice!r:.80} twice"
        raise yaml.constructor.ConstructorError(None, None, msg, node.start_mark)


def _check_size(text: str) -> None:
    """Count the values that a text stands for with all its aliases followed, without making them."""
    open_parts: list[tuple[str | None, int]] = []
    sizes: dict[str, int] = {}
    values = 0
    for event in yaml.parse(text, _Parser):
        if isinstance(event, yaml.CollectionStartEvent):
            open_parts.append((event.anchor, values))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_parts.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_parts):
                msg = f"alias *{event.anchor} inside of what it stands for"
                raise yaml.YAMLError(msg)
            values += sizes.get(str(event.anchor), 0)
        elif isinstance(event, yaml.ScalarEvent):
            size = len(event.value) // _LONG
            values += size
            if event.anchor is not None:
                sizes[event.anchor] = size
        if isinstance(event, yaml.NodeEvent):
            values += 1
        if values > _MOST_VALUES or len(open_parts) > _DEEPEST:
            msg = f"content that stands for more than {_MOST_VALUES} values, or is more than {_DEEPEST} levels deep"
            raise yaml.YAMLError(msg)
