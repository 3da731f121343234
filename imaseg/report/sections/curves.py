"""Dice against eps: one plot per attack, every model in it."""

from __future__ import annotations

from imaseg.report import plot
from imaseg.report.audits import Audits, dice_in_words, dice_word
from imaseg.report.blocks import Grid, Section
from imaseg.report.compare import all_series, strongest
from imaseg.report.eps_curves import curve_figure

_LEAD = (
    "Line: mean over cases of the mean foreground {}. Band: its 95 % interval. Points: single cases, "
    "shifted sideways so that models do not hide each other. eps 0 is the unchanged image. Large: the strongest attack."
)


def build(audits: Audits) -> Section | None:
    """One figure per attack; the strongest of each perturbation set comes first and large."""
    word = dice_in_words(audits)
    said = f"mean foreground {word}"
    lead, up = strongest(audits), plot.axis(said, range=[-0.03, 1.03], dtick=0.2)
    rest = sorted((s for s in all_series(audits) if s not in lead), key=lambda series: series.noise)
    drawn = [
        curve_figure(f"curve-{number}", audits, series, ("dice", said), up, height=420 if series in lead else 300)
        for number, series in enumerate([*lead, *rest])
    ]
    figures = [figure for figure in drawn if figure is not None]
    large, small = figures[: len(lead)], figures[len(lead) :]
    blocks = [*large, *([Grid(small)] if small else [])]
    title = f"{dice_word(audits)} against eps"
    return Section(40, "curves", title, blocks, _LEAD.format(word)) if blocks else None
