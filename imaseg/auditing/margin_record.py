"""What `imaseg margin` found on one case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

WHOLE = "whole"
"""What the whole case, all foreground structures together, is called among the structures."""


@dataclass
class Row:
    """One margin: a row of `margins.csv`.

    Attributes:
        perturbation, unit: the set, and the unit of `margin` and `eps`.
        structure: name, or `WHOLE`.
        eps: the ceiling; less than asked for where the set itself ends earlier.
        margin: smallest budget found; 0 where the clean prediction meets the criterion already, `eps` where censored,
            None where the label does not hold the structure.
        censored: whether no attack within `eps` met the criterion.
        confirmed: whether three new attacks just below the margin failed; None where the margin is 0 or None.
        forward_calls, backward_calls: of the search.
    """

    perturbation: str
    unit: str
    structure: str
    eps: float
    margin: float | None = None
    censored: bool = False
    confirmed: bool | None = None
    forward_calls: int = 0
    backward_calls: int = 0


@dataclass
class Structure:
    """A labelled structure of a case, or the whole of it.

    Attributes:
        clean_dice: of the clean prediction; the mean over structures for the whole.
        volume_ml: of the label.
    """

    clean_dice: float
    volume_ml: float


@dataclass
class MarginRecord:
    """All that is known of one case; the content of `cases/<id>.json`.

    Attributes:
        case: id.
        structures: by name, the whole first.
        rows: margins.
        native_scale: native units per unit of the model's input; None if unknown.
        span: highest less lowest value of the model's input.
        voxel: rows of `voxel_margins.csv`.
        maps: what is known of each voxel map: agreement of the estimate, calls.
        files: SHA-256 of the written maps by name, relative to the output folder.
        forward_calls, backward_calls: passes of all searches; those that confirmed margins come on top.
        seconds: wall time.
    """

    case: str
    structures: dict[str, Structure] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    native_scale: float | None = None
    span: float = 0.0
    voxel: list[dict[str, Any]] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    forward_calls: int = 0
    backward_calls: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """From plain data, as the file holds it."""
        self.structures = {k: v if isinstance(v, Structure) else Structure(**v) for k, v in self.structures.items()}
        self.rows = [row if isinstance(row, Row) else Row(**row) for row in self.rows]

    def count(self, result: Any) -> None:
        """Add the passes of a search; certificates take no backward ones."""
        self.forward_calls += result.forward_calls
        self.backward_calls += getattr(result, "backward_calls", 0)
