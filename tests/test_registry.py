"""Members enter their table by name; plain data builds them."""

from __future__ import annotations

import pytest

from imaseg.attacks import Attack
from imaseg.margins import Criterion, DiceBelow
from imaseg.objectives import Objective
from imaseg.perturbations import L2, Perturbation
from imaseg.training import TrainingMethod


def test_families_hold_their_public_members():
    searches = {"fgsm", "ifgsm", "pgd", "apgd", "square", "strong", "worst-case", "minimum-norm"}
    assert set(Attack.registry) == {*searches, "gaussian-noise", "uniform-noise"}
    untargeted = {"dice", "tempered-dice", "cross-entropy", "dice-ce", "masked-ce", "balanced-masked-ce"} | {
        "segpgd", "cospgd", "jensen-shannon", "masked-spherical", "logit-margin",
    }  # fmt: skip
    assert set(Objective.registry) == {*untargeted, "erase", "grow", "swap", "towards", "weakest-voxels"}
    assert set(Perturbation.registry) == {"l2", "linf", "bias-field", "gamma", "frequency", "deformation"}
    assert set(Criterion.registry) == {"dice-below", "voxels-flipped", "misclassified"}
    assert set(TrainingMethod.registry) == {"standard", "pgd-training", "free", "trades", "ima"}


def test_a_name_of_its_own_is_kept_and_not_handed_down(monkeypatch):
    monkeypatch.setattr(Criterion, "registry", {})

    class LongWords(Criterion):
        name = "short"

    class Further(LongWords):
        pass

    assert Criterion.registry == {"short": LongWords, "further": Further}


def test_build_passes_arguments():
    built = Perturbation.build({"name": "l2", "eps": 0.5, "unit": "rms"})
    assert isinstance(built, L2)
    assert (built.eps, built.unit) == (0.5, "rms")


def test_build_puts_positional_arguments_first():
    built = Criterion.build({"name": "dice-below", "threshold": 0.25})
    assert isinstance(built, DiceBelow)
    assert Attack.build({"name": "pgd", "steps": 3}, L2(1.0)).steps == 3


@pytest.mark.parametrize(
    ("family", "spec", "text"),
    [
        (Attack, "pdg", "attack must be one of apgd, .*fgsm, .*sea, "),
        (Perturbation, {"eps": 1.0}, "must be a name or a mapping with a name"),
        (Perturbation, {"name": "l2", "radius": 1.0}, "arguments of l2 must be among eps, unit, bounds, region"),
        (Perturbation, {"name": "l2"}, "arguments of l2 must fit"),
    ],
)
def test_build_says_what_is_wrong(family, spec, text):
    with pytest.raises(ValueError, match=text):
        family.build(spec)
