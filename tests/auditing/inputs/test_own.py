"""imaseg's prediction held against that of the model's own software."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from imaseg import load_cases, load_model
from imaseg.auditing.inputs.own import _compared as _compared_maps
from imaseg.auditing.inputs.own import agreement, dice_of_either
from imaseg.auditing.inputs.source import CaseSource
from imaseg.data import Case
from imaseg.models.segmentation import ModelCard, SegmentationModel
from tests.nnunet_folder import REGIONS, dataset, plans, write_raw, write_results

IMAGENET = [{"low": m * 255, "high": (m + s) * 255, "clip": False} for m, s in
            ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]  # fmt: skip


def _compared(spec, data, number=0, *, change=None):
    model, cases = load_model(spec), load_cases(data)
    if change is not None:
        change(model)
    case = cases[number]
    loaded = CaseSource(cases, model.card, model.prepare).load(case)
    return agreement(model, case, loaded, prepared=cases.prepared is not None)


@pytest.fixture(scope="module")
def nnunet(raw_phantom, tmp_path_factory):
    pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")
    folder = tmp_path_factory.mktemp("own")
    return folder, write_raw(raw_phantom, folder)


@pytest.mark.parametrize(
    "planned", [{}, {"spacing": [1.5, 1.3, 1.2]}, {"spacing": [5.0, 1.0, 1.0]}], ids=["as is", "coarser", "thick"]
)
def test_nnunet_agrees_with_its_own_predictor_also_where_it_resamples(nnunet, planned):
    folder, raw = nnunet
    name = f"r{len([*folder.iterdir()])}"
    results = write_results(folder / name, plans(**planned), dataset(), folds=("0", "1"))
    found = _compared(f"nnunet:{results}", raw, 1)
    assert found.pipeline == "nnU-Net's predictor"
    assert found.case == "phantom_002"
    assert found.dice > 0.998, found
    assert found.voxels > 0.998
    assert found.agrees


def test_a_preparation_that_is_not_the_models_is_seen(nnunet):
    folder, raw = nnunet
    results = write_results(folder / "wrong", plans(), dataset())

    def wrong_window(model):
        prepare = model.prepare

        class Wrong:
            classes = prepare.classes

            def __call__(self, volume):
                prepared, steps = prepare(volume)
                prepared.image = np.roll(prepared.image, 2, axis=1)
                return prepared, steps

        model.prepare = Wrong()

    found = _compared(f"nnunet:{results}", raw, change=wrong_window)
    assert found.dice < 0.97
    assert found.agrees is False


def test_software_that_fails_is_no_agreement(nnunet, monkeypatch):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    def fail(*args, **kwargs):
        raise RuntimeError("no such  reader\nhere")

    folder, raw = nnunet
    results = write_results(folder / "fails", plans(), dataset())
    monkeypatch.setattr(nnUNetPredictor, "predict_from_files_sequential", fail)
    found = _compared(f"nnunet:{results}", raw)
    assert (found.dice, found.agrees) == (None, None)
    assert found.reason.startswith("nnU-Net's predictor could not run:")
    assert found.reason.endswith("got RuntimeError: no such reader here.")


@pytest.fixture(scope="module")
def smp_folder(tmp_path_factory):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, classes=2, decoder_channels=(8, 8, 8, 4, 4)).eval()
    folder = tmp_path_factory.mktemp("smp") / "model"
    network.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"encoder_weights": "imagenet"}))
    data = folder.parent / "data"
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
    pixels = rng.integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(data / "images" / "a.png")
    Image.fromarray((pixels[..., 0] > 128).astype(np.uint8)).save(data / "masks" / "a.png")
    return folder, data


def _recipe(folder, recipe):
    (folder / "imaseg.yaml").write_text(json.dumps({"recipe": recipe, "labels": {"1": "1"}}))
    return f"smp:{folder}"


def test_smp_agrees_where_the_card_states_the_encoders_preprocessing(smp_folder):
    folder, data = smp_folder
    found = _compared(_recipe(folder, {"normalise": "window", "window": IMAGENET}), data)
    assert "resnet18" in found.pipeline
    assert found.dice == pytest.approx(1, abs=2e-3)


def test_smp_disagrees_where_the_card_states_another(smp_folder):
    folder, data = smp_folder
    found = _compared(_recipe(folder, {"normalise": "none"}), data)
    assert found.dice < 0.98
    assert "interpolate" not in found.reason, "nothing was resampled"
    assert "nothing else is known to differ: compare preparation" in found.reason


def test_smp_without_pretrained_weights_defines_no_preprocessing(smp_folder, tmp_path):
    import shutil

    folder = shutil.copytree(smp_folder[0], tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"encoder_weights": None}))
    found = _compared(_recipe(folder, {"normalise": "none"}), smp_folder[1])
    assert found.dice is None
    assert found.applies
    assert "no pretrained weights" in found.reason


def test_a_run_of_imaseg_needs_no_other_software(tiny_run, prepared_phantom):
    found = _compared(tiny_run, prepared_phantom)
    assert not found.applies
    assert found.dice is None


def test_dice_counts_the_classes_of_either_map():
    ours, theirs = np.array([0, 1, 1, 2, -1]), np.array([0, 1, 3, 3, -1])
    assert dice_of_either(ours, theirs) == {1: pytest.approx(2 / 3), 2: 0, 3: 0}


class Fixed:
    """Software that always predicts the same."""

    name = "other software"

    def __init__(self, label):
        self.label = label

    def predict(self, files):
        return self.label


def _against(ours, theirs):
    model = SegmentationModel(torch.nn.Identity(), ModelCard(name="m", network={}, labels={}, in_channels=1,
                                                             spatial_dims=3))  # fmt: skip
    model.own = Fixed(theirs)
    return _compared_maps(ours, theirs, model, Case("a", (), None))


@pytest.mark.parametrize("voxels", [0, 40])
def test_too_little_to_compare_is_no_agreement(voxels):
    ours, theirs = np.zeros((2, 400, 1, 1), np.int64)
    ours[:voxels], theirs[100 : 100 + voxels] = 1, 1
    found = _against(ours, theirs)
    assert (found.dice, found.agrees) == (None, None)
    assert "of no class either predicts 50 voxels" in found.sentence


def test_one_class_of_many_that_is_never_found_is_no_agreement():
    classes = np.repeat(np.arange(201), 60)[:, None, None]
    found = _against(np.where(classes == 7, 0, classes), classes)
    assert found.dice > 0.99
    assert found.lowest == 0
    assert found.agrees is False
    assert "0.0000 of one class" in found.sentence


@pytest.mark.parametrize("planned", [{}, {"spacing": [2.6, 2.2, 2.4]}], ids=["as is", "coarser"])
def test_regions_go_back_to_the_files_one_by_one(nnunet, planned):
    folder, raw = nnunet
    results = write_results(folder / f"regions{len(planned)}", plans(**planned), dataset(REGIONS))
    found = _compared(f"nnunet:{results}", raw, 1)
    assert found.dice > 0.998, found


@pytest.mark.parametrize(
    ("changed", "card"),
    [
        ({"aux_params": {"classes": 3}, "classes": 2}, {}),
        ({"aux_params": {"classes": 3}, "classes": 1}, {}),
        ({"classes": 3, "activation": "sigmoid"}, {"regions": {0: 2, 1: 1, 2: 3}}),
        ({"classes": 3}, {"labels": {1: "1", 2: "2", 3: "3"}, "regions": {0: 1, 1: 2, 2: 3}}),
    ],
    ids=["pair", "pair of one channel", "sigmoids", "logits of structures"],
)
def test_smp_decides_as_its_channels_are_meant(smp_folder, tmp_path, changed, card):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(1)
    arguments = {"encoder_weights": None, "decoder_channels": (8, 8, 8, 4, 4)} | changed
    smp.Unet("resnet18", **arguments).eval().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"encoder_weights": "imagenet"}))
    recipe = {"normalise": "window", "window": IMAGENET}
    (tmp_path / "imaseg.yaml").write_text(yaml.safe_dump({"recipe": recipe} | card))
    found = _compared(f"smp:{tmp_path}", smp_folder[1])
    assert found.dice == pytest.approx(1, abs=2e-3), found


def test_smp_sees_photographs_upright(smp_folder, tmp_path):
    turned = Image.Exif()
    turned[0x112] = 6
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        with Image.open(smp_folder[1] / kind / "a.png") as picture:
            picture.save(tmp_path / kind / "a.png", exif=turned)
    recipe = {"normalise": "window", "window": IMAGENET}
    assert _compared(_recipe(smp_folder[0], recipe), tmp_path).dice == pytest.approx(1, abs=2e-3)
