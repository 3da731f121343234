"""Whole volumes through a network that sees tiles: sliding-window inference with exact gradients in one tile's memory.

    logits = sum_t s_t f(x_t),   s_t = w_t / W,   W = sum_t w_t      tiles t, blending weights w, shares s

The tiles are run without a graph. Going back, with G = dL/d(logits), each tile's forward pass is run once more with a
graph, s_t G_t is sent back through it and added into the gradient at x_t. That is the gradient of the full graph to
rounding, for one more forward pass, while no more than `batch_size` tiles have a graph at any moment. Where there is
`memory` for more, passes keep the graph of their first run and are spared the second. Forward mode
(Jacobian-vector products) goes tile by tile likewise.

`imaseg.narrowing` spares the tiles that a change near a structure does not reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations, count, product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.func import functional_call
from torch.nn.functional import pad

from imaseg.frozen import Model, full_resolution

_LEAST_WEIGHT = 1e-3  # of a Gaussian's corners, as in MONAI
_dual: Any = forward_ad  # torch ships it without types


def padded(image: Tensor, widths: Sequence[int], value: float | None) -> Tensor:
    """Image (B, C, *spatial) filled up around its border.

    Args:
        image: to pad.
        widths: voxels at both ends of each axis, the last axis first, as `torch.nn.functional.pad` takes them.
        value: to fill with; None: the lowest value of each channel of each image, which carries no gradient.
    """
    if value is not None:
        return pad(image, widths, value=value)
    lowest = image.detach().amin(dim=tuple(range(2, image.ndim)), keepdim=True)
    outside = pad(torch.zeros_like(image[:1, :1], dtype=torch.bool), widths, value=True)
    return torch.where(outside, lowest, pad(image, widths))


class TiledModel(nn.Module):
    """Runs `model` tile by tile over images of any size and blends the logits, as MONAI's sliding window does.

    For attacks and margins it is a model like any other; one call counts as one forward pass. Logits come in float32
    or better, whatever precision the network computes in.

    Gradients are exact for the image and, where `model` is an nn.Module, for its weights, so that training through it
    takes the memory of one tile too. The weights that a plain callable uses are constants. Dropout and noise draw the
    same random numbers when a tile is run again (generators of the CPU and of the image's device), and buffers that
    move in train mode, such as BatchNorm's, move once. With `create_graph=True`, and in forward mode with gradients
    enabled, second derivatives are exact too, at the memory of all tiles.

    Args:
        model: image (N, C, *tile) -> logits (N, K, *tile), or a list of them whose first entry has full resolution.
        roi_size: voxels of a tile along each spatial axis, one number for all of them; -1 for the whole axis.
        overlap: of neighbouring tiles as a share of the tile, in [0, 1), one number or one per axis.
        mode: "gaussian" trusts the middle of a tile more than its border, "constant" trusts all of it alike.
        sigma_scale: standard deviation of the Gaussian as a share of the tile, one number or one per axis.
        padding_mode: how axes shorter than the tile are padded at both ends: "constant", "reflect", "replicate" or
            "circular". The logits are cropped back.
        cval: value of constant padding, in the units of the image; None: the lowest value of each channel.
        mirror_axes: spatial axes of the image, from 0; logits are the mean over all combinations of flips along them.
        slices_along: spatial axis of the image along which a 2D network is applied slice by slice; `roi_size`,
            `overlap` and `sigma_scale` then refer to the other axes.
        batch_size: tiles that the network sees at once.
        even: neighbouring tiles overlap alike, at least by `overlap`, as in nnU-Net; else all but the last two overlap
            by just that, as in MONAI.
        weight: blending weights (*roi) > 0 in place of those that `mode` names.
        memory: bytes that graphs may hold from the forward pass until the backward pass. Passes (of `batch_size` tiles
            each) whose graphs fit are not run a second time; what one of them holds is found out by the first.

    Raises:
        ValueError: if an argument is out of range; when called, if image and arguments differ in their axes, or the
            size of the network's output from that of its input.
        RuntimeError: going back, if a module of the network has moved between train and eval mode since.

    >>> model = TiledModel(nn.Conv3d(1, 2, 3, padding=1), roi_size=16, mirror_axes=(0,))
    >>> model(torch.zeros(1, 1, 40, 24, 8)).shape, model.tiles((1, 1, 40, 24, 8))
    (torch.Size([1, 2, 40, 24, 8]), 12)
    """

    def __init__(
        self,
        model: Model,
        roi_size: int | Sequence[int],
        overlap: float | Sequence[float] = 0.25,
        mode: Literal["gaussian", "constant"] = "gaussian",
        *,
        sigma_scale: float | Sequence[float] = 0.125,
        padding_mode: Literal["constant", "reflect", "replicate", "circular"] = "constant",
        cval: float | None = 0.0,
        mirror_axes: Sequence[int] = (),
        slices_along: int | None = None,
        batch_size: int = 1,
        even: bool = False,
        weight: Tensor | None = None,
        memory: float = 0.0,
    ) -> None:
        super().__init__()
        _each(
            "roi_size",
            roi_size,
            "whole, >= 1 or -1 for a whole axis",
            lambda n: hasattr(n, "__index__") and (n > 0 or n == -1),
        )
        _each("overlap", overlap, "in [0, 1)", lambda share: 0 <= share < 1)
        _each("sigma_scale", sigma_scale, "> 0", lambda scale: scale > 0)
        _each("batch_size", batch_size, "whole and >= 1", lambda n: hasattr(n, "__index__") and n > 0)
        _each("memory", memory, ">= 0", lambda size: size >= 0)
        _one_of("mode", mode, ("gaussian", "constant"))
        _one_of("padding_mode", padding_mode, ("constant", "reflect", "replicate", "circular"))
        if weight is not None and not bool((weight > 0).all()):
            msg = f"weight must be > 0 everywhere, got {float(weight.min())}."
            raise ValueError(msg)
        self.model = model
        self.roi_size, self.overlap, self.sigma_scale = roi_size, overlap, sigma_scale
        self.mode, self.padding_mode, self.cval = mode, padding_mode, cval
        self.mirror_axes, self.slices_along, self.batch_size = tuple(mirror_axes), slices_along, batch_size
        self.even, self.weight, self.memory = even, weight, memory
        self._blending: tuple[object, tuple[Tensor, Tensor]] | None = None
        self._listener: Callable[[Tensor, Layout], None] | None = None
        self._still: Still | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Blended logits (B, K, *spatial) of image (B, C, *spatial)."""
        image = image if type(image) is Tensor else image.as_subclass(Tensor)
        if image.ndim < 3 or not len(image) or not image.is_floating_point():
            msg = f"image must be floating (B, C, *spatial) with B >= 1, got {image.dtype} {tuple(image.shape)}."
            raise ValueError(msg)
        layout = self._layout(image.shape[2:])
        short = any(layout.margins)
        if short:
            if self.padding_mode == "constant":
                image = padded(image, layout.margins, self.cval)
            else:
                image = pad(image, layout.margins, self.padding_mode)
        if self._listener is not None:
            self._listener(image, layout)
        still, self._still = self._still, None  # only the first of several calls was looked at
        if still is not None and not still.holds(image):
            still = None
        if still is not None:
            still.fill(self, layout)
        weights = dict(self.model.named_parameters()) if isinstance(self.model, nn.Module) else {}
        differentiable = torch.is_grad_enabled() and any(one.requires_grad for one in (image, *weights.values()))
        call = _Call(self, layout, image, tuple(weights), memory=self.memory if differentiable else 0.0, still=still)
        logits: Tensor = _Blend.apply(image, call, *weights.values())
        return logits[layout.inside] if short else logits

    def tiles(self, shape: Sequence[int]) -> int:
        """How many tiles, mirrored ones included, the network sees of an image of that shape (B, C, *spatial)."""
        return shape[0] * len(self._layout(shape[2:]).tiles) * len(self._flips)

    @contextmanager
    def listening(self, listener: Callable[[Tensor, Layout], None]) -> Iterator[None]:
        """Show every image (B, C, *padded), as the tiles are cut from it, and their layout to `listener` first."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None

    @contextmanager
    def resting(self, still: Still) -> Iterator[None]:
        """Run only the tiles that change in the next call, if `still` holds on it; the others have no gradient."""
        self._still = still
        try:
            yield
        finally:
            self._still = None

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        shown = ("roi_size", "overlap", "mode", "mirror_axes", "slices_along", "batch_size")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)

    @property
    def _flips(self) -> list[tuple[int, ...]]:
        """Axes of tiles (N, C, *roi) that are mirrored together, one entry per combination."""
        axes = [axis + 2 for axis in self.mirror_axes]
        return [*chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1))]

    def _layout(self, size: Sequence[int]) -> Layout:
        named = (*self.mirror_axes, *(() if self.slices_along is None else (self.slices_along,)))
        if len({*named} & {*range(len(size))}) < len(named):
            msg = (
                f"mirror_axes and slices_along must be different spatial axes of the image, 0 to {len(size) - 1}, "
                f"got {self.mirror_axes} and {self.slices_along}."
            )
            raise ValueError(msg)
        roi = [int(side) for side in self._per_axis("roi_size", self.roi_size, len(size), of_slices=1)]
        overlap = self._per_axis("overlap", self.overlap, len(size), of_slices=0)
        return Layout.of(size, roi, overlap, even=self.even)

    def _per_axis(self, name: str, value: float | Sequence[float], axes: int, *, of_slices: float) -> list[float]:
        """One number per spatial axis of the image, `of_slices` along the axis that is cut into slices."""
        wanted = axes - (self.slices_along is not None)
        values = [*value] if isinstance(value, Sequence) else [value] * wanted
        if len(values) != wanted:
            msg = (
                f"{name} must be one number or one for each of {wanted} axes, got {value}. "
                f"Use slices_along for a 2D network on a volume."
            )
            raise ValueError(msg)
        if self.slices_along is not None:
            values.insert(self.slices_along, of_slices)
        return values

    def _weights(self, layout: Layout, image: Tensor) -> tuple[Tensor, Tensor]:
        """Blending weight w of a tile (1, 1, *roi) and the sum W of all (1, 1, *padded), kept for the next call."""
        dtype = torch.promote_types(image.dtype, torch.float32)
        key = (layout, dtype, image.device)
        if self._blending is None or self._blending[0] != key:
            with torch.inference_mode(mode=False), torch.no_grad():
                weight = torch.ones(layout.roi) if self.weight is None else self._given_weight(layout.roi)
                if self.mode == "gaussian" and self.weight is None:
                    scales = self._per_axis("sigma_scale", self.sigma_scale, len(layout.roi), of_slices=1)
                    weight = _gaussian(layout.roi, scales)
                weight = weight.to(image.device, dtype)
                total = weight.new_zeros(layout.padded)
                for tile in layout.tiles:
                    total[tile] += weight
            self._blending = key, (weight[None, None], total[None, None])
        return self._blending[1]

    def _given_weight(self, roi: tuple[int, ...]) -> Tensor:
        weight = self.weight if self.weight is not None else torch.ones(roi)
        if self.slices_along is not None:
            weight = weight.unsqueeze(self.slices_along)
        if weight.shape != roi:
            msg = f"weight must have the size of a tile, {roi}, got {tuple(weight.shape)}."
            raise ValueError(msg)
        return weight


@dataclass(frozen=True)
class Layout:
    """Where the tiles lie.

    Attributes:
        roi: size of a tile.
        padded: size of the image after padding.
        margins: what is padded, as `torch.nn.functional.pad` takes it.
        inside: slices that cut the image (B, K, *spatial) out of the padded one.
        tiles: slices that cut each tile out of the padded image.
    """

    roi: tuple[int, ...]
    padded: tuple[int, ...]
    margins: list[int]
    inside: tuple[slice, ...]
    tiles: list[tuple[slice, ...]]

    @classmethod
    def of(cls, size: Sequence[int], roi: Sequence[int], overlap: Sequence[float], *, even: bool) -> Layout:
        """Tiles of size `roi` (-1: the whole axis) from corner to corner."""
        sides = [whole if side < 0 else side for side, whole in zip(roi, size, strict=True)]
        before = [max(side - whole, 0) // 2 for side, whole in zip(sides, size, strict=True)]
        after = [max(side - whole, 0) - first for side, whole, first in zip(sides, size, before, strict=True)]
        padded = [max(side, whole) for side, whole in zip(sides, size, strict=True)]
        starts = [_starts(*axis, even=even) for axis in zip(sides, padded, overlap, strict=True)]
        return cls(
            roi=tuple(sides),
            padded=tuple(padded),
            margins=[width for pair in reversed([*zip(before, after, strict=True)]) for width in pair],
            inside=(slice(None), slice(None), *map(slice, before, map(sum, zip(before, size, strict=True)))),
            tiles=[tuple(map(slice, corner, map(sum, zip(corner, sides, strict=True)))) for corner in product(*starts)],
        )


def _starts(side: int, whole: int, overlap: float, *, even: bool) -> list[int]:
    """First voxels of the tiles along an axis; the last one ends at the border."""
    if not even:
        return [*range(0, whole - side, max(1, int(side * (1 - overlap)))), whole - side]
    gaps = math.ceil((whole - side) / (side * (1 - overlap)))
    return [round((whole - side) / gaps * index) for index in range(gaps + 1)] if gaps else [0]


class _Tiles:
    """Some tiles, mirrored one way, that go through the network at once."""

    def __init__(self, slices: list[tuple[slice, ...]], flip: tuple[int, ...]) -> None:
        self.slices, self.flip = slices, flip

    def cut(self, volume: Tensor) -> Tensor:
        """The tiles (N, C, *roi) of volume (B, C, *padded)."""
        tiles = torch.cat([volume[tile] for tile in self.slices])
        return tiles.flip(self.flip) if self.flip else tiles

    def add(self, volume: Tensor, tiles: Tensor) -> None:
        """Add tiles to the volume where they were cut: the adjoint of `cut`."""
        for where, tile in zip(self.slices, tiles.flip(self.flip) if self.flip else tiles, strict=True):
            volume[where].add_(tile)


class _Call:
    """One call of a TiledModel, and all that is needed to run its tiles again in the same way."""

    def __init__(
        self,
        tiled: TiledModel,
        layout: Layout,
        image: Tensor,
        names: tuple[str, ...] = (),
        *,
        memory: float = 0.0,
        still: Still | None = None,
        tiles: Sequence[tuple[slice, ...]] | None = None,
    ) -> None:
        self.tiled, self.names, self.still = tiled, names, still
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        tiles = tiles if tiles is not None else layout.tiles if still is None else still.changing
        self._memory, self._number = memory, math.ceil(len(image) * len(tiles) / tiled.batch_size)
        self._number *= len(tiled._flips)
        self._kept_from = self._number
        self._weight, self._total = tiled._weights(layout, image)
        self._slices = [(slice(b, b + 1), slice(None), *tile) for b in range(len(image)) for tile in tiles]
        self._batch, self.size = len(image), layout.padded
        self._precision = _precision(image)
        self._gpus = [image.device] if image.device.type == "cuda" else []
        self._random = torch.get_rng_state(), [torch.cuda.get_rng_state(gpu) for gpu in self._gpus]
        self._modes = self._modes_now()

    def passes(self) -> Iterator[tuple[_Tiles, Tensor]]:
        """The tiles of each pass, and the share (N, 1, *roi) that their logits have in the result."""
        flips = self.tiled._flips
        total = self._total.expand(self._batch, *self._total.shape[1:])
        for first in range(0, len(self._slices), self.tiled.batch_size):
            for flip in flips:
                tiles = _Tiles(self._slices[first : first + self.tiled.batch_size], flip)
                weight = self._weight.flip(flip) if flip else self._weight
                yield tiles, weight / (tiles.cut(total) * len(flips))

    def first_logits(self, number: int, tiles: Tensor, *, to_image: bool) -> Tensor:
        """Logits (N, K, *roi) of a pass; its graph is kept if it is one of the last ones.

        The last ones, since random numbers are drawn again from the first pass on.
        """
        model, measured = self.tiled.model, number == 0 and self._memory > 0
        if number < self._kept_from and not measured:
            return self.logits(model, tiles)
        held = _Held()
        with torch.enable_grad(), held if measured else nullcontext():
            pixels = tiles.detach().requires_grad_(to_image)
            logits = self.logits(model, pixels)
        if measured:
            self._kept_from = self._number - int(self._memory // max(held.size(), 1))
        if number >= self._kept_from:
            self.kept[number] = pixels, logits
        return logits.detach()

    def logits(self, model: Model, tiles: Tensor) -> Tensor:
        """The network's logits on tiles (N, C, *roi)."""
        axis = None if self.tiled.slices_along is None else self.tiled.slices_along + 2
        kind, dtype, enabled = self._precision
        given = tiles if axis is None else tiles.squeeze(axis)
        # Weights cast without a graph must not be found in the cache when the graph is built.
        with torch.autocast(kind, dtype, enabled, cache_enabled=False):
            logits = full_resolution(model(given))
        if logits.shape[:1] + logits.shape[2:] != given.shape[:1] + given.shape[2:]:
            msg = (
                f"model must return logits of its input's size (N, K, *tile), got {tuple(logits.shape)} for a tile "
                f"{tuple(given.shape)}. Choose a roi_size that the network keeps, or pad inside the model."
            )
            raise ValueError(msg)
        return logits if axis is None else logits.unsqueeze(axis)

    @contextmanager
    def again(self, weights: Sequence[Tensor]) -> Iterator[Callable[[Tensor], Tensor]]:
        """`logits` with the network, the random numbers and the precision of the first time."""
        with torch.random.fork_rng(devices=self._gpus):
            torch.set_rng_state(self._random[0])
            for gpu, state in zip(self._gpus, self._random[1], strict=True):
                torch.cuda.set_rng_state(state, gpu)
            yield partial(self.logits, self._model_then(dict(zip(self.names, weights, strict=True))))

    def gradients(self, logits: Tensor, seed: Tensor, sources: list[Tensor]) -> list[Tensor]:
        """Gradient of <seed, logits> at each source, with a graph of its own where gradients are enabled."""
        half = self._precision[2] or logits.dtype.itemsize < 4
        # Shares of means over millions of voxels underflow in half precision.
        scale = seed.abs().amax().clamp(min=torch.finfo(seed.dtype).tiny) if half else 1.0
        gradients = torch.autograd.grad(
            logits,
            sources,
            (seed / scale).to(logits.dtype),
            create_graph=torch.is_grad_enabled(),
            materialize_grads=True,
        )
        return [gradient * scale for gradient in gradients] if half else [*gradients]

    def _model_then(self, weights: dict[str, Tensor]) -> Model:
        """The network with the weights it had, and with buffers that may move without consequence."""
        model = self.tiled.model
        if not isinstance(model, nn.Module):
            return model
        if self._modes_now() != self._modes:
            msg = (
                "model must be in the same mode, train or eval, going forward and back, got a module that was switched "
                "in between. Call backward first."
            )
            raise RuntimeError(msg)
        same = all(weights[name] is now for name, now in model.named_parameters())
        state = {} if same else weights
        if any(self._modes):
            state = state | {name: buffer.clone() for name, buffer in model.named_buffers()}
        return partial(functional_call, model, state) if state else model

    def _modes_now(self) -> list[bool]:
        model = self.tiled.model
        return [module.training for module in model.modules()] if isinstance(model, nn.Module) else []


class Still:
    """Tiles of one image that no later call changes, and what they add to its logits.

    Args:
        image: (1, C, *padded), as the tiles are cut from it.
        layout: of its tiles.
        changing: whether later calls change it, by tile.

    Attributes:
        changing: tiles to be run in every call.
        logits: (1, K, *padded), sum over the others of their logits times their share.
    """

    logits: Tensor | None = None

    def __init__(self, image: Tensor, layout: Layout, changing: Sequence[bool]) -> None:
        self.changing = [tile for tile, changes in zip(layout.tiles, changing, strict=True) if changes]
        self._resting = [tile for tile, changes in zip(layout.tiles, changing, strict=True) if not changes]
        self._image, self._free = image, torch.ones_like(image[:, :1], dtype=torch.bool)
        for tile in self._resting:
            self._free[(slice(None), slice(None), *tile)] = False
        self._made: dict[object, Tensor] = {}

    def holds(self, image: Tensor) -> bool:
        """Whether the other tiles are those of the first image."""
        if image.shape != self._image.shape or image.device != self._image.device:
            return False
        return bool(((image.detach() == self._image) | self._free).all())

    def fill(self, tiled: TiledModel, layout: Layout) -> None:
        """Run the other tiles, unless that was done at this precision."""
        if (precision := _precision(self._image)) not in self._made:
            with torch.no_grad():
                call = _Call(tiled, layout, self._image, tiles=self._resting)
                made = _blended(call, 1, lambda tiles: call.logits(tiled.model, tiles.cut(self._image)))
            self._made[precision] = made
        self.logits = self._made[precision]


class _Held(torch.autograd.graph.saved_tensors_hooks):
    """How many bytes a graph holds, weights aside."""

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}
        super().__init__(self._note, lambda tensor: tensor)

    def _note(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            self._storages[storage.data_ptr()] = storage.nbytes()
            tensor = tensor.detach()  # an output that kept itself would never be freed
        return tensor

    def size(self) -> int:
        """Bytes."""
        return sum(self._storages.values())


class _Blend(Function):
    """Image (B, C, *padded) -> blended logits (B, K, *padded), with derivatives that run the tiles again."""

    @staticmethod
    def forward(image: Tensor, call: _Call, *_: Tensor) -> Tensor:
        numbers = count()

        def logits_of(tiles: _Tiles) -> Tensor:
            return call.first_logits(next(numbers), tiles.cut(image), to_image=image.requires_grad)

        return _blended(call, len(image), logits_of, None if call.still is None else call.still.logits)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _: Tensor) -> None:
        image, ctx.call, *weights = inputs
        ctx.save_for_backward(image, *weights)
        ctx.save_for_forward(image, *weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, *weights = ctx.saved_tensors
        call: _Call = ctx.call
        at_image, _, *at_weights = (
            torch.zeros_like(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)) if needed else None
            for tensor, needed in zip((image, None, *weights), ctx.needs_input_grad, strict=True)
        )
        wanted = [(weight, at) for weight, at in zip(weights, at_weights, strict=True) if at is not None]
        with call.again(weights) as network:
            for number, (tiles, share) in enumerate(call.passes()):
                # Second derivatives and a second backward pass need a graph that leads on.
                kept = None if torch.is_grad_enabled() else call.kept.pop(number, None)
                if kept is not None:
                    pixels, logits = kept
                else:
                    pixels = tiles.cut(image).requires_grad_(at_image is not None)
                    with torch.enable_grad():
                        logits = network(pixels)
                sources = [pixels] * (at_image is not None) + [weight for weight, _ in wanted]
                gradients = call.gradients(logits, share * tiles.cut(gradient), sources)
                if at_image is not None:
                    tiles.add(at_image, gradients.pop(0))
                for (_, at), more in zip(wanted, gradients, strict=True):
                    at += more
        return at_image, None, *at_weights

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, _: None, *of_weights: Tensor | None) -> Tensor:
        image, *weights = ctx.saved_tensors
        call: _Call = ctx.call

        def moved(tiles: _Tiles) -> Tensor:
            pixels = _turned(tiles.cut(image), None if tangent is None else tiles.cut(tangent))
            logits = _dual.unpack_dual(network(pixels))
            return torch.zeros_like(logits.primal) if logits.tangent is None else logits.tangent

        enabled = torch.is_grad_enabled()
        # Forward mode is off in here; leaving inference mode is the public way of switching it on.
        with torch.inference_mode(mode=False), torch.set_grad_enabled(enabled):
            weights = [_turned(*pair) for pair in zip(weights, of_weights, strict=True)]
            with call.again(weights) as network:
                return _blended(call, len(image), moved)


