"""Look of the plots: colours told apart by colour-blind readers on white and on near-black, and the bare axes.

Text, grid and axis colours are set by the style sheet, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from imaseg.report.blocks import Figure, Table

_COLOURS = ("#1F7FC4", "#D55E00", "#009E73", "#B5579B", "#8C7300", "#7A7A7A")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
_INK = "#6b7280"


def colour(number: int) -> str:
    """Colour of the model of this number; the same on every plot of the page."""
    return _COLOURS[number % len(_COLOURS)]


def veil(number: int, opacity: float) -> str:
    """The model's colour, see-through.

    >>> veil(0, 0.2)
    'rgba(31,127,196,0.2)'
    """
    red, green, blue = (int(colour(number)[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def dash(number: int) -> str:
    """Line pattern of the model of this number, so that colour is never the only difference."""
    return _DASHES[number % len(_DASHES)]


def symbol(number: int) -> str:
    """Marker of the model of this number."""
    return _SYMBOLS[number % len(_SYMBOLS)]


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


def figure(
    key: str,
    title: str,
    traces: Sequence[go.Scatter],
    across: dict[str, Any],
    up: dict[str, Any],
    *,
    caption: str,
    label: str,
    table: Table,
    height: int = 300,
) -> Figure:
    """A figure of some traces.

    Args:
        key: its anchor.
        title: its first letter becomes a capital.
        traces: what is drawn.
        across: axis, from `axis`.
        up: likewise.
        caption: below it.
        label: what it says to those who cannot see it.
        table: the numbers behind it.
        height: in pixels.
    """
    plot = go.Figure(data=list(traces), layout=layout(height, across, up, legend=True))
    return Figure(key, title[0].upper() + title[1:], caption, label, plot.to_plotly_json(), table)


def line(
    number: int, name: str, across: Sequence[Any], up: Sequence[Any], said: Sequence[str], *,
    width: float = 2.5, step: bool = False, sizes: int | Sequence[int] = 9, **options: Any,
) -> go.Scatter:  # fmt: skip
    """A line with markers.

    Args:
        number: of the model or structure, which decides colour, dashes and marker.
        name: in the legend.
        across: of the points.
        up: likewise.
        said: of each point, to a pointer that rests on it.
        width: of the line.
        step: whether it falls in steps.
        sizes: of the markers.
        options: of the trace.
    """
    return go.Scatter(
        x=list(across),
        y=list(up),
        mode="lines+markers",
        name=literal(name),
        line={"color": colour(number), "width": width, "dash": dash(number)} | ({"shape": "hv"} if step else {}),
        marker={"size": sizes, "symbol": symbol(number), "color": colour(number)},
        text=[literal(text) for text in said],
        hoverinfo="text",
        legendgroup=str(number),
        **options,
    )


def dots(
    across: Sequence[Any], up: Sequence[Any], said: Sequence[str], marker: dict[str, Any], **options: Any
) -> go.Scatter:
    """Points without a line.

    Args:
        across: of the points.
        up: likewise.
        said: of each point, to a pointer that rests on it.
        marker: as Plotly has it.
        options: of the trace.
    """
    return go.Scatter(
        x=list(across), y=list(up), mode="markers", marker=marker, text=[literal(text) for text in said],
        hoverinfo="text", **options,
    )  # fmt: skip


def bars(middle: float | None, ends: Sequence[float] | None, number: int) -> dict[str, Any]:
    """An interval around a point; invisible if there is none."""
    if ends is None or middle is None:
        return {"visible": False}
    low, high = ends
    return {
        "type": "data", "symmetric": False, "array": [high - middle], "arrayminus": [middle - low],
        "color": colour(number), "thickness": 2, "width": 5,
    }  # fmt: skip
