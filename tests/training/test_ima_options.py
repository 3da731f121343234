"""What IMA saves when asked to: warm starts (of all methods), fewer steps, plain batches in between; its options."""

from __future__ import annotations

import io
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from imaseg import IMA, L2, PGD, TRADES, BiasField, Deformation, DiceBelow, PGDTraining
from imaseg.attacks.search import Search
from imaseg.frozen import frozen
from imaseg.training.ascent import ascend
from imaseg.training.starts import Starts
from tests.attacks.models import messy_model, trained_model

EIGHT = list("abcdefgh")


def _loss(logits, label):
    return cross_entropy(logits, label)


def _never(logits, label, clean):
    return torch.zeros(len(label), dtype=torch.bool)


def _ima(**more):
    return IMA(_loss, L2(4.0), **{"increment": 0.5, "steps": 6, "criterion": _never, **more})


def _gradients(model, call):
    """Samples that each backward pass to the image covered."""
    counted = []

    def note(_, given, output):
        if output.requires_grad and not next(model.parameters()).requires_grad:
            counted.append(len(given[0]))

    handle = model.register_forward_hook(note)
    call()
    handle.remove()
    return counted


def test_small_margins_take_few_steps_and_the_ceiling_all_of_them():
    model, image, label = trained_model()
    method = _ima(fewest_steps=2)
    method.table.margins = {"a": 0.5, "b": 2.25, "c": 4.0}
    assert method._steps(torch.tensor([0.5, 2.25, 4.0, 9.0])).tolist() == [2, 4, 6, 6]
    covered = _gradients(model, lambda: method(model, image[:3], label[:3], list("abc")))
    assert covered == [3, 3, 2, 2, 1, 1]


def test_samples_with_different_numbers_of_steps_do_as_they_would_alone():
    model, image, label = trained_model()
    margins = {"a": 0.5, "b": 2.25, "c": 4.0}
    together = _ima(fewest_steps=2, criterion=DiceBelow(0.6), bisections=3)
    together.table.margins = dict(margins)
    batch, _ = together._perturb(model, image[:3], label[:3], list("abc"))
    for place, key in enumerate("abc"):
        alone = _ima(fewest_steps=2, criterion=DiceBelow(0.6), bisections=3)
        alone.table.margins = dict(margins)
        single, _ = alone._perturb(model, image[place : place + 1], label[place : place + 1], [key])
        torch.testing.assert_close(batch[place : place + 1], single, atol=1e-4, rtol=0)


def test_batches_in_between_are_plain_training():
    model, image, label = trained_model()
    method = _ima(every=3)
    covered = [len(_gradients(model, lambda: method(model, image, label, EIGHT))) for _ in range(7)]
    assert covered == [6, 0, 0, 6, 0, 0, 6]
    plain = _ima(every=2)
    plain(model, image, label, EIGHT)
    torch.testing.assert_close(plain(model, image, label, EIGHT), _loss(model(image), label))
    assert plain.table._visits == dict.fromkeys("abcdefgh", 1)


@pytest.mark.parametrize("axes", [(), (1,), (2,), (1, 2)])
def test_warm_batches_in_between_train_on_what_the_last_search_ended_with(axes):
    """Mirrored as the image is, and without a pass for a search or a visit that is counted."""
    model, image, label = trained_model()
    method = _ima(every=1000, warm=True)
    method(model, image, label, EIGHT)
    visits, image_axes = dict(method.table._visits), [axis + 1 for axis in axes]
    shown, truth = image.flip(image_axes), label.flip(axes)
    params = torch.stack([method.starts._params[key].float() for key in EIGHT]).flip(image_axes)
    params = method.attack.perturbation.project(shown, params)
    assert params.flatten(1).norm(dim=1).min() > 0.1
    assert not _gradients(model, lambda: method(model, shown, truth, EIGHT))
    expected = 0.5 * _loss(model(shown), truth) + 0.5 * _loss(model(shown + params), truth)
    torch.testing.assert_close(method(model, shown, truth, EIGHT), expected)
    assert method.table._visits == visits


