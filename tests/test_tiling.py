"""Tiled inference and its derivatives against MONAI's sliding window with its full graph, and finite differences."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from torch import nn
from torch.autograd import forward_ad

from imaseg import IMA, L2, PGD, DiceBelow, Linf, PGDTraining, SampleMargin, ShrinkingSetPGD
from imaseg.tiling import TiledModel, padded
from tests.attacks.models import messy_model, same_state, state_of, trained_model


def _net(dims, *, channels=1, classes=3, dtype=torch.float32):
    """A network whose every logit depends on the whole tile."""
    conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if dims == 2 else (nn.Conv3d, nn.InstanceNorm3d)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            conv(channels, 4, 3, padding=1, bias=False), norm(4), nn.GELU(), conv(4, classes, 3, padding=1)
        ).to(dtype)


def _image(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _pulled(model, image, weights=(), *, probe=None):
    """Logits, and gradients of a fixed linear function of them at image and weights."""
    image = image.clone().requires_grad_()
    logits = model(image)
    probe = _image(*logits.shape, dtype=logits.dtype, seed=7) if probe is None else probe
    return logits.detach(), *torch.autograd.grad(logits, [image, *weights], probe)


def _agree(found, expected, tolerance):
    """Largest difference relative to the largest value."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= tolerance * other.abs().max()


class _Monai(nn.Module):
    """The full graph: MONAI's sliding window with autograd on."""

    def __init__(self, model, roi, overlap=0.25, mode="gaussian", batch=1, **more):
        super().__init__()
        self.model, self.arguments = model, (roi, batch)
        self.more = {"overlap": overlap, "mode": mode, **more}

    def forward(self, image):
        return sliding_window_inference(image, *self.arguments, self.model, **self.more)


GEOMETRIES = {
    "divides": ((16, 8, 8), (8, 8, 4), 0.5),
    "does not divide": ((13, 11, 9), (8, 6, 5), 0.25),
    "overlap by axis": ((13, 11, 9), (5, 4, 9), (0.6, 0.0, 0.9)),
    "some axes shorter": ((5, 13, 7), (8, 6, 7), 0.3),
    "all axes shorter": ((5, 4, 3), (8, 7, 6), 0.25),
    "whole axis": ((9, 7, 5), (4, -1, 4), 0.5),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_and_gradients_equal_monais_full_graph(dims, mode, geometry, dtype):
    size, roi, overlap = (one[:dims] if isinstance(one, tuple) else one for one in GEOMETRIES[geometry])
    image, net = _image(2, 2, *size, dtype=dtype), _net(dims, channels=2, dtype=dtype)
    expected = _pulled(_Monai(net, roi, overlap, mode), image, net.parameters())
    for batch_size, memory in ((1, 0), (3, 0), (1, 3e4), (3, 1e9)):
        tiled = TiledModel(net, roi, overlap, mode, batch_size=batch_size, memory=memory)
        _agree(_pulled(tiled, image, net.parameters()), expected, 1e-5 if dtype == torch.float32 else 1e-6)


@pytest.mark.parametrize(
    ("padding_mode", "cval"), [("constant", -3.0), ("reflect", 0.0), ("replicate", 0.0), ("circular", 0.0)]
)
def test_short_axes_are_padded_as_asked(padding_mode, cval):
    net, image = _net(3), _image(1, 1, 5, 9, 6)
    tiled = TiledModel(net, (8, 6, 7), padding_mode=padding_mode, cval=cval)
    monai = _Monai(net, (8, 6, 7), padding_mode=padding_mode, cval=cval)
    _agree(_pulled(tiled, image), _pulled(monai, image), 1e-5)


@pytest.mark.parametrize("sigma_scale", [0.3, (0.1, 0.25)])
def test_the_gaussian_is_as_wide_as_asked(sigma_scale):
    net, image = _net(2), _image(1, 1, 15, 11)
    tiled = TiledModel(net, 6, 0.5, sigma_scale=sigma_scale)
    _agree(_pulled(tiled, image), _pulled(_Monai(net, (6, 6), 0.5, sigma_scale=sigma_scale), image), 1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6), st.floats(0, 0.99)), min_size=1, max_size=3),
    st.sampled_from(["gaussian", "constant"]),
    st.integers(1, 5),
)
def test_a_network_that_looks_at_single_voxels_does_not_notice_the_tiles(axes, mode, batch_size):
    size, roi, overlap = zip(*axes, strict=True)
    image = _image(2, 1, *size, dtype=torch.float64)
    seen = []

    def voxelwise(tiles):
        seen.append(len(tiles))
        return torch.cat([tiles**2, tiles.sin()], 1)

    tiled = TiledModel(voxelwise, roi, overlap, mode, mirror_axes=(0,), batch_size=batch_size)
    torch.testing.assert_close(tiled(image), voxelwise(image))
    assert sum(seen[:-1]) == tiled.tiles(image.shape)
    assert max(seen[:-1]) <= batch_size


