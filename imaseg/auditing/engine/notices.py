"""What is worth knowing before an audit spends hours: budgets of another meaning, groups of which none is compared."""

from __future__ import annotations

from collections.abc import Iterator

from imaseg.auditing.inputs.budget import Budgeted
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan
from imaseg.data.groups import NOT_STATED
from imaseg.progress import counted
from imaseg.statistics import FEWEST


def notices(subject: Subject, plan: Plan) -> Iterator[str]:
    """A sentence each."""
    yield from _norms(plan)
    yield from _too_small(subject)


def _norms(plan: Plan) -> Iterator[str]:
    """L2 without a unit is the norm of the whole change, where people mostly mean its size per voxel."""
    names = [probe.name for probe in plan.probes if isinstance(probe, Budgeted) and probe.stated_unit == "norm"]
    if names:
        yield (
            f"eps of {', '.join(names)} is the L2 norm of the whole change, which grows with the number of voxels. For "
            "a size per voxel write unit: rms, or std."
        )


def _too_small(subject: Subject) -> Iterator[str]:
    """Columns of which nothing will be compared."""
    for column, groups in subject.grouped.items():
        patients: dict[str, set[str]] = {}
        for case in subject.cases:
            if groups.get(case.id, NOT_STATED) != NOT_STATED:
                patients.setdefault(groups[case.id], set()).add(subject.source.patient(case) or case.id)
        large = sum(len(one) >= FEWEST for one in patients.values())
        if large < 2:
            yield (
                f"{column}: {large} of {counted(len(patients), 'group')} with {FEWEST} patients or more, so that "
                "groups are shown and none is compared."
            )