def test_warm_batches_in_between_leave_unknown_cases_as_they_are():
    model, image, label = trained_model()
    method = _ima(every=2, warm=True)
    method(model, image[:4], label[:4], list("abcd"))
    found = method(model, image[4:], label[4:], list("efgh"))
    torch.testing.assert_close(found, _loss(model(image[4:]), label[4:]))


def test_in_between_the_label_moves_with_the_image():
    model, image, label = trained_model()
    method = IMA(_loss, Deformation(2.4, control_spacing=4.0), increment=2.4, steps=2, every=2, warm=True)
    method(model, image, label, EIGHT)
    params = method.starts.recall(EIGHT, image, method.attack.perturbation)
    moved, truth = method.attack.perturbation.apply(image, params), label.float()[:, None]
    truth = method.attack.perturbation.move(truth, params, nearest=True)[:, 0].long()
    assert not torch.equal(truth, label)
    expected = 0.5 * _loss(model(image), label) + 0.5 * _loss(model(moved), truth)
    torch.testing.assert_close(method(model, image, label, EIGHT), expected)


def _reached(method, model, image, label):
    """Dice loss of what the method would train on."""
    perturbed, _ = method._perturb(model, image, label, EIGHT)
    with torch.no_grad():
        return method.attack.objective(model(perturbed), label)


def test_a_warm_start_needs_fewer_steps():
    model, image, label = trained_model()
    cold, warm = _ima(steps=1, increment=1.0), _ima(steps=1, increment=1.0, warm=True)
    first = _reached(warm, model, image, label)
    torch.testing.assert_close(first, _reached(cold, model, image, label))
    for _ in range(6):
        later, still = _reached(warm, model, image, label), _reached(cold, model, image, label)
    assert later.mean() > 1.05 * still.mean()


def test_warm_starts_are_kept_by_case_and_survive_a_checkpoint():
    model, image, label = trained_model()
    method, other = _ima(warm=True, steps=1), _ima(warm=True, steps=1)
    _reached(method, model, image, label)
    saved = io.BytesIO()
    torch.save(method.state_dict(), saved)
    saved.seek(0)
    other.load_state_dict(torch.load(saved, weights_only=True))
    ids = list("ha")
    expected, _ = method._perturb(model, image[[7, 0]], label[[7, 0]], ids)
    found, _ = other._perturb(model, image[[7, 0]], label[[7, 0]], ids)
    assert torch.equal(expected, found)


def test_a_case_that_is_new_or_has_another_shape_starts_as_without_warm_starts():
    model, image, label = trained_model()
    method, cold = _ima(warm=True), _ima()
    method._perturb(model, image[:2], label[:2], ["a", "b"])
    for place, (patch, truth) in enumerate(((image[2:4], label[2:4]), (image[:2, :, :8], label[:2, :8]))):
        ids = ["c", "d"] if place == 0 else ["a", "b"]
        expected, _ = cold._perturb(model, patch, truth, ids)
        found, _ = method._perturb(model, patch, truth, ids)
        assert torch.equal(expected, found)


@pytest.mark.parametrize("axes", [(), (2,), (3,), (2, 3)])
@pytest.mark.parametrize("change", [lambda image: image, lambda image: 1.1 * image + 0.3], ids=["same", "brighter"])
def test_a_warm_start_follows_the_mirrored_image(axes, change):
    model, image, label = trained_model()
    method = _ima(warm=True)
    kept, _ = method._perturb(model, image, label, EIGHT)
    flipped = change(image).flip(axes)
    start = method.starts.begin(EIGHT, flipped, L2(2.0), 0)
    torch.testing.assert_close(start / 2.0, (kept - image).flip(axes) / _norm(kept - image), atol=1e-2, rtol=0)
    torch.testing.assert_close(_norm(start).flatten(), torch.full((8,), 2.0))


