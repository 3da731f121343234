"""Without trust nothing in a checkpoint runs, is unpickled or goes to the network, whatever the checkpoint asks for."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import CodeType

import pytest
import torch
import yaml
from safetensors.torch import save_file

import imaseg
import imaseg.models.bundle
import imaseg.models.nnunet  # before calls are watched: pydantic evaluates annotations of classes as they are defined
from imaseg import InputError, load_model
from imaseg.models.networks import monai_network
from imaseg.models.smp import smp_network
from tests.models.bundle.bundles import INFERENCE, changed, unet, write_bundle
from tests.nnunet_folder import dataset, plans, write_results

_LIBRARIES = (
    str(Path(imaseg.__file__).parent),
    *{sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")},
)
_MAKERS = ("dataclasses.py", "collections/__init__.py")
"""The standard library makes classes of its own with `exec` and `eval`."""
UNET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
SMP = {"encoder_name": "resnet18", "in_channels": 1, "classes": 2, "decoder_channels": [8, 8, 8, 4, 4]}


class Calls:
    """An object whose pickle calls something when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _payloads(marker):
    code = f"open({str(marker)!r}, 'w')"
    return {
        "exec": Calls(exec, code),
        "eval": Calls(eval, code),
        "system": Calls(os.system, f"touch {marker}"),
        "popen": Calls(subprocess.Popen, ["touch", str(marker)]),
        "loads": Calls(pickle.loads, pickle.dumps(Calls(exec, code))),
    }


@pytest.fixture
def ran(monkeypatch):
    """What was called that could run code of a checkpoint; each such call fails, too."""
    calls = []

    def forbid(owner, name, innocent=lambda *a, **k: False):
        original = getattr(owner, name)

        def watched(*arguments, **keywords):
            if innocent(*arguments, **keywords):
                return original(*arguments, **keywords)
            calls.append((name, str(arguments)[:200]))
            msg = f"{name} was called"
            raise AssertionError(msg)

        monkeypatch.setattr(owner, name, watched)

    def of_library(code, *_, **__):
        if isinstance(code, CodeType):  # an import of an installed module
            return code.co_filename.startswith(_LIBRARIES)
        return sys._getframe(2).f_code.co_filename.endswith(_MAKERS)

    forbid(builtins, "exec", of_library)
    forbid(builtins, "eval", of_library)
    forbid(subprocess, "Popen")
    for function in (os.system, pickle.load, pickle.loads):  # under both names, of which a pickle holds the second
        forbid({"system": os}.get(function.__name__, pickle), function.__name__)
        forbid(sys.modules[function.__module__], function.__name__)
    forbid(torch, "load", lambda *_, weights_only=None, **__: weights_only is True)
    forbid(torch.jit, "load")
    forbid(socket.socket, "connect")
    forbid(socket, "getaddrinfo")
    return calls


def _smp(folder, **changes):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_model_class": "Unet", "encoder_weights": None, **SMP, **changes}))
    save_file(smp_network("Unet", SMP, source="test").state_dict(), folder / "model.safetensors")
    return f"smp:{folder}"


def _card(folder, state=None, **changes):
    folder.mkdir()
    torch.save({"state_dict": monai_network("UNet", UNET, source="test").state_dict()} | (state or {}), folder / "w.pt")
    content = {"class": "monai.networks.nets.UNet", "arguments": UNET, "weights": "w.pt", **changes}
    (folder / "card.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "card.yaml")


def _bundle(folder, inference=INFERENCE, state=None):
    write_bundle(folder, inference)
    torch.save(unet().state_dict() | (state or {}), folder / "models" / "model.pt")
    return f"bundle:{folder}"


def _nnunet(folder, place=(), value=None, **more):
    """A results folder in whose plans one entry is another."""
    write_results(folder, plans(), **more)
    content = part = json.loads((folder / "plans.json").read_text())
    for key in place[:-1]:
        part = part[key]
    if place:
        part[place[-1]] = value
    (folder / "plans.json").write_text(json.dumps(content))
    return f"nnunet:{folder}"


def _run(folder, tiny_run, network):
    folder.mkdir()
    card = json.loads((tiny_run / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"network": network}))
    (folder / "weights.safetensors").write_bytes((tiny_run / "weights.safetensors").read_bytes())
    return str(folder)


