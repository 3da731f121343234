"""`imaseg doctor` checks the installation; `imaseg doctor MODEL` examines a checkpoint."""

from __future__ import annotations

import importlib
import json
import logging
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from imaseg.cli.wrapped import say
from imaseg.errors import InputError, printable
from imaseg.progress import counted
from imaseg.results.preparation import Agreement
from imaseg.version import __version__

if TYPE_CHECKING:
    from imaseg.auditing.inputs.reference import Reference

_NEEDED = {
    "torch": "torch", "numpy": "numpy", "monai": "monai", "pytorch-ignite": "ignite", "tensorboard": "tensorboard",
    "nibabel": "nibabel", "SimpleITK": "SimpleITK", "segmentation-models-pytorch": "segmentation_models_pytorch",
    "einops": "einops", "safetensors": "safetensors", "scikit-image": "skimage", "scipy": "scipy",
    "pydantic": "pydantic", "PyYAML": "yaml", "plotly": "plotly", "Jinja2": "jinja2", "pillow": "PIL",
    "typer": "typer", "rich": "rich",
}  # fmt: skip
"""Packages that imaseg installs, and the module of each."""
_EXTRAS = {
    "nnunet": {"nnunetv2": "nnunetv2"},
    "dicom": {"highdicom": "highdicom", "pydicom": "pydicom"},
    "lightning": {"lightning": "lightning"},
}
_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer", "IMASEG_TEST_DATA")


def doctor_here(*, as_json: bool) -> int:
    """Report on this installation; returns exit code 1 if something is broken."""
    facts = environment()
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        _print_environment(facts)
    return 1 if facts["problems"] else 0


def doctor_model(
    spec: str,
    data: Path | None,
    *,
    cases: str | None,
    verify: bool,
    trust: bool,
    as_json: bool,
    follow_links: bool = False,
    reference: Reference = "label",
) -> int:
    """Report on a model, and on data for it; returns exit code 1 if a problem would spoil an audit.

    Raises:
        InputError: if the model or the data cannot be loaded, or there are no data to verify on.
    """
    if verify and data is None:
        msg = "--verify needs a case that both can predict, got no data. Add --data FOLDER."
        raise InputError(msg)
    from imaseg.auditing.inputs.examine import examine_data, examine_model, judge_outputs, next_command

    model, facts = examine_model(spec, trust=trust)
    if not as_json:
        _print_model(facts)
    if data is not None:
        how: dict[str, Any] = {"verify": verify, "follow_links": follow_links, "reference": reference}
        facts["data"] = examine_data(model, data, select=cases, **how)
        judge_outputs(model, facts)  # what noise had left open, the data may have settled
        if not as_json:
            _print_data(facts["data"])
    facts["next"] = next_command(facts, data, trust=trust, cases=cases)
    problems = [*facts["problems"], *facts.get("data", {}).get("problems", [])]
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        _sentences("look at", problems)
        typer.echo(printable(f"{'next':<11}{facts['next']}"))  # to be copied, so in one line
    return 1 if problems else 0


def environment() -> dict[str, Any]:
    """Facts on this installation, ready for JSON: versions, devices, folders, and problems with their fixes."""
    packages = {name: _version(name) for name in (*_NEEDED, *(name for parts in _EXTRAS.values() for name in parts))}
    problems = []
    for name, module in _NEEDED.items():
        if reason := _broken(module):
            problems.append(f"{name} cannot be imported ({reason}). Type: {_pip()} install --force-reinstall {name}")
    problems += _outdated()
    for extra, parts in _EXTRAS.items():
        for name, module in parts.items():
            if find_spec(module) is not None and (reason := _broken(module)):
                problems.append(f'{name} cannot be imported ({reason}). Type: {_pip()} install "imaseg[{extra}]"')
    folders = {name: os.environ[name] for name in _FOLDERS if os.environ.get(name)}
    problems += [f"{name} is {path}, which is no folder. Create it or set another." for name, path in folders.items()
                 if not Path(path).is_dir()]  # fmt: skip
    return {
        "imaseg": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "devices": _devices(),
        "packages": packages,
        "missing_extras": {extra: f'{_pip()} install "imaseg[{extra}]"' for extra, parts in _EXTRAS.items()
                           if any(packages[name] is None for name in parts)},
        "folders": folders,
        "problems": problems,
        "next": problems[0].partition("Type: ")[2] if problems and "Type: " in problems[0] else "imaseg demo",
    }  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _broken(module: str) -> str:
    """Why a module cannot be imported; empty if it can."""
    logging.disable(logging.WARNING)  # some packages log warnings about optional parts that are missing
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken installation raises anything
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    finally:
        logging.disable(logging.NOTSET)
    return ""