def _mirrored(net, axes):
    flips = [[a + 2 for a in some] for n in range(len(axes) + 1) for some in itertools.combinations(axes, n)]
    return lambda tile: torch.stack([net(tile.flip(flip)).flip(flip) for flip in flips]).mean(0)


@pytest.mark.parametrize("axes", [(1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_mirroring_is_the_mean_over_all_combinations_of_flips(axes, batch_size):
    net, image = _net(3), _image(2, 1, 9, 7, 6)
    tiled = TiledModel(net, (5, 4, 6), 0.5, mirror_axes=axes, batch_size=batch_size)
    expected = _pulled(_Monai(_mirrored(net, axes), (5, 4, 6), 0.5), image, net.parameters())
    _agree(_pulled(tiled, image, net.parameters()), expected, 1e-5)


@pytest.mark.parametrize("sides", [(11, 9), (8, 20), (5, 8)])
def test_even_tiles_and_given_weights_are_blended_as_written_down(sides):
    model, image, roi = _net(2), _image(1, 1, *sides), (8, 6)
    weight = torch.rand(roi, generator=torch.Generator().manual_seed(3)) + 0.1
    padded = torch.nn.functional.pad(image, (0, 0, max(8 - sides[0], 0) // 2, -(-max(8 - sides[0], 0) // 2)))
    tops, lefts = ({11: [0, 3], 8: [0], 5: [0]}[sides[0]], {9: [0, 3], 20: [0, 3, 6, 8, 11, 14], 8: [0, 2]}[sides[1]])
    total, norm = torch.zeros(1, 3, *padded.shape[2:]), torch.zeros(padded.shape[2:])
    for top, left in itertools.product(tops, lefts):
        place = (..., slice(top, top + 8), slice(left, left + 6))
        logits = (model(padded[place]) + model(padded[place].flip(3)).flip(3)) / 2
        total[place] += weight * logits
        norm[place] += weight
    before = max(8 - sides[0], 0) // 2
    expected = (total / norm)[:, :, before : before + sides[0]]
    tiled = TiledModel(model, roi, 0.5, even=True, weight=weight, mirror_axes=(1,))
    torch.testing.assert_close(tiled(image), expected, rtol=1e-4, atol=1e-5)
    volume = _image(1, 1, 8, 3, 6)
    walked = TiledModel(model, roi, 0.5, even=True, weight=weight, slices_along=1)(volume)
    torch.testing.assert_close(walked[:, :, :, 1], model(volume[:, :, :, 1]), rtol=1e-4, atol=1e-5)


def test_weights_of_another_size_or_sign_are_refused():
    with pytest.raises(ValueError, match="weight must be > 0 everywhere, got 0"):
        TiledModel(_net(2), 4, weight=torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"weight must have the size of a tile, \(4, 4\), got \(4, 5\)"):
        TiledModel(_net(2), 4, weight=torch.ones(4, 5))(_image(1, 1, 8, 8))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_2d_network_walks_a_volume_slice_by_slice(axis, mirror):
    net, image = _net(2, channels=2), _image(2, 2, 7, 6, 5)
    others = [one for one in range(3) if one != axis]
    tiled = TiledModel(net, (5, 4), (0.5, 0.25), mirror_axes=others if mirror else (), slices_along=axis, batch_size=3)
    plane = _Monai(_mirrored(net, (0, 1)) if mirror else net, (5, 4), (0.5, 0.25))

    def slicewise(volume):
        return torch.stack([plane(one) for one in volume.unbind(axis + 2)], axis + 2)

    _agree(_pulled(tiled, image, net.parameters()), _pulled(slicewise, image, net.parameters()), 1e-5)


def test_one_model_takes_images_of_every_size_and_precision_in_turn():
    def voxelwise(tiles):
        return torch.cat([tiles**2, tiles.sin()], 1)

    tiled = TiledModel(voxelwise, 4, 0.5)
    for size, dtype in (
        ((9, 7), torch.float32),
        ((9, 7), torch.float64),
        ((7, 9), torch.float64),
        ((5,), torch.float32),
    ):
        image = _image(1, 1, *size, dtype=dtype)
        torch.testing.assert_close(tiled(image), voxelwise(image), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("channels", "classes"), [(4, 1), (1, 5)])
def test_output_channels_are_the_networks(channels, classes):
    net, image = _net(2, channels=channels, classes=classes), _image(2, channels, 9, 7)
    _agree(_pulled(TiledModel(net, 5), image), _pulled(_Monai(net, 5), image), 1e-5)


# Derivatives.


@pytest.mark.parametrize("slices_along", [None, 1])
def test_derivatives_pass_the_check_by_finite_differences(slices_along):
    roi = (3, 2) if slices_along is not None else (3, 3, 2)
    net = _net(2 if slices_along is not None else 3, classes=2, dtype=torch.float64)
    tiled = TiledModel(net, roi, 0.3, mirror_axes=(0,), slices_along=slices_along, batch_size=2)
    image = _image(1, 1, 4, 2, 3, dtype=torch.float64).requires_grad_()

    def of_weight(image, weight):
        return torch.func.functional_call(tiled, {"model.3.weight": weight}, (image,))

    assert torch.autograd.gradcheck(of_weight, (image, net[3].weight.detach().requires_grad_()), fast_mode=True)
    net.requires_grad_(requires_grad=False)
    assert torch.autograd.gradcheck(tiled, (image,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(tiled, (image,), fast_mode=True, check_fwd_over_rev=True)
    tiled.model = nn.Sequential(net[0], net[2], net[3])  # InstanceNorm's own forward mode has no exact derivative
    direction = _image(*image.shape, dtype=torch.float64, seed=3)
    assert torch.autograd.gradcheck(lambda x: torch.func.jvp(tiled, (x,), (direction,))[1], (image,), fast_mode=True)


@pytest.mark.parametrize("dims", [2, 3])
def test_forward_mode_equals_the_full_graphs(dims):
    net, image, direction = _net(dims), _image(2, 1, 9, 7, 6)[..., : dims * 2], _image(2, 1, 9, 7, 6, seed=3)
    if dims == 2:
        image, direction = image[..., 0], direction[..., 0]
    tiled, monai = (make(net, (5, 4, 6)[:dims], 0.5) for make in (TiledModel, _Monai))
    expected = torch.func.jvp(monai, (image,), (direction,))
    _agree(torch.func.jvp(tiled, (image,), (direction,)), expected, 1e-5)
    with torch.no_grad(), forward_ad.dual_level():
        _agree(forward_ad.unpack_dual(tiled(forward_ad.make_dual(image, direction))), expected, 1e-5)


def test_forward_mode_knows_weights_too():
    net, image = _net(2), _image(1, 1, 9, 7)
    weight, found = net[3].weight.detach(), []
    direction = _image(*weight.shape, seed=3)
    for model in (TiledModel(net, 4), _Monai(net, 4)):

        def call(given, model=model):
            return torch.func.functional_call(model, {"model.3.weight": given}, (image,))

        found.append(torch.func.jvp(call, (weight,), (direction,)))
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(call(forward_ad.make_dual(weight, direction)))
            _agree(dual, found[-1], 1e-5)
    _agree(*found, 1e-5)


class _Kept:
    """How many tensors autograd keeps for going back, at most at any moment."""

    def __init__(self):
        self.now = self.most = 0

    def _pack(self, tensor):
        held = _Held(tensor)
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(held, self._forget)
        return held

    def _forget(self):
        self.now -= 1

    def hooks(self):
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda held: held.tensor)


class _Held:
    def __init__(self, tensor):
        self.tensor = tensor


def _most_kept(call):
    kept = _Kept()
    with kept.hooks():
        call()
    return kept.most


def _held(call):
    """Bytes of what autograd keeps."""
    storages = {}

    def pack(tensor):
        if not isinstance(tensor, nn.Parameter):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()
    assert output.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("weights", [False, True])
def test_only_one_pass_has_a_graph_at_any_moment(weights):
    net = _net(2).requires_grad_(weights)
    one = _most_kept(lambda: _pulled(net, _image(1, 1, 6, 6)))
    several = _most_kept(lambda: _pulled(TiledModel(net, 6, 0.5, mirror_axes=(0, 1)), _image(2, 1, 18, 18)))
    assert several <= one + 2 + len([*net.parameters()])  # image, logits and weights of the whole call
    assert _most_kept(lambda: _pulled(_Monai(net, 6, 0.5), _image(2, 1, 18, 18))) > 4 * several


@pytest.mark.parametrize("weights", [False, True])
def test_passes_whose_graph_is_kept_are_not_run_again(weights):
    """And the graph of no pass is left behind; a second backward pass, or second derivatives, run them again."""
    net, calls = _net(2).requires_grad_(weights), []
    net.register_forward_hook(lambda *_: calls.append(1))
    found, one = {}, _held(lambda: net(_image(1, 1, 6, 6).requires_grad_()))
    for keep in (0, 3, 9, 100):
        tiled, image = TiledModel(net, 6, 0.5, memory=(keep + 0.5) * one), _image(1, 1, 12, 12).requires_grad_()
        calls.clear()
        value = tiled(image).square().sum()
        (first,) = torch.autograd.grad(value, image, retain_graph=True)
        assert len(calls) == 18 - min(keep, 9)
        (second,) = torch.autograd.grad(value, image)
        assert len(calls) == 27 - min(keep, 9)
        _agree(second, first, 1e-6)
        (bent,) = torch.autograd.grad(tiled(image).square().sum(), image, create_graph=True)
        found[keep] = first, torch.autograd.grad(bent.square().sum(), image)[0]
    for values in found.values():
        assert all(map(torch.equal, values, found[0]))
    assert tiled(image).requires_grad
    usual = _most_kept(lambda: _pulled(net, _image(1, 1, 6, 6)))
    kept = _most_kept(lambda: _pulled(TiledModel(net, 6, 0.5, memory=3.5 * one), _image(1, 1, 12, 12)))
    assert 2 * usual < kept <= 4 * usual + 2 + len([*net.parameters()])


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_without_gradients_there_is_no_second_pass(without):
    net, calls = _net(2), []
    net.register_forward_hook(lambda *_: calls.append(1))
    tiled, image = TiledModel(net, 6, 0.0, memory=1e9), _image(1, 1, 12, 12)
    with without():
        logits = tiled(image)
    assert not logits.requires_grad
    assert len(calls) == 4 == tiled.tiles(image.shape)
    tiled(image.requires_grad_()).sum().backward()  # what inference mode left behind must not get in the way
    assert len(calls) == 8


def test_passes_in_inference_mode_and_out_of_it_agree():
    net, image = _net(2), _image(1, 1, 9, 7)
    with torch.inference_mode():
        inside = TiledModel(net, 4)(image)
    assert torch.equal(inside, TiledModel(net, 4)(image))


# State of the network: random numbers, BatchNorm, weights.


class _Noisy(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image):
        return self.net(image + torch.randn_like(image)) * (1 + torch.rand(()))


@pytest.mark.parametrize("memory", [0, 3e4])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("kind", ["dropout", "noise"])
def test_random_networks_draw_the_same_numbers_going_back(kind, batch_size, memory):
    net = nn.Sequential(_net(2), nn.Dropout(0.5), nn.Conv2d(3, 2, 1)) if kind == "dropout" else _Noisy(_net(2))
    image, gradients = _image(2, 1, 11, 9), {}
    for make in (TiledModel, _Monai):
        torch.manual_seed(5)
        more = {"batch_size": batch_size, "memory": memory} if make is TiledModel else {"batch": batch_size}
        model = make(net, 6, 0.5, "gaussian", **more)
        gradients[make] = _pulled(model, image, net.parameters())
        after = torch.get_rng_state()
        torch.manual_seed(5)
        model(image)
        assert torch.equal(torch.get_rng_state(), after), "going back must not move the generator"
    _agree(gradients[TiledModel], gradients[_Monai], 1e-5)


def test_samples_of_a_random_network_are_searched_as_on_the_full_graph():
    net, image, label = trained_model()
    attack = PGD(L2(1.0), steps=4, samples=3, seed=5)
    results = [attack(make(_Noisy(net), (16, 10), 0.5), image, label) for make in (TiledModel, _Monai)]
    torch.testing.assert_close(results[0].image, results[1].image, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(results[0].dice, results[1].dice)


def test_statistics_of_train_mode_move_once():
    nets = [messy_model(2, channels=1) for _ in range(2)]
    for net in nets:
        net[3].p = 0.0
        net.train()
    image, wanted = _image(2, 1, 11, 9), [[w for w in net.parameters() if w.requires_grad] for net in nets]
    found = _pulled(TiledModel(nets[0], 6, 0.5), image, wanted[0])
    expected = _pulled(_Monai(nets[1], 6, 0.5), image, wanted[1])
    _agree(found, expected, 1e-4)
    assert int(nets[0][1].num_batches_tracked) == int(nets[1][1].num_batches_tracked) > 1
    torch.testing.assert_close(nets[0][1].running_mean, nets[1][1].running_mean)
    torch.testing.assert_close(nets[0][1].running_var, nets[1][1].running_var)


def test_switching_modes_between_forward_and_backward_is_refused():
    net, image = messy_model(2, channels=1), _image(1, 1, 6, 6).requires_grad_()
    value = TiledModel(net, 4)(image).sum()
    net.eval()
    with pytest.raises(RuntimeError, match=r"model must be in the same mode, train or eval, .* got a module that was"):
        value.backward()


def test_weights_that_change_between_forward_and_backward_are_refused():
    net, image = _net(2), _image(1, 1, 6, 6).requires_grad_()
    value = TiledModel(net, 4)(image).sum()
    with torch.no_grad():
        net[3].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_only_weights_that_want_a_gradient_get_one():
    net = _net(2)
    net[0].requires_grad_(requires_grad=False)
    TiledModel(net, 4)(_image(1, 1, 6, 6)).square().sum().backward()
    assert net[0].weight.grad is None
    assert net[3].weight.grad.abs().sum() > 0


def test_the_weights_of_a_plain_callable_are_constants():
    net, image = _net(2), _image(1, 1, 9, 9).requires_grad_()
    TiledModel(lambda tile: net(tile), 5)(image).square().sum().backward()
    assert all(weight.grad is None for weight in net.parameters())
    expected = _image(1, 1, 9, 9).requires_grad_()
    TiledModel(net, 5)(expected).square().sum().backward()
    assert torch.equal(image.grad, expected.grad)


# Precision, layout, kinds of tensors.


@pytest.mark.parametrize("around", ["forward only", "forward and backward"])
def test_under_autocast_logits_are_float32_and_gradients_those_of_the_full_graph(around):
    net, image, found, kinds = _net(2), _image(1, 1, 13, 11), {}, set()
    net.register_forward_hook(lambda _module, _given, logits: kinds.add(logits.dtype))
    for make in (TiledModel, _Monai):
        leaf = image.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = make(net, 6, 0.5)(leaf)
            assert logits.dtype == torch.float32
            with torch.autocast("cpu", enabled=around == "forward and backward", dtype=torch.bfloat16):
                found[make] = torch.autograd.grad(logits.square().sum(), [leaf, *net.parameters()])
    assert kinds == {torch.bfloat16}, "going back, the network must compute as it did going forward"
    _agree(found[TiledModel], found[_Monai], 0.02)


def test_small_gradients_do_not_underflow_in_half_precision():
    weight = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    image = torch.ones(1, 1, 9, 7, requires_grad=True)
    logits = TiledModel(lambda tile: tile.half() * weight.half(), 4)(image)
    assert logits.dtype == torch.float32
    (1e-10 * logits[:, 1]).sum().backward()
    torch.testing.assert_close(image.grad, torch.full_like(image, -2e-10), rtol=2e-3, atol=0)


def test_float64_stays_float64():
    net, image = _net(2, dtype=torch.float64), _image(1, 1, 9, 7, dtype=torch.float64)
    logits, gradient = _pulled(TiledModel(net, 4), image)
    assert logits.dtype == gradient.dtype == torch.float64


def test_tensor_subclasses_are_shed_and_keep_their_gradient():
    net, image = _net(2), _image(1, 1, 9, 7)
    leaf = MetaTensor(image, meta={"name": "case"}).requires_grad_()
    logits = TiledModel(net, 4)(leaf)
    assert type(logits) is torch.Tensor
    logits.square().sum().backward()
    plain = image.clone().requires_grad_()
    TiledModel(net, 4)(plain).square().sum().backward()
    assert torch.equal(leaf.grad.as_subclass(torch.Tensor), plain.grad)


def test_memory_format_changes_nothing():
    net, image = _net(3, channels=2), _image(2, 2, 9, 7, 6)
    relaid = image.to(memory_format=torch.channels_last_3d)
    _agree(_pulled(TiledModel(net, 4), relaid), _pulled(TiledModel(net, 4), image), 1e-5)


def test_of_deep_supervision_the_first_output_counts():
    net, image = _net(2), _image(1, 1, 9, 7)
    deep = TiledModel(lambda tile: [net(tile), net(tile)[..., ::2, ::2]], 4)
    _agree(_pulled(deep, image), _pulled(TiledModel(net, 4), image), 0)


# Attacks, margins and training run on it as on any model.


def _case(dims):
    """In float64, so that rounding does not lead two searches apart."""
    net, image, label = trained_model()
    net, image = net.double(), image.double()
    if dims == 2:
        return net, image[:4], label[:4]

    def slicewise(volume):
        return net(volume.movedim(4, 1).flatten(0, 1)).unflatten(0, (len(volume), -1)).movedim(1, 4)

    return slicewise, image[:6].unflatten(0, (2, 3)).movedim(1, 4), label[:6].unflatten(0, (2, 3)).movedim(1, 3)


SEARCHES = {
    "pgd": PGD(L2(0.5, unit="rms"), steps=4),
    "pgd linf": PGD(Linf(0.2), steps=4),
    "strong": ShrinkingSetPGD(L2(0.3, unit="rms"), steps=5),
    "margin": SampleMargin(L2(1.0, unit="rms"), criterion=DiceBelow(0.5), attack=PGD(L2(1.0), steps=4), rtol=0.3),
}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("dims", [2, 3])
def test_searches_find_what_they_find_on_the_full_graph(dims, search):
    net, image, label = _case(dims)
    roi = (12, 16, 3)[:dims]
    found, expected = (
        SEARCHES[search](make(net, roi, 0.25, "gaussian"), image, label) for make in (TiledModel, _Monai)
    )
    names = ("margin", "censored") if search == "margin" else ("foreground_dice", "objective")
    for name in names:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5)
    assert (found.forward_calls, found.backward_calls) == (expected.forward_calls, expected.backward_calls)
    if search != "margin":
        assert (expected.foreground_dice < expected.foreground_dice_clean - 0.1).any(), "must have something to find"


def test_an_attack_leaves_the_network_as_it_was():
    net = messy_model(2, channels=1, classes=2)
    _, image, label = trained_model()
    tiled = TiledModel(net, 9, mirror_axes=(0,))
    before = state_of(net)
    PGD(L2(1.0), steps=3)(tiled, image, label)
    assert same_state(before, state_of(net))


@pytest.mark.parametrize("method", [PGDTraining, IMA])
def test_training_through_tiles_gives_the_gradients_of_the_full_graph(method):
    gradients = []
    for make in (TiledModel, _Monai):
        net, image, label = trained_model()
        loss = method(nn.CrossEntropyLoss(), L2(1.0), steps=2)(make(net, 9, 0.25), image, label, list("abcdefgh"))
        loss.backward()
        gradients.append([weight.grad for weight in net.parameters() if weight.requires_grad])
    _agree(*gradients, 1e-3)


# What is refused.


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"roi_size": 0}, r"roi_size must be whole, >= 1 or -1 for a whole axis, got 0"),
        ({"roi_size": (4, 2.5)}, r"roi_size must be whole, .* got \(4, 2.5\)"),
        ({"overlap": 1.0}, r"overlap must be in \[0, 1\), got 1.0"),
        ({"overlap": (0.5, -0.1)}, r"overlap must be in \[0, 1\), got \(0.5, -0.1\)"),
        ({"sigma_scale": 0.0}, r"sigma_scale must be > 0, got 0.0"),
        ({"batch_size": 0}, r"batch_size must be whole and >= 1, got 0"),
        ({"memory": -1}, r"memory must be >= 0, got -1"),
        ({"mode": "linear"}, r"mode must be one of gaussian, constant, got 'linear'"),
        ({"padding_mode": "zeros"}, r"padding_mode must be one of constant, reflect, .* got 'zeros'"),
        ({"roi_size": (4, 4, 4)}, r"roi_size must be one number or one for each of 2 axes, got \(4, 4, 4\)"),
        ({"overlap": (0.5,)}, r"overlap must be one number or one for each of 2 axes, got \(0.5,\)"),
        ({"sigma_scale": (0.1,) * 3}, r"sigma_scale must be one number or one for each of 2 axes"),
        ({"mirror_axes": (2,)}, r"mirror_axes and slices_along must be different .*, 0 to 1, got \(2,\) and None"),
        ({"mirror_axes": (1, 1)}, r"mirror_axes and slices_along must be different .* got \(1, 1\) and None"),
        ({"mirror_axes": (1,), "slices_along": 1}, r"mirror_axes and slices_along must .* got \(1,\) and 1"),
        ({"slices_along": -1}, r"mirror_axes and slices_along must .* got \(\) and -1"),
    ],
)
def test_arguments_out_of_range_are_refused(given, text):
    with pytest.raises(ValueError, match=text):
        TiledModel(_net(2), **{"roi_size": 4, **given})(_image(1, 1, 9, 7))


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (torch.zeros(1, 1, 8, 8, dtype=torch.int64), r"got torch.int64 \(1, 1, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), r"got torch.float32 \(0, 1, 8, 8\)"),
        (torch.zeros(1, 8), r"got torch.float32 \(1, 8\)"),
    ],
)
def test_images_of_another_kind_are_refused(image, text):
    with pytest.raises(ValueError, match=r"image must be floating \(B, C, \*spatial\) with B >= 1, " + text):
        TiledModel(_net(2), 4)(image)


@pytest.mark.parametrize(
    "model",
    [nn.Conv2d(1, 2, 3), lambda tile: tile.mean((2, 3)), lambda tile: tile[:1]],
    ids=["shrinks", "classifies", "drops samples"],
)
def test_networks_that_change_the_size_are_refused(model):
    with pytest.raises(ValueError, match=r"model must return logits of its input's size .* for a tile \(2, 1, 4, 4\)"):
        TiledModel(model, 4, batch_size=2)(_image(1, 1, 9, 7))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.parametrize("kind", ["plain", "noise", "autocast"])
def test_gradients_on_a_gpu_equal_the_full_graphs(kind):
    net = _net(3) if kind != "noise" else nn.Sequential(_net(3), nn.Dropout(0.5))
    image, found = _image(1, 1, 21, 17, 13).cuda(), []
    for make in (TiledModel, _Monai):
        torch.manual_seed(0)
        with torch.autocast("cuda", enabled=kind == "autocast"):
            found.append(_pulled(make(net.cuda(), 8, 0.5, "gaussian"), image))
    _agree(*found, 0.02 if kind == "autocast" else 1e-4)


@pytest.mark.parametrize("value", [None, 0.0, -3.5])
def test_padding_is_the_lowest_value_of_each_channel_or_the_one_named(value):
    image = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    whole = padded(image, (1, 2, 0, 3), value)
    for sample, channel in itertools.product(range(2), range(3)):
        one = image[sample, channel].numpy()
        fill = one.min() if value is None else value
        expected = np.pad(one, ((0, 3), (1, 2)), constant_values=fill)
        np.testing.assert_array_equal(whole[sample, channel].numpy(), expected)


def test_short_axes_are_filled_with_what_cval_says_and_gradients_stay_exact():
    net = nn.Conv2d(1, 2, 3, padding=1)
    image = torch.rand(1, 1, 5, 9).add(4).requires_grad_()
    model = TiledModel(net, roi_size=8, cval=None)
    by_hand = padded(image, (0, 0, 1, 2), float(image.min()))
    expected = TiledModel(net, roi_size=8)(by_hand)[:, :, 1:6]
    torch.testing.assert_close(model(image), expected)
    (grad,) = torch.autograd.grad(model(image).square().sum(), image)
    (wanted,) = torch.autograd.grad(expected.square().sum(), image)
    torch.testing.assert_close(grad, wanted)
