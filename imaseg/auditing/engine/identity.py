"""What exactly was run, on what and with what: names, versions, hashes, settings, hardware; and whose a folder is."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from imaseg.auditing.engine.sharing import Claims, wait_for
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan
from imaseg.data.files import occupied, sweep, write_json
from imaseg.errors import InputError
from imaseg.models import SegmentationModel
from imaseg.models.adapted import AdaptedModel
from imaseg.models.only import OnlyClasses
from imaseg.results.load import read_record
from imaseg.results.preparation import Preparation
from imaseg.results.run import Run
from imaseg.results.summary import ModelFacts

_PACKAGES = ("torch", "monai", "numpy", "nibabel", "torchio", "scipy")
_TOLD, _SHORT = 4, 24
"""How many differences a message names, and up to how many characters of a value it shows."""
_UNKNOWN = "unknown"
"""Stands for a value whose key one of two versions does not have."""
PATIENCE = 600.0
"""Seconds that a process of `torchrun` waits for the first one to make the folder."""


class _Missing:
    """Stands for a value that is not there."""


def describe(subject: Subject, plan: Plan, preparation: Preparation) -> Run:
    """What is known before the first case, and what a resumed run must share.

    Args:
        subject: model and cases.
        plan: what is asked of them.
        preparation: how the cases reach the model.
    """
    model, content = subject.model, plan.model_dump(mode="json")
    card, attacker = _card(model, preparation), subject.attacker
    device = next(model.parameters()).device
    return Run(
        imaseg=metadata.version("imaseg"),
        versions={"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        model=_facts(model, subject.spec, card),
        attacker=_facts(attacker.model, attacker.spec, _card(attacker.model, preparation)) if attacker else None,
        card=card,
        preparation=preparation,
        data_sha256=subject.cases.sha256(),
        plan=content,
        plan_sha256=hash_json(content),
        seed=plan.seed,
        random=subject.random,
        precision=subject.precision.name,
        precision_because=subject.precision.words,
        hardware={
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "cpu": _cpu_name(),
            "threads": torch.get_num_threads(),
        },
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _facts(model: SegmentationModel, spec: str, card: Mapping[str, Any]) -> ModelFacts:
    return ModelFacts(
        spec=spec,
        name=model.card.name,
        network=str(model.card.network.get("name", type(model.network).__name__)),
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        sha256=_hash_weights(model),
        card_sha256=hash_json(card),
        trained_by=str(model.card.method.get("name", "unknown")),
    )


def claim(folder: Path, run: Run, *, resume: bool, follow: bool = False, dry_run: bool = False) -> None:
    """Make a folder this run's, or go on with the one it holds if that is the same run.

    Args:
        folder: of the audit.
        run: what `describe` returned.
        resume: whether to go on.
        follow: whether another process makes the folder, so that this one waits and only looks whether it fits.
        dry_run: only look whether it fits; nothing is written.

    Raises:
        InputError: if the folder holds something else, or the other process does not make it.
    """
    path = folder / "run.json"
    if follow:
        if not wait_for(path, PATIENCE):
            msg = f"{path} must be written by the process of rank 0, got nothing in {PATIENCE:.0f} s. See its output."
            raise InputError(msg)
        _same(folder, read_record(path, Run), run)
    elif path.is_file():
        if not resume:
            msg = f"{folder} must be a new folder, got one with an audit in it. Add --resume, or name another --out."
            raise InputError(msg)
        _same(folder, read_record(path, Run), run)
        if not dry_run and Claims(folder).idle():  # else what looks left behind may be written just now
            sweep(folder)
    elif occupied(folder):
        msg = f"{folder} must be a new or empty folder, got one with other content. Name another --out."
        raise InputError(msg)
    elif not dry_run:
        write_json(path, run.model_dump(mode="json"))


def _same(folder: Path, before: Run, run: Run) -> None:
    """Refuse to go on with another run."""
    for same, what, got in (
        (before.data_sha256 == run.data_sha256, "with the same data", "another"),
        (before.plan_sha256 == run.plan_sha256, "with the same plan", f"another{_keys(before.plan, run.plan)}"),
        (before.model.sha256 == run.model.sha256, "of the same weights", "others"),
        (
            (before.attacker and before.attacker.sha256) == (run.attacker and run.attacker.sha256),
            "with attacks made on the same model",
            "another",
        ),
        (
            before.model.card_sha256 == run.model.card_sha256,
            "of the same model card and preparation",
            f"another{_keys(before.card, run.card)}",
        ),
    ):
        if not same:
            msg = f"{folder} must hold an audit {what} to be resumed, got {got}. "
            msg += f"{_versions(before, run)}Name another --out."
            raise InputError(msg)


def _versions(before: Run, run: Run) -> str:
    """A sentence that ends in a blank where an audit was begun by another imaseg; else empty."""
    if before.imaseg != run.imaseg:
        return f"It was begun by imaseg {before.imaseg}, this is {run.imaseg}. "
    changed = any(_UNKNOWN in one for one in _differing(before.plan, run.plan))
    return "It was begun by another state of imaseg, whose plans have other keys. " if changed else ""


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Which entries differ, and how, in brackets; empty if none does."""
    differs = [*_differing(old, new)]
    more = f"; and {len(differs) - _TOLD} more" if len(differs) > _TOLD else ""
    return f" ({'; '.join(differs[:_TOLD])}{more})" if differs else ""