def _outdated() -> list[str]:
    """Problems with packages whose version is not the one that imaseg requires."""
    try:
        wanted = metadata.requires("imaseg") or []
    except metadata.PackageNotFoundError:
        return []  # run from its folder without being installed
    from packaging.requirements import Requirement

    problems = []
    for requirement in map(Requirement, wanted):
        version = _version(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if version is not None and not requirement.specifier.contains(version, prereleases=True):
            problems.append(
                f"{requirement.name} is {version}, and imaseg needs {requirement.specifier}. "
                f'Type: {_pip()} install "{requirement.name}{requirement.specifier}"'
            )
    return problems


def _devices() -> list[str]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [*gpus, f"cpu, {counted(os.cpu_count() or 1, 'core')}, {counted(torch.get_num_threads(), 'thread')}"]


def _pip() -> str:
    return f"{Path(sys.executable).name} -m pip"


def _print_environment(facts: Mapping[str, Any]) -> None:
    missing = {name for name, version in facts["packages"].items() if version is None}
    _rows(
        [
            ("imaseg", f"{facts['imaseg']} on Python {facts['python']}, {facts['system']}"),
            ("devices", "; ".join(facts["devices"])),
            ("packages", ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)),
            *[("not here", f"{', '.join(sorted(missing & set(parts)))}: {facts['missing_extras'][extra]}")
              for extra, parts in _EXTRAS.items() if extra in facts["missing_extras"]],
            *[("folder", f"{name}={path}") for name, path in facts["folders"].items()],
        ]
    )  # fmt: skip
    _sentences("broken", facts["problems"])
    if not facts["problems"]:
        typer.echo("Nothing is broken.")
    _rows([("next", facts["next"])])


def _print_model(facts: Mapping[str, Any]) -> None:
    put = facts["input"]
    tiles = facts["tiles"]
    axes = f", axes {put['axes']}" if put.get("axes") else ""
    channels = counted(put["channels"], "channel")
    _rows(
        [
            ("model", f"{facts['name']} ({facts['kind']}): {facts['network']}, {facts['parameters']:,} parameters"),
            ("input", f"{channels}, {put['spatial_dims']}D{axes}, sides multiples of {put['divisor']}"),
            ("padding", "lowest value by channel" if put["pad_value"] == "lowest" else f"{put['pad_value']:g}"),
            ("tiles", "none: whole images" if tiles is None else
             f"{_by(tiles['roi_size'])}, overlap {tiles['overlap']}, {tiles['mode']} blending"),
            ("labels", ", ".join(f"{k} {name}" for k, name in facts["labels"].items())),
            ("output", "logits" if facts["activation"]["found"] == "none" else facts["activation"]["found"]),
            ("recipe", "unknown" if facts["preparation"] is None else _words(facts["preparation"])),
            ("trained on", counted(facts["train_ids"], "known case") if facts["train_ids"] else "unknown cases"),
            ("passes", "all alike" if facts["random"] is None else "random: no two are alike"),
            ("gradient", "reaches the image" if facts["gradient_reaches_image"] else "does not reach the image"),
        ]
    )  # fmt: skip
    _sentences("note", facts["notes"])


def _print_data(facts: Mapping[str, Any]) -> None:
    held = counted(facts["cases"], f"{'prepared' if facts['prepared'] else 'raw'} case")
    some = f", {facts['chosen']} of them" if facts["chosen"] < facts["cases"] else ""
    rows = [("data", f"{facts['folder']}: {held}{some} ({facts['selection']})")]
    rows += [("tried", _tried(case)) for case in facts["tried"]]
    _rows(rows)
    _print_preparation(facts["preparation"])
    if facts["agreement"] is not None:
        _rows([("compared", Agreement(**facts["agreement"]).sentence)])
    _sentences("note", facts["notes"])


def _tried(case: Mapping[str, Any]) -> str:
    """A case that the model was tried on; of pictures a pixel is all that is known."""
    sides = [side for side in case["shape"] if case["sized"] or side > 1]
    size = f"{_by(sides)} pixels" if not case["sized"] else f"{_by(sides)} voxels of {_by(case['spacing_mm'])} mm"
    scores = [
        f"{name} {score:.3f}{'' if name in case['labelled'] else ' (none labelled)'}"
        for name, score in case["dice"].items()
    ]
    unit = "voxel" if case["sized"] else "pixel"
    found = [f"{name} in {counted(number, unit)}" for name, number in case["found"].items() if number]
    said = f"clean Dice: {', '.join(scores)}" if scores else f"finds {', '.join(found) or 'nothing'}"
    return f"{case['id']}: {size}, values {case['lowest']:g} to {case['highest']:g}, {said}"


def _print_preparation(facts: Mapping[str, Any]) -> None:
    """How the data reach the model, and how its output is read."""
    _sentences("prepared", [f"by {facts['by']}", *facts["steps"]])
    labels = [
        f"{match['value']}{match['name'] and ' '}{match['name']} is {match['structure']} {match['structure_name']} "
        f"(by {match['matched']})"
        for match in facts["labels"]
    ]
    _sentences("matched", [", ".join(labels)] if labels else [])
    for name in ("classes", "postprocessing"):
        if left_out := facts[f"{name}_left_out"]:
            _rows([("left out", f"{name}: {', '.join(left_out)}")])
    _rows([("Dice on", facts["grid"])])


def _rows(rows: Sequence[tuple[str, str]]) -> None:
    for name, text in rows:
        say(f"{name:<11}{text}", indent=11)


def _sentences(name: str, sentences: Sequence[str]) -> None:
    _rows([(name if not index else "", sentence) for index, sentence in enumerate(sentences)])


def _by(sides: Any) -> str:
    return " x ".join(f"{side:g}" for side in sides) if isinstance(sides, list | tuple) else str(sides)


def _words(settings: Mapping[str, Any]) -> str:
    shown = {key: ", ".join(map(str, one)) if isinstance(one, list) else one for key, one in settings.items()}
    return "; ".join(f"{key}: {value}" for key, value in shown.items()) or "as the files hold them"
