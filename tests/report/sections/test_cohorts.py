"""Cohort against cohort, on an audit whose Dice is set by hand."""

from __future__ import annotations

import pytest

from imaseg.report.cohorts import lines, pairs_of
from imaseg.report.differences import paired_rows
from imaseg.report.page import render
from imaseg.report.sections import cohorts, results
from imaseg.report.sections.context import summary
from tests.report.parser import Page
from tests.report.vary import blocks_of, on_files, vary, with_dice


@pytest.fixture
def here(tiny):
    """The audit with Dice 0.9 clean, falling by 0.1 per severity under gamma, by 0.3 under blur."""
    slope = {"gamma": 0.1, "blur": 0.3}
    found = [with_dice(e, [0.9 - slope[e.corruption] * e.severity / 5] * 6) for e in tiny.summary.corruptions]
    return vary(with_clean(tiny, 0.9), "here", corruptions=found)


def with_clean(audit, dice):
    clean = with_dice(audit.summary, [dice] * 6)
    return vary(audit, metric_per_case=clean.metric_per_case, foreground_mean=clean.foreground_mean)


def elsewhere(audit, dice, **update):
    """The same model on other data, with this Dice unchanged."""
    data = audit.summary.data.model_copy(update={"name": "Elsewhere"})
    return vary(with_clean(audit, dice), "there", data=data, run={"data_sha256": "other"}, **update)


def with_attacked(audit, dice):
    return vary(audit, audit.name, probes=[with_dice(entry, [dice] * 6) for entry in audit.summary.probes])


def renamed(audit):
    """The audit with other ids of cases."""
    cases = [case.model_copy(update={"case": f"there_{case.case}"}) for case in audit.summary.metric_per_case]
    return vary(audit, audit.name, metric_per_case=cases)


def row(section, title):
    (table,) = blocks_of(section, "table")
    cells = next(cells for cells in table.rows if cells[0].text == title)
    return dict(zip(table.head, cells, strict=True))


def test_the_severity_is_the_one_that_costs_as_much(here):
    section = cohorts.build([here, elsewhere(here, 0.84)])
    assert {entry.severity for entry in here.summary.corruptions} >= {1, 5}
    assert row(section, "Gamma")["As much as severity [95 % CI]"].text == "3.0"
    blur = row(section, "Blur")
    assert blur["As much as severity [95 % CI]"].text == "1.0"
    first = next(e for e in here.summary.corruptions if (e.corruption, e.severity) == ("blur", 1))
    assert float(blur["Image change there"].text) == pytest.approx(first.change.median, rel=0.05)
    said = section.sentences[0].text
    assert said.startswith("From here to there mean Dice changes by \N{MINUS SIGN}0.060 (no interval: fewer than 7")
    assert "as much as severity 1.0 of Blur or severity 3.0 of Gamma costs here" in said
    assert blur["As much as severity [95 % CI]"].note == "no interval below n = 7"


def test_both_sides_of_the_ladder_are_said(here):
    far = cohorts.build([here, elsewhere(here, 0.7)])
    assert row(far, "Gamma")["As much as severity [95 % CI]"].text == "beyond 5"
    assert row(far, "Gamma")["Image change there"].text == "outside"
    assert "a severity beyond 5 of Gamma costs here" in far.sentences[0].text
    near = cohorts.build([here, elsewhere(here, 0.89)])
    assert row(near, "Blur")["As much as severity [95 % CI]"].text == "less than 1"
    assert "a severity less than 1 of Blur and Gamma costs here" in near.sentences[0].text
    better = cohorts.build([here, elsewhere(here, 0.95)])
    assert row(better, "Blur")["As much as severity [95 % CI]"].text == "none"
    assert better.sentences[0].text.endswith("there is no harder for the model.")


def test_without_labels_the_lowest_severity_is_compared(here):
    def unlabelled(audit):
        data = audit.summary.data.model_copy(update={"reference": "prediction"})
        return vary(with_clean(audit, 1.0), audit.name, data=data)

    there = elsewhere(here, 1.0)
    shaken = [
        with_dice(e, [0.6 if e.corruption == "blur" else 0.88] * 6) if e.severity == 1 else e
        for e in there.summary.corruptions
    ]
    pair = [unlabelled(here), unlabelled(vary(there, "there", corruptions=shaken))]
    section = cohorts.build(pair)
    assert row(section, "Blur")["As much as severity [95 % CI]"].text == "5.0"
    assert row(section, "Gamma")["As much as severity [95 % CI]"].text == "1.0"
    assert "Predictions on there are as unstable at severity 1 as those on here at severity 1.0" in lines(pair)[0]


