"""An accelerator that is not there: tensors that report another device and compute on the CPU.

Operations on tensors of both devices raise, as they would on a GPU, and whatever makes the host wait for the device is
counted with the line of imaseg that asked for it. Needs the hook of torch 2.14 for backends written in Python.
"""

from __future__ import annotations

import copy
import traceback
from collections import Counter
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

try:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
except ImportError:
    _setup_privateuseone_for_python_backend = None

AVAILABLE = _setup_privateuseone_for_python_backend is not None
NAME = "pretend"
_WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"}
_MASKED = {"aten::index", "aten::index_put", "aten::index_put_"}  # of a mask the number of indices is not known
_MIXING = {"aten::copy_", *_MASKED}  # take indices from the CPU
_waits: Counter[str] = Counter()


class _Tensor(torch.Tensor):
    """A tensor on the device; `held` is what it computes with."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device(NAME, 0),
            requires_grad=held.requires_grad,
        )
        wrapper.held = held.detach()
        return wrapper

    def __repr__(self):
        return f"_Tensor({self.held})"

    def tolist(self):
        """As of any tensor; the host waits."""
        _note()
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _run(function, args, kwargs):
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    there = [one for one in tensors if isinstance(one, _Tensor)]
    here = [one for one in tensors if not isinstance(one, _Tensor) and one.ndim > 0]
    name, device = function._schema.name, kwargs.get("device")
    wanted = device is not None and torch.device(device).type == NAME
    fetched = name == "aten::_to_copy" and device is not None and not wanted
    if there and here and name not in _MIXING:
        raise RuntimeError(f"devices mix in {name}: {[tuple(one.shape) for one in here]}")
    masked = name in _MASKED and any(one.dtype == torch.bool for one in tree_leaves(args[1]) if one is not None)
    if there and (name in _WAITING or fetched or masked):
        _note()
    if device is not None:
        kwargs = {**kwargs, "device": "cpu"}
    args_held, kwargs_held = tree_map(lambda one: one.held if isinstance(one, _Tensor) else one, (args, kwargs))
    found = function(*args_held, **kwargs_held)
    if fetched or not (there or wanted):
        return found
    if name.endswith("_") and isinstance(args[0], _Tensor):  # returns what it changed
        return args[0]
    return tree_map(lambda one: _Tensor(one) if isinstance(one, torch.Tensor) else one, found)


def _note():
    lines = [frame for frame in traceback.extract_stack() if "/imaseg/" in frame.filename]
    _waits[f"{lines[-1].filename.rpartition('/imaseg/')[2]}:{lines[-1].lineno}" if lines else "outside"] += 1


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


@contextmanager
def pretending():
    """Give a function that says how often, and where, the host has waited since it was last asked."""
    set_up()

    def waited():
        found = Counter(_waits)
        _waits.clear()
        return found

    with _Mode():
        _waits.clear()
        yield waited


def moved(value):
    """A copy of a tensor or a network on the device; to be called while pretending."""
    if isinstance(value, torch.Tensor):
        return value.to(NAME)
    network = copy.deepcopy(value)
    for module in network.modules():
        for name, one in module._parameters.items():
            if one is not None:
                module._parameters[name] = nn.Parameter(_Tensor(one.data))
        for name, one in module._buffers.items():
            if one is not None:
                module._buffers[name] = _Tensor(one)
    return network


_ready: list[torch.library.Library] = []


def set_up():
    """Register the device once per process."""
    if _ready:
        return
    _setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("aten", "IMPL")
    library.impl(
        "empty_strided",
        lambda size, stride, *, dtype=None, **_: _Tensor(torch.empty_strided(size, stride, dtype=dtype)),
        "PrivateUse1",
    )
    library.impl(
        "empty.memory_format", lambda size, *, dtype=None, **_: _Tensor(torch.empty(size, dtype=dtype)), "PrivateUse1"
    )
    for name in ("_copy_from", "_copy_from_and_resize"):
        library.impl(name, _copied, "PrivateUse1")
    library.impl(
        "_local_scalar_dense", lambda one: _run(torch.ops.aten._local_scalar_dense.default, (one,), {}), "PrivateUse1"
    )
    backend = getattr(torch, NAME)
    backend.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    backend.get_rng_state, backend.set_rng_state = lambda *_: torch.get_rng_state(), lambda *_: None
    _ready.append(library)


def _copied(source, target, non_blocking=False):
    one, other = (value.held if isinstance(value, _Tensor) else value for value in (source, target))
    other.copy_(one)
    return target
