"""Training methods: the loss they compute, what they leave alone, how they resume."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch.nn.functional import cross_entropy

from imaseg import IMA, L2, PGD, TRADES, Dice, DiceBelow, FreeTraining, Linf, PGDTraining, Standard
from imaseg.scores import foreground_dice
from imaseg.training.base import drawn_shares
from imaseg.training.build import build_method
from tests.attacks.models import messy_model, same_state, state_of

IDS = ["a", "b", "c"]


def loss(logits, label):
    return cross_entropy(logits, label, reduction="none").flatten(1).mean(1)


def _batch(model=None):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 2, 8, 8, generator=generator)
    model = model or _model()
    with torch.no_grad():
        label = model(image).argmax(1)
    return model, image, label


def _model():
    """No dropout, BatchNorm in eval mode: the loss pass is deterministic."""
    model = messy_model(2).eval()
    model.train()
    model[1].eval()
    model[3].p = 0.0
    return model


METHODS = {
    "standard": lambda: Standard(loss),
    "pgd": lambda: PGDTraining(loss, L2(1.0), steps=3),
    "free": lambda: FreeTraining(loss, L2(1.0), replays=1),
    "pgd-random": lambda: PGDTraining(loss, L2(1.0), steps=3, random_eps=True),
    "pgd-warm": lambda: PGDTraining(loss, L2(1.0), steps=3, warm=True),
    "trades": lambda: TRADES(loss, L2(1.0), steps=3),
    "trades-warm": lambda: TRADES(loss, L2(1.0), steps=3, warm=True),
    "ima": lambda: IMA(loss, L2(1.0), steps=3),
    "ima-thrifty": lambda: IMA(loss, L2(1.0), steps=3, fewest_steps=2, increment=1.0, warm=True),
    "ima-worst": lambda: IMA(loss, L2(1.0), steps=3, train_on="worst", radius_jitter=1.0),
    "ima-weighted": lambda: IMA(loss, L2(1.0), steps=3, weighting=2.0),
}


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_loss_is_a_scalar_with_gradients_for_all_weights_that_want_one(make):
    model, image, label = _batch()
    before = state_of(model)
    value = make()(model, image, label, IDS)
    assert value.shape == ()
    assert same_state(before, state_of(model))
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(value, wanted))


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_global_random_state_is_not_moved(make):
    model, image, label = _batch()
    state = torch.get_rng_state()
    make()(model, image, label, IDS)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_scalar_losses_and_labels_with_a_channel_axis_work(make):
    model, image, label = _batch()
    method = make()
    per_sample = method(model, image, label, IDS)
    again = make()
    again.loss = lambda logits, truth: cross_entropy(logits, truth[:, 0])
    torch.testing.assert_close(again(model, image, label[:, None], IDS), per_sample)


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_passes_is_what_an_unbroken_batch_costs(make):
    model, image, label = _batch()
    method = make()
    if isinstance(method, IMA):
        method.criterion = lambda logits, truth, clean: torch.zeros(len(truth), dtype=torch.bool)
    seen = []
    model.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    method(model, image, label, IDS)
    assert sum(seen) == method.passes


def test_standard_is_the_clean_loss():
    model, image, label = _batch()
    assert torch.equal(Standard(loss)(model, image, label), loss(model(image), label).mean())


@pytest.mark.parametrize("mix", [0.0, 0.25, 1.0])
def test_pgd_training_mixes_clean_and_attacked_loss(mix):
    model, image, label = _batch()
    found = PGDTraining(loss, L2(1.0), mix=mix, steps=3, seed=5)(model, image, label)
    attacked = PGD(L2(1.0), steps=3, seed=6)(model, image, label).image
    expected = (1 - mix) * loss(model(image), label).mean() + mix * loss(model(attacked), label).mean()
    torch.testing.assert_close(found, expected)


def test_the_ramp_grows_linearly_and_stops_at_eps():
    method = PGDTraining(loss, L2(1.0), ramp_epochs=4)
    shares = []
    for _ in range(6):
        shares.append(method.ramp)
        method.end_epoch()
    assert shares == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert PGDTraining(loss, L2(1.0)).ramp == 1.0


def _trained_on(model, method, image, label):
    """How far the samples of a loss pass lie from the image, (B,)."""
    seen = []

    def note(_, given):
        if next(model.parameters()).requires_grad:
            seen.append((given[0] - image).flatten(1).norm(dim=1))

    handle = model.register_forward_pre_hook(note)
    method(model, image, label, IDS)
    handle.remove()
    return torch.stack(seen).amax(0)


def test_random_budgets_are_spread_evenly_below_the_ramp():
    model, image, label = _batch()
    method = PGDTraining(loss, L2(2.0), mix=1.0, steps=1, random_eps=True, ramp_epochs=2)
    sizes = torch.cat([_trained_on(model, method, image, label) for _ in range(200)]).sort().values
    assert sizes[-1] <= 1.0 + 1e-5
    # Kolmogorov and Smirnov: 600 values of the uniform distribution stay this near to it with probability .999.
    assert (sizes - torch.arange(1, 601) / 600).abs().max() < 1.95 / 600**0.5
    method.end_epoch()
    assert torch.cat([_trained_on(model, method, image, label) for _ in range(20)]).max() > 1.5


def test_ranks_draw_together_what_one_process_draws_alone(monkeypatch):
    alone = drawn_shares(6, 9)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    drawn = []
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        drawn.append(drawn_shares(2, 9))
    assert torch.equal(torch.cat(drawn), alone)
    assert len(set(alone.tolist())) == 6


def test_a_seed_of_the_configuration_comes_before_that_of_the_run():
    spec = {"name": "pgd-training", "perturbation": {"name": "l2", "eps": 1.0}}
    assert build_method(spec, loss, seed=3).seed == 3
    assert build_method(spec | {"seed": 5}, loss, seed=3).seed == 5


def _ima(**kw):
    return IMA(loss, L2(4.0), **{"increment": 0.5, "steps": 6, "criterion": DiceBelow(0.6), **kw})


@pytest.mark.parametrize("beta", [0.0, 0.2, 1.0])
def test_beta_is_the_weight_of_the_perturbed_loss(beta):
    model, image, label = _batch()
    twin = _ima(increment=4.0)
    twin._calls = 1  # rules the random start
    perturbed, _ = twin._perturb(model, image, label, IDS)
    clean, attacked = loss(model(image), label).mean(), loss(model(perturbed), label).mean()
    assert attacked > clean + 0.01
    found = _ima(increment=4.0, beta=beta)(model, image, label, IDS)
    torch.testing.assert_close(found, (1 - beta) * clean + beta * attacked)


def test_ima_starts_at_one_increment_and_grows_unbroken_cases_to_the_ceiling():
    model, image, label = _batch()
    method = _ima(criterion=lambda logits, truth, clean: torch.zeros(len(truth), dtype=torch.bool))
    seen = []
    for _ in range(10):
        method(model, image, label, IDS)
        method.end_epoch()
        seen.append(method.margins["a"])
    assert seen == pytest.approx([1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0])


def test_ima_puts_broken_cases_on_their_boundary():
    """With a huge margin every case breaks; what is trained on lies just beyond the boundary and within the margin."""
    model, image, label = _batch()
    method = _ima(increment=4.0, bisections=10)
    seen = []
    method.loss = lambda logits, truth: (seen.append(logits.detach()), loss(logits, truth))[1]
    method(model, image, label, IDS)
    dice = foreground_dice(seen[1], label)
    assert (dice < 0.6).all()
    assert (dice > 0.4).all()
    distances = [method.table._broken[key][0] for key in IDS]
    assert all(0 < distance < 4.0 for distance in distances)


def test_ima_moves_a_broken_margin_to_the_smoothed_boundary_distance():
    model, image, label = _batch()
    method = _ima(increment=3.0, smoothing=0.25)
    method(model, image, label, IDS)
    distance = method.table._broken["b"][0]
    method.end_epoch()
    assert method.margins["b"] == pytest.approx(max(3.0, 0.75 * 3.0 + 0.25 * distance))


def test_ima_keeps_a_case_that_fails_clean_at_one_increment_and_trains_on_itself():
    model, image, label = _batch()
    label[1] = (label[1] + 1) % 3
    method = _ima()
    seen = []
    method.loss = lambda logits, truth: (seen.append(logits.detach()), loss(logits, truth))[1]
    method(model, image, label, IDS)
    torch.testing.assert_close(seen[0][1], seen[1][1])
    for _ in range(3):
        method.end_epoch()
        method(model, image, label, IDS)
    assert method.margins["b"] == 0.5


def test_one_broken_visit_of_several_counts_as_broken():
    method = _ima()
    method.table.record(["a", "a"], [0.5, 0.2], [False, True])
    method.end_epoch()
    assert method.margins["a"] == 0.5
    method.table.record(["a", "a"], [0.5, 0.5], [False, False])
    method.end_epoch()
    assert method.margins["a"] == 1.0


def test_only_cases_that_were_visited_move():
    method = _ima()
    method.table.record(["a"], [0.5], [False])
    method.end_epoch()
    method.table.record(["b"], [0.5], [False])
    method.end_epoch()
    assert method.margins == {"a": 1.0, "b": 1.0}
    assert method.last_epoch == {
        "cases": 1.0,
        "broken": 0.0,
        "failed_clean": 0.0,
        "mean_margin": 1.0,
        "at_floor": 0.0,
        "at_ceiling": 0.0,
    }


def test_perturbed_samples_stay_within_each_cases_margin():
    model, image, label = _batch()
    method = _ima(beta=1.0)
    method.table.load_state_dict({"margins": {"a": 0.5, "b": 1.5, "c": 3.0}, "visits": {}, "broken": {}})
    perturbed, _ = method._perturb(model, image, label, IDS)
    sizes = (perturbed - image).flatten(1).norm(dim=1)
    assert (sizes <= torch.tensor([0.5, 1.5, 3.0]) * (1 + 1e-5)).all()


@pytest.mark.parametrize("perturbation", [L2(2.0), L2(0.3, unit="rms"), Linf(0.3)])
def test_two_halves_with_saved_state_equal_one_run(perturbation):
    def steps(method, model, optimizer, count):
        _, image, label = _batch()
        for step in range(count):
            optimizer.zero_grad()
            method(model, image, label, IDS).backward()
            optimizer.step()
            if step % 2:
                method.end_epoch()

    def fresh():
        model = _model()
        return model, torch.optim.SGD(model.parameters(), lr=0.1), IMA(loss, perturbation, steps=3)

    model, optimizer, method = fresh()
    steps(method, model, optimizer, 4)
    saved = io.BytesIO()
    torch.save(method.state_dict(), saved)
    saved.seek(0)
    other = IMA(loss, perturbation, steps=3)
    other.load_state_dict(torch.load(saved, weights_only=True))
    steps(other, model, optimizer, 4)
    whole_model, whole_optimizer, whole = fresh()
    steps(whole, whole_model, whole_optimizer, 8)
    assert whole.margins == other.margins
    assert all(torch.equal(a, b) for a, b in zip(whole_model.parameters(), model.parameters(), strict=True))


def test_training_with_ima_enlarges_the_margin_of_a_small_model():
    from imaseg import SampleMargin

    torch.manual_seed(0)
    label = torch.zeros(6, 12, 12, dtype=torch.long)
    label[:, 3:9, 3:9] = 1
    # A strong but noisy channel and a faint one without noise: the shortcut that makes a model brittle.
    image = torch.stack([label + 0.3 * torch.randn(6, 12, 12), 0.05 * label], 1)
    margins = {}
    for name in ("standard", "ima"):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = messy_model(2, classes=2).train()
            model[3].p = 0.0
            method = Standard(loss) if name == "standard" else IMA(loss, L2(4.0), increment=0.2, steps=5)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for _ in range(120):
                optimizer.zero_grad()
                method(model, image, label, list("abcdef")).backward()
                optimizer.step()
                method.end_epoch()
        margins[name] = SampleMargin(L2(20.0))(model, image, label).margin.mean().item()
    assert margins["ima"] > 1.2 * margins["standard"], margins


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PGDTraining(loss, L2(1.0), mix=1.5), r"mix must be in \[0, 1\], got 1.5"),
        (lambda: PGDTraining(loss, L2(1.0), ramp_epochs=-1), "ramp_epochs must be a whole number >= 0, got -1"),
        (lambda: IMA(loss, L2(1.0), beta=-0.1), r"beta must be in \[0, 1\], got -0.1"),
        (lambda: IMA(loss, L2(1.0), increment=2.0), r"increment must be in \(0, eps = 1\], got 2"),
        (lambda: IMA(loss, L2(1.0), smoothing=0.0), r"smoothing must be in \(0, 1\], got 0"),
        (lambda: IMA(loss, L2(1.0), bisections=-3), "bisections must be a whole number >= 0, got -3"),
        (lambda: IMA(loss, L2(1.0), steps=2.5), "steps must be a whole number >= 1, got 2.5"),
        (lambda: IMA(loss, L2(0.0)), "eps of IMA's perturbation must be > 0"),
        (lambda: IMA(loss, L2(torch.ones(3))), "eps of IMA's perturbation must be one number"),
    ],
)
def test_nonsense_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_ima_ignores_what_its_objective_ignores():
    model, image, label = _batch()
    label[:, 0] = 255
    method = IMA(lambda z, y: cross_entropy(z, y, ignore_index=255), L2(1.0), steps=2, objective=Dice(ignore_index=255))
    assert method(model, image, label, IDS).isfinite()


@pytest.mark.parametrize("ids", [None, ["a"]])
def test_ima_needs_an_id_for_each_sample(ids):
    model, image, label = _batch()
    with pytest.raises(ValueError, match="ids must name each of the 3 samples"):
        _ima()(model, image, label, ids)


def test_standard_training_has_no_settings():
    with pytest.raises(TypeError, match="warm"):
        Standard(loss, warm=True)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda method: pickle.loads(pickle.dumps(method))])
def test_ima_can_be_copied_and_pickled(make):
    method = IMA(cross_entropy, L2(1.0))
    method.table.margins["a"] = 0.3
    assert make(method).margins == {"a": 0.3}


@pytest.mark.parametrize("wrong", ["l2", None, 5, [L2(1.0), 3]])
def test_ima_refuses_what_is_no_set(wrong):
    with pytest.raises(ValueError, match="perturbation must be a set"):
        IMA(cross_entropy, wrong)
