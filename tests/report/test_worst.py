from __future__ import annotations

from imaseg.report.read import read_audits
from imaseg.report.worst import galleries, legend


def attacked(audit):
    probe = next(p for p in audit.summary.probes if p.probe == "pgd-l2" and p.eps == 0.052)
    return {case.case: case.dice for case in probe.metric_per_case}


def test_the_three_lowest_dice_are_shown_worst_first(write_audit):
    (audit,) = read_audits([write_audit(cases=8)])
    (gallery,) = galleries([audit])
    dice = attacked(audit)
    assert [sight.title for sight in gallery.sights] == sorted(dice, key=lambda case: (dice[case], case))[:3]
    assert f"{dice[gallery.sights[0].title]:.3f} attacked" in gallery.sights[0].facts
    assert "Lowest mean foreground Dice among 8 cases under PGD" in gallery.note


def test_several_models_first_show_the_reference_s_worst_case_in_all(write_audit):
    audits = read_audits([write_audit("a", cases=6), write_audit("b", cases=6, slope=9.0, seed=3)])
    shared, first, second = galleries(audits)
    dice = attacked(audits[0])
    worst = min(dice, key=lambda case: (dice[case], case))
    assert [sight.title for sight in shared.sights] == [f"a: {worst}", f"b: {worst}"]
    assert worst not in [sight.title for sight in first.sights]
    assert f"{worst} is shown above" in first.note
    assert second.sights


def test_models_at_different_budgets_share_no_case(write_audit):
    def edit(summary, run):
        summary["showcase"]["eps"] = 0.1

    audits = read_audits([write_audit("a", cases=3), write_audit("b", cases=3, edit=edit)])
    assert [gallery.title for gallery in galleries(audits)] == ["a", "b"]


def test_without_slices_or_showcase_the_reason_is_given(write_audit):
    bare = read_audits([write_audit("bare", cases=3, slices=False)])
    assert "holds no slices" in galleries(bare)[0].note
    mute = read_audits([write_audit("mute", cases=3, edit=lambda s, r: s.pop("showcase"))])
    assert "does not say which attack" in galleries(mute)[0].note


def test_panels_speak_for_themselves(write_audit):
    (audit,) = read_audits([write_audit(cases=3)])
    sight = galleries([audit])[0].sights[0]
    clean, change, after = (panel.alt for panel in sight.panels)
    assert "over the whole case" in clean
    assert f"from minus {sight.scale}" in change
    assert "eps 0.052 RMS per voxel" in after


def test_the_legend_names_every_class_once(write_audit):
    audits = read_audits([write_audit("a", cases=2), write_audit("b", cases=2)])
    assert [name for name, _ in legend(audits)] == ["Anterior", "Posterior"]
    assert len({colour for _, colour in legend(audits)}) == 2
