"""What exactly was audited, with what: names, versions, hashes, plan, hardware."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import imaseg
from imaseg.auditing.plan import Plan
from imaseg.data import CaseSet
from imaseg.models import SegmentationModel

_PACKAGES = ("torch", "monai", "numpy", "nibabel")


def describe(model: SegmentationModel, spec: str, cases: CaseSet, plan: Plan) -> dict[str, Any]:
    """The part of `run.json` that is known before the first case, and that a resumed audit must share."""
    device = next(model.parameters()).device
    content = plan.model_dump()
    return {
        "imaseg": imaseg.__version__,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        "model": {
            "spec": spec,
            "name": model.card.name,
            "network": str(model.card.network.get("name", type(model.network).__name__)),
            "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
            "sha256": _hash_weights(model),
            "trained_by": str(model.card.method.get("name", "unknown")),
        },
        "data_sha256": _hash_files(cases),
        "plan": content,
        "plan_sha256": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        "seed": plan.seed,
        "hardware": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "cpu": _cpu_name(),
            "threads": torch.get_num_threads(),
        },
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _hash_weights(model: SegmentationModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _hash_files(cases: CaseSet) -> str:
    """Over names and contents of images and labels, in order."""
    digest = hashlib.sha256()
    for case in cases:
        for path in (*case.image, *([case.label] if case.label else [])):
            digest.update(path.name.encode())
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
