"""What sections are made of; the template draws each block by its `kind`, a macro of `style/blocks.html.j2`."""

from imaseg.report.blocks.base import Block
from imaseg.report.blocks.checks import ChecksPanel, Verdict
from imaseg.report.blocks.figure import Figure, Grid
from imaseg.report.blocks.gallery import Gallery, Panel, Sight
from imaseg.report.blocks.heat import Heat, HeatMap, HeatRow
from imaseg.report.blocks.legend import Legend
from imaseg.report.blocks.table import MISSING, Cell, Table, table, with_interval
from imaseg.report.blocks.text import Bullets, Code, Details, Heading, Notice, Sentence, Sentences, Text
from imaseg.report.blocks.viewer import Slide, Viewer

__all__ = [
    "MISSING", "Block", "Bullets", "Cell", "ChecksPanel", "Code", "Details", "Figure", "Gallery", "Grid",
    "Heading", "Heat", "HeatMap", "HeatRow", "Legend", "Notice", "Panel", "Sentence", "Sentences", "Sight",
    "Slide", "Table", "Text", "Verdict", "Viewer", "table", "with_interval",
]  # fmt: skip
