"""On an accelerator: the results of the CPU, no operation that mixes devices, and a host that seldom waits.

The accelerator is a pretend one (`tests/pretend_device.py`), so that this runs everywhere; `tests/test_gpu.py` is for a
real one. It has to be there before the process computes its first gradient: `tests/test_device.py` starts a new one.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg import (
    APGD,
    IMA,
    L2,
    PGD,
    TRADES,
    BiasField,
    CertifiedMargin,
    Deformation,
    DiceBelow,
    Frequency,
    Gamma,
    Linf,
    MinimumNorm,
    PGDTraining,
    SampleMargin,
    ShrinkingSetPGD,
    Square,
    Standard,
    TiledModel,
    VoxelMargin,
    ranks,
)
from imaseg.auditing import Plan, audit
from imaseg.models import load_model
from imaseg.objectives import DiceCE
from imaseg.runs import load_config, train
from imaseg.training import FreeTraining, OneOf, PublishedIMA, adversarial_weights
from tests.conftest import IMA_METHOD
from tests.nnunet_folder import dataset, plans, write_results
from tests.pretend_device import moved, pretending, set_up

SETS = {
    "l2": lambda: L2(1.0),
    "rms-in-bounds": lambda: L2(0.05, unit="rms", bounds=(-6.0, 6.0)),
    "linf": lambda: Linf(0.1),
    "bias-field": lambda: BiasField(0.3),
    "gamma": lambda: Gamma(0.5),
    "frequency": lambda: Frequency(5.0),
    "deformation": lambda: Deformation(1.0),
}


@pytest.fixture(scope="module", autouse=True)
def _device():
    """Not on import: collecting the doctests of all modules must not give every test a device."""
    set_up()


def _network():
    torch.manual_seed(0)
    parts = [nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 3, 1)]
    return nn.Sequential(*parts).eval()


def _case():
    image = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return image, _network()(image).argmax(1)


def _there(run):
    """What `run(network, image, label)` gives on the device, and how often the host waited for it."""
    image, label = _case()
    with pretending() as waited:
        network, image, label = moved(_network()), moved(image), moved(label)
        waited()
        found = run(network, image, label)
        count = sum(waited().values())
        return [one.cpu() if isinstance(one, torch.Tensor) else one for one in found], count


def _agree(run, *, atol=1e-4):
    found, _ = _there(run)
    for there, here in zip(found, run(_network(), *_case()), strict=True):
        torch.testing.assert_close(there, here, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("perturbation", SETS.values(), ids=SETS)
@pytest.mark.parametrize("attack", [PGD, APGD, ShrinkingSetPGD, Square])
def test_attacks_find_the_same(attack, perturbation):
    def run(network, image, label):
        result = attack(perturbation(), steps=4)(network, image, label)
        return result.foreground_dice, result.size, result.prediction.float().mean()

    _agree(run, atol=2e-3)


def test_searches_with_a_criterion_find_the_same():
    def run(network, image, label):
        criterion = DiceBelow(0.7)
        result = PGD(L2(3.0), steps=6)(network, image, label, criterion=criterion)
        smallest = MinimumNorm(L2(5.0), steps=4)(network, image, label)
        return result.success, result.foreground_dice, smallest.size

    _agree(run, atol=2e-3)


def test_margins_are_the_same():
    def run(network, image, label):
        margin = SampleMargin(L2(6.0))(network, image, label)
        voxels = VoxelMargin(Linf(0.5), rungs=4, focus=20)(network, image, label)
        certified = CertifiedMargin(sigma=0.1, samples=40, alpha=0.05)(network, image)
        return margin.margin, margin.censored, voxels.margin.mean(), certified.radius.shape

    found, _ = _there(lambda *case: run(*case)[:3])
    here = run(_network(), *_case())
    for there, one in zip(found, here, strict=False):
        torch.testing.assert_close(there, one, rtol=0.06, atol=0)


METHODS = {
    "standard": lambda loss: Standard(loss),
    "pgd": lambda loss: PGDTraining(loss, L2(1.0), steps=3, warm=True),
    "free": lambda loss: FreeTraining(loss, L2(1.0)),
    "trades": lambda loss: TRADES(loss, L2(1.0), steps=3, warm=True),
    "ima": lambda loss: IMA(loss, L2(1.0), steps=3),
    "ima-worst": lambda loss: IMA(
        loss, L2(1.0), steps=3, train_on="worst", radius_jitter=1.0, warm=True, weighting=1.0
    ),
    "ima-published": lambda loss: PublishedIMA(loss, L2(1.0)),
    "one-of": lambda loss: OneOf([IMA(loss, L2(1.0), steps=3), IMA(loss, Gamma(0.5), steps=3)]),
}


@pytest.mark.parametrize("name", METHODS)
def test_training_methods_give_the_same_loss(name):
    def run(network, image, label):
        method, found = METHODS[name](DiceCE()), []
        for _ in range(2):
            loss = method(network.train(), image, label, ["a", "b"])
            loss.backward()
            method.end_epoch()
            found.append(loss.detach())
        found.append(adversarial_weights(method, network, image, label, ["a", "b"]).detach())
        return found

    _agree(run, atol=2e-3)


def test_a_tiled_model_is_searched_there():
    def run(network, image, label):
        tiled = TiledModel(network, roi_size=6, overlap=0.5)
        return (PGD(L2(1.0), steps=3)(tiled, image, label).foreground_dice,)

    _agree(run, atol=2e-3)


def test_a_search_in_a_region_runs_the_tiles_that_it_reaches_there():
    region = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    region[..., :3, :3, :3] = True

    def run(network, image, label):
        tiled = TiledModel(network, roi_size=4, overlap=0.5)
        result = PGD(L2(1.0, region=region), steps=3)(tiled, image[:1], label[:1])
        return result.foreground_dice, result.zero_gradients, result.size

    _agree(run, atol=2e-3)


@pytest.mark.parametrize("attack", [PGD, APGD, ShrinkingSetPGD])
@pytest.mark.parametrize("perturbation", SETS.values(), ids=SETS)
def test_the_host_waits_once_per_step(attack, perturbation):
    def waits(steps, **more):
        return _there(lambda *case: [attack(perturbation(), steps=steps)(*case, **more).size])[1]

    assert waits(12) - waits(4) <= 8
    assert waits(12, criterion=DiceBelow(0.05)) - waits(4, criterion=DiceBelow(0.05)) <= 8
    assert waits(4) <= 4 + 6


def test_the_host_seldom_waits_for_margins_and_training():
    margin, attacks = SampleMargin(L2(6.0)), []

    class Counted(PGD):
        name = "counted"

        def _run(self, search):
            attacks.append(self.steps)
            super()._run(search)

    margin.attack = Counted(margin.perturbation, objective=margin.attack.objective)
    _, count = _there(lambda *case: [margin(*case).margin])
    assert count / len(attacks) <= 50  # a bracket narrows once per search

    def step(network, image, label):
        method = IMA(DiceCE(), L2(1.0), steps=8)
        return [method(network.train(), image, label, ["a", "b"]).detach()]

    assert _there(step)[1] <= 8 + 12


PLAN = """name: small
probes:
  - {attack: pgd, unit: rms, eps: [0.05, 0.10], steps: 2}
  - {attack: strong, unit: rms, eps: [0.05], steps: 3}
  - {kind: corruption, corruptions: [gamma, rotation], severities: [1]}