def _differing(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Paths of the values that differ, such as `probes.1.steps: 20 there, 10 now`; long values are not shown."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            yield from _differing(old.get(key, _Missing), new.get(key, _Missing), f"{place}.{key}".lstrip("."))
    elif _listed(old) and _listed(new) and len(old) == len(new):
        for number, (before, now) in enumerate(zip(old, new, strict=True)):
            yield from _differing(before, now, f"{place}.{number}")
    else:
        values = [_UNKNOWN if one is _Missing else json.dumps(one, default=str) for one in (old, new)]
        short = max(map(len, values)) <= _SHORT
        yield f"{place}: {values[0]} there, {values[1]} now" if short else place


def _listed(value: Any) -> bool:
    """Whether a value is a list of parts with keys of their own."""
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def _card(model: SegmentationModel, preparation: Preparation) -> dict[str, Any]:
    """All that is said about a model besides its weights; figures of single cases follow from the data."""
    whole = model.whole if isinstance(model, OnlyClasses) else model
    card = model.card.model_dump(mode="json") | {"back": model.back}
    if isinstance(whole, AdaptedModel):
        found = whole.found
        card |= {"network_card": found.card.model_dump(mode="json", exclude={"train_ids", "val_ids"})}
        card |= {"ending": asdict(whole.ending), "slices_along": whole.slices_along, "divisor": found.probe.divisor}
        card |= {"code_sha256": _hash_code(whole.raw)}
    if isinstance(model, OnlyClasses):
        card |= {"kept": list(model.kept)}
    if (described := getattr(model.prepare, "described", None)) is not None:
        card |= {"preparation": described}
    return card | preparation.model_dump(mode="json", exclude={"steps", "example", "grid"})


def _hash_code(network: Any) -> str:
    """Over the files of an author's own network; empty for those of installed libraries, whose versions are stated."""
    inner = getattr(network, "network", network)
    if isinstance(inner, torch.jit.ScriptModule):
        return hashlib.sha256(str(inner.inlined_graph).encode()).hexdigest()
    digest, own = hashlib.sha256(), False
    for kind in sorted({type(part) for part in inner.modules()}, key=lambda kind: (kind.__module__, kind.__qualname__)):
        path = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if path is not None and "site-packages" not in path and not kind.__module__.startswith("imaseg."):
            digest.update(Path(path).read_bytes())
            own = True
    return digest.hexdigest() if own else ""


def hash_json(content: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _hash_weights(model: SegmentationModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