def _norm(values):
    return values.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def test_a_start_off_the_voxels_is_taken_up_by_unmirrored_images_only():
    image = trained_model()[1]
    starts, field = Starts(), BiasField(0.3)
    params = field.init(image, torch.Generator().manual_seed(5))
    starts.keep(EIGHT, image, params)
    size = field.size(params)
    same, turned = (starts.begin(EIGHT, one, field.with_eps(size), 9) for one in (image, image.flip(2)))
    torch.testing.assert_close(same, params, atol=1e-2, rtol=0)
    assert torch.equal(turned, field.with_eps(size).init(image, torch.Generator().manual_seed(9)))


def test_a_case_that_looks_otherwise_starts_anew():
    image = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    starts = Starts()
    starts.keep(["a", "b"], image, torch.ones_like(image))
    crop = image.roll(5, dims=2)
    cold = L2(1.0).init(crop, torch.Generator().manual_seed(1))
    assert torch.equal(starts.begin(["a", "b"], crop, L2(1.0), 1), cold)
    empty = torch.zeros_like(image)
    starts.keep(["a", "b"], empty, torch.ones_like(image))
    assert not torch.equal(starts.begin(["a", "b"], empty, L2(1.0), 1), cold)
    assert torch.equal(starts.begin(["a", "b"], image, L2(1.0), 1), cold)


@pytest.mark.parametrize(
    "make", [partial(PGDTraining, _loss, L2(2.0), mix=1.0), partial(TRADES, _loss, L2(2.0))], ids=["pgd", "trades"]
)
def test_other_methods_take_warm_starts_too(make):
    model, image, label = trained_model()
    cold, warm, other = make(steps=1), make(steps=1, warm=True), make(steps=1, warm=True)
    torch.testing.assert_close(*(method(model, image, label, EIGHT) for method in (cold, warm)))
    for _ in range(6):
        still, later = (method(model, image, label, EIGHT) for method in (cold, warm))
    assert later > 1.05 * still
    saved = io.BytesIO()
    torch.save(warm.state_dict(), saved)
    saved.seek(0)
    other.load_state_dict(torch.load(saved, weights_only=True))
    assert torch.equal(other(model, image, label, EIGHT), warm(model, image, label, EIGHT))
    with pytest.raises(ValueError, match="ids must name each of the 8 samples"):
        warm(model, image, label)


def test_with_equal_numbers_of_steps_the_ascent_is_the_attacks_own():
    model, image, label = trained_model()
    method = _ima()
    points = []
    for walk in (method.attack._run, lambda search: ascend(search, method.attack, torch.full((8,), 6))):
        with frozen(model):
            search = Search(model, image, label, L2(1.0), method.attack.objective, seed=3, criterion=DiceBelow(0.8))
            walk(search)
        points.append((search.last, search.last_good, search.best, search.success, search.backward_calls))
    assert all(torch.equal(a, b) for a, b in zip(points[0][:-1], points[1][:-1], strict=True))
    assert points[0][-1] == points[1][-1]


def test_statistics_stand_still_in_the_search_and_move_in_the_loss_passes():
    model = messy_model(2).train()
    image = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(3, 8, 8, dtype=torch.long)
    norm, modes = model[1], []
    model.register_forward_hook(lambda *_: modes.append((norm.training, int(norm.num_batches_tracked))))
    _ima(steps=3)(model, image, label, list("abc"))
    assert [training for training, _ in modes] == [False] * (len(modes) - 2) + [True] * 2
    assert [count for _, count in modes] == [0] * (len(modes) - 2) + [1, 2]


def _each(logits, label):
    return cross_entropy(logits, label, reduction="none").flatten(1).mean(1)


@pytest.mark.parametrize("loss", [_loss, _each], ids=["scalar", "per sample"])
@pytest.mark.parametrize("heads", [1, 2])
def test_small_margins_weigh_more(loss, heads):
    model, image, label = trained_model()
    margins = {"a": 0.5, "b": 1.0, "c": 2.0}

    def several(given):
        return model(given) if heads == 1 else [model(given)] * heads

    def method(weighting):
        made = IMA(
            loss if heads == 1 else lambda outputs, label: sum(loss(output, label) for output in outputs),
            L2(4.0), increment=0.5, steps=3, criterion=_never, beta=1.0, weighting=weighting,
        )  # fmt: skip
        made.table.margins = dict(margins)
        return made

    twin = method(2.0)
    twin._calls = 1  # rules the random start
    perturbed, _ = twin._perturb(several, image[:3], label[:3], list("abc"))
    weights = torch.tensor([1.0, 1 / 4, 1 / 16])
    expected = heads * (weights / weights.mean() * _each(model(perturbed), label[:3])).mean()
    found, plain = (one(several, image[:3], label[:3], list("abc")) for one in (method(2.0), method(0.0)))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(plain, heads * _each(model(perturbed), label[:3]).mean())


