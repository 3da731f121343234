"""The smaller sections: trade-off, calibration, certificates, sizes, differences, first to fail, the validity panel."""

from __future__ import annotations

import pytest

from imaseg.report import worst
from imaseg.report.calibration import calibration_figures
from imaseg.report.certified import certified_tables
from imaseg.report.checks import panel, sound
from imaseg.report.compare import strongest, telling
from imaseg.report.differences import difference_table, main_rows, paired_rows
from imaseg.report.first import first_to_fail
from imaseg.report.read import read_audits
from imaseg.report.sizes import size_table
from imaseg.report.tradeoff import tradeoff_figures

MINUS = "\N{MINUS SIGN}"


def texts(table):
    return [[cell.text for cell in line] for line in table.rows]


def two(write_audit, **options):
    return read_audits([write_audit(name, cases=3, slices=False, **options) for name in ("a", "b")])


def pgd(audit, eps=0.052):
    return next(p for p in audit.summary.probes if p.probe == "pgd-l2" and p.eps == eps)


def test_the_trade_off_has_a_dot_and_two_bars_per_model(write_audit):
    audits = two(write_audit)
    (figure,) = tradeoff_figures(audits)
    line, *dots = figure.plot["data"]
    assert line["x"] == line["y"]
    for audit, dot in zip(audits, dots, strict=True):
        probe = pgd(audit)
        assert dot["name"] == audit.name
        assert (dot["x"][0], dot["y"][0]) == (audit.summary.foreground_mean["dice"], probe.foreground_mean["dice"])
        low, high = probe.dice_ci95
        assert dot["y"][0] - dot["error_y"]["arrayminus"][0] == pytest.approx(low)
        assert dot["y"][0] + dot["error_y"]["array"][0] == pytest.approx(high)
    ends = figure.plot["layout"]["xaxis"]["range"]
    assert ends == figure.plot["layout"]["yaxis"]["range"]
    assert ends[0] <= min(pgd(audit).dice_ci95[0] for audit in audits)
    assert dots[0]["marker"]["symbol"] != dots[1]["marker"]["symbol"]


def test_one_model_is_one_dot_next_to_the_line(write_audit):
    (figure,) = tradeoff_figures(read_audits([write_audit(cases=3, slices=False)]))
    assert [trace["mode"] for trace in figure.plot["data"]] == ["lines", "markers"]


def test_models_meet_at_the_showcased_budget_or_in_the_middle(write_audit):
    def elsewhere(summary, run):
        summary["showcase"] = None
        summary["probes"] = [p for p in summary["probes"] if p["eps"] != 0.1]

    audits = two(write_audit)
    (series,) = strongest(audits)
    assert telling(audits, series) == 0.052
    others = read_audits([write_audit(f"x{k}", cases=2, slices=False, edit=elsewhere) for k in range(2)])
    assert telling(others, series) == 0.052
    assert telling([audits[0], others[0]], series) == 0.052
    moved = read_audits([write_audit("y", cases=2, slices=False, edit=lambda s, r: s["showcase"].update(eps=0.013))])
    assert telling(moved, series) == 0.013


def test_calibration_starts_clean_and_follows_the_worst_attack(write_audit):
    audits = two(write_audit, parts=True)
    (figure,) = calibration_figures(audits)
    assert [line["name"] for line in figure.plot["data"]] == ["a", "b"]
    assert list(figure.plot["data"][0]["x"]) == [0, 0.013, 0.026, 0.052, 0.078, 0.1]
    assert list(figure.plot["data"][0]["y"]) == pytest.approx([0.04, 0.066, 0.092, 0.144, 0.196, 0.24])
    assert calibration_figures(two(lambda name, **o: write_audit(f"plain-{name}", **o))) == []


def test_certified_radii_rise_with_the_models_below_each_other(write_audit):
    def edit(summary, run):
        summary["certified"][0].update(radii_rms=[0.0, 0.001, 0.002], certified_foreground=[0.9, 0.8, 0.7])

    audits = [*two(write_audit, parts=True), *read_audits([write_audit("c", cases=2, parts=True, edit=edit)])]
    (table,) = certified_tables(audits)
    assert [line[:2] for line in texts(table)][:4] == [["a", "0"], ["b", "0"], ["c", "0"], ["a", "0.05"]]
    assert texts(table)[5] == ["c", "0.05", "0.001", "0.740", "0.800", "8 %", "3"]
    assert texts(table)[3] == ["a", "0.05", "not recorded", "0.740", "not recorded", "8 %", "3"]
    for fact in ("standard deviation 0.1", "100 noisy copies", "error rate 0.001", "Lower bound on Dice"):
        assert fact in table.caption


