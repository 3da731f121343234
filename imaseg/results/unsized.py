"""Words for lengths and volumes where files state no voxel size: a pixel is then read as 1 mm, which it is not."""

from __future__ import annotations

import re

_WORDS = (
    (re.compile(r"\bmm(?:3|\u00b3|\^3)"), "pixels"),
    (re.compile(r"\bmm\b"), "pixels"),
    (re.compile(r"(?<=\d) ml\b"), " \u00d7 1000 pixels"),
    (re.compile(r"\bml\b"), "1000 pixels"),
)


def in_pixels(text: str) -> str:
    """A text that speaks of mm, mm3 and ml, where 1 mm stands for a pixel.

    >>> in_pixels("HD95 (mm) 3.2 mm, over 100 mm3; 1.5 ml, error (ml)")
    'HD95 (pixels) 3.2 pixels, over 100 pixels; 1.5 \u00d7 1000 pixels, error (1000 pixels)'
    """
    for unit, word in _WORDS:
        text = unit.sub(word, text)
    return text
