"""How cases reached the model, and whether its own software predicts the same: what an audit's numbers rest on."""

from __future__ import annotations

from imaseg.results.base import Record

EIGHT_BITS = "grey levels of 255"
"""Unit of pictures of 8 bits."""


class LabelMatch(Record):
    """One label value of the data and the structure of the model that it was taken for.

    Attributes:
        value, name: in the data; the name is empty where the data give none.
        structure, structure_name: in the model; 0 is background.
        matched: "name", "number", or "card", whichever said that they belong together.
    """

    value: int
    name: str
    structure: int
    structure_name: str
    matched: str


class Preparation(Record):
    """What was done to the cases before the model saw them, and to its output before Dice was counted.

    Attributes:
        by: who says how cases are prepared.
        steps: sentences, in order; figures are those of the case `example`.
        example: case whose figures the steps state; empty where none could be read.
        tiles: how the image was cut into tiles, or that it was not.
        padding: what is added at the border where the network needs larger sides.
        activation: final activation of the network and whether it was undone.
        activation_by: how it was found.
        labels: of the data and of the model.
        classes_left_out: names of classes that the model knows and these data do not label.
        postprocessing_left_out: steps of the model's own software that imaseg does not do.
        unit: of the intensities in the files, such as HU, or `EIGHT_BITS`; "not stated" where nobody says.
        grid: on which voxels Dice is counted.
        sized: whether the files state how large a voxel is; if not, what is in mm elsewhere is in pixels.
    """

    by: str
    steps: list[str]
    example: str
    tiles: str
    padding: str
    activation: str
    activation_by: str
    labels: list[LabelMatch]
    classes_left_out: list[str] = []
    postprocessing_left_out: list[str] = []
    unit: str
    grid: str
    sized: bool = True


class Agreement(Record):
    """A clean prediction of imaseg held against that of the model's own software, on the grid of the files.

    Attributes:
        pipeline: software that was compared with; empty where there is none.
        case: that both predicted.
        dice: mean over the foreground classes of which either predicts 50 voxels or more; None where there is none, or
            it was not compared.
        lowest: Dice of the class among these that differs most.
        by_class: Dice by class number, for all foreground classes that either predicts.
        voxels: share of all voxels with the same class.
        reason: why it was not compared, or what is known to differ.
        applies: whether there could be other software to compare with: not for models that imaseg trained.
    """

    applies: bool = True
    pipeline: str = ""
    case: str = ""
    dice: float | None = None
    lowest: float | None = None
    by_class: dict[str, float] = {}
    voxels: float | None = None
    reason: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether both predict the same, but for rounding; None where they were not compared."""
        if self.dice is None:
            return None
        return self.dice >= SAME and (self.lowest is None or self.lowest >= SAME_EACH)

    @property
    def sentence(self) -> str:
        """What was found."""
        if self.dice is None or self.voxels is None:
            return f"Not compared with the model's own software: {self.reason}"
        apart = "" if self.lowest is None or self.lowest >= SAME_EACH else f" ({self.lowest:.4f} of one class)"
        alike = f"{self.voxels:.2%} of the voxels alike ({self.pipeline}, case {self.case})"
        numbers = f"Dice {self.dice:.4f}{apart}, {alike}"
        if self.agrees:
            return f"imaseg predicts what the model's own software predicts: {numbers}."
        return f"imaseg does not predict what the model's own software predicts: {numbers}; {self.reason}"


SAME = 0.99
"""Dice of two predictions from which on they count as the same."""
SAME_EACH = 0.9
"""Dice that each class must reach for that: among a hundred classes, the mean hides one that is never found."""