def _evil_files(tmp_path):
    """A pickle, and a folder as timm reads it, whose weights are the same pickle."""
    evil = tmp_path / "evil.pth"
    torch.save({"state_dict": {"x": _payloads(tmp_path / "touched")["exec"]}}, evil)
    local = tmp_path / "local"
    local.mkdir()
    (local / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_classes": 1000}))
    (local / "pytorch_model.bin").write_bytes(evil.read_bytes())
    return evil, local


def _smp_specs(tmp_path):
    evil, local = _evil_files(tmp_path)
    asked = {
        "checkpoint": {"encoder_name": "tu-resnet18", "checkpoint_path": str(evil)},
        "overlay": {"encoder_name": "tu-resnet18", "pretrained": True, "pretrained_cfg_overlay": {"file": str(evil)}},
        "config": {"encoder_name": "tu-resnet18", "pretrained_cfg": {"file": str(evil)}},
        "cache": {"encoder_name": "tu-resnet18", "cache_dir": str(tmp_path)},
        "keywords": {"encoder_name": "tu-resnet18", "kwargs": {"checkpoint_path": str(evil)}},
        "local": {"encoder_name": f"tu-local-dir:{local}"},
        "hub": {"encoder_name": "tu-hf-hub:somebody/something"},
        "hub_": {"encoder_name": "tu-hf_hub:somebody/something"},
        "list": {"encoder_name": ["tu-resnet18"]},
    }
    for name, changes in asked.items():
        yield _smp(tmp_path / f"smp-{name}", **changes)
        yield _card(tmp_path / f"card-{name}", **{"class": "smp.Unet", "arguments": SMP | changes})
    stolen = _smp(tmp_path / "smp-pickle")
    (tmp_path / "smp-pickle" / "model.safetensors").write_bytes(evil.read_bytes())
    yield stolen


def _weights_specs(tmp_path):
    marker = tmp_path / "touched"
    for name, payload in _payloads(marker).items():
        yield _card(tmp_path / f"pt-{name}", {"extra": payload})
        yield _bundle(tmp_path / f"bundle-{name}", state={"extra": payload})
        yield _nnunet(tmp_path / f"nnunet-{name}", extra=payload)
        bare = _card(tmp_path / f"bare-{name}")
        (tmp_path / f"bare-{name}" / "w.pt").write_bytes(pickle.dumps(payload))
        yield bare
    script = _card(tmp_path / "script")
    torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)).save(str(tmp_path / "script" / "w.pt"))
    yield script
    yield f"torchscript:{tmp_path / 'script' / 'w.pt'}"


