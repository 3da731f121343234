"""The metrics of a segmentation: what each is called, what it means, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from imaseg.report.audits import Audits
from imaseg.report.wording import decimal
from imaseg.results.base import Metrics


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: in results.
        head: of its column.
        short: its name inside a cell.
        said: its name in the methods.
        digits: decimals.
        meaning: explained once on the page.
        sign: whether the sign is always written.
        apart: whether it stands in a section of its own, and in no table of all metrics.
        compared: whether the page holds its paired differences; the file beside the page has those of all.
    """

    name: str
    head: str
    short: str
    said: str
    digits: int = 3
    meaning: str = ""
    sign: bool = False
    apart: bool = False
    compared: bool = True

    def write(self, value: float | None) -> str:
        """A value in a table."""
        return decimal(value, self.digits, sign=self.sign)


def _of_instances() -> Iterator[Metric]:
    """Those of plans that count instances: numbers, in all and by size, then rates."""
    counts = ["instances", "instances missed", "instances predicted", "instances invented"]
    sizes = ["", "small", "medium", "large"]
    rates = ["instance recall", "instance precision", "instance F1", "instance SQ", "instance PQ"]
    said = [f"{count} {size}".strip() for count in counts for size in sizes] + rates
    for words in said:
        head = words[0].upper() + words[1:]
        yield Metric(words.lower().replace(" ", "_"), head, words, words, apart=True, compared=False)


ON_FILES = "Dice on the grid of the files"
"""Head of columns of Dice that is counted on the voxels of the files, where others are on the model's."""
ON_FILES_BELOW = "\u201con files\u201d: Dice of the prediction taken back to the voxels that the files have"
"""What a table says of `note_on_files`."""
NATIVE = "native_dice"
_DEFAULT = ("dice", "hd95", "surface_dice", "fp_volume")
METRICS = (
    Metric("dice", "Dice", "Dice", "Dice"),
    Metric(
        NATIVE, ON_FILES, "Dice on the grid of the files", "Dice on the grid of the files", 3,
        "Dice on the grid of the files: of the prediction taken back to the voxels that the files have", compared=False,
    ),
    Metric(
        "hd95", "HD95 (mm)", "HD95", "the 95th percentile of the Hausdorff distance (mm)", 2,
        "HD95: 95th percentile of the Hausdorff distance; where a structure is missing on one side, which leaves it "
        "undefined, means take the diagonal of the image (penalised)",
    ),
    Metric(
        "surface_dice", "Surface Dice (1 voxel)", "surface Dice",
        "surface Dice at a tolerance of one voxel (Nikolov et al. 2021)",
    ),
    Metric("surface_dice_2mm", "Surface Dice (2 mm)", "surface Dice 2 mm", "surface Dice at a tolerance of 2 mm"),
    Metric(
        "assd", "ASSD (mm)", "ASSD", "the average symmetric surface distance (mm)", 2,
        "ASSD: mean distance between both surfaces, penalised likewise", compared=False,
    ),
    Metric(
        "precision", "Precision", "precision", "precision", 3,
        "Precision: share of what was predicted that is right, 0 (penalised) where nothing was", compared=False,
    ),
    Metric(
        "recall", "Recall", "recall", "recall", 3, "Recall: share of the labelled structure that was found",
        compared=False,
    ),
    Metric(
        "volume_error", "Volume error (ml)", "volume", "the signed volume error (ml)", 3,
        "Volume error: predicted minus labelled volume", sign=True,
    ),
    Metric(
        "relative_volume_error", "Relative volume error", "relative volume",
        "the signed volume error as a share of the labelled volume", 3,
        "Relative: as a share of the labelled volume", sign=True, compared=False,
    ),
    Metric(
        "fp_volume", "FP volume (mm\u00b3)", "FP volume",
        "the volume predicted for structures absent from the label (mm\u00b3)", 1,
        "FP volume: predicted for a structure that the label lacks",
    ),
    Metric(
        "missed", "Missed", "missed", "the share of structures missed", 2,
        "Missed: share of the labelled structures that were not found at all",
    ),
    Metric(
        "false_positive", "False positive", "false positive", "the share of structures made up", 2,
        "False positive: share of structures made up entirely",
    ),
    Metric(
        "ece", "Calibration error", "calibration", "the expected calibration error (Guo et al. 2017)", 3,
        "Calibration error: gap between confidence and accuracy of the voxels that are labelled or within 5 mm of one",
    ),
    *_of_instances(),
)  # fmt: skip


def metric_cells(means: Metrics, columns: Sequence[Metric]) -> dict[str, str]:
    """Means by head of column, and how many values of each are undefined or penalties."""
    ends = {"_undefined": "", "_penalised": " penalised"}
    counts = [(m.short, means.get(f"{m.name}{end}"), said) for m in columns for end, said in ends.items()]
    undefined = [f"{name} {int(lost)}{said}" for name, lost, said in counts if lost]
    cells = {metric.head: metric.write(means.get(metric.name)) for metric in columns}
    return {**cells, "Undefined in (cases)": ", ".join(undefined) or "none"}


def shown_metrics(audits: Audits) -> list[Metric]:
    """The metrics of tables that any of the audits holds; those that every audit must have always."""
    blocks = [block for audit in audits for block in (audit.summary.foreground_mean, *audit.summary.mean.values())]
    held = {name for block in blocks for name in block}
    if not differs_on_files(audits):
        held.discard(NATIVE)
    return [metric for metric in METRICS if metric.name in _DEFAULT or (metric.name in held and not metric.apart)]


def differs_on_files(audits: Audits) -> bool:
    """Whether Dice on the grid of the files is another number than that on the model's, anywhere in these audits."""
    blocks = [
        means
        for audit in audits
        for block in (audit.summary, *audit.summary.probes, *audit.summary.corruptions)
        for means in (block.foreground_mean, *block.mean.values())
    ]
    pairs = [(means.get("dice"), means.get(NATIVE)) for means in blocks]
    return any(there is not None and decimal(dice) != decimal(there) for dice, there in pairs)


def note_on_files(value: float | None) -> str:
    """That Dice in a note below the one on the model's grid; empty without one."""
    return "" if value is None else f"on files {decimal(value)}"
