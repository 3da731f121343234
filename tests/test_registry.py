"""Members enter their table by name; plain data builds them."""

from __future__ import annotations

import pytest

from imaseg.attacks import Attack
from imaseg.margins import Criterion, DiceBelow
from imaseg.objectives import Objective
from imaseg.perturbations import L2, Perturbation
from imaseg.training import TrainingMethod


def own(family):
    return {name for name, member in family.known().items() if member.__module__.startswith("imaseg.")}


def test_families_hold_their_public_members():
    searches = {"fgsm", "ifgsm", "pgd", "apgd", "square", "strong", "worst-case", "minimum-norm"}
    assert own(Attack) >= {*searches, "gaussian-noise", "uniform-noise"}
    untargeted = {"dice", "tempered-dice", "cross-entropy", "dice-ce", "masked-ce", "balanced-masked-ce"} | {
        "segpgd", "cospgd", "jensen-shannon", "masked-spherical", "logit-margin",
    }  # fmt: skip
    assert own(Objective) >= {*untargeted, "erase", "grow", "swap", "towards", "weakest-voxels"}
    assert own(Perturbation) >= {"l2", "linf", "bias-field", "gamma", "frequency", "deformation"}
    assert own(Criterion) >= {"dice-below", "voxels-flipped", "misclassified"}
    assert own(TrainingMethod) >= {"standard", "pgd-training", "free", "trades", "ima"}


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


def test_a_member_that_does_not_say_what_it_must_is_refused(monkeypatch):
    monkeypatch.setattr(Objective, "registry", dict(Objective.registry))
    with pytest.raises(TypeError, match="title must be given by class .*Untold, got none"):
        type("Untold", (Objective,), {})
    assert "untold" not in Objective.registry


def test_a_class_may_be_defined_anew_and_another_one_may_not_take_its_name(monkeypatch):
    monkeypatch.setattr(Objective, "registry", dict(Objective.registry))
    first, again = (type("Mine", (Objective,), {"title": "mine", "__module__": "notebook"}) for _ in range(2))
    assert first is not again
    assert Objective.named("mine") is again
    with pytest.raises(ValueError, match="'mine' must stand for one class, got elsewhere.Mine next to notebook.Mine"):
        type("Mine", (Objective,), {"title": "mine", "__module__": "elsewhere"})
    assert Objective.named("mine") is again
