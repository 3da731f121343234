"""What a checkpoint's description asks for is held against its weights and its folder before it is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from imaseg import InputError, load_model
from imaseg.auditing.engine.run import audit
from imaseg.models.finite import not_finite
from imaseg.models.networks import monai_network
from tests.hostile import refused_cheaply
from tests.models.bundle.bundles import INFERENCE, METADATA, write_bundle
from tests.nnunet_folder import plans, write_results

UNET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}


def _card(folder, *, state=None, **changes):
    folder.mkdir(exist_ok=True)
    network = monai_network("UNet", UNET | {"norm": "batch"}, source="test")
    torch.save(network.state_dict() | (state or {}), folder / "w.pt")
    content = {"class": "monai.networks.nets.UNet", "arguments": UNET | {"norm": "batch"}, "weights": "w.pt", **changes}
    (folder / "card.yaml").write_text(
        yaml.safe_dump({key: value for key, value in content.items() if value is not None})
    )
    return folder / "card.yaml"


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory):
    """What sound models of each kind import does not count."""
    home = tmp_path_factory.mktemp("sound")
    for spec in (
        _card(home / "card"), f"nnunet:{write_results(home / 'r', plans())}", f"bundle:{write_bundle(home / 'b')}"
    ):  # fmt: skip
        load_model(spec)


def _refused(spec, told, **how):
    refused_cheaply(lambda: load_model(spec, **how), told)


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": [10**6] * 5, "strides": [2] * 4},
        {"channels": [3000, 3000]},
        {"channels": [4] * 3000, "strides": [1] * 2999},
        {"num_res_units": 10**9},
    ],
)
def test_a_network_far_larger_than_its_weights_is_not_made(tmp_path, arguments):
    _refused(_card(tmp_path / "c", arguments=UNET | arguments), "got a far larger one|arguments that UNet takes")


def test_a_card_whose_aliases_stand_for_ever_more_is_refused(tmp_path):
    path = _card(tmp_path / "c")
    lists = "\n".join(f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]" for i in range(1, 9))
    path.write_text(f"a0: &a0 [x]\n{lists}\n{path.read_text()}")
    _refused(path, "c/card.yaml must")


def test_a_network_that_its_weights_might_just_fill_takes_little(tmp_path):
    filler = {"filler": torch.zeros(10 * 2**18)}
    card = _card(tmp_path / "c", arguments=UNET | {"channels": [1300, 1300], "norm": "batch"}, state=filler)
    _refused(card, "must hold the weights of this UNet, got 1 unexpected")


def test_plans_of_labels_without_end_are_refused(tmp_path):
    folder = write_results(tmp_path / "r", plans())
    for name, key in (("dataset.json", "labels"), ("plans.json", "configurations")):
        whole = (folder / name).read_text()
        (folder / name).write_text(json.dumps(json.loads(whole) | {key: {f"l{i}": i for i in range(400_000)}}))
        _refused(f"nnunet:{folder}", f"{key} must be valid, got 400000 entries: it must have 4096 entries at most")
        (folder / name).write_text(whole)


def test_plans_of_a_network_far_larger_than_its_weights_are_refused(tmp_path):
    folder = write_results(tmp_path / "r", plans())
    content = json.loads((folder / "plans.json").read_text())
    configuration = content["configurations"]["3d_fullres"]
    configuration["architecture"]["arch_kwargs"]["features_per_stage"] = [5000] * 3
    (folder / "plans.json").write_text(json.dumps(content))
    _refused(f"nnunet:{folder}", "got a far larger one")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"roi_size": [2**14, 2**14]}, "at most 33554432 voxels"),
        ({"roi_size": [0, 16]}, "roi_size must be sides"),
        ({"divisor": 10**9}, "divisor must be valid"),
        ({"divisor": 2**12}, "divisor must be valid"),
        ({"in_channels": 10**9}, "in_channels must be valid"),
        ({"recipe": [1]}, "recipe must be valid"),
        ({"recipe": "/etc/netplan/secret.yaml"}, "recipe must be valid, .* or the name of a recipe: 2d"),
        ({"recipe": "../../configs/demo_standard"}, "recipe must be valid, .* or the name of a recipe: 2d"),
        ({"regions": {}}, "regions"),
    ],
)
def test_cards_that_ask_for_the_impossible_are_refused(tmp_path, changes, told):
    _refused(_card(tmp_path / "c", **changes), told)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("patch_size",), [2**12] * 3, "at most 16777216 voxels"),
        (("patch_size",), [2**9, 2**8, 2**8], "at most 16777216 voxels"),
        (("patch_size",), None, "patch_size must be valid"),
        (("spacing",), [1.0, -1.0, 1.0], "spacing.1 must be valid"),
        (("spacing",), [1.0, 1.0], "a value for each of patch_size"),
        (("normalization_schemes",), "x", "normalization_schemes must be valid"),
        (("architecture", "arch_kwargs"), [], "architecture.arch_kwargs must be valid"),
        (("resampling_fn_data_kwargs",), 7, "resampling_fn_data_kwargs must be valid"),
    ],
)
def test_plans_of_other_types_are_refused(tmp_path, place, value, told):
    folder = write_results(tmp_path / "r", plans())
    content = json.loads((folder / "plans.json").read_text())
    part = content["configurations"]["3d_fullres"]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (folder / "plans.json").write_text(json.dumps(content))
    _refused(f"nnunet:{folder}", told)


def test_references_that_stand_for_ever_more_are_refused(tmp_path):
    more = {f"a{i}": [f"@a{i - 1}"] * 9 for i in range(1, 8)} | {"a0": ["lol"]}
    inference = INFERENCE | more | {"network_def": INFERENCE["network_def"] | {"channels": "@a7"}}
    _refused(f"bundle:{write_bundle(tmp_path / 'a', inference)}", "must stand for 50000 values at most")
    squares = {f"a{i}": f"$@a{i - 1} * @a{i - 1}" for i in range(1, 15)} | {"a0": 2**62}
    inference = INFERENCE | squares | {"network_def": INFERENCE["network_def"] | {"channels": ["@a14", 8]}}
    _refused(f"bundle:{write_bundle(tmp_path / 'b', inference)}", "needs|--trust")


def test_metadata_of_another_type_are_refused(tmp_path):
    folder = write_bundle(tmp_path / "b", metadata=METADATA | {"network_data_format": "x"})
    _refused(f"bundle:{folder}", "metadata.json: network_data_format must be valid")


@pytest.mark.parametrize("key", ["weights", "train_ids", "val_ids"])
@pytest.mark.parametrize("how", ["up", "root", "link", "variable"])
def test_what_a_card_names_stays_in_its_folder(tmp_path, monkeypatch, key, how):
    card = _card(tmp_path / "c")
    other = tmp_path / "other.pt"
    other.write_bytes((tmp_path / "c" / "w.pt").read_bytes() if key == "weights" else b"case1\n")
    (tmp_path / "c" / "link").symlink_to(other)
    monkeypatch.setenv("ELSEWHERE", str(tmp_path))
    if how == "variable" and key != "weights":
        return
    name = {"up": "../other.pt", "root": str(other), "link": "link", "variable": "$ELSEWHERE/other.pt"}[how]
    card = _card(tmp_path / "c", **{key: name})
    _refused(
        card, "is filled in only with --trust" if how == "variable" else f"{key} in .* must be inside of .* add --trust"
    )
    assert load_model(card, trust=True).card.in_channels == 1


def test_what_lies_below_a_card_is_read(tmp_path):
    card = _card(tmp_path / "c", weights="./deep/w.pt", train_ids="ids.txt")
    (tmp_path / "c" / "deep").mkdir()
    (tmp_path / "c" / "w.pt").rename(tmp_path / "c" / "deep" / "w.pt")
    (tmp_path / "c" / "ids.txt").write_text("case1\n\n case2\n")
    assert load_model(card).card.train_ids == ["case1", "case2"]
    assert load_model(f"{card}@{Path(tmp_path, 'c', 'deep', 'w.pt')}").card.in_channels == 1


@pytest.mark.parametrize(("ending", "value"), [("conv.weight", "nan"), ("running_mean", "nan"), ("running_var", "inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, tiny_run, prepared_phantom, ending, value):
    state = monai_network("UNet", UNET | {"norm": "batch"}, source="test").state_dict()
    name = next(known for known in state if known.endswith(ending))
    state[name].view(-1)[0] = float(value)
    what = "NaN" if value == "nan" else "infinity"
    _refused(
        _card(tmp_path / "c", state=state),
        f"w.pt must hold .* got {what} in 1 of {state[name].numel()} values of {name}",
    )
    model = load_model(tiny_run)
    next(model.parameters()).data.view(-1)[0] = float(value)
    with pytest.raises(InputError, match=f"must hold weights that are numbers, got {what}"):
        audit(model, prepared_phantom, "quick", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_masks_of_infinities_are_no_damage():
    layer = torch.nn.Linear(2, 2)
    layer.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert not_finite(layer) is None
    layer.bias.data[1] = torch.inf
    assert not_finite(layer) == "infinity in 1 of 2 values of bias"
