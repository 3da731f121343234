"""Every attack, preset, set and objective says what it is called, means and cites, and it is true."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import torch

from imaseg.attacks import PRESETS, Attack
from imaseg.auditing.inputs.budget import Budgeted as Part
from imaseg.objectives import Objective
from imaseg.perturbations import L2, Perturbation

ATTACKS = [*Attack.known(), *PRESETS]
EVERYTHING = [
    *(Attack.about(name) for name in ATTACKS),
    *Objective.known().values(),
    *Perturbation.known().values(),
]


def test_titles_that_pages_have_always_shown():
    assert {name: Attack.about(name).title for name in ("fgsm", "ifgsm", "strong", "square", "gaussian-noise")} == {
        "fgsm": "FGSM",
        "ifgsm": "I-FGSM",
        "strong": "strong search",
        "square": "Square",
        "gaussian-noise": "Gaussian noise",
    }
    titles = [Perturbation.named(name).title for name in ("l2", "linf", "bias-field", "gamma", "frequency")]
    assert titles == ["L2 ball", "L-infinity ball", "bias field", "contrast (gamma)", "frequency table"]


@pytest.mark.parametrize("about", EVERYTHING, ids=lambda about: about.title)
def test_everything_has_a_title_and_a_whole_citation_or_none(about):
    assert about.title.strip() == about.title != ""
    assert bool(about.reference) == bool(about.cited)
    if about.reference:
        assert about.reference.endswith(".")
        author, year = about.cited.split()[0], about.cited.split()[-1]
        assert about.reference.startswith(author)
        assert re.search(rf"\b{year}\b", about.reference)


def test_titles_tell_members_of_a_family_apart():
    for family in ([Attack.about(name) for name in ATTACKS], Objective.known().values(), Perturbation.known().values()):
        titles = [member.title for member in family]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", Perturbation.known())
def test_a_set_says_what_it_means_and_how_far_it_usually_goes(name):
    kind = Perturbation.named(name)
    assert kind.meaning.endswith(".")
    assert kind.usual_ladder[0] > 0
    assert all(low < high for low, high in itertools.pairwise(kind.usual_ladder))
    assert kind.usual_ceiling >= kind.usual_ladder[-1]
    spec = {"name": name, "eps": kind.usual_ladder[-1]} | ({"unit": kind.usual_unit} if kind.usual_unit else {})
    assert Perturbation.build(spec).unit == (kind.usual_unit or Perturbation.build({"name": name, "eps": 0.0}).unit)


@pytest.mark.parametrize("name", Perturbation.known())
def test_a_set_is_an_intensity_if_its_parameters_are_what_is_added(name):
    image = torch.linspace(-1, 2, 2 * 16 * 16).view(1, 2, 16, 16)
    kind = Perturbation.build({"name": name, "eps": 0.3})
    params = kind.init(image, torch.Generator().manual_seed(0))
    added = params.shape == image.shape and torch.allclose(kind.apply(image, params), image + params)
    assert type(kind).is_intensity == added


@pytest.mark.parametrize("name", Perturbation.known())
def test_standard_deviations_are_for_intensities_only(name):
    part = Part(perturbation=name, unit="std")
    if Perturbation.named(name).is_intensity:
        assert float(part.build_set(0.1).eps) == pytest.approx(0.1)
    else:
        with pytest.raises(ValueError, match=f"unit 'std' must go with l2 or linf, got '{name}'"):
            part.build_set(0.1)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "vafa"])
def test_an_attack_uses_gradients_if_it_makes_backward_passes(name):
    torch.manual_seed(0)
    image, label = torch.randn(1, 1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long)
    label[:, 2:6, 2:6] = 1
    steps = {} if name == "fgsm" else {"steps": 8}
    result = Attack.build({"name": name, **steps}, L2(1.0))(torch.nn.Conv2d(1, 2, 3, padding=1), image, label)
    assert Attack.about(name).uses_gradients == (result.backward_calls > 0)
    assert Attack.about(name).is_noise == ("noise" in name)


def test_an_unknown_attack_lists_the_known_ones():
    with pytest.raises(ValueError, match="attack must be one of apgd, .*segpgd, .*got 'pdg'"):
        Attack.about("pdg")


def test_nobody_tells_attacks_by_the_look_of_their_names():
    guess = re.compile(r"""[=!]= ["']square["']|endswith\(["']noise["']\)""")
    package = Path(__file__).resolve().parents[1] / "imaseg"
    assert [file for file in package.rglob("*.py") if guess.search(file.read_text())] == []