def test_what_cannot_be_compared_is_refused_in_a_sentence(here):
    model = here.summary.model.model_copy(update={"sha256": "0" * 64})
    section = cohorts.build([here, renamed(elsewhere(here, 0.8, model=model))])
    (bullets,) = blocks_of(section, "bullets")
    assert bullets.items == [
        "there and here differ in the cases and in the model's weights, so no severity says how far these cohorts are "
        "apart. Audit one model on both."
    ]
    card = here.summary.model.model_copy(update={"card_sha256": "0" * 64})
    assert "in the model's card" in lines([here, renamed(elsewhere(here, 0.8, model=card))])[0]
    only = [entry for entry in here.summary.corruptions if entry.corruption == "gamma"]
    other = [entry for entry in here.summary.corruptions if entry.corruption == "blur"]
    (line,) = lines([vary(here, "here", corruptions=only), elsewhere(here, 0.8, corruptions=other)])
    assert line.startswith("here and there have no corruption in common")


def test_models_on_the_same_cases_or_some_of_them_are_no_cohorts(here):
    assert cohorts.build([here]) is None
    assert cohorts.build([here, vary(here, "ima")]) is None
    some = vary(here, "some", run={"data_sha256": "some"}, metric_per_case=here.summary.metric_per_case[:4])
    assert cohorts.build([here, some]) is None
    model = here.summary.model.model_copy(update={"sha256": "0" * 64})
    assert cohorts.build([here, vary(some, "other", model=model, metric_per_case=[])]) is not None
    assert cohorts.build([here, vary(with_clean(here, 0.5), "other", model=model, run={"data_sha256": "b"})]) is None


def test_cases_of_two_sites_may_have_the_same_ids(here):
    there = vary(elsewhere(here, 0.84), "there", data=here.summary.data)
    assert len(pairs_of([here, there])) == 1


def test_nothing_pairs_cases_of_two_sites_whatever_they_are_called(here):
    """Ids, probes and budgets are the same; the cases are not."""
    there = with_attacked(elsewhere(here, 0.84), 0.3)
    assert {case.case for case in there.summary.metric_per_case} == {c.case for c in here.summary.metric_per_case}
    audits = [here, there]
    assert paired_rows(audits) == []
    assert paired_rows([here, vary(with_clean(here, 0.84), "ima")]) != []  # another model on the same cases
    head = blocks_of(results.build(audits), "table")[0].head
    assert "Clean change vs here" not in head
    text = Page(render(audits)).text
    assert "case by case" not in text
    assert "paired by case" not in text
    assert "One case, every model" not in text
    assert "no case shared with here" in text
    (notice,) = blocks_of(summary.collect(audits, []), "notice")
    told = " ".join(notice.items)
    assert "here and there are one model (tiny) on different cases" in told
    assert "data hashes differ" not in told
    assert "audited on different cases; paired" not in told


def test_each_model_is_compared_with_itself(here):
    other = here.summary.model.model_copy(update={"sha256": "1" * 64, "name": "other"})
    audits = [here, elsewhere(here, 0.8), vary(here, "ima", model=other)]
    last = elsewhere(here, 0.7, model=other)
    audits.append(vary(last, "ima there", model=other))
    assert [(pair.first.name, pair.other.name) for pair in pairs_of(audits)] == [
        ("here", "there"),
        ("ima", "ima there"),
    ]
    assert len(lines(audits)) == 2


def test_the_page_holds_it_and_says_that_there_is_one_model(here):
    audits = [here, elsewhere(here, 0.8)]
    page = Page(render(audits))
    assert "cohorts" in [a["id"] for a in page.all("section")]
    subject = summary.collect(audits, []).blocks[-2].sentences[0].text
    assert subject.startswith("The model tiny was audited on different cases: here on 6 cases of Phantom; there on 6")


def test_seven_patients_have_an_interval(here):
    def grown(audit):
        """Every case twice, the second of another patient."""

        def twice(block):
            more = [case.model_copy(update={"case": f"{case.case}b"}) for case in block.metric_per_case]
            return block.model_copy(update={"metric_per_case": [*block.metric_per_case, *more]})

        cases = twice(audit.summary).metric_per_case
        return vary(audit, audit.name, metric_per_case=cases, corruptions=[*map(twice, audit.summary.corruptions)])

    section = cohorts.build([grown(here), grown(elsewhere(here, 0.84))])
    assert row(section, "Gamma")["As much as severity [95 % CI]"].note == "[3.0, 3.0]"
    assert "severity 3.0 [3.0, 3.0] of Gamma" in section.sentences[0].text


def test_means_on_the_grid_of_the_files_stand_beside_the_others(here):
    plain = cohorts.build([here, elsewhere(here, 0.8)])
    assert not any("grid of the files" in head for head in blocks_of(plain, "table")[0].head)
    one = on_files(here, 0.7)
    found = row(cohorts.build([one, on_files(elsewhere(here, 0.8), 0.6)]), "Gamma")
    number = 1 + sum(entry.corruption == "gamma" for entry in here.summary.corruptions)
    assert found["Dice on the grid of the files, here"].text == ", ".join(["0.700"] * number)
    assert found["Dice on the grid of the files, there"].text == "0.600"
    half = cohorts.build([one, elsewhere(here, 0.8)])
    assert not any("grid of the files" in head for head in blocks_of(half, "table")[0].head)
