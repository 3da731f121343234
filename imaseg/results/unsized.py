"""Words for lengths and volumes where files state no voxel size: a pixel is then read as 1 mm, which it is not."""

from __future__ import annotations

import re

_WORDS = (
    (re.compile(r"\bmm(?:3|\u00b3|\^3)"), "pixels"),
    (re.compile(r"\bmm\b"), "pixels"),
    (re.compile(r"(?<=\d) ml\b"), " \u00d7 1000 pixels"),
    (re.compile(r"\bml\b"), "1000 pixels"),
)
_FLAT = tuple(
    (re.compile(rf"(?<![\w./-]){word}(?![\w/-]|\.\w)"), flat)
    for solid, plane in (("volume", "area"), ("voxel", "pixel"))
    for word, flat in ((solid, plane), (f"{solid}s", f"{plane}s"))
    for word, flat in ((word, flat), (word.capitalize(), flat.capitalize()))
)
"""Files without a size are pictures, which have areas; names of files, cases and keys keep theirs."""


def in_pixels(text: str) -> str:
    """A text about pictures that speaks of mm, mm3, ml, voxels and volumes, where 1 mm stands for a pixel.

    >>> in_pixels("HD95 (mm) 3.2 mm, over 100 mm3; 1.5 ml, error (ml)")
    'HD95 (pixels) 3.2 pixels, over 100 pixels; 1.5 \u00d7 1000 pixels, error (1000 pixels)'
    >>> in_pixels("Volumes of volume-12, by voxel")
    'Areas of volume-12, by pixel'
    """
    for unit, word in (*_WORDS, *_FLAT):
        text = unit.sub(word, text)
    return text
