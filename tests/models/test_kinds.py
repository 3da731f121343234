"""Every kind of checkpoint that `load_model` takes, with tiny networks; what needs trust, and what is damaged."""

from __future__ import annotations

import json
import pickle
import textwrap

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from imaseg import FGSM, L2, InputError, load_model
from imaseg.auditing.engine.identity import _hash_weights
from imaseg.models.weights import load_state, read_state

LABELS = {0: "background", 1: "organ"}
UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
IMAGE = torch.linspace(-1, 1, 8 * 8 * 6).reshape(1, 1, 8, 8, 6)


def _unet():
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(**UNET).eval()


def _card(path, **content):
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def unet_card(tmp_path):
    torch.save(_unet().state_dict(), tmp_path / "weights.pt")
    return _card(
        tmp_path / "unet.yaml",
        **{"class": "monai.networks.nets.UNet"},
        arguments=UNET,
        weights="weights.pt",
        labels=LABELS,
    )


def test_bare_weights_and_a_card_make_the_network_that_was_saved(unet_card):
    model = load_model(unet_card)
    torch.testing.assert_close(model(IMAGE), _unet()(IMAGE))
    assert (model.card.name, model.card.labels, model.found.probe.divisor) == ("unet", LABELS, 2)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model_state_dict": state, "epoch": 3},
        lambda state: {"state_dict": {f"network.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    ],
)
def test_what_trainers_wrap_around_weights_is_taken_off(unet_card, tmp_path, wrap):
    torch.save(wrap(_unet().state_dict()), tmp_path / "wrapped.pth")
    torch.testing.assert_close(load_model(f"{unet_card}@{tmp_path / 'wrapped.pth'}")(IMAGE), _unet()(IMAGE))


def test_a_prefix_that_the_network_itself_uses_stays():
    network = nn.Sequential()
    network.add_module("model", nn.Conv2d(1, 1, 1))
    other = nn.Sequential()
    other.add_module("model", nn.Conv2d(1, 1, 1))
    load_state(network, other.state_dict(), source="x")
    torch.testing.assert_close(network.state_dict(), other.state_dict())


def test_safetensors_are_weights_too(unet_card, tmp_path):
    save_file(_unet().state_dict(), tmp_path / "w.safetensors")
    torch.testing.assert_close(load_model(f"{unet_card}@{tmp_path / 'w.safetensors'}")(IMAGE), _unet()(IMAGE))


def test_weights_may_lie_where_a_variable_says(unet_card, tmp_path, monkeypatch):
    card = yaml.safe_load(unet_card.read_text()) | {"weights": "$SOMEWHERE/weights.pt"}
    other = _card(tmp_path / "other.yaml", **card)
    with pytest.raises(InputError, match="SOMEWHERE is not set"):
        load_model(other, trust=True)
    monkeypatch.setenv("SOMEWHERE", str(tmp_path))
    assert load_model(other, trust=True).card.name == "other"
    with pytest.raises(InputError, match="variable SOMEWHERE in it is filled in only with --trust. Add --trust"):
        load_model(other)


def test_a_card_that_is_not_there_is_named_with_the_folder_that_was_looked_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=rf"^examples/net\.yaml must be a model card .*no such file in {tmp_path}\. Check"
    ):
        load_model("examples/net.yaml")


def test_other_weights_are_one_line_that_lists_what_differs(unet_card, tmp_path):
    state = _unet().state_dict()
    first, *_, last = state
    state["model.extra"] = state.pop(first)
    state[last] = state[last][:1]
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(InputError, match=rf"1 missing \({first}\); 1 unexpected \(model.extra\); 1 of another shape"):
        load_model(f"{unet_card}@{tmp_path / 'other.pt'}")


class Bomb:
    def __reduce__(self):
        return (exec, ("import os; os.environ['IMASEG_BOMB'] = '1'",))


def test_a_pickle_with_code_is_not_run_even_with_trust(unet_card, tmp_path, monkeypatch):
    monkeypatch.delenv("IMASEG_BOMB", raising=False)
    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pt")
    for trust in (False, True):
        with pytest.raises(InputError, match="must hold tensors, numbers and names only, got builtins.exec"):
            load_model(f"{unet_card}@{tmp_path / 'bomb.pt'}", trust=trust)
    import os

    assert "IMASEG_BOMB" not in os.environ


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "unreadable"),
        (b"nonsense", "unreadable"),
        (pickle.dumps([1, 2]), "unreadable|must hold weights by name"),
    ],
)
def test_damaged_weights_are_one_clear_line(tmp_path, content, text):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=text):
        read_state(path)


