"""The wrappers of checkpoints that nobody here trained, on the real files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from imaseg.auditing.fitting import fit
from imaseg.auditing.source import CaseSource

from imaseg import load_cases, load_model
from imaseg.models.probe import gradient_reaches
from imaseg.scores import hard_dice

pytestmark = pytest.mark.data
CARDS = Path(__file__).resolve().parents[2] / "examples" / "third_party"


def test_the_cardiac_network_finds_left_ventricles_of_another_scanner(real_data, monkeypatch):
    monkeypatch.setenv("IMASEG_TEST_DATA", str(real_data))
    model = load_model(CARDS / "cardiac_unet16.yaml", trust=True)
    cases = load_cases(real_data / "sunnybrook_lv_2d").select(
        ["SC-N-07-IM-0001-0086.dcm", "SC-HF-I-06-IM-0001-0219.dcm"]
    )
    fitted = fit(model, cases)
    assert "do not label myocardium, right ventricle" in fitted.notes[0]
    source = CaseSource(cases, fitted.model.card)
    for case in cases:
        volume = source.load(case).volume
        assert volume.image.shape == (1, 192, 192, 1)
        with torch.no_grad():
            logits = fitted.model(torch.from_numpy(volume.image)[None])
        assert hard_dice(logits, torch.from_numpy(volume.label)[None])[0, 1] > 0.85


def test_the_retina_network_loads_from_inside_a_trainers_checkpoint(real_data, monkeypatch):
    monkeypatch.setenv("IMASEG_TEST_DATA", str(real_data))
    model = load_model(CARDS / "retina_wnet.yaml", trust=True)
    assert sum(one.numel() for one in model.parameters()) == 68_482
    assert model.found.probe.channels == 1
    assert model(torch.rand(1, 3, 36, 24, 1)).shape == (1, 2, 36, 24, 1)
    assert gradient_reaches(model, 3, [16, 16, 1])
