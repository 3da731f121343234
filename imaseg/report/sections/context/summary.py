"""Summary: what was audited, what the sections found in a sentence each, and what must be known before reading on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imaseg.plugins import plugins
from imaseg.progress import counted
from imaseg.report.audits import Audits, labels_are_predictions, owner
from imaseg.report.blocks import Block, Notice, Section, Sentence, Sentences
from imaseg.report.cohorts import pairs_of
from imaseg.report.focus import standing_of
from imaseg.report.glance import glance
from imaseg.report.sections.context.validity import verdict_text
from imaseg.report.wording import listing, some
from imaseg.results.run import Shortened


def collect(audits: Audits, sections: Sequence[Section]) -> Section:
    """Sentences and notices; clean Dice, which everything else is compared with, comes right after the subject."""
    said = {section.key: section.sentences for section in sections}
    clean = said.pop("clean", ())
    found = [sentence for sentences in said.values() for sentence in sentences] or [_NOTHING]
    sentences = [Sentence(_subject(audits)), *_fallen(audits), *clean, *found, Sentence(verdict_text(audits))]
    notices = [
        *_shortened(audits),
        *_means(audits),
        *_cases(audits),
        *_differences(audits),
        *_unshown(audits),
    ]
    notices = list(dict.fromkeys([*notices, *(text for section in sections for text in section.notices)]))
    blocks: list[Block] = [*glance(audits, sections), Sentences(sentences)]
    if notices:
        blocks.append(Notice("Before you read on", notices))
    return Section(10, "summary", "Summary", blocks)


_FEW = 5
_NOTHING = Sentence("No attack was run on single cases, so nothing here says how the model breaks under one.")


def _subject(audits: Audits) -> str:
    names = [audit.name for audit in audits]
    cohorts = {(a.summary.data.name, a.summary.data.cases, a.summary.data.selection) for a in audits}
    if len(cohorts) == 1:
        data, cases, selection = next(iter(cohorts))
        chosen = f" (selection: {selection})" if selection else ""
        where = f"on {counted(cases, 'case')} of {data}{chosen}"
    else:
        parts = [f"{a.name} on {counted(a.summary.data.cases, 'case')} of {a.summary.data.name}" for a in audits]
        where = f"on different cases: {'; '.join(parts)}"
    labels = dict.fromkeys(audit.structure(k) for audit in audits for k in audit.summary.data.labels)
    alone = len(names) == 1 or len(pairs_of(audits)) == len(names) - 1
    who = f"The model {audits[0].summary.model.name} was" if alone else f"{len(names)} models, {listing(names)}, were"
    return f"{who} audited {where}; structures: {listing(labels)}."


def _shortened(audits: Audits) -> Iterator[str]:
    """What was left out to fit a budget of time."""
    for audit in audits:
        if (cut := audit.run.plan.get("shortened")) is not None:
            yield f"{audit.name}: {Shortened.model_validate(cut).words}"


def _fallen(audits: Audits) -> Iterator[Sentence]:
    """Cases that need no change to break, or that hold nothing to break."""
    for audit in audits:
        stands = standing_of(audit)
        if stands.fallen:
            yield Sentence(f"{owner(audits, audit)}{stands.sentence[:-1]}: {some(stands.fallen)}.")


def _means(audits: Audits) -> Iterator[str]:
    """Where such cases are many."""
    for audit in audits:
        stands = standing_of(audit)
        if stands.many:
            what = (
                "An empty prediction agrees with itself until a voxel appears"
                if labels_are_predictions(audits)
                else "What fails by itself cannot be broken"
            )
            stays = (
                f"tables state both means, and sentences speak of {stands.others}"
                if stands.cases
                else "no case is left"
            )
            yield f"{audit.name}: {stands.sentence} {what}: {stays}."


def _cases(audits: Audits) -> Iterator[str]:
    """Failed cases, and training cases among the audited."""
    for audit in audits:
        failed, seen = audit.run.failed, audit.summary.data.seen_in_training
        if failed:
            reasons = "; ".join(f"{case.case}: {case.reason}" for case in failed)
            yield f"{audit.name}: {counted(len(failed), 'case')} could not be audited ({reasons})."
        if seen:
            shown = some(seen, 5)
            yield (
                f"{audit.name}: {len(seen)} of {counted(audit.summary.data.cases, 'audited case')} were in the "
                f"training set ({shown}); its numbers are optimistic."
            )
        elif audit.summary.data.held_out_missing:
            yield f"{audit.name}: {audit.summary.data.selected_because.removeprefix('Warning: ')}"
        elif not audit.summary.data.training_known:
            said = "the checkpoint does not say on which cases it was trained, so overlap is not ruled out."
            yield f"{audit.name}: {said}"

        if audit.summary.data.cases < _FEW:
            held = counted(audit.summary.data.cases, "case")
            yield f"{audit.name}: only {held} audited; fewer than {_FEW} say little about other patients."


def _unshown(audits: Audits) -> Iterator[str]:
    """Kinds of probes that plug-ins add, where no plug-in brings a section that might show them."""
    for audit in audits:
        kinds = sorted({entry.kind for entry in audit.summary.others})
        if kinds and not plugins("imaseg.sections"):
            yield f"{audit.name}: what the probes of kind {listing(kinds)} found has no section here; see summary.json."


def _differences(audits: Audits) -> Iterator[str]:
    for one, other in pairs_of(audits):
        yield (
            f"{one.name} and {other.name} are one model ({one.summary.model.name}) on different cases. Where tables "
            "say Model these names stand for cohorts, and none of their differences is paired."
        )
    alike = [audit for audit in audits if not any(audit is pair.other for pair in pairs_of(audits))]
    if len({audit.run.data_sha256 for audit in alike}) > 1:
        yield "The data hashes differ: the models did not get identical images and labels."
    if len({tuple(sorted(c.case for c in a.summary.metric_per_case)) for a in alike}) > 1:
        yield "The models were audited on different cases; paired differences use only those they share."
    if len({audit.run.imaseg for audit in audits}) > 1:
        yield "The audits were made by different versions of imaseg."