def test_files_without_weights_are_one_clear_line(tmp_path):
    torch.save({"epoch": 3, "best": 0.5}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="must hold weights by name.*epoch, best"):
        read_state(tmp_path / "w.pt")
    with pytest.raises(InputError, match="got nothing there"):
        read_state(tmp_path / "none.pt")
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(InputError, match="unreadable"):
        read_state(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"klass": "UNet"}, "key must be one of name, class, .* got 'klass'"),
        ({"class": "os.system"}, "class must be monai.networks.nets.X, .* got 'os.system'"),
        ({"class": "monai.networks.nets.Nonsense"}, "must name a network of monai.networks.nets"),
        ({"class": "smp.Nonsense"}, "must name one of .*Unet"),
        ({"class": None}, "without `class:`"),
        ({"weights": None}, "must name a file of `weights:`"),
        ({"arguments": {"depth": 9}}, "must hold arguments that UNet takes"),
        ({"labels": {0: "b", 2: "x"}}, "give names to 0, 1, 2"),
        ({"axes": "xx"}, "axes must be 2 different ones of xyz"),
        ({"axes": "yx", "spatial_dims": 3}, "axes must be 3 different ones"),
        ({"roi_size": [8, 8], "spatial_dims": 3}, "roi_size must have 3 numbers"),
        ({"regions": {0: 2}}, "regions must paint the classes 1, 2"),
        ({"recipe": {"normalize": "zscore"}}, "recipe.* key must be one of .*got 'normalize'"),
        ({"train_ids": "none.txt"}, "none.txt must be a readable text file"),
    ],
)
def test_wrong_cards_are_one_clear_line(unet_card, change, text):
    content = {
        key: value for key, value in (yaml.safe_load(unet_card.read_text()) | change).items() if value is not None
    }
    with pytest.raises(InputError, match=text):
        load_model(_card(unet_card, **content))


def test_ids_may_lie_in_a_file_beside_the_card(unet_card, tmp_path):
    (tmp_path / "train.txt").write_text("a\n\nb\n")
    content = yaml.safe_load(unet_card.read_text()) | {"train_ids": "train.txt", "val_ids": ["c"]}
    card = load_model(_card(unet_card, **content)).card
    assert (card.train_ids, card.val_ids) == (["a", "b"], ["c"])


@pytest.fixture
def own_class(tmp_path):
    """A module of the user's own, and weights."""
    (tmp_path / "own_net_a.py").write_text(
        textwrap.dedent("""
        import os
        from torch import nn
        os.environ["IMASEG_RAN"] = "1"
        class Net(nn.Module):
            def __init__(self, classes):
                super().__init__()
                self.layer = nn.Conv2d(1, classes, 3, padding=1)
            def forward(self, image):
                return self.layer(image)
        def broken():
            raise RuntimeError("no licence")
        def number():
            return 3
        """)
    )
    torch.save({"layer.weight": torch.ones(2, 1, 3, 3), "layer.bias": torch.zeros(2)}, tmp_path / "w.pt")
    return tmp_path


def test_a_class_of_ones_own_runs_with_trust_only(own_class, monkeypatch):
    monkeypatch.delenv("IMASEG_RAN", raising=False)
    card = _card(own_class / "c.yaml", **{"class": "own_net_a:Net"}, arguments={"classes": 2}, weights="w.pt")
    import os

    with pytest.raises(InputError, match="own_net_a:Net in .* runs code that its author wrote.*--trust"):
        load_model(card)
    assert "IMASEG_RAN" not in os.environ
    model = load_model(card, trust=True)
    assert os.environ["IMASEG_RAN"] == "1"
    assert model(torch.ones(1, 1, 8, 8, 3))[0, 0, 4, 4, 1] == 9
    for class_, text in (("own_net_a:Nat", "which is not there"), ("no_such_module_here:Net", "ModuleNotFoundError")):
        with pytest.raises(InputError, match=text):
            load_model(_card(card, **{"class": class_}, weights="w.pt"), trust=True)
    with pytest.raises(InputError, match="must be callable with no arguments, got TypeError"):
        load_model(_card(card, **{"class": "own_net_a:Net"}, weights="w.pt"), trust=True)


def test_modules_of_one_name_in_two_folders_are_two(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "same_name_net.py").write_text(
            f"from torch import nn\ndef Net():\n    return nn.Conv2d({number}, 2, 1)\n"
        )
        torch.save(nn.Conv2d(number, 2, 1).state_dict(), folder / "w.pt")
        model = load_model(_card(folder / "c.yaml", **{"class": "same_name_net:Net"}, weights="w.pt"), trust=True)
        assert model.card.in_channels == number