def _sizes(method, model, image, label):
    perturbed, _ = method._perturb(model, image, label, EIGHT)
    return (perturbed - image).flatten(1).norm(dim=1)


def test_train_on_worst_trains_on_what_the_attack_finds_and_notes_the_boundary_on_the_way():
    model, image, label = trained_model()
    criterion = DiceBelow(0.6)
    method = _ima(train_on="worst", criterion=criterion, bisections=12)
    method.table.margins = dict.fromkeys(EIGHT, 4.0)
    perturbed, _ = method._perturb(model, image, label, EIGHT)
    attacked = PGD(L2(4.0), steps=6, objective=method.attack.objective)(model, image, label).image
    assert torch.equal(perturbed, attacked)
    with torch.no_grad():
        clean = model(image)
        shares = torch.linspace(0, 1, 2001)
        broken = torch.stack([criterion(model(image + share * (attacked - image)), label, clean) for share in shares])
    assert broken[-1].any()
    for place, key in enumerate(EIGHT):
        distances = method.table._broken.get(key, [])
        assert len(distances) == int(broken[-1, place])
        if distances:
            share = distances[0] / (attacked - image)[place].norm()
            edges = (broken[1:, place] != broken[:-1, place]).nonzero()[:, 0]
            assert (shares[edges] - share).abs().min() < 1e-3


def test_train_on_worst_notes_no_distance_for_a_case_that_fails_unperturbed():
    model, image, label = trained_model()
    method = _ima(train_on="worst", criterion=lambda logits, truth, clean: torch.ones(len(truth), dtype=torch.bool))
    method(model, image, label, EIGHT)
    assert method.table._broken == {key: [0.0] for key in EIGHT}
    method.end_epoch()
    assert method.last_epoch["failed_clean"] == 1.0


def test_radius_jitter_draws_evenly_around_the_margin_and_stops_at_the_ceiling():
    model, image, label = trained_model()
    method = _ima(steps=1, radius_jitter=0.5)
    method.table.margins = dict.fromkeys(EIGHT[:4], 2.0) | dict.fromkeys(EIGHT[4:], 3.6)
    drawn = []
    for call in range(100):
        method._calls = call
        drawn.append(_sizes(method, model, image, label))
    low, high = torch.stack(drawn).split(4, dim=1)
    values = low.flatten().sort().values
    assert values[0] >= 1.0 - 1e-4
    assert values[-1] <= 3.0 + 1e-4
    # Kolmogorov and Smirnov: 400 values of the uniform distribution stay this near to it with probability .999.
    assert ((values - 1.0) / 2.0 - torch.arange(1, 401) / 400).abs().max() < 1.95 / 400**0.5
    assert high.max() == pytest.approx(4.0, abs=1e-4)
    # What was drawn below the margin says nothing.
    margins = torch.tensor([2.0] * 4 + [3.6] * 4)
    short = (torch.stack(drawn) < margins - 1e-5).sum(0).tolist()
    assert [method.table._short[key] for key in EIGHT] == short


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"every": 0}, "every must be a whole number >= 1, got 0"),
        ({"fewest_steps": 0}, "fewest_steps must be a whole number >= 1, got 0"),
        ({"train_on": "beyond"}, "train_on must be 'boundary' or 'worst', got 'beyond'"),
        ({"radius_jitter": 1.5}, r"radius_jitter must be in \[0, 1\], got 1.5"),
        ({"weighting": -1.0}, r"weighting must be in \[0, 10\], got -1.0"),
        ({"fewest_steps": 7}, "fewest_steps must be at most steps = 6, got 7"),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        _ima(**arguments)
