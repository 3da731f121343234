"""The answer in one look: what breaks the model, at what size, how sure that is, whether the attack can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, dice_in_words, dice_word, owner, reference_word
from imaseg.report.blocks import Answer, Gallery, Glance, Panel, Section
from imaseg.report.breaking import halves_at, median_margin
from imaseg.report.compare import (
    Point,
    Series,
    at,
    clean_point,
    holders,
    ladder,
    main_series,
    showcased,
    strongest,
    telling,
)
from imaseg.report.focus import focus, focus_name, standing_of
from imaseg.report.intervals import over
from imaseg.report.known_sizes import known_size
from imaseg.report.margin_sets import MarginSet, margin_sets
from imaseg.report.margin_words import median_interval, quantile_text
from imaseg.report.wording import NO_INTERVAL, amount, attack_name, decimal, listing, sentence_case, unit_name

_NOTHING = 0.05
"""Clean Dice below which a model fails by itself."""
_BREAKS, _SIZE, _SURE, _BELIEVED = "What breaks it", "At what size", "How sure is that", "Can the attack be believed"

_CHECKS = "Validity checks test the attack itself: a weak or broken one makes a model look robust."


def glance(audits: Audits, sections: Sequence[Section]) -> list[Glance]:
    """Four answers and a picture; nothing where neither an attack nor a margin was searched for."""
    series = main_series(audits)
    answers = _by_margin(audits) if series is None else _by_attack(audits, series)
    return [Glance([*answers, _believed(audits)], *_picture(audits, sections))] if answers else []


def _by_attack(audits: Audits, series: Series) -> list[Answer]:
    """Mean Dice under the strongest attack at the budget of the pictures, and where half of it is lost."""
    eps, held = telling(audits, series), holders(audits, series)
    shared = {audit.name: None if eps is None else at(audit, series, eps) for audit in held}
    points = {audit.name: shared[audit.name] or ladder(audit, series)[-1] for audit in held}
    budgets = {amount(point.eps, series.unit) for point in points.values()}
    where = f" of {budgets.pop()}" if len(budgets) == 1 else ""
    return [
        Answer(
            _BREAKS,
            [number for a in held for number in _fallen_and_falls(audits, a, points[a.name])],
            f"{series.title[0].upper()}{series.title[1:]}, eps{where}; {_mean_of(audits)} over the cases, clean and "
            f"attacked.{_all_and_few(audits, held, points)}",
        ),
        Answer(_SIZE, [_named(audits, a, _half(a, series)) for a in held], _sizes(held, series, audits)),
        Answer(
            _SURE,
            [_named(audits, a, _sure(a, points[a.name])) for a in held],
            f"95 % interval of that {dice_in_words(audits)} under attack, over {_over(audits, held)}."
            if any(standing_of(a).cases for a in held)
            else "",
        ),
    ]


def _fallen_and_falls(audits: Audits, audit: Audit, point: Point) -> list[tuple[str, str]]:
    """What the attack costs; before it how many cases need none, where that is many, and then of the others."""
    stands, clean = standing_of(audit), clean_point(audit)
    if not stands.many:
        return [_named(audits, audit, f"{dice_word(audits)} {_fall(clean, point)}")]
    first = _named(audits, audit, sentence_case(stands.said))
    if not stands.cases:
        return [first]
    who = f"{owner(audits, audit)}{stands.others}"
    return [first, (who, f"{dice_word(audits)} {_fall(focus(audit, clean), focus(audit, point))}")]


def _all_and_few(audits: Audits, held: Audits, points: Mapping[str, Point]) -> str:
    """Where cases are left out the mean over all of them; else how many, though few, need no change."""
    said = ""
    for audit in held:
        stands, who = standing_of(audit), owner(audits, audit)
        if stands.many:
            said += f" {who}Over all {counted(points[audit.name].n, 'case')}: "
            said += f"{_fall(clean_point(audit), points[audit.name])}."
        elif stands.fallen:
            said += f" {who}{stands.sentence}"
    return said


def _sure(audit: Audit, point: Point) -> str:
    stands = standing_of(audit)
    if stands.many and not stands.cases:
        return "no case is left to break"
    return _ends(focus(audit, point))


def _over(audits: Audits, held: Audits) -> str:
    if not any(focus_name(audit) for audit in held):
        return over(held)
    return listing(f"{owner(audits, audit)}{focus_name(audit) or over([audit])}" for audit in held)


def _fails(clean: Point) -> bool:
    """Whether there is nothing left to break."""
    return clean.dice is None or clean.dice < _NOTHING


def _fall(clean: Point, attacked: Point) -> str:
    if _fails(clean):
        return f"{decimal(clean.dice, 2)} without any change"
    return f"{decimal(clean.dice, 2)} \N{RIGHTWARDS ARROW} {decimal(attacked.dice, 2)}"


def _mean_of(audits: Audits) -> str:
    own = dice_word(audits) != "Dice"
    return "mean Dice with the model's own prediction of the unchanged image," if own else "mean Dice"


def _half(audit: Audit, series: Series, *, known: bool = True) -> str:
    """The budget that halves the Dice, in a unit that people know or in its own."""
    if _fails(focus(audit, clean_point(audit))):
        return "none needed"
    rungs, eps = ladder(audit, series), halves_at(audit, series)
    above = "above " if eps is None else "below " if eps < rungs[0].eps else ""
    eps = rungs[-1].eps if eps is None else max(eps, rungs[0].eps)
    margin = median_margin(audit, series) if above == "below " else None
    if margin is not None and margin < eps:
        above, eps = "about ", margin
    size = (
        known_size(audit, series.perturbation, series.unit, eps, series.within) if known else amount(eps, series.unit)
    )
    return above + size


def _sizes(held: Audits, series: Series, audits: Audits) -> str:
    """What the number is, the same in the unit of the plan, and of a single model the other sets."""
    own = "; ".join(f"{owner(audits, audit)}{_half(audit, series, known=False)}" for audit in held)
    sets = [one for one in strongest(audits) if one != series and len(audits) == 1]
    others = "; ".join(f"{one.set} {_half(held[0], one)}" for one in sets)
    closer = any("about" in _half(audit, series) for audit in held)
    rule = " (about: median margin, since the smallest budget of the attack takes more)" if closer else ""
    lost = (
        f"Where half of the {'clean ' * (dice_word(audits) == 'Dice')}{dice_in_words(audits)} is lost{rule}: eps {own}."
    )
    return lost + (f" In other sets: {others}." if others else "")


def _ends(point: Point) -> str:
    ends = point.dice_ci95
    return NO_INTERVAL if ends is None else f"{decimal(ends[0], 2)} to {decimal(ends[1], 2)}"


def _by_margin(audits: Audits) -> list[Answer]:
    """Median margins of the first set, where no attack was run."""
    sets = [(audit, margins[0]) for audit in audits if (margins := margin_sets(audit))]
    if not sets:
        return []
    question = sets[0][1].question
    alike = [(audit, margins) for audit, margins in sets if margins.question == question]
    return [
        Answer(
            _BREAKS,
            [number for a, m in alike for number in _broke(audits, a, m)],
            f"{question.set}; criterion: {question.criterion}.",
        ),
        Answer(
            _SIZE, [_named(audits, a, _median(a, m)) for a, m in alike], f"Median margin, {unit_name(question.unit)}."
        ),
        Answer(
            _SURE,
            [_named(audits, a, median_interval(m.whole)) for a, m in alike],
            "95 % interval of the median margin.",
        ),
    ]


def _broke(audits: Audits, audit: Audit, margins: MarginSet) -> list[tuple[str, str]]:
    """How many cases broke; where many need no change, these, and then how many of the others broke."""
    stands, whole = standing_of(audit), margins.whole
    broke = whole.n - whole.censored
    if not stands.many:
        return [_named(audits, audit, f"{broke} of {counted(whole.n, 'case')} broke")]
    fallen = sum(case.margin == 0 for case in whole.per_case)
    others = (f"{owner(audits, audit)}{stands.others}", f"{broke - fallen} of {whole.n - fallen} broke")
    return [_named(audits, audit, sentence_case(stands.said)), *([others] if whole.n > fallen else [])]


def _median(audit: Audit, margins: MarginSet) -> str:
    entry, question = margins.whole, margins.question
    if entry.median is None or entry.median_at_least:
        return f"{quantile_text(entry)} {unit_name(question.unit)}"
    return known_size(audit, question.perturbation, question.unit, entry.median, question.within)


def _believed(audits: Audits) -> Answer:
    lines = []
    for audit in audits:
        checks = [check.ok for check in audit.summary.validity]
        done, missing = len(checks) - checks.count(None), checks.count(None)
        passed = f"{checks.count(True)} of {done} checks passed" if done else "not checked"
        lines.append(_named(audits, audit, f"{passed}, {missing} not run" if done and missing else passed))
    return Answer(_BELIEVED, lines, _CHECKS)


def _named(audits: Audits, audit: Audit, number: str) -> tuple[str, str]:
    return (audit.name if len(audits) > 1 else "", number)


def _picture(audits: Audits, sections: Sequence[Section]) -> tuple[list[Panel], str]:
    """Clean and attacked image of the first of the worst cases."""
    galleries = [block for section in sections for block in section.blocks if isinstance(block, Gallery)]
    sights = [sight for gallery in galleries for sight in gallery.sights]
    if not sights:
        return [], ""
    first = sights[0]
    dashed = reference_word(audits)
    series, shown = main_series(audits), showcased(next(audit for audit in audits if audit.name == first.model))
    other = shown is not None and series is not None and shown.probe != series.probe
    under = (
        f" Attacked by {attack_name(shown.attack)} ({shown.probe}), not by that of the numbers."
        if other and shown
        else ""
    )
    return [
        first.panels[0],
        first.panels[2],
    ], f"{first.title}: {first.why}.{under} Solid: prediction, dashed: {dashed}."
