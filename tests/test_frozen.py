"""A model held still and put back; what counts as its output."""

from __future__ import annotations

import pytest
import torch

from imaseg.frozen import as_plain_tensor, frozen, full_resolution, heads
from tests.attacks.models import messy_model, same_state, state_of


def test_modes_flags_and_random_state_come_back_after_an_error_too():
    model = messy_model(2)
    before, random = state_of(model), torch.get_rng_state()
    with pytest.raises(KeyError), frozen(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        model(torch.randn(2, 2, 4, 4))
        raise KeyError
    assert same_state(before, state_of(model))
    assert torch.equal(torch.get_rng_state(), random)


def test_gradients_flow_to_the_image_inside_inference_mode():
    model, image = messy_model(2), torch.ones(1, 2, 4, 4)
    with torch.inference_mode(), frozen(model):
        leaf = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf).square().sum(), leaf)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("make", [list, tuple, lambda outputs: torch.stack(outputs, 1)], ids=["list", "tuple", "axis"])
def test_heads_come_apart_however_a_model_returns_them(make):
    image, outputs = torch.zeros(2, 1, 8, 8), [torch.full((2, 3, 8, 8), float(i)) for i in range(3)]
    assert [float(head[0, 0, 0, 0]) for head in heads(make(outputs), image)] == [0.0, 1.0, 2.0]
    assert [head.shape for head in heads(make(outputs), image)] == [(2, 3, 8, 8)] * 3
    (only,) = heads(outputs[1], image)
    assert only is outputs[1]


def test_the_first_head_has_full_resolution():
    full, half = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 4, 4)
    assert full_resolution([full, half]) is full
    assert full_resolution((half, [full])) is full
    image = torch.zeros(1, 1, 8, 8)
    assert [head is one for head, one in zip(heads((half, [full]), image), (full, half), strict=True)] == [True, True]
    assert full_resolution(full) is full


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.int64),
    ],
)
def test_plain_tensors_are_detached_and_at_least_float32(before, after):
    with torch.inference_mode():
        made = torch.ones(2, 1, 3).to(before)
    found = as_plain_tensor(made)
    assert found.dtype == after
    assert not found.is_inference()
    assert not as_plain_tensor(torch.ones(1, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("output", "got"),
    [({"out": 1, "aux": 2}, "got dict with the keys 'out', 'aux'"), ((torch.zeros(1), None), "got NoneType")],
)
def test_outputs_without_logits_are_answered_with_the_mend(output, got):
    image = torch.zeros(1, 1, 4, 4)
    for read in (full_resolution, lambda given: heads(given, image)):
        with pytest.raises(ValueError, match=f"model must return logits, or a list of them .* {got}. Wrap it"):
            read(output)
