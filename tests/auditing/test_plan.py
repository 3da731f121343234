"""Plans: shipped ones hold, mistakes are named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from imaseg.attacks import Attack
from imaseg.auditing import Plan, load_plan
from imaseg.auditing.probes import (
    AttackProbe,
    CertificateProbe,
    CorruptionProbe,
    MarginProbe,
    Probe,
    VoxelMarginProbe,
)
from imaseg.errors import InputError

PLANS = Path(__file__).resolve().parents[2] / "configs" / "plans"
GOOD = {
    "name": "good",
    "probes": [{"attack": "pgd", "eps": [0.1], "unit": "rms"}],
    "showcase": {"eps": 0.1},
}


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_plan_builds(path):
    plan = load_plan(path)
    assert plan.validity is not None
    assert plan.showcase.eps in plan.attack(plan.showcase.attack).eps


def test_shipped_plans_are_found_by_name():
    assert load_plan("quick").name == "quick"


def _write(tmp_path, **changes):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes))
    return path


def test_a_good_plan_builds_its_attacks(tmp_path):
    plan = load_plan(_write(tmp_path))
    attack = plan.probes[0].build(0.1, 4)
    assert (attack.name, attack.perturbation.eps, attack.perturbation.unit, attack.seed) == ("pgd", 0.1, "rms", 4)
    assert plan.probes[0].name == "pgd-l2"
    assert load_plan(plan) is plan


def test_names_tell_objectives_apart():
    plan = Plan.model_validate(GOOD | {"probes": [*GOOD["probes"], {**GOOD["probes"][0], "objective": "dice-ce"}]})
    assert [probe.name for probe in plan.probes] == ["pgd-l2", "pgd-l2-dice-ce"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"probes": []}, r"probes must be valid, got \[\]"),
        ({"probes": [{"attack": "pgdd", "eps": [1.0]}]}, "attack must be one of"),
        ({"probes": [{"attack": "pgd", "eps": [-1.0]}]}, "probes.0.eps.0 must be valid, got -1.0"),
        ({"probes": [{"attack": "pgd", "eps": [1.0], "objective": "dise"}]}, "objective must be one of"),
        ({"probes": [{"attack": "fgsm", "eps": [1.0], "steps": 5}]}, "of FGSM must be 1"),
        (
            {"probes": [{"attack": "pgd", "eps": [0.1], "perturbation": "linf", "unit": "rms"}]},
            "unit of linf must be max or std or native or range, got 'rms'",
        ),
        ({"probes": GOOD["probes"] * 2}, "probes must have different names"),
        ({"showcase": {"eps": 0.3}}, r"showcase.eps must be one of its probe's \[0.1\], got 0.3"),
        ({"validity": {"large_eps": float("inf"), "scaled_eps": 0.1}}, "validity.large_eps must be valid, got inf"),
        ({"validity": {"large_eps": -2.0, "scaled_eps": 0.1}}, "validity.large_eps must be valid, got -2.0"),
        ({"margins": [{"eps": 0.5, "rtol": 1e-9}]}, "rtol must be in"),
        ({"extra": 1}, "key must be one of name, imports, probes, .*got 'extra'"),
        ({"probes": [{"attack": "pgd", "eps": [0.1], "step": 5}]}, "key must be .*eps, objective, steps, .*0.step'"),
        ({"probes": [{"kind": "margin", "eps": 1, "rtl": 5}]}, "key must be .*eps, criterion, per_class, .*0.rtl'"),
        ({"showcase": {"attack": "fgsm", "eps": 0.1}}, r"showcase\.attack must be one of the plan's probes"),
        ({"margins": [{"eps": 0.5, "criterion": {"name": "dice-under"}}]}, "criterion must be one of"),
        ({"margins": [{"eps": 0.5}] * 2}, "must have different names, got 'margin-l2-dice-below-0.5-norm' twice"),
        ({"margins": [{"eps": 0.5, "perturbation": "l3"}]}, "perturbation must be one of"),
        ({"certified": [{"sigma": 0.5, "tau": [0.4]}]}, r"tau must be in \(0.5, 1\)"),
        ({"certified": [{"sigma": 0.5}] * 2}, "must have different names, got 'certified-l2-0.5-input' twice"),
        ({"certified": [{"sigma": 0.5, "unit": "mm"}]}, "certified.0.unit must be valid, got 'mm'"),
        ({"voxel_margins": {"eps": 0.5, "perturbation": "gamma", "unit": "std"}}, "unit 'std' must go with l2 or linf"),
        ({"probes": [{"kind": "nonsense"}]}, "kind must be one of attack, certificate, corruption, .*got 'nonsense'"),
        (
            {
                "probes": [{"attack": "pgd", "eps": [0.1], "name": name, "write": "nifti"} for name in ("x", "y")],
                "showcase": None,
            },
            "must write to different folders, got images twice",
        ),
        (
            {"voxel_margins": [{"eps": 0.5, "unit": unit, "write": "nifti"} for unit in ("rms", "std")]},
            "must write to different folders, got voxel_margins/l2 twice",
        ),
        (
            {"certified": [{"sigma": sigma, "write": "nifti"} for sigma in (0.1, 0.2)]},
            "must write to different folders, got certified twice",
        ),
        ({"probes": [{**GOOD["probes"][0], "name": "../../x"}]}, "probes.0.name must be valid, got '../../x'"),
        ({"probes": [{**GOOD["probes"][0], "name": "clean"}]}, "name of a probe must not be clean or worst-case-"),
        ({"probes": [{**GOOD["probes"][0], "name": "worst-case-l2"}]}, "use themselves, got 'worst-case-l2'"),
        (
            {
                "probes": [*GOOD["probes"], {"attack": "gaussian-noise", "eps": [0.1]}],
                "validity": {"attack": "gaussian-noise", "large_eps": 5.0, "scaled_eps": 0.1},
            },
            "validity.attack must be a search, since noise is none, got 'gaussian-noise'",
        ),
        ({"probes": [{**GOOD["probes"][0], "steps": 10**18}]}, "probes.0.steps must be valid"),
        ({"margins": {"eps": 0.5, "steps": 10**18}}, "margins.steps must be valid"),
        ({"probes": 3}, "probes must be valid, got 3"),
        ({"probes": {"attack": "pgd"}, "margins": {"eps": 0.5}}, "probes must be valid, got {'attack': 'pgd'}"),
        ({"probes": [{"kind": ["attack"], "attack": "pgd"}]}, r"kind must be one of attack, .*got \['attack'\]"),
        ({"probes": [{"kind": "x" * 400}]}, "kind must be one of attack, .*got 'x{79}[^x]"),
        (
            {"corruptions": {"names": ["gamma"], "corruptions": ["gamma"]}},
            "key must be one of .*corruptions, severities, .*'corruptions.names'",
        ),
        ({"seed": -1}, "seed must be valid, got -1"),
        ({"seed": 2**64}, "seed must be valid, got 18446744073709551616"),
        ({"probes": [{"attack": "pgd", "eps": [0.1], "unit": "mm"}]}, "unit 'mm' must go with deformation, got 'l2'"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        load_plan(_write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"probes": [{"kind": "margn", "eps": 1}]}, "got 'margn'. Did you mean 'margin'?"),
        ({"probes": [{"attack": "pdg", "eps": [0.1]}]}, "got 'pdg'. Did you mean 'pgd'?"),
        ({"probes": [{"attack": "pgd", "eps": [0.1], "perturbation": "lin"}]}, "got 'lin'. Did you mean 'linf'?"),
        ({"probes": [{"attack": "pgd", "eps": [0.1], "objective": "dise"}]}, "got 'dise'. Did you mean 'dice'?"),
        ({"probes": [{"attack": "pgd", "eps": [0.1], "restart": 5}]}, "'probes.0.restart'. Did you mean 'restarts'?"),
        ({"margins": [{"eps": 1, "rtl": 5}]}, "got 'margins.0.rtl'. Did you mean 'rtol'?"),
        ({"margins": {"eps": 1, "criterion": {"name": "dice-belw"}}}, "Did you mean 'dice-below'?"),
        ({"margins": {"eps": 1, "criterion": {"name": "dice-below", "threshld": 1}}}, "Did you mean 'threshold'?"),
        ({"corruptions": ["gama"]}, "got 'gama'. Did you mean 'gamma'?"),
        ({"showcse": {"eps": 0.1}}, "got 'showcse'. Did you mean 'showcase'?"),
        ({"showcase": {"attack": "pdg", "eps": 0.1}}, "got 'pdg'. Did you mean 'pgd'?"),
        ({"probes": [{"attack": "zebra", "eps": [0.1]}]}, "got 'zebra'."),
    ],
)
def test_a_misspelt_name_or_key_brings_the_nearest_to_mind(tmp_path, changes, text):
    with pytest.raises(InputError) as refused:
        load_plan(_write(tmp_path, **changes))
    assert str(refused.value).endswith(text)


def test_a_misspelt_plan_brings_the_nearest_to_mind():
    with pytest.raises(InputError, match=r"which is no file. Did you mean 'thorough'\?$"):
        load_plan("thorogh")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"certified": {"sigma": "x"}}, "certified.sigma"),
        ({"certified": [{"sigma": 0.1}, {"sigma": "x"}]}, "certified.1.sigma"),
        ({"margins": [{"eps": 1.0}], "voxel_margins": {"eps": -1}}, "voxel_margins.eps"),
        ({"corruptions": {"corruptions": ["gamma"], "severities": [9]}}, "corruptions.severities.0"),
        ({"probes": [{"kind": "certificate", "sigma": "x"}], "margins": {"eps": 1.0}}, "probes.0.sigma"),
    ],
)
def test_a_mistake_is_named_where_it_was_written(tmp_path, changes, place):
    with pytest.raises(InputError, match=rf"plan.yaml: {place} must be valid, got"):
        load_plan(_write(tmp_path, **changes))


def test_one_budget_is_a_ladder_of_one(tmp_path):
    plan = load_plan(_write(tmp_path, probes=[{"attack": "pgd", "eps": 0.1}]))
    assert plan.probes[0].eps == [0.1]
    with pytest.raises(InputError, match=r"probes.0.eps.0 must be valid, got 'much'"):
        load_plan(_write(tmp_path, probes=[{"attack": "pgd", "eps": "much"}]))
    with pytest.raises(InputError, match=r"probes.0.eps must be valid, got {'a': 1}"):
        load_plan(_write(tmp_path, probes=[{"attack": "pgd", "eps": {"a": 1}}]))


def test_ladders_are_sorted():
    plan = Plan.model_validate(GOOD | {"probes": [{**GOOD["probes"][0], "eps": [0.3, 0.1, 0.2, 0.1]}]})
    assert plan.probes[0].eps == [0.1, 0.2, 0.3]


def test_margins_are_named_as_shortly_as_tells_them_apart():
    flipped = {"name": "voxels-flipped", "fraction": 0.1}
    margins = [
        {"perturbation": "linf", "eps": 0.4},
        {"eps": 0.4, "unit": "rms"},
        {"eps": 0.4, "unit": "rms", "criterion": flipped},
        {"eps": 9.0, "criterion": flipped},
        {"eps": 0.4, "unit": "rms", "criterion": {"name": "dice-below", "threshold": 0.9, "relative": True}},
        {"eps": 0.4, "name": "mine"},
    ]
    plan = Plan.model_validate(GOOD | {"margins": margins})
    assert [margin.name for margin in plan.of(MarginProbe)] == [
        "margin-linf",
        "margin-l2-dice-below-0.5",
        "margin-l2-voxels-flipped-0.1-rms",
        "margin-l2-voxels-flipped-0.1-norm",
        "margin-l2-dice-below-0.9-relative",
        "mine",
    ]
    assert Plan.model_validate(plan.model_dump()) == plan


def test_attacks_keep_their_own_objective_unless_told():
    assert AttackProbe(attack="strong", eps=[1.0]).build(1.0, 0).objective.name == "tempered-dice"
    assert AttackProbe(attack="segpgd", eps=[1.0]).build(1.0, 0).objective.name == "segpgd"
    named = AttackProbe(attack="strong", eps=[1.0], objective="dice")
    assert named.build(1.0, 0).objective.name == "dice"
    assert named.names() == ["strong-l2"]


def test_a_missing_plan_lists_the_shipped_ones(tmp_path):
    with pytest.raises(InputError, match="plan must be one of quick, standard, thorough or a YAML file"):
        load_plan(tmp_path / "none.yaml")


def test_broken_yaml_is_one_clear_line(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("name: [")
    with pytest.raises(InputError, match="must be valid YAML"):
        load_plan(path)


def test_sections_are_another_way_to_write_probes(tmp_path):
    """What each section holds, and the same probe under `probes` with its `kind`."""
    pairs = {
        "margins": (MarginProbe, [{"eps": 0.5, "unit": "rms", "per_class": True}]),
        "corruptions": (CorruptionProbe, {"corruptions": ["gamma"], "severities": [1, 3]}),
        "certified": (CertificateProbe, [{"sigma": 0.25, "unit": "std"}]),
        "voxel_margins": (VoxelMarginProbe, {"eps": 0.2, "unit": "std", "cases": 1}),
    }
    kinds = dict(zip(pairs, ("margin", "corruption", "certificate", "voxel-margin"), strict=True))
    entries = {
        name: {"kind": kinds[name], **(given[0] if isinstance(given, list) else given)}
        for name, (_, given) in pairs.items()
    }
    long = Plan.model_validate(GOOD | {"probes": [*GOOD["probes"], *entries.values()]})
    short = load_plan(_write(tmp_path, **{name: given for name, (_, given) in pairs.items()}))
    assert short == long
    assert [type(probe) for probe in short.probes] == [AttackProbe, *(kind for kind, _ in pairs.values())]
    assert short.probes[1].per_class
    assert (short.probes[4].cases, short.probes[2].severities) == (1, [1, 3])


def test_a_kind_is_that_of_attacks_if_none_is_named():
    assert isinstance(Plan.model_validate(GOOD).probes[0], AttackProbe)
    assert {"attack", "margin", "voxel-margin", "certificate", "corruption"} <= Probe.registry.keys()


def test_pictures_checks_and_sections_may_all_be_left_out(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("name: bare\nprobes: [{attack: fgsm, eps: [1.0]}]\n")
    plan = load_plan(path)
    assert (plan.showcase, plan.validity, plan.shown, plan.seed) == (None, None, None, 0)
    path.write_text("name: bare\nmargins: [{eps: 1.0}]\n")
    assert load_plan(path).attacks == []


def test_files_that_a_plan_imports_run_with_trust_only(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nfrom imaseg.attacks import GaussianNoise\nPath(__file__).with_name('ran').touch()\n"
        "class NoiseOfMyOwn(GaussianNoise):\n    title = 'noise of my own'\n"
    )
    path = tmp_path / "plan.yaml"
    path.write_text("name: own\nimports: [mine.py]\nprobes: [{attack: noise-of-my-own, eps: [0.1]}]\n")
    with pytest.raises(InputError, match=r"plan.yaml: imports must be trusted, got .*mine\.py\. .* add --trust"):
        load_plan(path)
    assert not (tmp_path / "ran").exists()
    try:
        assert load_plan(path, trust=True).attacks[0].is_noise
    finally:
        Attack.registry.pop("noise-of-my-own", None)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["date: 2020-13-45", "a: " + "[" * 5000])
def test_yaml_that_no_parser_can_build_is_one_clear_line(text, tmp_path):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(InputError, match="plan.yaml must be valid YAML, got"):
        load_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize(
    ("attacks", "asked", "shown"),
    [
        (["gaussian-noise", "strong"], {}, "strong"),
        (["strong", "pgd"], {}, "pgd"),
        (["fgsm", "strong"], {"attack": "strong"}, "strong"),
        (["apgd", "fgsm"], {}, "apgd"),
    ],
)
def test_a_plan_without_pgd_shows_and_checks_its_first_search(attacks, asked, shown):
    plan = Plan.model_validate(
        {
            "name": "p",
            "probes": [{"attack": name, "eps": [0.1], "unit": "rms"} for name in attacks],
            "showcase": {"eps": 0.1, **asked},
            "validity": {"large_eps": 2.0, "scaled_eps": 0.1, **asked},
        }
    )
    assert (plan.showcase.attack, plan.validity.attack) == (shown, shown)