def test_a_factory_runs_with_trust_only_and_may_bring_a_card(own_class, monkeypatch):
    monkeypatch.chdir(own_class)
    (own_class / "own_factory.py").write_text(
        "from own_net_a import Net\nfrom imaseg.models.adapted import adapt\nfrom imaseg.models.card import Card\n"
        "def make():\n    return Net(2)\nmake.card = {'name': 'mine', 'labels': {1: 'organ'}}\n"
        "def pair():\n    return Net(3), 'pair.yaml'\n"
        "def ready():\n    return adapt(Net(2), Card(name='ready'), kind='python', name='x')\n"
    )
    (own_class / "pair.yaml").write_text("name: both\n")
    with pytest.raises(InputError, match="python:own_factory:make runs code"):
        load_model("python:own_factory:make")
    assert load_model("python:own_factory:make", trust=True).card.labels == {0: "background", 1: "organ"}
    assert load_model("python:own_factory:pair", trust=True).card.name == "both"
    assert load_model("python:own_factory:ready", trust=True).card.name == "ready"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("own_net_a:broken", "RuntimeError: no licence"),
        ("own_net_a:number", "must return an nn.Module or a SegmentationModel, got int"),
        ("own_net_a", "must be module:name"),
    ],
)
def test_factories_that_fail_are_one_clear_line(own_class, monkeypatch, spec, text):
    monkeypatch.chdir(own_class)
    with pytest.raises(InputError, match=text):
        load_model(f"python:{spec}", trust=True)


class Plain(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 2, 1))

    def forward(self, image):
        return self.layers(image)


@pytest.mark.parametrize("freeze", [False, True])
def test_torchscript_runs_with_trust_and_a_card(tmp_path, freeze):
    def saved(seed):
        script = torch.jit.trace(Plain(seed).eval(), IMAGE)
        torch.jit.save(torch.jit.freeze(script) if freeze else script, tmp_path / "net.ts")

    saved(0)
    _card(tmp_path / "net.yaml", labels=LABELS, in_channels=1, spatial_dims=3)
    with pytest.raises(InputError, match="TorchScript file .* runs code"):
        load_model(f"torchscript:{tmp_path / 'net.ts'}")
    model = load_model(f"torchscript:{tmp_path / 'net.ts'}", trust=True)
    logits = model(IMAGE)
    torch.testing.assert_close(logits, Plain(0).eval()(IMAGE))
    label = logits.argmax(1)
    ours, bare = (FGSM(L2(0.1))(one, IMAGE, label).image for one in (model, Plain(0)))
    torch.testing.assert_close(ours, bare)
    saved(1)
    assert _hash_weights(load_model(f"torchscript:{tmp_path / 'net.ts'}", trust=True)) != _hash_weights(model)


def test_damaged_torchscript_is_one_clear_line(tmp_path):
    (tmp_path / "net.ts").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="must be a file that torch.jit.save wrote"):
        load_model(f"torchscript:{tmp_path / 'net.ts'}", trust=True)
    with pytest.raises(InputError, match="got nothing there"):
        load_model(f"torchscript:{tmp_path / 'none.ts'}", trust=True)


@pytest.fixture(scope="module")
def smp_folder(tmp_path_factory):
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    model = smp.Unet(
        "resnet18", encoder_weights=None, in_channels=1, classes=1, decoder_channels=(8, 8, 8, 4, 4)
    ).eval()
    folder = tmp_path_factory.mktemp("smp") / "polyps"
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"encoder_weights": "imagenet"}))
    return folder, model


def test_an_smp_folder_loads_without_download(smp_folder, monkeypatch):
    folder, saved = smp_folder
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *a, **k: pytest.fail("it went to the network"))
    model = load_model(f"smp:{folder}")
    image = torch.randn(1, 1, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(image)[:, 1:], saved(image))
    assert model.found.probe.divisor == 32
    assert model.card.labels == {0: "background", 1: "1"}
    assert "imagenet" in model.found.notes[0]


def test_damaged_smp_folders_are_one_clear_line(smp_folder, tmp_path):
    import shutil

    for damage, text in (
        (
            lambda f: (f / "config.json").write_text('{"_model_class": "os.system"}'),
            "must name one of .*got 'os.system'",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "unreadable"),
        (lambda f: (f / "model.safetensors").unlink(), "without model.safetensors"),
        (lambda f: (f / "imaseg.yaml").write_text("labels: {0: a, 1: b, 2: c, 3: d}"), "labels must name"),
    ):
        folder = shutil.copytree(smp_folder[0], tmp_path / f"copy{len(text)}")
        damage(folder)
        with pytest.raises(InputError, match=text):
            load_model(f"smp:{folder}")


def test_what_is_no_model_says_how_it_may_be_loaded(tmp_path):
    (tmp_path / "net.ts").write_bytes(b"x")
    (tmp_path / "net.pth").write_bytes(b"x")
    (tmp_path / "b" / "configs").mkdir(parents=True)
    (tmp_path / "b" / "configs" / "metadata.json").write_text("{}")
    for name, text in (
        ("net.ts", "torchscript:"),
        ("net.pth", "need a card"),
        ("b", "bundle:"),
        ("nothing", "no folder"),
    ):
        with pytest.raises(InputError, match=text):
            load_model(tmp_path / name)