def test_sizes_stand_under_the_worst_attack_only(write_audit):
    audits = two(write_audit, parts=True)
    table = size_table(audits)
    assert table.head[5:] == [f"pgd-l2 at {eps}" for eps in ("0.013", "0.026", "0.052", "0.078", "0.1")]
    assert [line[:3] for line in texts(table)][:3] == [
        ["a", "Anterior", "small"], ["b", "Anterior", "small"], ["a", "Anterior", "medium"],
    ]  # fmt: skip
    assert texts(table)[0][7] == f"{0.9 * pgd(audits[0]).foreground_mean['dice']:.3f}"
    assert table.rows[0][2].note == "0.4 to 1.1 ml"
    assert size_table(read_audits([write_audit("c", cases=2, slices=False)])) is None


ROW = {"probe": "pgd-l2", "eps": 0.05, "metric": "dice", "a": "x", "b": "y", "difference": 0.1, "n": 9}


def test_differences_are_second_minus_first_with_intervals_and_p():
    rows = [ROW | {"ci95": [0.02, 0.2], "p": 0.0004}, ROW | {"ci95": [0.01, 0.2], "p": 0.2, "metric": "hd95"}]
    table = difference_table(rows)
    assert texts(table) == [
        [f"y {MINUS} x", "pgd-l2", "0.05", "Dice", "+0.100*", "9", "< 0.001"],
        [f"y {MINUS} x", "pgd-l2", "0.05", "HD95 (mm)", "+0.100", "9", "0.200"],
    ]
    assert table.rows[0][4].note == "[+0.020, +0.200]"
    assert "Holm" in table.caption
    untested = difference_table([ROW | {"ci95": [0.02, 0.2]}, ROW | {"ci95": [-0.1, 0.2]}])
    assert [line[4] for line in texts(untested)] == ["+0.100*", "+0.100"]
    assert "the interval does not hold 0" in untested.caption
    assert "p" not in difference_table([ROW | {"ci95": None, "p": None}]).head
    assert difference_table([]) is None


def test_severities_are_named_and_only_the_highest_is_in_the_short_table(write_audit):
    audits = two(write_audit, parts=True)
    fault = ROW | {"probe": "motion", "unit": "severity"}
    rows = [ROW | {"probe": "clean", "eps": 0.0}, fault | {"eps": 3}, fault | {"eps": 5}, ROW | {"metric": "hd95"}]
    assert texts(difference_table(main_rows(audits, rows)))[1][1:3] == ["motion", "severity 5"]
    assert len(main_rows(audits, rows)) == 2


def test_differences_are_those_of_the_cases(write_audit):
    audits = two(write_audit, edit=None)
    rows = [one for one in paired_rows(audits) if one["metric"] == "dice" and one["probe"] == "pgd-l2"]
    assert [one["eps"] for one in rows] == [0.013, 0.026, 0.052, 0.078, 0.1]
    gaps = [b.dice - a.dice for a, b in zip(*(pgd(x).metric_per_case for x in audits), strict=True)]
    assert rows[2]["difference"] == pytest.approx(sum(gaps) / len(gaps))
    assert (rows[2]["a"], rows[2]["b"], rows[2]["n"]) == ("a", "b", 3)
    assert paired_rows(audits[:1]) == []


def test_the_first_to_fail_lead_to_their_pictures(write_audit):
    audits = read_audits([write_audit(name, cases=6) for name in ("a", "b")])
    galleries = worst.galleries(audits)
    anchors = worst.anchors(galleries)
    table = first_to_fail(audits, strongest(audits)[0], anchors)
    keys = {sight.key for gallery in galleries for sight in gallery.sights}
    assert len(keys) == sum(len(gallery.sights) for gallery in galleries)
    linked = [line for line in table.rows if line[-1].link]
    assert linked
    for line in linked:
        assert line[-1].link == anchors[line[0].text, line[2].text]
        assert line[-1].link in keys
    assert {line[-1].text for line in table.rows} <= {"see picture", "not shown"}
    halves = [line[4].text for line in table.rows if line[0].text == "a"]
    known = [float(text) for text in halves if not text.startswith(("above", "below"))]
    assert known == sorted(known)
    assert first_to_fail(audits, None, {}) is None


def test_the_panel_lines_models_up_and_greys_what_is_unknown(write_audit):
    def edit(summary, run):
        summary["validity"] = [
            summary["validity"][1] | {"ok": False},
            {"check": "New", "ok": None, "number": "not run"},
        ]

    audits = read_audits([write_audit("a", cases=2, slices=False), write_audit("b", cases=2, slices=False, edit=edit)])
    found = dict(panel(audits))
    assert [one.state for one in found["FGSM is weaker than PGD"]] == ["pass", "fail"]
    assert [(one.state, one.number) for one in found["Noise is weaker than FGSM"]] == [
        ("pass", "0.846 > 0.612"),
        ("grey", "not part of this audit"),
    ]
    assert [one.state for one in found["New"]] == ["grey", "grey"]
    assert [one.number for one in found["New"]] == ["not part of this audit", ""]
    assert sound(audits[:1])
    assert not sound(audits)
