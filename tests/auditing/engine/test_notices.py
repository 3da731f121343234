"""What is said before an audit begins."""

from __future__ import annotations

from types import SimpleNamespace

from imaseg.auditing.engine.notices import notices
from imaseg.auditing.plan import Plan


def told(probe, grouped=None, patients=None):
    cases = [SimpleNamespace(id=f"c{number:02d}") for number in range(16)]
    source = SimpleNamespace(patient=lambda case: (patients or {}).get(case.id, ""))
    subject = SimpleNamespace(cases=cases, grouped=grouped or {}, source=source)
    return [*notices(subject, Plan.model_validate({"name": "p", "probes": [probe]}))]


RMS = {"attack": "pgd", "unit": "rms", "eps": [0.1]}


def test_an_l2_eps_without_a_unit_is_said_to_be_the_norm_of_the_whole_change():
    (said,) = told({"attack": "pgd", "eps": [0.1]})
    assert said.startswith("eps of pgd-l2 is the L2 norm of the whole change")
    assert told(RMS) == told({"attack": "pgd", "perturbation": "linf", "eps": [0.1]}) == []


def test_groups_of_which_none_will_be_compared_are_told_before():
    halves = {f"c{number:02d}": "A" if number < 8 else "B" for number in range(16)}
    assert told(RMS, {"site": halves}) == []
    few = halves | {f"c{number:02d}": "C" for number in range(8, 11)}
    assert told(RMS, {"site": few}) == [
        "site: 1 of 3 groups with 7 patients or more, so that groups are shown and none is compared."
    ]
    one_patient = {f"c{number:02d}": "P" for number in range(8)}
    assert told(RMS, {"site": halves}, one_patient)[0].startswith("site: 1 of 2 groups with 7 patients")
