"""`imaseg attack` and `imaseg margin` as plans."""

from __future__ import annotations

import pytest

from imaseg import InputError
from imaseg.auditing.probes import AttackProbe, CertificateProbe, MarginProbe, VoxelMarginProbe
from imaseg.auditing.shortcuts import (
    MAPPED,
    USUAL,
    Ceiling,
    attack_plan,
    criterion_of,
    margin_plan,
    voxel_methods,
)

HALF = {"name": "dice-below", "threshold": 0.5}


def test_an_attack_is_one_probe_that_writes_files_and_is_shown():
    plan = attack_plan("pgd-ce", "l2", 0.5, unit="rms", steps=2, seed=5)
    (probe,) = plan.probes
    assert isinstance(probe, AttackProbe)
    assert (probe.eps, probe.unit, probe.write, plan.seed) == ([0.5], "rms", "nifti", 5)
    assert (plan.shown.probe, plan.shown.eps, plan.shown.unit) == (probe.name, 0.5, probe.stated_unit)
    assert plan.validity is None


def test_what_an_attack_is_not_told_stays_its_own():
    preset = repr(attack_plan("pgd-ce", "l2", 0.5, steps=2).attacks[0].build(0.5, 0))
    told = attack_plan("pgd-ce", "l2", 0.5, steps=2, objective="dice-ce", restarts=2, seed=5)
    for text in ("objective=CrossEntropy", "steps=2", "restarts=1", "step_size=0.25", "seed=0"):
        assert text in preset
    for text in ("objective=DiceCE", "steps=2", "restarts=2", "step_size=0.25", "seed=5"):
        assert text in repr(told.attacks[0].build(0.5, told.seed))


@pytest.mark.parametrize(
    ("arguments", "more", "text"),
    [
        (("nonsense", "l2", 1.0), {}, "attack must be one of .*pgd.*segpgd"),
        (("pgd", "nonsense", 1.0), {}, "perturbation must be one of .*linf"),
        (("pgd", "l2", 1.0), {"objective": "nonsense"}, "objective must be one of .*dice"),
        (("pgd", "l2", -1.0), {}, ".*eps.0 must be valid, got -1.0"),
        (("pgd", "l2", float("inf")), {}, ".*eps.0 must be valid, got inf"),
        (("vafa", "l2", 1.0), {}, "perturbation of vafa must be frequency"),
        (("fgsm", "l2", 1.0), {"steps": 3}, "steps and restarts of FGSM must be 1"),
        (("pgd", "l2", 1.0), {"steps": 0}, ".*steps must be valid, got 0"),
    ],
)
def test_an_attack_that_does_not_fit_is_one_clear_line(arguments, more, text):
    with pytest.raises(InputError, match=f"^attack: .*{text}") as caught:
        attack_plan(*arguments, **more)
    assert len(str(caught.value).splitlines()) == 1


def test_margins_are_of_the_usual_sets_by_structure_and_challenged():
    plan = margin_plan(None, criterion=HALF, steps=3, rtol=0.2)
    assert [probe.perturbation for probe in plan.probes] == list(USUAL)
    for probe in plan.probes:
        assert isinstance(probe, MarginProbe)
        assert (probe.per_class, probe.confirm, probe.write, probe.steps, probe.rtol) == (True, True, "csv", 3, 0.2)
        assert probe.unit == Ceiling.parse(probe.perturbation).unit


def test_maps_are_of_the_named_sets_or_of_those_that_are_worth_the_minutes():
    plan = margin_plan(None, criterion=HALF, methods=("attack",), focus=7)
    assert [probe.perturbation for probe in plan.of(VoxelMarginProbe)] == list(MAPPED)
    plan = margin_plan(["gamma:1"], criterion=HALF, methods=("gradient",), focus=7)
    (probe,) = plan.of(VoxelMarginProbe)
    assert (probe.perturbation, probe.eps, probe.methods, probe.focus, probe.cases, probe.write) == (
        "gamma", 1.0, ["gradient"], 7, None, "nifti"
    )  # fmt: skip


