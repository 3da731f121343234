"""Damage to the bytes of a file, whatever its format."""

from __future__ import annotations

import random
import struct

EXTREMES = (0, 1, -1, 127, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf"), float("-inf"))
_HEADER = 600
"""Most headers end before this byte; half of all damage goes there."""


def damaged(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """The content with one to three kinds of damage, and their names."""
    names = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        change = rng.choice(_CHANGES)
        content = change(rng, content)
        names.append(change.__name__.strip("_"))
    return content, "+".join(names)


def extreme(rng: random.Random) -> bytes:
    """A number at the edge of its type, as a header may hold it."""
    order, value = rng.choice("<>"), rng.choice(EXTREMES)
    if rng.random() < 0.3:
        return struct.pack(order + rng.choice("fd"), rng.choice(FLOATS))
    width = rng.choice((1, 2, 4, 8))
    return (value % 2 ** (8 * width)).to_bytes(width, "little" if order == "<" else "big")


def _place(rng: random.Random, content: bytes) -> int:
    return rng.randrange(max(1, min(len(content), _HEADER) if rng.random() < 0.5 else len(content)))


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 30)) if changed else 0):
        changed[_place(rng, content)] ^= rng.randrange(1, 256)
    return bytes(changed)


def _insert(rng: random.Random, content: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + rng.randbytes(rng.choice((1, 2, 8, 300))) + content[at:]


def _delete(rng: random.Random, content: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + content[at + rng.choice((1, 2, 8, 300)) :]


def _truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: _place(rng, content)]


def _splice(rng: random.Random, content: bytes) -> bytes:
    start, at, length = _place(rng, content), _place(rng, content), rng.choice((4, 16, 200))
    return content[:at] + content[start : start + length] + content[at + length :]


def _repeat(rng: random.Random, content: bytes) -> bytes:
    at, length = _place(rng, content), rng.choice((1, 4, 64))
    return content[:at] + content[at : at + length] * rng.choice((2, 50)) + content[at + length :]


def _overwrite(rng: random.Random, content: bytes) -> bytes:
    at, number = _place(rng, content), extreme(rng)
    return content[:at] + number + content[at + len(number) :]


_CHANGES = (_flip, _insert, _delete, _truncate, _splice, _repeat, _overwrite)
