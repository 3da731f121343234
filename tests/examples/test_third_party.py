"""The wrappers of checkpoints that nobody here trained, on the real files."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imaseg import audit, load_cases, load_model
from imaseg.auditing.inputs.fitting import fit
from imaseg.auditing.inputs.source import CaseSource
from imaseg.auditing.plan import Plan
from imaseg.models.outputs.probe import gradient_reaches
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


def _left_ventricle_by_hand(real_data: Path, slices: list[str]) -> dict[str, float]:
    """Dice by slice from Pillow, NumPy and the bare network; 1 where the ventricle is on neither side."""
    spec = spec_from_file_location("unet16", CARDS / "unet16.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.UNet16(classes=4).eval()
    weights = real_data / "checkpoints" / "advchain_unet16" / "cardiac_seg_unet_16.pth"
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    scores = {}
    for name in slices:
        image, label = (
            np.asarray(Image.open(real_data / "sunnybrook_lv_2d" / kind / name).convert("L")).astype(float)
            for kind in ("images", "labels")
        )
        middle = tuple(slice((side - 192) // 2, (side - 192) // 2 + 192) for side in image.shape)
        image, truth = image[middle], label[middle] > 0
        low, high = np.percentile(image, [1, 99])
        ready = torch.from_numpy((image.clip(low, high) - low) / (high - low)).float()[None, None]
        with torch.no_grad():
            found = network(ready)[0].argmax(0).numpy() == 1
        total = found.sum() + truth.sum()
        scores[name.removesuffix(".png")] = 2 * (found & truth).sum() / total if total else 1.0
    return scores


def test_clean_dice_is_what_numpy_and_the_bare_network_count(real_data, monkeypatch, tmp_path):
    monkeypatch.setenv("IMASEG_TEST_DATA", str(real_data))
    slices = sorted(path.name for path in (real_data / "sunnybrook_lv_2d" / "images").iterdir())[20::60]
    wanted = _left_ventricle_by_hand(real_data, slices)
    plan = Plan.model_validate({"name": "clean", "probes": [{"attack": "gaussian-noise", "eps": [0.01]}]})
    cases = load_cases(real_data / "sunnybrook_lv_2d").select([*wanted])
    done = audit(CARDS / "cardiac_unet16.yaml", cases, plan, tmp_path / "out", select="all", trust=True)
    found = {record.case: record.clean["1"]["dice"] for record in done.audit.cases}
    assert sum(score > 0.5 for score in wanted.values()) >= 2, "a network that finds nothing would show nothing"
    assert found == pytest.approx(wanted, abs=1e-3)


def test_the_retina_network_loads_from_inside_a_trainers_checkpoint(real_data, monkeypatch):
    monkeypatch.setenv("IMASEG_TEST_DATA", str(real_data))
    model = load_model(CARDS / "retina_wnet.yaml", trust=True)
    assert sum(one.numel() for one in model.parameters()) == 68_482
    assert model.found.probe.channels == 1
    assert model(torch.rand(1, 3, 36, 24, 1)).shape == (1, 2, 36, 24, 1)
    assert gradient_reaches(model, 3, [16, 16, 1])
