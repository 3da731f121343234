from __future__ import annotations

import numpy as np
import pytest

from imaseg.report.glossary import TERMS, Explainer
from imaseg.report.known_sizes import known_size, noise_share, own_noise
from imaseg.report.sections import build_sections
from imaseg.results.preparation import EIGHT_BITS
from tests.report.vary import blocks_of, entries, vary, with_intervals


def glance(*audits):
    summary = next(section for section in build_sections(audits) if section.key == "summary")
    return blocks_of(summary, "glance")


def test_four_answers_and_the_worst_case(tiny):
    audit = with_intervals(tiny)
    (block,) = glance(audit)
    assert [answer.question.split()[0] for answer in block.answers] == ["What", "At", "How", "Can"]
    entry = entries(audit, probe="worst-case-l2", eps=0.5)[0]
    breaks, _, sure, believed = (answer.numbers for answer in block.answers)
    assert breaks == [("", f"Dice {audit.summary.dice:.2f} \N{RIGHTWARDS ARROW} {entry.dice:.2f}")]
    assert sure == [("", "{:.2f} to {:.2f}".format(*entry.dice_ci95))]
    checks = [check.ok for check in audit.summary.validity]
    passed, unrun = checks.count(True), checks.count(None)
    told = f"{passed} of {len(checks) - unrun} checks passed" + (f", {unrun} not run" if unrun else "")
    assert believed == [("", told)]
    first = blocks_of(next(s for s in build_sections([audit]) if s.key == "worst"), "gallery")[0].sights[0]
    assert [panel.image for panel in block.panels] == [first.panels[0].image, first.panels[2].image]


def test_checks_that_were_not_run_are_not_counted_as_failed(tiny):
    bare = [check.model_copy(update={"ok": None}) for check in tiny.summary.validity]
    (block,) = glance(vary(tiny, validity=bare))
    assert block.answers[-1].numbers == [("", "not checked")]
    passed = [check.model_copy(update={"ok": True}) for check in tiny.summary.validity[:4]]
    (block,) = glance(vary(tiny, validity=[*passed, *bare[4:]]))
    assert block.answers[-1].numbers == [("", f"4 of 4 checks passed, {len(bare) - 4} not run")]


def test_several_models_are_named_and_margins_answer_where_no_attack_was_run(tiny):
    (block,) = glance(tiny, vary(tiny, "ima"))
    assert all([name for name, _ in answer.numbers] == ["tiny", "ima"] for answer in block.answers)
    alone = vary(tiny, probes=[], showcase=None)
    (block,) = glance(alone)
    whole = tiny.summary.margins[0]
    assert block.answers[0].numbers == [("", f"{whole.n - whole.censored} of {whole.n} cases broke")]
    assert block.panels == []
    assert glance(vary(alone, margins=[])) == []


def test_sizes_in_units_that_people_know(tiny, tmp_path):
    assert known_size(tiny, "gamma", "relative", 0.25) == "25 % contrast (gamma 0.8 to 1.25)"
    assert known_size(tiny, "bias-field", "relative", 0.2) == "20 % brighter or darker"
    assert known_size(tiny, "deformation", "mm", 1.5) == "1.5 mm"
    ct = vary(tiny, preparation=tiny.summary.preparation.model_copy(update={"unit": "HU"}))
    native = entries(tiny, probe="pgd-l2", eps=0.5)[0].eps_native.median
    number, unit = known_size(ct, "l2", "std", 0.5).split()
    assert (float(number), unit) == (pytest.approx(native, rel=0.01), "HU")
    picture = vary(tiny, preparation=tiny.summary.preparation.model_copy(update={"unit": EIGHT_BITS}))
    assert known_size(picture, "l2", "std", 0.5) == f"{number} of 255 grey levels"
    share = noise_share(tiny, "l2", "std", 0.5)
    spent = max(entry.sizes["rms"] for entry in entries(tiny, perturbation="l2", unit="std", eps=0.5))
    assert share == pytest.approx(spent / own_noise(tiny))
    assert "\N{MULTIPLICATION SIGN} image noise" in known_size(tiny, "l2", "std", 0.5)


def test_the_noise_of_a_picture_is_found_on_slopes(tiny, tmp_path, monkeypatch):
    rng, (rows, columns) = np.random.default_rng(0), np.mgrid[:80, :90]
    image = (0.3 * rows + 0.1 * columns + rng.normal(0, 2.0, (80, 90))).astype(np.float32)
    flat = np.zeros((80, 90), np.uint8)
    names = ("label", "clean_prediction", "attacked_prediction")
    np.savez(tmp_path / "a.npz", image=image, attacked_image=image, spacing=np.ones(2), **dict.fromkeys(names, flat))
    monkeypatch.setattr(type(tiny), "slice_of", lambda self, case: tmp_path / "a.npz")
    assert own_noise(tiny) == pytest.approx(2.0, rel=0.05)


def test_a_term_is_explained_once_where_it_first_stands():
    explain = Explainer()
    first, second = str(explain("Dice and <eps> of epsilon")), str(explain("Dice again"))
    assert first.count("<dfn") == 2
    assert "&lt;" in first
    assert "epsilon" in first
    assert TERMS["Dice"] in first
    assert second == "Dice again"
    assert 'tabindex="0" aria-describedby="term-dice"' in first
    assert str(Explainer()("L2 ball")).count("<dfn") == 1
