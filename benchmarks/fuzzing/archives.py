"""Damage inside checkpoints and archives: records and tensors, in files that are whole otherwise."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from fuzzing.documents import VALUES, entry_changed, places
from fuzzing.raw_bytes import damaged


def records_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """A zip file: a record is gone, renamed, swapped, twice there, damaged, or swells to a hundred times its size."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = [(name, archive.read(name)) for name in archive.namelist()]
    at, other = rng.randrange(len(records)), rng.randrange(len(records))
    name, inner = records[at]
    kind = rng.choice(("delete", "rename", "swap", "double", "damage", "damage", "swell"))
    if kind == "delete":
        del records[at]
    elif kind == "rename":
        records[at] = rng.choice(("../x", "/x", f"{name}x", "x" * 5000, name.upper())), inner
    elif kind == "swap":
        records[at], records[other] = (name, records[other][1]), (records[other][0], inner)
    elif kind == "double":
        records.append((name, records[other][1]))
    elif kind == "damage":
        records[at] = name, damaged(rng, inner)[0]
    else:
        records[at] = name, inner + b"\0" * 300_000_000
    made = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if kind == "swell" or rng.random() < 0.1 else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", packing, compresslevel=1) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for record, data in records:
            archive.writestr(record, data)
    return made.getvalue(), f"{kind} {name[-40:]}"


def state_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """A file of `torch.save`: an entry is another value, or a tensor of another kind."""
    state: Any = torch.load(io.BytesIO(content), weights_only=False)
    state, told = _tensor_or_entry(rng, state)
    made = io.BytesIO()
    torch.save(state, made)
    return made.getvalue(), told


def safetensors_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """A safetensors file: its header is another document, or a tensor of another kind."""
    if rng.random() < 0.5:
        length = int.from_bytes(content[:8], "little")
        header, told = entry_changed(rng, json.loads(content[8 : 8 + length]), VALUES)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + length :], f"header {told}"
    state, told = _tensor_or_entry(rng, load(content))
    return save({name: t.contiguous() for name, t in state.items() if isinstance(t, Tensor)}), told


def _tensor_or_entry(rng: random.Random, state: Any) -> tuple[Any, str]:
    tensors = [way for way in places(state) if isinstance(_at(state, way), Tensor)]
    if not tensors or rng.random() < 0.4:
        return entry_changed(rng, state, VALUES)
    *way, last = rng.choice(tensors)
    part, kind = _at(state, way), rng.choice(sorted(_TENSORS))
    part[last] = _TENSORS[kind](part[last].detach().clone())
    return state, f"{last}: {kind}"


def _at(content: Any, way: Any) -> Any:
    for key in way:
        content = content[key]
    return content


_TENSORS = {
    "double": lambda t: t.double(),
    "half": lambda t: t.half(),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "int64": lambda t: t.long(),
    "bool": lambda t: t.bool(),
    "complex": lambda t: t.to(torch.complex64),
    "nan": lambda t: t.float() * float("nan"),
    "infinite": lambda t: t.float() + float("inf"),
    "huge": lambda t: t.float() * 0 + 3e38,
    "flat": lambda t: t.flatten(),
    "turned": lambda t: t.transpose(0, -1) if t.ndim else t[None],
    "empty": lambda t: t.flatten()[:0],
    "scalar": lambda t: t.sum(),
    "longer": lambda t: torch.cat([t[None], t[None]]),
    "sparse": lambda t: t.to_sparse(),
    "csr": lambda t: t.reshape(1, -1).to_sparse_csr(),
    "meta": lambda t: t.to("meta"),
    "one element seen often": lambda t: t.flatten()[:1].expand(2**33),
    "parameter": lambda t: torch.nn.Parameter(t.float()),
}
"""A tensor as it should not be in a checkpoint."""
