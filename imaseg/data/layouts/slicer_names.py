"""Label values by the names of segments, where all labels of a cohort are segmentations of 3D Slicer."""

from __future__ import annotations

from dataclasses import replace

from imaseg.data.cases import CaseSet
from imaseg.data.files import SLICER_SUFFIX
from imaseg.data.formats.names import first_spellings, numbered


def by_segment_names(cohort: CaseSet) -> CaseSet:
    """The cohort with structures told by name; as it is if a file declares labels, or a label is of another kind.

    Slicer numbers segments file by file, so that one structure may have another number in each.
    """
    labels = [case.label for case in cohort if case.label is not None]
    if (
        cohort.declared_labels is not None
        or not labels
        or not all(p.name.lower().endswith(SLICER_SUFFIX) for p in labels)
    ):
        return cohort
    from imaseg.data.formats.slicer import slicer_segments  # heavy, and few cohorts need it

    values = numbered(segment.name for path in labels if path.is_file() for segment in slicer_segments(path))
    if not values:
        return cohort
    cases = tuple(replace(case, segments=values) if case.label is not None else case for case in cohort)
    return replace(cohort, cases=cases, declared_labels={0: "background"} | first_spellings(values))
