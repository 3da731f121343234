"""`Probe`: one question asked of every case, with its settings, its cost, what it finds and what that says over all.

A kind of probe is one file here: settings as pydantic fields, `cost`, `run`, `summarise`. Its section of the page is
one file in `report/sections/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny

from imaseg.results.base import Entry, Kinds, Row
from imaseg.results.case import CaseRecord

if TYPE_CHECKING:
    from imaseg.auditing.probes.scene import Scene

Labels = Mapping[int, str]
Sorted = AfterValidator(lambda values: sorted(set(values)))
"""Of a list: each value once, from the smallest to the largest."""
Lines = list[dict[str, Any]]
_Row = TypeVar("_Row", bound=Row)


@dataclass(frozen=True)
class Cost:
    """What a part of a plan takes per case; searches that succeed early take fewer calls.

    Attributes:
        name: of the part.
        gradients: calls of the model with a gradient.
        forwards: calls without.
        scored: predictions that metrics are taken of.
        perturbation: set whose changes it makes, where these cost time of their own.
        first: only so many cases; None for all.
        probe: that does it, where the part is called otherwise.
    """

    name: str
    gradients: int
    forwards: int = 0
    scored: int = 0
    perturbation: str = "l2"
    first: int | None = None
    probe: str = ""

    @property
    def calls(self) -> int:
        """Of the model, of both kinds."""
        return self.gradients + self.forwards

    @property
    def run(self) -> str:
        """Name of what is run for it: the probe, or the part itself."""
        return self.probe or self.name

    def covers(self, place: int) -> bool:
        """Whether the case at a place is among those that it is done on."""
        return self.first is None or place < self.first


class Probe(Kinds, ABC, extra="forbid"):
    """One question of a plan. A subclass enters the table of kinds by the default of its field `kind`.

    Attributes:
        kind: of probe.
        name: in tables and results, unique within a plan, part of file names; made from the settings if not given.
        cases: only so many cases, the first ones; None for all.
    """

    registry: ClassVar[dict[str, Any]] = {}
    usual: ClassVar[str | None] = "attack"

    name: Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f]*$", max_length=100)] = ""
    cases: Annotated[int, Field(ge=1)] | None = None

    @classmethod
    def member(cls, content: Mapping[str, Any]) -> type[Probe]:
        """Class of the settings' kind; this one if the kind is not known."""
        return cls.known().get(str(content.get("kind", cls.usual)), cls)

    def names(self) -> list[str]:
        """Names that the settings give, from the shortest to the one that says most."""
        return [self.kind]

    @abstractmethod
    def check(self, seed: int) -> None:
        """Build every part once, so that a wrong name fails now and not after an hour.

        Raises:
            ValueError: if something does not fit together.
        """

    @abstractmethod
    def cost(self, classes: int, seed: int) -> Cost:
        """Calls per case.

        Args:
            classes: foreground classes of the model.
            seed: of the plan.
        """

    @property
    def led(self) -> bool:
        """Whether it searches along gradients of the audited model, which may be taken in half precision."""
        return False

    def once(self, cases: int) -> Cost | None:
        """What it takes once, of an audit of so many cases, counted with the first of them; None for nothing."""
        return None

    def confirming(self, classes: int, seed: int, checked: int) -> Cost | None:
        """What it does besides on the first so many cases, those that are checked; None for nothing."""
        return None

    def changing(self, scene: Scene) -> float:
        """Seconds that it takes to make one of the images that are scored, where that is no search; measured now."""
        return 0.0

    @abstractmethod
    def run(self, scene: Scene) -> Sequence[Row]:
        """Ask the question of one case.

        Raises:
            InputError: if the case does not allow it; it is then set aside with the reason.
        """

    def summarise(self, records: Sequence[CaseRecord], labels: Labels, seed: int) -> Sequence[Entry]:
        """What the rows of all cases say together; nothing where there are none."""
        return []

    def rows(self, records: Sequence[CaseRecord], kind: type[_Row]) -> list[tuple[CaseRecord, _Row]]:
        """What it found, each row next to the record of its case."""
        return [(record, row) for record in records for row in record.rows_of(kind, self.name)]

    def folders(self) -> list[str]:
        """Folders of files by case, which no other probe of a plan may write to."""
        return []

    def tables(self, records: Sequence[CaseRecord], labels: Labels) -> dict[str, Lines]:
        """Further CSV files of the audit folder, by name."""
        return {}


AnyProbe = Annotated[SerializeAsAny[Probe], BeforeValidator(Probe.of_kind)]
