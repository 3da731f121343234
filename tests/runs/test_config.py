"""Configurations: shipped ones hold, overrides reach in, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaseg.errors import InputError
from imaseg.runs import TrainConfig, load_config
from imaseg.runs.build import build_loss, build_method
from imaseg.training import IMA, TRADES, OneOf, PGDTraining, PublishedIMA, Standard

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_builds(path):
    build_method(load_config(path))


def test_the_hippocampus_runs_differ_in_method_only():
    kinds = {
        "pgd": PGDTraining, "pgd_only": PGDTraining, "pgd_ramp": PGDTraining, "pgd_random": PGDTraining,
        "trades": TRADES, "ima": IMA, "ima_jitter": IMA, "ima_published": PublishedIMA,
    }  # fmt: skip
    rest = []
    for name, kind in kinds.items():
        config = load_config(CONFIGS / f"hippocampus_{name}.yaml")
        assert isinstance(build_method(config), kind)
        rest.append(config.model_dump(exclude={"method"}))
    assert all(settings == rest[0] for settings in rest)
    assert isinstance(build_method(load_config(CONFIGS / "hippocampus_standard.yaml")), Standard)
    assert isinstance(build_method(load_config(CONFIGS / "hippocampus_ima_sets.yaml")), OneOf)


def test_free_training_makes_as_many_steps_as_the_others():
    config, pgd = (load_config(CONFIGS / f"hippocampus_{name}.yaml") for name in ("free", "pgd"))
    assert build_method(config).replays * config.epochs == pgd.epochs


def test_overrides_reach_into_mappings_and_are_typed(tiny_config):
    config = load_config(tiny_config, ["epochs=7", "network.norm=instance", "amp=true", "patch=[8, 8, 8]"])
    assert (config.epochs, config.network["norm"], config.amp, config.patch) == (7, "instance", True, [8, 8, 8])


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["epoch=3"], r"key must be one of network, patch.*got 'epoch'"),
        (["epochs=three"], "epochs must be valid, got 'three'"),
        (["epochs=0"], "epochs must be valid, got 0"),
        (["patch=[8, 8]"], "patch must be valid"),
        (["patch=[0, 8, 8]"], "patch.0 must be valid"),
        (["epochs"], "override must be key=value, got 'epochs'"),
        (["epochs.more=3"], "override must reach into a mapping"),
        (["epochs=[1"], "override must have a YAML value"),
        (["seed=99999999999999999999999"], r"override must have a YAML value, got .* \(a number of 23 digits\)"),
        (["learning_rate=.inf"], "learning_rate must be valid, got inf: input should be a finite number"),
        (["flip=x"], "flip must be valid, got 'x': input should be 'auto', or input should be a valid list"),
        (["flip=[w]"], "flip.0 must be valid, got 'w': input should be 'x', 'y' or 'z'"),
        (["augment=[RandGaussianNoised]"], "augment.0 must be valid, got 'RandGaussianNoised': .* valid dictionary"),
    ],
)
def test_mistakes_are_named(tiny_config, overrides, text):
    with pytest.raises(InputError, match=text):
        load_config(tiny_config, overrides)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("{}", "method must have a name"),
        (
            "{name: imaa}",
            "trainingmethod must be one of free, ima, ima-published, one-of, pgd-training, standard, trades",
        ),
        ("{name: standard, steps: 3}", "arguments of standard must be among"),
        ("{name: ima, perturbation: {name: l3, eps: 1}}", "perturbation must be one of"),
        ("{name: ima, perturbation: {name: l2, eps: -1}}", "eps must be finite and >= 0"),
        ("{name: ima}", "arguments of ima must fit"),
    ],
)
def test_methods_that_do_not_exist_are_refused(tiny_config, method, text):
    config = load_config(tiny_config, [f"method={method}"])
    with pytest.raises(InputError, match=rf"^{tiny_config}: .*{text}"):
        build_method(config)
    with pytest.raises(InputError, match=text):
        build_method(TrainConfig(**config.model_dump()))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"name": "NoLoss"}, r"loss\.name must be a class of monai\.losses"),
        ({"name": "PerceptualLoss", "spatial_dims": 2}, "that needs no network of its own"),  # it is fetched
        ({"name": "dice"}, r"loss\.name must be a class of monai\.losses"),
        ({"name": "DiceLoss", "soft": 1}, "loss must be arguments that DiceLoss takes"),
    ],
)
def test_losses_that_do_not_exist_are_refused(spec, text):
    with pytest.raises(InputError, match=text):
        build_loss(spec)


@pytest.mark.parametrize(
    ("content", "text"), [("a: [", "must be valid YAML"), ("- 1", "must hold `key: value` lines, got list")]
)
def test_files_that_are_no_configuration_are_refused(tmp_path, content, text):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=text):
        load_config(path)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="must be a readable YAML file"):
        load_config(tmp_path / "none.yaml")
