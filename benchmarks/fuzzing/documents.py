"""Damage to the structure of JSON, YAML and headers of lines: every entry may go, or become what it must not."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import yaml

DEEP = "@deep@"
"""Stands for nesting that no writer could write by recursion."""
VALUES: tuple[Any, ...] = (
    None, True, "", "x", 0, -1, -0.5, 2**31, 2**63, 10**40, 1e308, float("nan"), float("inf"), [], {}, [None], [[]],
    {"": None}, DEEP, "x" * 20_000, "a\nb\x1b[31m", "\0", "../../../../etc/passwd", "/dev/zero", "/", ".", "~", "None",
    "$import('os')", "@x", "%x", "1e9999", "0x10", "2020-01-01", [0] * 5000, "\u202e", "\ud800",
)  # fmt: skip
_TEXTS = (
    "", "null", "[]", "1", '"x"', "{", "[" * 100_000, '{"a":' * 100_000, "a: &a [x, x]\nb: &b [*a, *a]\n", "\ufeff{}",
    "a: !!python/object/apply:os.system [true]", "&a [*a]", "a: &a\n  b: *a\n", "? [a]\n: b", "1: 2", "a: 1\na: 2",
    "\n".join([f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(12)]), "\t", "%YAML 9.9",
)  # fmt: skip


def json_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """A JSON file with one to three entries changed, or another text."""
    return _document(rng, json.loads(content), json.dumps)


def yaml_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """The same for YAML."""
    return _document(rng, yaml.safe_load(content), yaml.safe_dump)


def _document(rng: random.Random, content: Any, dump: Any) -> tuple[bytes, str]:
    if rng.random() < 0.05:
        text = rng.choice(_TEXTS)
        return text.encode(), f"text {text[:20]!r}"
    names = []
    for _ in range(rng.choice((1, 1, 1, 3))):
        content, name = entry_changed(rng, content, VALUES)
        names.append(name)
    text = dump(content).replace(f'"{DEEP}"', DEEP).replace(f"'{DEEP}'", DEEP)
    deep = rng.choice((200, 1200, 50_000))
    return text.replace(DEEP, "[" * deep + "]" * deep).encode("utf-8", "surrogatepass"), "; ".join(names)


def places(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to all entries, inner ones too."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield (*above, key)
        yield from places(value, (*above, key))


def entry_changed(rng: random.Random, content: Any, values: tuple[Any, ...]) -> tuple[Any, str]:
    """A copy in which one entry is gone, renamed, twice there, swapped with another, or one of `values`."""
    content = copy.deepcopy(content)
    every = list(places(content))
    if not every:
        return rng.choice(values), "whole"
    *way, last = rng.choice(every)
    part = _at(content, way)
    told = ".".join(map(str, (*way, last)))[:80]
    kind = rng.choice(("delete", "rename", "double", "swap", *["value"] * 6))
    if kind == "delete":
        del part[last]
    elif kind == "rename" and isinstance(part, dict):
        part[rng.choice((f"{last}x", str(last).upper(), "", "__class__", "../x", "0"))] = part.pop(last)
    elif kind == "double" and isinstance(part, list):
        part.insert(0, copy.deepcopy(part[last]))
    elif kind == "swap":
        part[last] = copy.deepcopy(_at(content, rng.choice(every)))
    else:
        value = rng.choice(values)
        part[last] = copy.deepcopy(value) if isinstance(value, list | dict) else value
        kind = f"{value!r}"[:30]
    return content, f"{told}: {kind}"


def _at(content: Any, way: Any) -> Any:
    for key in way:
        content = content[key]
    return content


_NUMBERS = (
    b"0",
    b"-1",
    b"nan",
    b"inf",
    b"1e308",
    b"-2147483649",
    b"99999999999999999999",
    b"1000000",
    b"x",
    b"",
    b"1 1",
)
_NAMES = (b"/etc/passwd", b"../../x.raw", b"LIST", b"/dev/zero", b"%d.raw 1 99999999 1", b".", b"x" * 9000, b"\xff\xfe")


def lines_changed(rng: random.Random, content: bytes, end: bytes) -> tuple[bytes, str]:
    """A file whose head is lines of text until `end`: a line is gone, twice there, or holds another number or name."""
    cut = content.find(end) + len(end) if end in content else len(content)
    lines, rest = content[:cut].split(b"\n"), content[cut:]
    at = rng.randrange(len(lines))
    kind, line = rng.choice(("delete", "double", "swap", "value", "number", "number", "number")), lines[at]
    told = f"line {at}: {kind}"
    if kind == "delete":
        del lines[at]
    elif kind == "double":
        lines.insert(at, line)
    elif kind == "swap":
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], line
    elif kind == "value":
        key, mark, _ = line.partition(b": " if b": " in line else b"= " if b"= " in line else b",")
        lines[at] = key + mark + rng.choice(_NAMES + _NUMBERS)
    else:
        found = list(re.finditer(rb"[-+.\deE]*\d[-+.\deE]*", line))
        if found:
            one = rng.choice(found)
            lines[at] = line[: one.start()] + rng.choice(_NUMBERS) + line[one.end() :]
    return b"\n".join(lines) + rest, told