margins:
  - {perturbation: l2, unit: rms, eps: 0.4, criterion: {name: dice-below, threshold: 0.5}, steps: 2, rtol: 0.2}
validity: {cases: 1, attack: pgd, large_eps: 2.0, scaled_eps: 0.05}
showcase: {attack: pgd, eps: 0.05}
seed: 0
"""


def test_an_audit_says_the_same(prepared_phantom, tiny_config, tmp_path):
    run = train(load_config(tiny_config, ["epochs=1"]), prepared_phantom, tmp_path / "run")
    (tmp_path / "plan.yaml").write_text(PLAN)
    here = audit(run, prepared_phantom, tmp_path / "plan.yaml", tmp_path / "here").summary
    with pretending() as waited:
        there = audit(moved(load_model(run)), prepared_phantom, tmp_path / "plan.yaml", tmp_path / "there").summary
        assert waited()
    for name, value in here["foreground_mean"].items():
        assert there["foreground_mean"][name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    assert [probe["kind"] for probe in there["probes"]] == [probe["kind"] for probe in here["probes"]]
    for one, other in zip(here["probes"], there["probes"], strict=True):
        found, wanted = (probe.get("foreground_mean", {}).get("dice") for probe in (other, one))
        assert found == pytest.approx(wanted, abs=5e-3)


NAMES = {"background": 0, "Front": 1, "Back": 2}


def test_nnunets_network_is_audited_there(raw_phantom, tmp_path, monkeypatch):
    monkeypatch.setattr("imaseg.models.free_memory.free_bytes", lambda: 0)  # tensors there have no storage to measure
    model = f"nnunet:{write_results(tmp_path / 'results', plans((24, 24, 16)), dataset(NAMES))}"
    plan = {"name": "few", "probes": [{"attack": "pgd", "unit": "std", "eps": [0.05], "steps": 1}], "verify": False}
    plan["probes"] += [{**plan["probes"][0], "search_near": 0.5, "name": "near"}]
    how = {"select": ["phantom_005"]}
    here = audit(load_model(model), raw_phantom, Plan.model_validate(plan), tmp_path / "here", **how).summary
    with pretending():
        there = moved(load_model(model))
        there = audit(there, raw_phantom, Plan.model_validate(plan), tmp_path / "there", **how).summary
    for one, other in zip(here["probes"], there["probes"], strict=True):
        assert other["foreground_mean"]["dice"] == pytest.approx(one["foreground_mean"]["dice"], abs=5e-3)


def test_a_model_is_trained_there(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    config = load_config(tiny_config, ["epochs=2", IMA_METHOD])
    with pretending() as waited:
        place = moved(torch.zeros(1)).device
        monkeypatch.setattr(ranks, "pick_device", lambda *_: place)
        run = train(config, prepared_phantom, tmp_path / "run")
        assert waited()
    assert all(value.isfinite().all() for value in load_model(run).state_dict().values())


def test_operations_that_mix_devices_are_found():
    with pretending() as waited:
        one = moved(torch.ones(3))
        with pytest.raises(RuntimeError, match=r"devices mix in aten::add"):
            one + torch.ones(3)
        waited()
        assert float((one + 1).sum()) == 6
        assert one[one > 0].shape == (3,)
        assert sum(waited().values()) == 2