def _turned(value: Tensor, tangent: Tensor | None) -> Tensor:
    """The value with that tangent; torch.func gives values that stand still one of 0."""
    if tangent is None or not bool(tangent.any()):
        return value
    dual: Tensor = _dual.make_dual(_dual.unpack_dual(value).primal, tangent)
    return dual


def _precision(image: Tensor) -> tuple[str, torch.dtype, bool]:
    """What autocast does on the image's device."""
    kind = image.device.type
    return kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)


def _blended(call: _Call, batch: int, logits_of: Callable[[_Tiles], Tensor], others: Tensor | None = None) -> Tensor:
    """Sum of all tiles' logits (B, K, *padded), each times its share, and of what `others` add."""
    blended = torch.empty(0) if others is None else others.clone()
    for tiles, share in call.passes():
        logits = logits_of(tiles)
        if not len(blended):
            kind = torch.promote_types(logits.dtype, torch.float32)
            blended = logits.new_zeros(batch, logits.shape[1], *call.size, dtype=kind)
        tiles.add(blended, share * logits)
    return blended


def _gaussian(roi: Sequence[int], scales: Sequence[float]) -> Tensor:
    """exp(-r^2 / 2), r the distance from the middle of the tile in standard deviations of `scales` sides each."""
    weight = torch.ones(())
    for side, scale in zip(roi, scales, strict=True):
        r = (torch.arange(side) - (side - 1) / 2) / (scale * side)
        weight = weight[..., None] * torch.exp(-(r**2) / 2)
    return weight.clamp(min=max(float(weight.min()), _LEAST_WEIGHT))


def _each(name: str, value: float | Sequence[float], what: str, holds: Callable[[Any], bool]) -> None:
    if not all(holds(number) for number in (value if isinstance(value, Sequence) else [value])):
        msg = f"{name} must be {what}, got {value}."
        raise ValueError(msg)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = f"{name} must be one of {', '.join(choices)}, got {value!r}."
        raise ValueError(msg)