def test_certificates_are_held_against_an_attack_where_l2_maps_are_made():
    plan = margin_plan(["l2:0.3"], criterion=HALF, methods=("attack",), certify=0.1, samples=90, focus=2)
    (probe,) = plan.of(CertificateProbe)
    assert (probe.sigma, probe.samples, probe.tau, probe.attack, probe.groups) == (0.1, 90, [0.75], 0.3, 2)
    for sets, methods in ((["linf"], ("attack",)), (["l2"], ("gradient",)), (["l2:20:native"], ("attack",))):
        (probe,) = margin_plan(sets, criterion=HALF, methods=methods, certify=0.1).of(CertificateProbe)
        assert probe.attack is None


@pytest.mark.parametrize(
    ("sets", "more", "text"),
    [
        (["linf"], {"criterion": {"name": "nonsense"}}, "criterion must be one of .*dice-below"),
        (["linf"], {"criterion": {"name": "dice-below", "threshold": 2}}, r"threshold must be in \(0, 1\], got 2"),
        (["linf"], {"steps": 0}, ".*steps must be valid, got 0"),
        (["linf"], {"rtol": 2.0}, r"rtol must be in \[0.0001, 1\)"),
        (["linf:1:rms"], {}, "unit of linf must be max or std or native or range, got 'rms'"),
        (["linf"], {"methods": ("attack",), "focus": -1}, ".*focus must be valid, got -1"),
        (["linf"], {"certify": -1.0}, ".*sigma must be valid, got -1.0"),
        (["linf"], {"certify": 0.1, "samples": 0}, ".*samples must be valid, got 0"),
        (
            ["linf"],
            {"certify": 0.1, "samples": 20},
            r"certificate must be >= \d+, got 20: fewer votes, even if all agree, cannot",
        ),
        (["l2", "l2:1"], {}, "perturbations must be different sets, got l2 twice"),
        (["nonsense"], {}, "perturbation must be one of"),
        (["l2:x"], {}, "must be NAME, NAME:EPS or NAME:EPS:UNIT with EPS > 0, got 'l2:x'"),
        (["l2:0"], {}, "EPS > 0"),
        (["l2:1:rms:x"], {}, "must be NAME"),
    ],
)
def test_margins_that_do_not_fit_are_one_clear_line(sets, more, text):
    with pytest.raises(InputError, match=text) as caught:
        margin_plan(sets, **{"criterion": HALF} | more)
    assert len(str(caught.value).splitlines()) == 1


def test_a_criterion_keeps_its_usual_numbers_and_refuses_those_of_another():
    usual = {"threshold": None, "relative": False, "fraction": None}
    assert criterion_of("dice-below", **usual) == {"name": "dice-below", "threshold": 0.5, "relative": False}
    assert criterion_of("voxels-flipped", **usual) == {"name": "voxels-flipped", "fraction": 0.1}
    assert criterion_of("dice-below", **usual | {"threshold": 0.9, "relative": True})["threshold"] == 0.9
    for name, stray in (("voxels-flipped", "threshold"), ("voxels-flipped", "relative"), ("dice-below", "fraction")):
        with pytest.raises(InputError, match=f"--{stray} must go with another criterion than {name}"):
            criterion_of(name, **usual | {stray: 0.5})


def test_methods_need_maps():
    assert voxel_methods(None, wanted=False) == ()
    assert voxel_methods(None, wanted=True) == voxel_methods("both", wanted=True) == ("attack", "gradient")
    assert voxel_methods("gradient", wanted=True) == ("gradient",)
    for method, wanted in (("gradient", False), ("nonsense", True)):
        with pytest.raises(InputError, match="method must be attack, gradient or both, next to --voxel"):
            voxel_methods(method, wanted=wanted)
