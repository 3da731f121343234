"""Random models: found by two passes, averaged over, and said."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from imaseg import audit, load_cases, load_model
from imaseg.attacks.search import FRESH_DRAWS
from imaseg.auditing import Plan
from imaseg.auditing.inputs.examine import examine_model
from imaseg.auditing.inputs.randomness import SAMPLES, random_note, redecided
from imaseg.data.reading import read_volume
from imaseg.scores import foreground_dice
from tests.attacks.models import trained_model

PLAN = Plan.model_validate(
    {
        "name": "p",
        "probes": [
            {"attack": "pgd", "unit": "std", "eps": [0.02, 0.05], "steps": 2},
            {"attack": "fgsm", "unit": "std", "eps": [0.05], "samples": 2},
        ],
        "margins": [{"unit": "std", "eps": 0.2, "steps": 2, "rtol": 0.5}],
        "validity": {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.05},
        "showcase": {"eps": 0.05},
    }
)


class _Noisy(nn.Module):
    """Noise on the image, from torch's own generator or from one that no seed reaches."""

    def __init__(self, network, *, sigma=0.3, own=False):
        super().__init__()
        self.network, self.sigma = network, sigma
        self.generator = torch.Generator().manual_seed(0) if own else None

    def forward(self, image):
        return self.network(image + self.sigma * torch.randn(image.shape, generator=self.generator))


def test_a_deterministic_model_gives_the_same_twice_and_nothing_is_said():
    net, image, _ = trained_model()
    assert redecided(net, image) is None
    assert random_note(None) == ""


@pytest.mark.parametrize("own", [False, True])
def test_a_random_model_is_found_whatever_it_draws_from(own):
    net, image, _ = trained_model()
    state = torch.get_rng_state()
    share = redecided(_Noisy(net, own=own), image)
    assert 0 < share < 0.5
    assert torch.equal(state, torch.get_rng_state())
    assert f"decides {share:.2%} of its voxels otherwise" in random_note(share)


def test_rounding_is_no_randomness():
    net, image, _ = trained_model()
    assert redecided(_Noisy(net, sigma=1e-6), image) is None


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    model, told = load_model(tiny_run), []
    model.network = _Noisy(model.network)
    out = tmp_path_factory.mktemp("random") / "a"
    result = audit(model, prepared_phantom, PLAN, out, select=["phantom_005"], announce=told.append)
    return result, model, told


def test_the_audit_averages_by_itself_and_says_so(done):
    result, _, told = done
    (said,) = [line for line in told if line.startswith("The model is random: ")]
    assert said in result.summary["data"]["notes"]
    assert "The model is random: " in (result.folder / "report.html").read_text()
    run = json.loads((result.folder / "run.json").read_text())
    assert run["random"] is True
    assert [probe.get("samples") for probe in run["plan"]["probes"]] == [SAMPLES, 2, SAMPLES]


def test_clean_and_attacked_dice_are_means_over_draws(done, prepared_phantom):
    result, model, _ = done
    volume = read_volume(load_cases(prepared_phantom).select(["phantom_005"])[0])
    image, label = torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None]
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(99)
        draws = torch.cat([foreground_dice(model(image), label) for _ in range(60)])
    error = float((draws.var() * (1 / FRESH_DRAWS + 1 / 60)).sqrt()) + 1e-4
    assert abs(result.summary["foreground_mean"]["dice"] - float(draws.mean())) < 4 * error


def test_a_showcase_that_cannot_be_replayed_is_grey(done):
    (replay,) = [check for check in done[0].audit.summary.validity if "evaluated again" in check.check]
    assert (replay.ok, "random model" in replay.detail) == (None, True)


def test_a_resumed_audit_of_a_random_model_is_the_same_audit(done, prepared_phantom):
    result, model, _ = done
    again = audit(model, prepared_phantom, PLAN, result.folder, select=["phantom_005"], resume=True)
    assert again.summary == result.summary


def test_a_plan_for_a_deterministic_model_stays_as_it_is(tiny_run, prepared_phantom, tmp_path):
    plan = Plan.model_validate({"name": "p", "probes": [{"attack": "fgsm", "unit": "std", "eps": 0.05}]})
    result = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", select=["phantom_005"])
    run = json.loads((result.folder / "run.json").read_text())
    assert (run["random"], run["plan"]["probes"][0]["samples"]) == (False, None)


def test_doctor_finds_randomness(tiny_run, monkeypatch):
    model, facts = examine_model(str(tiny_run))
    assert facts["random"] is None
    model.network = _Noisy(model.network)
    monkeypatch.setattr("imaseg.auditing.inputs.examine.load_model", lambda spec, *, trust: model)
    _, facts = examine_model(str(tiny_run))
    assert facts["random"] > 0
    assert any(note.startswith("The model is random: ") for note in facts["notes"])