def _code_specs(tmp_path, tiny_run):
    marker = tmp_path / "touched"
    own = tmp_path / "own_nets.py"
    own.write_text(f"open({str(marker)!r}, 'w')\n")
    yield _card(tmp_path / "own", **{"class": "own_nets:Net"})
    yield f"python:{own.stem}:make"
    applied = _card(tmp_path / "applied")
    Path(applied).write_text(f"class: !!python/object/apply:os.system ['touch {marker}']\n")
    yield applied
    call = {"_target_": "os.system", "command": f"touch {marker}"}
    for i, (place, value) in enumerate((
        (("network_def",), f"$__import__('os').system('touch {marker}')"),
        (("network_def",), call),
        (("network_def", "act"), call),
        (("network_def", "strides"), f"$[2, __import__('os').system('touch {marker}')]"),
        (("network_def",), {"_target_": "TorchVisionFCModel", "pretrained": True, "weights": "DEFAULT"}),
        (("network_def",), {"_target_": "MILModel", "num_classes": 2}),
        (("network_def",), {"_target_": "NetAdapter", "model": call}),
        (("preprocessing", "transforms", 0), call),
    )):  # fmt: skip
        yield _bundle(tmp_path / f"code-{i}", changed(place, value))
    architecture = ("configurations", "3d_fullres", "architecture")
    for i, (place, value) in enumerate((
        ((*architecture, "network_class_name"), "os.system"),
        ((*architecture, "network_class_name"), "dynamic_network_architectures.architectures.dinov2_eva.Eva"),
        ((*architecture, "network_class_name"), "torch.nn.PlainConvUNet"),
        ((*architecture, "arch_kwargs", "nonlin"), "builtins.exec"),
        ((*architecture, "arch_kwargs", "norm_op"), "torch.load"),
        ((*architecture, "arch_kwargs", "pretrained"), "weights.pth"),
        (("label_manager",), "load_json"),
        (("image_reader_writer",), "isfile"),
        (("configurations", "3d_fullres", "preprocessor_name"), "crop_to_nonzero"),
        (("configurations", "3d_fullres", "resampling_fn_data"), "deepcopy"),
        (("configurations", "3d_fullres", "normalization_schemes"), ["ABC"]),
    )):  # fmt: skip
        yield _nnunet(tmp_path / f"plans-{i}", place, value)
    yield _run(tmp_path / "run-net", tiny_run, {"name": "TorchVisionFCModel", "weights": "DEFAULT"})
    yield _run(tmp_path / "run-arguments", tiny_run, {"name": "UNet", **UNET, "pretrained": True})
    stolen = _run(tmp_path / "run-pickle", tiny_run, {"name": "UNet"})
    (tmp_path / "run-pickle" / "weights.safetensors").write_bytes(pickle.dumps(_payloads(marker)["exec"]))
    yield stolen


@pytest.mark.parametrize("kind", ["smp", "weights", "code"])
def test_nothing_of_a_checkpoint_runs_without_trust(kind, tmp_path, tiny_run, request, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = {"smp": _smp_specs, "weights": _weights_specs}.get(kind)
    specs = [*(made(tmp_path) if made else _code_specs(tmp_path, tiny_run))]
    ran = request.getfixturevalue("ran")
    for spec in specs:
        with pytest.raises(InputError):
            load_model(spec)
        assert not ran, spec
    assert not (tmp_path / "touched").exists()


def test_code_that_prediction_does_not_need_is_left_out(tmp_path, ran):
    call = {"_target_": "os.system", "command": f"touch {tmp_path / 'touched'}"}
    for place in ("inferer", "handlers", "postprocessing", "imports"):
        value = call | {"roi_size": [16, 16, 16]} if place == "inferer" else [call]
        load_model(_bundle(tmp_path / place, changed((place,), value)))
    assert not ran
    assert not (tmp_path / "touched").exists()


def test_calls_that_run_code_would_be_seen(tmp_path, request):
    files = {}
    for name, payload in _payloads(tmp_path / "touched").items():
        files[name] = tmp_path / f"{name}.pkl"
        files[name].write_bytes(pickle.dumps(payload))
    ran = request.getfixturevalue("ran")
    seen = {"exec": "exec", "eval": "eval", "system": "system", "popen": "Popen", "loads": "loads"}
    for name, function in seen.items():
        with files[name].open("rb") as file, pytest.raises(AssertionError, match=f"{function} was called"):
            pickle.Unpickler(file).load()
    for call in (lambda: torch.load(files["exec"]), lambda: socket.socket().connect(("127.0.0.1", 9))):
        with pytest.raises(AssertionError, match="was called"):
            call()
    assert [name for name, _ in ran] == [*seen.values(), "load", "connect"]


@pytest.mark.parametrize("ending", ["/../../home/x.nii.gz", ".nii.gz/../x", "..", 7, ".nii\n"])
def test_a_file_ending_is_no_path(tmp_path, ending):
    pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")
    folder = write_results(tmp_path / "r", plans(), dataset())
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {"file_ending": ending}))
    with pytest.raises(InputError, match="dataset.json: file_ending must be like .nii.gz"):
        load_model(f"nnunet:{folder}")
