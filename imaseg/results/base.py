"""What every record of an audit is built from: strict fields, metrics, intervals, rows and entries by kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SerializeAsAny

from imaseg.data.cases import names_file
from imaseg.errors import did_you_mean
from imaseg.plugins import plugins

FORMAT: Literal[2] = 2
"""Number of the form that results have on disk; another number is refused."""
MISSING_PLUGIN = (
    "Install the plug-in that adds it, or name its file: `imaseg report ... --imports FILE --trust`, or "
    "`imaseg.plugins.import_local` in Python"
)
"""What to do about a kind of rows or entries that is not known here."""
MEAN = "foreground_mean"
"""Key of the mean over the foreground classes, next to the classes."""


def _case_id(text: str) -> str:
    if not names_file(text):
        msg = "it must name a file: no / or \\, no null byte, no dot at the start"
        raise ValueError(msg)
    return text


Metrics = dict[str, float | None]
"""Value by metric; None where it is undefined.

`<metric>_undefined` counts the values that a mean leaves out, `<metric>_penalised` those for which it takes the
`<metric>_penalty` that stands beside the undefined value.
"""
COUNTS = ("_undefined", "_penalised")
"""Endings of what counts values, and is no metric itself."""
Scores = dict[str, Metrics]
"""Metrics by class number, and under `MEAN` their mean over the foreground."""


def _below(text: str) -> str:
    if "\0" in text or PurePath(text).is_absolute() or ".." in PurePath(text).parts:
        msg = "it must be a path below the audit folder"
        raise ValueError(msg)
    return text


Below = Annotated[str, AfterValidator(_below)]
CaseId = Annotated[str, AfterValidator(_case_id)]
"""Names the files of a case; results of others may hold anything there."""
Interval = list[float] | None
"""Ends of a 95 % interval; None where there are too few cases or patients."""


class Record(BaseModel):
    """A part of the results: unknown keys, wrong types and infinite numbers are refused; nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Spread(Record):
    """Median and extremes over the cases."""

    median: float
    min: float
    max: float


class CaseScores(Record):
    """Metrics of one case, by class and in the mean over the foreground."""

    case: CaseId
    metrics: Scores

    @property
    def dice(self) -> float | None:
        """Mean foreground Dice of this case."""
        return self.metrics.get(MEAN, {}).get("dice")


class Scored(Record):
    """What was found of one prediction.

    Attributes:
        scores: of the prediction.
    """

    scores: Scores

    @property
    def dice(self) -> float:
        """Mean foreground Dice; not a number if undefined."""
        value = self.scores[MEAN]["dice"]
        return float("nan") if value is None else value


class Block(Record):
    """Means of all metrics over cases, with their intervals and the cases behind them.

    Attributes:
        foreground_mean: mean over cases of the mean over foreground classes, by metric.
        ci95: interval of each.
        mean: mean over cases, by class and metric.
        mean_ci95: interval of each.
        metric_per_case: the cases.
    """

    foreground_mean: Metrics
    ci95: dict[str, Interval]
    mean: dict[str, Metrics]
    mean_ci95: dict[str, dict[str, Interval]]
    metric_per_case: list[CaseScores]

    @property
    def dice(self) -> float | None:
        """Mean foreground Dice."""
        return self.foreground_mean.get("dice")

    @property
    def dice_ci95(self) -> Interval:
        """Interval of the mean foreground Dice."""
        return self.ci95.get("dice")


class Kinds(BaseModel):
    """Something of which there are several kinds, each told by the constant in its field `kind`.

    Attributes:
        registry: the kinds defined so far; `known` adds those of installed packages.
        usual: kind of content that names none.
        missing: what to do about a kind that is not known here.
    """

    registry: ClassVar[dict[str, Any]]
    usual: ClassVar[str | None] = None
    missing: ClassVar[str] = ""
    kind: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        kind = cls.model_fields["kind"].default
        if isinstance(kind, str):
            cls.registry[kind] = cls

    @classmethod
    def known(cls) -> dict[str, Any]:
        """Every kind by name, those of installed packages included."""
        plugins("imaseg.probes")
        return cls.registry

    @classmethod
    def of_kind(cls, content: Any) -> Any:
        """A mapping as what its kind says.

        Raises:
            ValueError: if no such kind is known here.
        """
        if not isinstance(content, Mapping):
            return content
        kind = content.get("kind", cls.usual)
        if not isinstance(kind, str) or (kind not in cls.registry and kind not in cls.known()):
            msg = f"kind must be one of {', '.join(sorted(cls.registry))}, got {kind!r:.80}{cls.missing}."
            raise ValueError(msg + (did_you_mean(kind, cls.registry) if isinstance(kind, str) else ""))
        return cls.registry[kind].model_validate(content)


