"""Several methods that take turns: draws, margins per set, state, and configurations with a list of sets."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.nn.functional import cross_entropy

from imaseg import IMA, L2, BiasField, DiceBelow, FreeTraining, Gamma, PGDTraining, Standard
from imaseg.training import OneOf, build_method
from tests.attacks.models import trained_model

SETS = [L2(2.0), BiasField(0.3), Gamma(0.5)]
NEVER = DiceBelow(0.01, absent="ignore")


def _loss(logits, label):
    return cross_entropy(logits, label)


class _Noted(Standard):
    def __init__(self, seen, name):
        super().__init__(_loss)
        self.seen, self.title = seen, name

    def __call__(self, model, image, label, ids=None, *, inside=None):
        self.seen.append(self.title)
        return super().__call__(model, image, label, ids, inside=inside)


def test_each_batch_draws_one_method_with_equal_chances_and_a_seed_repeats_the_draws():
    net, image, label = trained_model()
    runs = []
    for seed in (0, 0, 1):
        seen = []
        method = OneOf([_Noted(seen, name) for name in "abc"], seed=seed)
        for _ in range(300):
            method(net, image[:1], label[:1])
        runs.append(seen)
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][1:] != runs[2][:-1], "seeds draw anew, not a batch later"
    assert all(70 <= count <= 130 for count in Counter(runs[0]).values())
    assert len(Counter(runs[0])) == 3


def test_a_list_of_sets_gives_each_case_a_margin_in_every_set():
    net, image, label = trained_model()
    method = IMA(_loss, SETS, criterion=NEVER, steps=1)
    ids = [f"case{i}" for i in range(len(image))]
    for _ in range(12):
        method(net, image, label, ids)
    method.end_epoch()
    assert isinstance(method, OneOf)
    assert method.margins.keys() == set(ids)
    for margins in method.margins.values():
        # Nothing breaks: in every set a case has grown from one increment to two.
        assert margins == pytest.approx({"l2": 0.4, "bias-field": 0.06, "gamma": 0.1})


def test_one_set_in_a_list_trains_as_the_set_alone():
    net, image, label = trained_model()
    alone, listed = (IMA(_loss, given, criterion=DiceBelow(0.6)) for given in (L2(2.0), [L2(2.0)]))
    for _ in range(3):
        torch.testing.assert_close(
            listed(net, image, label, list("abcdefgh")), alone(net, image, label, list("abcdefgh"))
        )
    alone.end_epoch()
    listed.end_epoch()
    assert {case: margins["l2"] for case, margins in listed.margins.items()} == alone.margins


def test_state_goes_on_where_it_was_saved():
    net, image, label = trained_model()
    ids = list("abcdefgh")

    def make():
        return IMA(_loss, SETS, criterion=DiceBelow(0.6), steps=2)

    first, second = make(), make()
    for method in (first, first, first):
        method(net, image, label, ids)
    first.end_epoch()
    second.load_state_dict(first.state_dict())
    after = [[method(net, image, label, ids).item() for _ in range(4)] for method in (first, second)]
    assert after[0] == after[1]
    assert first.margins == second.margins


def test_equal_sets_are_numbered():
    method = OneOf([PGDTraining(_loss, L2(1.0)), IMA(_loss, L2(2.0)), Standard(_loss)])
    assert list(method.parts) == ["l2", "l2-2", "standard"]
    assert method.passes == max(part.passes for part in method.methods)


def test_configurations_hold_lists_of_sets_and_of_methods():
    sets = [{"name": "l2", "eps": 2.0}, {"name": "gamma", "eps": 0.5}]
    assert list(build_method({"name": "ima", "perturbation": sets}, _loss).parts) == ["l2", "gamma"]
    parts = [{"name": "pgd-training", "perturbation": one} for one in sets]
    built = build_method({"name": "one-of", "methods": parts}, _loss, seed=3)
    assert [type(part) for part in built.methods] == [PGDTraining, PGDTraining]
    assert built.seed == built.methods[0].seed == 3


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: OneOf([]), "methods must hold at least one training method"),
        (lambda: OneOf([Standard(_loss), FreeTraining(_loss, L2(1.0))]), "must all repeat their batches equally often"),
        (lambda: IMA(_loss, SETS, increment=0.1), "increment must be left out with several sets"),
        (lambda: build_method({"name": "one-of"}, _loss), "methods of one-of must be a list of training methods"),
        (lambda: build_method({"name": "one-of", "methods": [], "more": 1}, _loss), "got 'more'"),
    ],
)
def test_nonsense_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_methods_inside_another_one_of_keep_their_own_names_and_margins():
    net, image, label = trained_model()
    method = OneOf([IMA(_loss, SETS[:2], steps=1, criterion=NEVER), IMA(_loss, L2(1.0), steps=1, criterion=NEVER)])
    ids = [f"case{i}" for i in range(len(image))]
    for _ in range(12):
        method(net, image, label, ids)
    method.end_epoch()
    assert list(method.parts) == ["l2", "bias-field", "l2-2"]
    assert method.margins["case0"] == pytest.approx({"l2": 0.4, "bias-field": 0.06, "l2-2": 0.2})


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"name": "pgd-training", "perturbation": [{"name": "l2", "eps": 1}]}, "perturbation of pgd-training must be"),
        ({"name": "trades", "perturbation": [{"name": "l2", "eps": 1}]}, "perturbation of trades must be a single one"),
        (
            {"name": "ima", "perturbation": {"name": "l2", "eps": 1}, "objective": ["dice", "dice-ce"]},
            "objective of ima must be a single one, got a list",
        ),
        ({"name": "one-of", "methods": [{"name": "standard"}, 5]}, "method must be a mapping with a name, got 5"),
        ({"name": "one-of", "methods": [{"name": "standard"}], "seed": "a"}, "seed must be a whole number, got 'a'"),
    ],
)
def test_configurations_that_fit_no_method_are_refused_before_the_first_batch(spec, told):
    with pytest.raises(ValueError, match=told):
        build_method(spec, _loss)
