"""Look of the plots: colours told apart by colour-blind readers on white and on near-black, and the bare axes.

Text, grid and axis colours are set by the style sheet, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, sample_colorscale

from imaseg.report.blocks import Figure, Table

Spot = tuple[Any, Any, str]
_COLOURS = ("#1F7FC4", "#D55E00", "#009E73", "#B5579B", "#8C7300", "#7A7A7A")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
_INK, _NONE = "#6b7280", "rgba(0,0,0,0)"
_LAYOUT = {
    "template": None,
    "margin": {"l": 56, "r": 16, "t": 8, "b": 48},
    "paper_bgcolor": _NONE,
    "plot_bgcolor": _NONE,
    "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": _INK},
    "dragmode": False,
    "hovermode": "closest",
    "showlegend": True,
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": _NONE},
}
"""Shared by all plots: transparent, tight, legend above."""


def colour(number: int) -> str:
    """Colour of the model of this number; the same on every plot of the page."""
    return _COLOURS[number % len(_COLOURS)]


def veil(number: int, opacity: float) -> str:
    """The model's colour, see-through.

    >>> veil(0, 0.2)
    'rgba(31, 127, 196, 0.2)'
    """
    return f"rgba{(*hex_to_rgb(colour(number)), opacity)}"


def symbol(number: int) -> str:
    """Marker of the model of this number, so that colour is never the only difference."""
    return _SYMBOLS[number % len(_SYMBOLS)]


def shades(scale: str, steps: int) -> np.ndarray:
    """Colours (steps, 3), 0 to 255, evenly spaced along one of Plotly's colour scales."""
    colours: np.ndarray = np.round(255 * np.array(sample_colorscale(scale, steps, colortype="tuple"))).astype(int)
    return colours


def gradient(colours: np.ndarray) -> str:
    """Colours as the style sheet lists those of a gradient."""
    return ", ".join(f"rgb({red},{green},{blue})" for red, green, blue in colours)


def axis(title: str, **options: Any) -> dict[str, Any]:
    """One bare axis: no zoom (a finger must scroll the page), grid and line coloured by the style sheet."""
    text = {"text": html.escape(title), "standoff": 12, "font": {"size": 13}}
    bare = {"fixedrange": True, "zeroline": False, "showline": True, "automargin": True}
    return {"title": text, **bare, "gridcolor": "#9aa2ad", "linecolor": _INK, **options}


def figure(
    key: str, title: str, traces: Iterable[go.Scatter], across: dict[str, Any], up: dict[str, Any], *,
    caption: Sequence[str], label: str, table: Table, height: int = 300,
) -> Figure:  # fmt: skip
    """A figure of some traces.

    Args:
        key: its anchor.
        title: its first letter becomes a capital.
        traces: what is drawn.
        across: axis, from `axis`.
        up: likewise.
        caption: sentences below it; empty ones are left out.
        label: what it says to those who cannot see it.
        table: the numbers behind it.
        height: in pixels.
    """
    plot = go.Figure(list(traces), {**_LAYOUT, "height": height, "xaxis": across, "yaxis": up}).to_plotly_json()
    return Figure(key, title[0].upper() + title[1:], " ".join(filter(None, caption)), label, plot, table)


def dots(number: int, name: str, spots: Iterable[Spot], *, size: int | Sequence[int] = 9, **options: Any) -> go.Scatter:
    """Points in the colour and with the marker of a model or structure.

    Args:
        number: of the model or structure.
        name: in the legend; without one they are not in it.
        spots: each across, up, and what is said to a pointer that rests on it.
        size: of the markers.
        options: of the trace; those of its marker begin with `marker_`.
    """
    across, up, said = zip(*listed, strict=True) if (listed := list(spots)) else ([], [], [])
    usual = {"mode": "markers", "hoverinfo": "text", "showlegend": bool(name), "legendgroup": str(number)}
    drawn = {"marker_size": size, "marker_symbol": symbol(number), "marker_color": colour(number)}
    text = [html.escape(one) for one in said]
    return go.Scatter(x=list(across), y=list(up), text=text, name=html.escape(name), **{**usual, **drawn, **options})


def line(number: int, name: str, spots: Iterable[Spot], *, width: float = 2.5, **options: Any) -> go.Scatter:
    """A line with markers; arguments as of `dots`."""
    drawn: dict[str, Any] = {"color": colour(number), "width": width, "dash": _DASHES[number % len(_DASHES)]}
    return dots(number, name, spots, mode="lines+markers", line=drawn, **options)


def band(number: int, edge: Sequence[tuple[float, float, float]]) -> go.Scatter:
    """The area between two lines in a model's colour; the edge holds where across, low and high."""
    around = [(x, high, "") for x, _, high in edge] + [(x, low, "") for x, low, _ in reversed(edge)]
    rim, filled = {"width": 0, "color": veil(number, 0)}, veil(number, 0.22)
    return dots(number, "", around, mode="lines", line=rim, fill="toself", fillcolor=filled, hoverinfo="skip")


def bars(middle: float | None, ends: Sequence[float] | None, number: int) -> dict[str, Any]:
    """An interval around a point; invisible if there is none."""
    if ends is None or middle is None:
        return {"visible": False}
    size = {"array": [ends[1] - middle], "arrayminus": [middle - ends[0]], "thickness": 2, "width": 5}
    return {"type": "data", "symmetric": False, "color": colour(number), **size}
