"""Look of the plots: colours told apart by colour-blind readers on white and on near-black, and the bare axes.

Text, grid and axis colours are set by the style sheet, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import html
from typing import Any

_COLOURS = ("#1F7FC4", "#D55E00", "#009E73", "#B5579B", "#8C7300", "#7A7A7A")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
_INK = "#6b7280"


def colour(place: int) -> str:
    """Colour of the model at this place; the same on every plot of the page."""
    return _COLOURS[place % len(_COLOURS)]


def veil(place: int, opacity: float) -> str:
    """The model's colour, see-through.

    >>> veil(0, 0.2)
    'rgba(31,127,196,0.2)'
    """
    red, green, blue = (int(colour(place)[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def dash(place: int) -> str:
    """Line pattern of the model at this place, so that colour is never the only difference."""
    return _DASHES[place % len(_DASHES)]


def symbol(place: int) -> str:
    """Marker of the model at this place."""
    return _SYMBOLS[place % len(_SYMBOLS)]


def literal(text: str) -> str:
    """Text that Plotly must show as it stands: its own markup is switched off.

    >>> literal("<b>x</b>")
    '&lt;b&gt;x&lt;/b&gt;'
    """
    return html.escape(text)


def axis(title: str, **options: Any) -> dict[str, Any]:
    """One bare axis: no zoom (a finger must scroll the page), grid and line coloured by the style sheet."""
    return {
        "title": {"text": literal(title), "standoff": 12, "font": {"size": 13}},
        "fixedrange": True,
        "zeroline": False,
        "showline": True,
        "automargin": True,
        "gridcolor": "#9aa2ad",
        "linecolor": _INK,
        **options,
    }


def layout(height: int, across: dict[str, Any], up: dict[str, Any], *, legend: bool) -> dict[str, Any]:
    """Layout shared by all plots: transparent, tight, legend above."""
    return {
        "template": None,
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 8, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": _INK},
        "dragmode": False,
        "hovermode": "closest",
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        "xaxis": across,
        "yaxis": up,
    }
