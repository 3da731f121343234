"""Audits with a table of the cases, end to end."""

from __future__ import annotations

import pytest

from imaseg import InputError, audit, load_cases
from imaseg.auditing import Plan
from imaseg.auditing.validity.gate import parse_gates
from imaseg.results.base import MEAN

PLAN = Plan.model_validate({"name": "g", "probes": [{"attack": "fgsm", "unit": "rms", "eps": [0.1]}]})


def test_summary_and_page_hold_the_groups_and_a_resumed_audit_takes_another_table(tiny_run, prepared_phantom, tmp_path):
    ids = load_cases(prepared_phantom).ids
    (tmp_path / "cases.csv").write_text(
        "case,scanner\n" + "".join(f"{name},{'XY'[n % 2]}\n" for n, name in enumerate(ids))
    )
    done = audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", select="all", groups=tmp_path / "cases.csv")
    (scanner,) = done.audit.summary.groups
    dice = {case.case: case.clean[MEAN]["dice"] for case in done.audit.cases}
    for group in scanner.groups:
        assert group.cases == [name for n, name in enumerate(ids) if "XY"[n % 2] == group.value]
        assert group.figures[0].dice == pytest.approx(sum(dice[case] for case in group.cases) / len(group.cases))
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Mean Dice by scanner" in page
    assert "no two groups have 7 patients, so no verdict" in page
    (tmp_path / "other.csv").write_text("case,sex\n" + "".join(f"{name},{'FM'[n % 2]}\n" for n, name in enumerate(ids)))
    again = audit(
        tiny_run, prepared_phantom, PLAN, tmp_path / "a", select="all", groups=tmp_path / "other.csv", resume=True
    )
    assert [one.column for one in again.audit.summary.groups] == ["sex"]


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("dice@clean[scanner=Z]=0.5", r"group of scanner \(X, Y\)"),
        ("gap@l2-0.1[site]=-0.1", r"a column of the table of the cases \(scanner\)"),
    ],
)
def test_a_gate_on_a_group_that_is_not_there_is_refused_before_anything_runs(
    tiny_run, prepared_phantom, tmp_path, gate, said
):
    ids = load_cases(prepared_phantom).ids
    (tmp_path / "cases.csv").write_text("case,scanner\n" + "".join(f"{i},{'XY'[n % 2]}\n" for n, i in enumerate(ids)))
    how = {"select": "all", "gates": parse_gates([gate], PLAN)}
    with pytest.raises(InputError, match=said):
        audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", groups=tmp_path / "cases.csv", **how)
    with pytest.raises(InputError, match="give one with --groups"):
        audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", **how)
    assert not (tmp_path / "a").exists()


def test_a_table_of_other_cases_is_refused_before_anything_runs(tiny_run, prepared_phantom, tmp_path):
    (tmp_path / "cases.csv").write_text("case,site\nsomeone,A\n")
    with pytest.raises(InputError, match="must hold cases that are audited"):
        audit(tiny_run, prepared_phantom, PLAN, tmp_path / "a", groups=tmp_path / "cases.csv")
    assert not (tmp_path / "a").exists()