class Row(Kinds, Record):
    """What a probe found on one case; a subclass per kind of probe, with `kind: Literal["..."] = "..."`.

    Attributes:
        kind: of the probe.
        probe: its name in the plan.
    """

    registry: ClassVar[dict[str, Any]] = {}
    missing: ClassVar[str] = f". {MISSING_PLUGIN}"
    probe: str

    def table(self) -> list[tuple[float | str, str, str, float | None]]:
        """Lines of `cases.csv`: budget, class, metric, value."""
        return []


class Entry(Kinds, Record):
    """What a probe says over all cases; a subclass per kind of probe.

    Attributes:
        kind: of the probe.
        probe: its name in the plan.
        place: where such entries stand in the summary.
    """

    registry: ClassVar[dict[str, Any]] = {}
    missing: ClassVar[str] = f". {MISSING_PLUGIN}"
    place: ClassVar[str] = "others"
    probe: str


AnyRow = Annotated[SerializeAsAny[Row], BeforeValidator(Row.of_kind)]
AnyEntry = Annotated[SerializeAsAny[Entry], BeforeValidator(Entry.of_kind)]


class SearchedNear(Record):
    """Where a search of a whole-image set stayed.

    Attributes:
        mm: largest distance from a structure, in pixels of pictures.
        share: of what the gradient promises on the unchanged image, that it holds.
    """

    mm: float
    share: float


class SearchedNearAll(Record):
    """The same over cases: the largest distance and the smallest share.

    Attributes:
        cases: that were searched near their structures; the others were as a whole.
        mm, share: as in `SearchedNear`.
    """

    cases: int
    mm: float
    share: float

    @classmethod
    def over(cls, found: Sequence[SearchedNear | None]) -> SearchedNearAll | None:
        """Of all cases; None if none of them was searched so."""
        near = [one for one in found if one is not None]
        if not near:
            return None
        return cls(mm=max(one.mm for one in near), share=min(one.share for one in near), cases=len(near))

    @property
    def words(self) -> str:
        """As tables say it."""
        share = math.floor(self.share * 1000) / 10
        return (
            f"{self.cases} cases searched within {self.mm:g} mm of the structures, where at least {share:g}% of the "
            "gradient's norm lies"
        )


def in_set(perturbation: str, within: float | None, *, transferred: bool = False) -> str:
    """A perturbation set, where it may change and if on another model, as names of probes, gates and folders hold it.

    >>> in_set("l2", None), in_set("l2", 20.0), in_set("l2", None, transferred=True)
    ('l2', 'l2-within-20mm', 'l2-transferred')
    """
    place = "" if within is None else f"-within-{within:g}mm"
    return f"{perturbation}{place}{'-transferred' if transferred else ''}"


def near_words(within: float | None) -> str:
    """Where a set may change, as tables and sentences say it after the name of the set.

    >>> near_words(20.0)
    ' within 20 mm of the structures'
    """
    return "" if within is None else f" within {within:g} mm of the structures"


def made_words(made_on: str) -> str:
    """Which model was attacked, after the name of a set; empty if it is the audited one.

    >>> made_words("other")
    ', attacked on other'
    """
    return f", attacked on {made_on}" if made_on else ""


def score_lines(eps: float, scores: Scores) -> list[tuple[float | str, str, str, float | None]]:
    """Lines of `cases.csv` for the metrics of a prediction, counts left out."""
    return [
        (eps, kind, metric, value)
        for kind, values in scores.items()
        for metric, value in values.items()
        if not metric.endswith(COUNTS)
    ]
