"""Cohort against cohort: how far the data of one audit are from those of another, in severities of corruptions."""

from __future__ import annotations

from imaseg.report.audits import Audits, dice_word, labels_are_predictions
from imaseg.report.blocks import MISSING, Block, Bullets, Cell, Section, Sentence, Table, table
from imaseg.report.cohorts import Distance, Pair, lines, pairs_of, refusals
from imaseg.report.metrics import ON_FILES, differs_on_files
from imaseg.report.wording import NO_INTERVAL, decimal, short

_LABELLED = (
    "The same model met different cases. The severity at which a corruption of the first cohort leaves the mean Dice "
    "that the other cohort has without any change says how far the other is, in the unit of the corruptions."
)
_UNLABELLED = (
    "The same model met different cases without labels. The severity at which predictions on the first cohort agree "
    "with themselves as little as those on the other do at the lowest one says how much less stable the other is."
)
_METHOD = (
    "Cohorts were compared by the lowest severity at which the mean over the first is that of the other, by straight "
    "lines between severities; its interval holds the severities at which Welch's t interval of the difference, with "
    "variances of leaving out one patient at a time, holds 0."
)
_LIMIT = (
    "A cohort that costs as much as a corruption need not suffer from it: its patients, structures and labels may "
    "differ as well."
)


def build(audits: Audits) -> Section | None:
    """A table per pair of cohorts; sentences where cohorts cannot be compared."""
    pairs = [pair for pair in pairs_of(audits) if pair.distances]
    refused = list(refusals(audits))
    if not pairs and not refused:
        return None
    blocks: list[Block] = [_table(audits, pair) for pair in pairs]
    if refused:
        blocks.append(Bullets(refused))
    return Section(
        82,
        "cohorts",
        "Cohort against cohort",
        blocks,
        (_UNLABELLED if labels_are_predictions(audits) else _LABELLED) if pairs else "",
        "Cohorts",
        sentences=[Sentence(line) for line in lines(audits)] if pairs else [],
        methods=[_METHOD] if pairs else [],
        limits=[_LIMIT] if pairs else [],
    )


def _table(audits: Audits, pair: Pair) -> Table:
    rows = [_row(audits, pair, distance) for distance in pair.distances]
    severities = "at the lowest severity" if labels_are_predictions(audits) else "unchanged"
    caption = (
        f"Severity of each corruption that costs {pair.first.name} as much as going to {pair.other.name} "
        f"({pair.other.name}: {severities}). Image change: in standard deviations of the unchanged image"
    )
    return table(caption, rows)


def _row(audits: Audits, pair: Pair, distance: Distance) -> dict[str, object]:
    word = dice_word(audits)
    change = distance.change
    return {
        "Corruption": distance.title,
        "As much as severity [95 % CI]": Cell(distance.severity, distance.bracket.strip() or NO_INTERVAL),
        "Image change there": MISSING._replace(text="outside") if change is None else short(change, 2),
        f"{word} of {pair.first.name}, clean and by severity": ", ".join(map(decimal, distance.means)),
        f"{word} of {pair.other.name}": decimal(distance.target),
        **_on_files(pair, distance),
        "n": f"{distance.n}, {distance.m}",
    }


def _on_files(pair: Pair, distance: Distance) -> dict[str, object]:
    """The same on the grid of the files, where all of it was counted there."""
    if not distance.on_files or not differs_on_files(pair):
        return {}
    *means, target = map(decimal, distance.on_files)
    return {
        f"{ON_FILES}, {pair.first.name}": ", ".join(means),
        f"{ON_FILES}, {pair.other.name}": target,
    }
