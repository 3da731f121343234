from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from imaseg import InputError
from imaseg.auditing.margin_settings import USUAL, Ceiling, MarginSettings, criterion_of, voxel_methods
from imaseg.data.nifti import Volume
from imaseg.perturbations import Perturbation


def case(spacing=1.0):
    image = np.linspace(0, 4, 512, dtype=np.float32).reshape(1, 8, 8, 8)
    volume = Volume("a", image, np.zeros((8, 8, 8), np.int64), np.diag([spacing] * 3 + [1.0]))
    return SimpleNamespace(volume=volume, native=volume, steps=[], native_scale=50.0)


def test_every_set_has_a_ceiling_that_it_can_be_built_with():
    for name, kind in Perturbation.known().items():
        perturbation = Ceiling.parse(name).build(case())
        assert float(perturbation.eps) == kind.usual_ceiling
        assert kind.usual_unit in (None, perturbation.unit)
    assert tuple(ceiling.budget.perturbation for ceiling in MarginSettings().sets) == USUAL


def test_a_usual_ceiling_gives_way_to_folds_and_a_given_one_is_refused():
    fine = Ceiling.parse("deformation").build(case(0.5))
    assert float(fine.eps) == pytest.approx(0.604 * 8 * 0.5)
    with pytest.raises(InputError, match="lest the image folds, got 4.0"):
        Ceiling.parse("deformation:4").build(case(0.5))


@pytest.mark.parametrize(
    ("text", "eps", "unit", "factor"),
    [
        ("linf:20:native", 20 / 50, "native", 50),
        ("l2:0.1:range", 0.4, "range", 0.25),
        ("l2:3:norm", 3, "norm", 1),
        ("l2", 0.4, "rms", 1),
        ("l2:0.1", 0.1, "rms", 1),
        ("gamma:0.5", 0.5, "relative", 1),
    ],
)
def test_margins_are_stated_in_the_unit_that_was_asked_for(text, eps, unit, factor):
    ceiling = Ceiling.parse(text)
    perturbation = ceiling.build(case())
    assert float(perturbation.eps) == pytest.approx(eps)
    assert ceiling.unit_on(perturbation) == (unit, pytest.approx(factor))


@pytest.mark.parametrize("text", ["l2:", "l2:x", "l2:0", "l2:-1", "l2:nan", "l2:1:rms:2"])
def test_what_is_no_set_with_a_ceiling_is_refused(text):
    with pytest.raises(InputError, match=r"must be NAME, NAME:EPS or NAME:EPS:UNIT with EPS > 0, got 'l2:"):
        Ceiling.parse(text)


def test_an_unknown_set_and_one_named_twice_are_refused():
    with pytest.raises(InputError, match="perturbation must be one of .*bias-field"):
        Ceiling.parse("nonsense:1")
    with pytest.raises(InputError, match="must be different sets, got l2 twice"):
        MarginSettings((Ceiling.parse("l2"), Ceiling.parse("l2:0.1")))
    with pytest.raises(InputError, match="must be different sets, got none"):
        MarginSettings(())


def test_numbers_of_a_criterion_are_its_own():
    nothing = {"threshold": None, "relative": False, "fraction": None}
    assert criterion_of("dice-below", **nothing) == {"name": "dice-below", "threshold": 0.5, "relative": False}
    assert criterion_of("voxels-flipped", **nothing | {"fraction": 0.0}) == {"name": "voxels-flipped", "fraction": 0.0}
    with pytest.raises(InputError, match="--threshold must go with another criterion than voxels-flipped"):
        criterion_of("voxels-flipped", **nothing | {"threshold": 0.5})
    with pytest.raises(InputError, match="--fraction must go with another criterion than dice-below"):
        criterion_of("dice-below", **nothing | {"fraction": 0.5})
    with pytest.raises(InputError, match="criterion must be one of dice-below, voxels-flipped, got 'misclassified'"):
        criterion_of("misclassified", **nothing)


def test_methods_of_voxel_margins():
    assert voxel_methods(None, wanted=False) == ()
    assert voxel_methods(None, wanted=True) == voxel_methods("both", wanted=True) == ("attack", "gradient")
    assert voxel_methods("gradient", wanted=True) == ("gradient",)
    for method, wanted in (("nonsense", True), ("attack", False)):
        with pytest.raises(InputError, match="must be attack, gradient or both, next to --voxel"):
            voxel_methods(method, wanted=wanted)
