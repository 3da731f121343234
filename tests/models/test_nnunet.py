"""nnU-Net folders as models: the decisions of nnU-Net's own predictor, and nothing executed unasked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from imaseg import L2, PGD, InputError, load_cases, load_model
from imaseg.auditing.inputs.fitting import fit
from imaseg.auditing.inputs.source import CaseSource, choose
from imaseg.data.inverse.grid import GridMap
from imaseg.data.inverse.invert import native_scale
from imaseg.data.preparation.intensity import shift_and_scale
from imaseg.data.reading import read_volume
from imaseg.data.volume import Volume
from imaseg.models.nnunet.folder import ResultsFolder
from imaseg.models.nnunet.model import _tile_weight
from imaseg.models.nnunet.split import cases_of
from imaseg.models.outputs.decision import class_of_label, classes_of_regions
from tests.nnunet_folder import REGIONS, Harmful, dataset, plans, write_raw, write_results

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")

CT = {"normalization_schemes": ["CTNormalization"]}
MASKED = {"use_mask_for_norm": [True]}
TWO = {"normalization_schemes": ["CTNormalization", "ZScoreNormalization"], "use_mask_for_norm": [False, True]}
TORCH = {
    "resampling_fn_data": "resample_torch_fornnunet",
    "resampling_fn_data_kwargs": {"is_seg": False, "force_separate_z": False},
}
KINDS = {
    "3d": (plans(), dataset()),
    "2d": (plans((16, 12)), dataset()),
    "3d, axes transposed, masked normalisation": (plans((12, 16, 8), transpose=(2, 0, 1), **MASKED), dataset()),
    "2d, axes transposed, CT": (plans((12, 16), transpose=(1, 0, 2), **CT), dataset()),
    "3d, reorienting reader": (plans() | {"image_reader_writer": "NibabelIOWithReorient"}, dataset()),
    "3d, reorienting ITK": (plans() | {"image_reader_writer": "SimpleITKIOWithReorient"}, dataset()),
    "3d, two channels, tiles larger than the image": (plans((28, 16, 12), **TWO), dataset(channels=2)),
    "3d, regions": (plans(), dataset(REGIONS)),
    "3d, ignore label": (plans(), dataset({"background": 0, "front": 1, "ignore": 2})),
}


@pytest.fixture(scope="module")
def raw(raw_phantom, tmp_path_factory):
    return write_raw(raw_phantom, tmp_path_factory.mktemp("nnunet"))


def _source(raw, model, content):
    (raw / "dataset.json").write_text(json.dumps(content))
    cases = load_cases(raw)
    return cases, CaseSource(cases, model.card, model.prepare)


def _with_second_channel(raw, root):
    """A copy of the cases, each with its own square root, mirrored and 0 in a corner, as second channel."""
    out = Path(shutil.copytree(raw, root / "two" / raw.name))
    for path in sorted((out / "imagesTr").glob("*_0000.nii.gz")):
        first = nib.load(path)
        second = np.sqrt(np.abs(first.get_fdata()[::-1])).astype(np.float32)
        second[:8, :8, :8] = 0
        nib.save(nib.Nifti1Image(second, first.affine), str(path).replace("_0000", "_0001"))
    return out


def _by_nnunet(folder, folds, case):
    """Preprocessed image, logits and segmentation in nnU-Net's axes, and the segmentation of the file."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), folds)
    manager, configuration = predictor.plans_manager, predictor.configuration_manager
    reader = manager.image_reader_writer_class()
    image, properties = reader.read_images([str(path) for path in case.image])
    label, _ = reader.read_seg(str(case.label))
    data, label, properties = configuration.preprocessor_class(verbose=False).run_case_npy(
        image, label, properties, manager, configuration, predictor.dataset_json
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    return data, label[0], predictor.label_manager.convert_logits_to_segmentation(logits)


@pytest.fixture
def in_single(monkeypatch):
    """nnU-Net's predictor, adding up tiles in float32 instead of half precision once this is called."""
    from nnunetv2.inference import predict_from_raw_data as module

    def switch():
        gaussian = module.compute_gaussian
        monkeypatch.setattr(module, "compute_gaussian", lambda *a, **k: gaussian(*a, **k).float())
        monkeypatch.setattr(module, "torch", SimpleNamespace(**{**vars(torch), "half": torch.float32}))

    return switch


@pytest.mark.parametrize("kind", KINDS)
def test_image_label_and_decisions_are_those_of_nnunet(kind, raw, tmp_path, in_single):
    plan, content = KINDS[kind]
    raw = _with_second_channel(raw, tmp_path) if len(content["channel_names"]) > 1 else raw
    folder = write_results(tmp_path / "nnUNetTrainer__tiny__x", plan, content)
    model = load_model(f"nnunet:{folder}")
    cases, source = _source(raw, model, content)
    loaded = source.load(cases[0])
    data, label, segmentation = _by_nnunet(folder, ("0",), cases[0])
    axes = [2 - axis for axis in plan["transpose_forward"]]
    assert model.independent == (kind == "3d, regions"), "regions are sigmoids"
    turned = loaded.volume.image.transpose(0, *(axis + 1 for axis in axes))
    np.testing.assert_allclose(turned, data, rtol=1e-5, atol=1e-5)
    ignored = content["labels"].get("ignore", -5)
    expected = np.where(label == ignored, -1, np.where(label < 0, 0, label))
    assert (loaded.volume.label.transpose(axes) == expected).all()
    with torch.no_grad():
        logits = model(torch.from_numpy(loaded.volume.image)[None])[0].permute(0, *(axis + 1 for axis in axes))
    decided = logits.argmax(0)
    assert len(decided.unique()) == int(segmentation.max()) + 1 >= 2, "a model that says one thing proves nothing"
    assert float((decided != segmentation).float().mean()) < 2e-3, "but for what half precision loses at the corners"
    in_single()
    exact = _by_nnunet(folder, ("0",), cases[0])[2]
    assert torch.equal(decided, exact.long())


def test_voxels_stay_where_they_are_in_the_world(raw, tmp_path):
    content = dataset()
    plan = plans((12, 16, 8), transpose=(2, 0, 1), spacing=[0.9, 1.3, 1.1])
    model = load_model(f"nnunet:{write_results(tmp_path / 'r', plan)}")
    cases, source = _source(raw, model, content)
    loaded = source.load(cases[1])
    assert loaded.native.shape != loaded.volume.shape

    def centre(volume):
        place = np.argwhere(volume.label == 1).mean(0)
        return volume.affine[:3, :3] @ place + volume.affine[:3, 3]

    assert np.linalg.norm(centre(loaded.native) - centre(loaded.volume)) < 0.25, "mm"
    np.testing.assert_allclose(loaded.volume.spacing, [0.9, 1.1, 1.3], rtol=0.05)


@pytest.mark.parametrize("kind", ["3d", "2d, axes transposed, CT", "3d, axes transposed, masked normalisation"])
def test_one_unit_of_the_model_is_so_many_native_units(kind, raw, tmp_path):
    plan, content = KINDS[kind]
    ((name, configuration),) = plan["configurations"].items()
    keep = plan | {"configurations": {name: configuration | {"spacing": [1.0] * len(configuration["patch_size"])}}}
    model = load_model(f"nnunet:{write_results(tmp_path / 'r', keep, content)}")
    cases, source = _source(raw, model, content)
    loaded = source.load(cases[0])
    crop, step = loaded.steps[0], next(s for s in loaded.steps if s["name"] == "normalise")
    inside = tuple(slice(s, s + n) for s, n in zip(crop["start"], crop["shape"], strict=True))
    native = loaded.native.image[0][inside].astype(np.float64)
    if "low" in step:
        native = native.clip(step["low"], step["high"])
    expected = (native - step["mean"]) / native_scale(loaded.steps)
    if step["method"] == "masked-zscore":
        expected = np.where(native == 0, 0.0, expected)
    from skimage.transform import resize

    again = resize(expected, loaded.volume.shape, 3, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(loaded.volume.image[0], again, rtol=1e-3, atol=2e-3)


def test_the_label_does_not_reach_the_image_as_it_does_not_when_nnunet_predicts(raw, tmp_path):
    model = load_model(f"nnunet:{write_results(tmp_path / 'r', plans(**MASKED))}")
    cases, _ = _source(raw, model, dataset())
    volume = read_volume(cases[0])
    image, label = volume.image.copy(), volume.label.copy()
    image[0, :8, :8, :8], label[:8, :8, :8] = 0, 1
    volume = replace(volume, image=image, label=label)
    seen, steps = model.prepare(volume)
    blind, again = model.prepare(replace(volume, label=None))
    np.testing.assert_array_equal(seen.image, blind.image)
    assert steps == again
    assert seen.label[:4, :4, :4].any(), "the structure itself is kept"


@pytest.mark.parametrize("kind", [{}, TORCH], ids=["splines", "torch"])
def test_the_recorded_grid_is_what_was_done_to_the_image(kind, raw, tmp_path):
    plan = plans(spacing=[0.8, 1.4, 1.1], **kind)
    model = load_model(f"nnunet:{write_results(tmp_path / 'r', plan)}")
    cases, source = _source(raw, model, dataset())
    loaded = source.load(cases[0])
    assert loaded.native.shape != loaded.volume.shape
    shift, scale = shift_and_scale(loaded.steps[1])
    native = ((loaded.native.image[0] - shift) / scale).astype(np.float32)
    expected = GridMap(loaded.native.shape, loaded.steps).forward(native)
    expected = expected.clip(native.min(), native.max())  # as nnU-Net does with what its splines overshoot
    np.testing.assert_allclose(loaded.volume.image[0], expected, atol=5e-3)


def test_folds_are_attacked_through_their_mean(tmp_path):
    folder = write_results(tmp_path / "r", plans(), folds=("0", "1", "2"))
    image = torch.randn(1, 1, 20, 18, 16)
    single = [load_model(f"nnunet:{folder}@{fold}") for fold in range(3)]
    together = load_model(f"nnunet:{folder}@all")
    with torch.no_grad():
        mean = torch.stack([model(image) for model in single]).mean(0)
        torch.testing.assert_close(together(image), mean, rtol=1e-4, atol=1e-4)
    label = together(image).argmax(1)
    result = PGD(L2(0.3, unit="rms"), steps=2)(together, image, label)
    assert float(result.foreground_dice) < float(result.foreground_dice_clean) == 1.0
    assert result.backward_calls == 2


def test_regions_decide_as_painting_one_over_the_other():
    logits = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    painted = torch.zeros(2, 50, dtype=torch.long)
    for region, color in enumerate([2, 1, 2]):
        painted[logits[:, region] > 0] = color
    assert torch.equal(classes_of_regions(logits, [2, 1, 2]).argmax(1), painted)
    assert [class_of_label(value, [(1, 2, 3), 3], [1, 2]) for value in range(4)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("labels", "order", "inside"),
    [
        ({"enh": 3, "whole": [1, 2, 3], "core": [2, 3]}, [3, 1, 2], None),
        ({"whole": [1, 2, 3], "core": [2, 3], "enh": 3}, [1, 2, 3], {"whole": [1, 2, 3], "core": [2, 3], "enh": [3]}),
        ({"whole": [1, 2, 3], "core": [2, 3]}, [1, 2], {"whole": [1, 2], "core": [2]}),
        ({"left": 1, "right": 2, "both": [1, 2]}, [1, 2, 3], None),
    ],
)
def test_regions_are_scored_as_what_is_painted_inside_them(labels, order, inside, tmp_path):
    content = dataset({"background": 0, **labels}) | {"regions_class_order": order}
    folder = write_results(tmp_path / "nnUNetTrainer__tiny__2d", plans((24, 16)), content)
    if inside is None:
        with pytest.raises(InputError, match=r"regions_class_order .* (must paint label|must be made of)"):
            load_model(f"nnunet:{folder}")
    else:
        assert load_model(f"nnunet:{folder}").card.regions == inside


def test_names_are_matched_where_there_is_a_label_to_ignore(raw, tmp_path):
    content = dataset({"background": 0, "right": 1, "left": 2, "ignore": 3})
    folder = write_results(tmp_path / "nnUNetTrainer__tiny__2d", plans((24, 16)), content)
    model, cases = load_model(f"nnunet:{folder}"), load_cases(raw)
    fitted = fit(model, replace(cases, declared_labels={0: "background", 1: "left", 2: "right", 3: "ignore"}))
    assert fitted.model.card.label_map == {1: 2, 2: 1, 3: 3}
    with pytest.raises(InputError, match="got 1 liver"):
        fit(model, replace(cases, declared_labels={0: "background", 1: "liver", 2: "right", 3: "ignore"}))


def test_classes_that_the_data_lack_are_left_out(raw, tmp_path):
    folder = write_results(tmp_path / "nnUNetTrainer__tiny__2d", plans((24, 16)))
    model, cases = load_model(f"nnunet:{folder}"), load_cases(raw)
    fitted = fit(model, replace(cases, declared_labels={0: "background", 1: "1", 2: "right"}).select(cases.ids[:1]))
    assert fitted.model.card.labels == model.card.labels
    fitted = fit(model, replace(cases, declared_labels={0: "background", 2: "2"}))
    assert fitted.model.card.labels == {0: "background", 1: "right"}
    assert any("do not label left" in note for note in fitted.notes)


def test_the_validation_cases_of_the_fold_are_audited_unless_others_are_named(raw, tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    folder = write_results(tmp_path / "r", plans(), folds=("0", "1"))
    cases, _ = _source(raw, load_model(f"nnunet:{folder}@0"), dataset())
    ids = cases.ids
    assert choose(cases, load_model(f"nnunet:{folder}@0").card, None)[1] == "all", "nothing says what it was trained on"
    summary = folder / "fold_0" / "validation" / "summary.json"
    summary.parent.mkdir()
    summary.write_text(json.dumps({"metric_per_case": [{"reference_file": f"/x/{ids[2]}.nii.gz"}]}))
    assert choose(cases, load_model(f"nnunet:{folder}@0").card, None)[0].ids == [ids[2]]
    split = [{"train": ids[2:], "val": ids[:2]}, {"train": ids[:4], "val": ids[4:]}]
    (folder / "splits_final.json").write_text(json.dumps(split))
    card = load_model(f"nnunet:{folder}@0").card
    assert (card.val_ids, card.train_ids) == (ids[:2], ids[2:])
    assert choose(cases, card, None) == (cases.select(ids[:2]), "held out")
    both = load_model(f"nnunet:{folder}@all").card
    assert (both.val_ids, both.train_ids) == ([], ids)


@pytest.mark.parametrize(
    ("ending", "name"),
    [
        (".nrrd", "/data/labelsTr/case.1.nrrd"),
        (".mha", "case.1.mha"),
        (".tif", "C:\\data\\labelsTr\\case.1.tif"),
        (".seg.nrrd", "/data/case.1.seg.nrrd"),
        (".nii.gz", "/data/case.1.nii.gz"),
        (None, "/data/case.1.nrrd"),
    ],
)
def test_validation_cases_are_known_by_their_ids_whatever_their_files_end_in(tmp_path, ending, name):
    summary = tmp_path / "fold_0" / "validation" / "summary.json"
    summary.parent.mkdir(parents=True)
    (tmp_path / "dataset.json").write_text(json.dumps({"file_ending": ending} if ending else {}))
    summary.write_text(json.dumps({"metric_per_case": [{"reference_file": name}]}))
    assert cases_of(ResultsFolder(tmp_path, ("0",)), "none") == ([], ["case.1"])


def test_what_imaseg_prepared_is_refused(prepared_phantom, tmp_path):
    model = load_model(f"nnunet:{write_results(tmp_path / 'r', plans())}")
    with pytest.raises(InputError, match="must hold raw cases for this model, which prepares them itself"):
        CaseSource(load_cases(prepared_phantom), model.card, model.prepare)


def test_a_trainer_that_is_not_here_falls_back_with_every_weight_checked(tmp_path):
    folder = write_results(tmp_path / "r", plans(), trainer="nnUNetTrainerOfSomebody")
    with pytest.warns(UserWarning, match="nnUNetTrainerOfSomebody is not installed here"):
        model = load_model(f"nnunet:{folder}")
    assert model.card.method == {"name": "nnUNetTrainerOfSomebody"}
    wider = plans()
    wider["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 6, 10]
    (folder / "plans.json").write_text(json.dumps(wider))
    with (
        pytest.warns(UserWarning, match="not installed"),
        pytest.raises(InputError, match=r"trainer nnUNetTrainerOfSomebody\) must hold weights of this PlainConvUNet"),
    ):
        load_model(f"nnunet:{folder}")


@pytest.mark.parametrize("trainer", ["nnUNetTrainer_250epochs", "nnUNetTrainerIMA", "nnUNetTrainerStandard_1epoch"])
def test_weights_under_ddp_and_compile_are_the_same_weights(trainer, tmp_path):
    folder = write_results(tmp_path / "r", plans(), trainer=trainer)
    path = folder / "fold_0" / "checkpoint_final.pth"
    plain = load_model(f"nnunet:{folder}").state_dict()
    content = torch.load(path, weights_only=False)
    content["network_weights"] = {f"module._orig_mod.{k}": v for k, v in content["network_weights"].items()}
    torch.save(content, path)
    wrapped = load_model(f"nnunet:{folder}").state_dict()
    assert all(torch.equal(plain[name], wrapped[name]) for name in plain)


def test_a_checkpoint_with_more_than_data_needs_trust(tmp_path):
    touched = tmp_path / "touched"
    folder = write_results(tmp_path / "r", plans(), extra=Harmful(touched))
    with pytest.raises(InputError, match=r"must hold tensors, numbers and names only, got .*open.* add --trust"):
        load_model(f"nnunet:{folder}")
    assert not touched.exists()
    load_model(f"nnunet:{folder}", trust=True)
    assert touched.exists()


@pytest.mark.parametrize("name", ["os.system", "torch.nn.Module.register_module", "torch.load"])
def test_plans_that_name_other_code_need_trust(name, tmp_path):
    plan = plans()
    folder = write_results(tmp_path / "r", plan)
    plan["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = name
    (folder / "plans.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match=r"plans.json must name one of the networks PlainConvUNet, .*add --trust"):
        load_model(f"nnunet:{folder}")


def test_cascades_are_refused(tmp_path):
    folder = write_results(tmp_path / "r", plans())
    (folder / "plans.json").write_text(json.dumps(plans(previous_stage="3d_lowres")))
    with pytest.raises(InputError, match=r"a cascade's second stage that needs the prediction of 3d_lowres"):
        load_model(f"nnunet:{folder}")


def test_misspelt_folders_folds_and_checkpoints_are_one_clear_line(tmp_path):
    folder = write_results(tmp_path / "Dataset" / "r", plans(), checkpoint="checkpoint_best.pth")
    for text, message in {
        f"{tmp_path / 'nothing'}": "got nothing there",
        f"{tmp_path / 'Dataset'}": r"It holds r: name one of them",
        f"{folder / 'fold_0'}": "Name .*r@0",
        f"{folder}": r"must hold fold_\*/checkpoint_final.pth, got only checkpoint_best.pth",
        f"{folder}@3/checkpoint_best.pth": "fold must be one of 0 in",
    }.items():
        with pytest.raises(InputError, match=message):
            load_model(f"nnunet:{text}")
    assert load_model(f"nnunet:{folder}@0/checkpoint_best.pth").card.name == "r@0"
    with pytest.raises(InputError, match="Load it as nnunet:"):
        load_model(folder)


def test_damaged_files_are_one_clear_line(tmp_path):
    folder = write_results(tmp_path / "r", plans())
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match=r"checkpoint_final.pth must be a file that torch.save wrote"):
        load_model(f"nnunet:{folder}")
    torch.save({"weights": {}}, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(InputError, match="must be a checkpoint of nnU-Net v2"):
        load_model(f"nnunet:{folder}")


@pytest.mark.parametrize("patch", [(16, 16, 12), (5, 64, 33), (64, 96, 96), (512, 320), (31, 17), (1, 8, 8)])
def test_weights_of_a_tile_are_those_of_nnunet(patch):
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    theirs = compute_gaussian(patch, sigma_scale=1 / 8, value_scaling_factor=10, device=torch.device("cpu"))
    assert torch.equal(_tile_weight(patch), theirs.float())


def test_a_voxel_size_that_multiplies_the_voxels_is_refused(tmp_path):
    model = load_model(f"nnunet:{write_results(tmp_path / 'r', plans((16, 16), transpose=(1, 0, 2)))}")
    image = np.ones((1, 90, 80, 70), np.float32)
    model.prepare(Volume("case7", image, None, np.diag([1.0, 5.0, 1.0, 1.0])))  # along which slices lie
    with pytest.raises(
        InputError, match=r"case7: spacing must give a grid .* got 13500 x 80 x 10500 from 90 x 80 x 70"
    ):
        model.prepare(Volume("case7", image, None, np.diag([150.0, 5.0, 150.0, 1.0])))
