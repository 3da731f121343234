"""TIFF stacks and pictures reach the network as nnU-Net's own readers and preprocessor bring them there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from imaseg import load_cases, load_model
from imaseg.data.reading import read_volume
from tests.nnunet_folder import dataset, plans, write_results

RNG = np.random.default_rng(0)


@pytest.fixture
def compare(tmp_path):
    """Largest difference between what nnU-Net and what imaseg gives the network, and its shape."""

    def run(reader, ending, write, *, channels=1, **changed):
        content = dataset(channels=channels) | {"file_ending": ending}
        plan = plans(**changed) | {"image_reader_writer": reader}
        figures = plan["foreground_intensity_properties_per_channel"]["0"]
        plan["foreground_intensity_properties_per_channel"] = {str(i): figures for i in range(channels)}
        for configuration in plan["configurations"].values():
            configuration["normalization_schemes"] = ["ZScoreNormalization"] * channels
            configuration["use_mask_for_norm"] = [False] * channels
        raw = tmp_path / "raw"
        for kind in ("imagesTr", "labelsTr"):
            (raw / kind).mkdir(parents=True)
        (raw / "dataset.json").write_text(json.dumps(content))
        write(raw / "imagesTr" / f"c0_0000{ending}", raw / "labelsTr" / f"c0{ending}")
        model = load_model(f"nnunet:{write_results(tmp_path / 'r', plan, content)}@0")
        own_plans = model.prepare.plans
        own, _, _ = own_plans.configuration.preprocessor_class(verbose=False).run_case(
            [str(raw / "imagesTr" / f"c0_0000{ending}")],
            None,
            own_plans.manager,
            own_plans.configuration,
            own_plans.dataset,
        )
        (case,) = load_cases(raw)
        mine, _ = model.prepare(read_volume(case))
        assert case.id == "c0"
        back = mine.image.transpose(0, *(np.asarray(own_plans.axes) + 1))
        assert back.shape == own.shape
        return float(np.abs(own - back).max()), own.shape

    return run


@pytest.mark.parametrize("spacing", [[2.0, 1.0, 1.0], [4.0, 0.5, 0.5]])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiff_stack_with_its_voxel_size_beside_it(compare, spacing, dtype):
    stack = RNG.normal(100, 20, (12, 32, 36)).astype(dtype)

    def write(image, label):
        tifffile.imwrite(image, stack)
        tifffile.imwrite(label, (stack > 110).astype(np.uint8))
        for path in (image, label):
            (path.parent / "c0.json").write_text(json.dumps({"spacing": [4.0, 0.5, 0.5]}))

    apart, shape = compare("Tiff3DIO", ".tif", write, spacing=spacing)
    assert apart < 1e-4
    assert shape == ((1, 24, 16, 18) if spacing[0] == 2.0 else (1, 12, 32, 36))


@pytest.mark.parametrize("spacing", [[1.0, 1.0], [1.7, 1.7]])
@pytest.mark.parametrize(("kind", "channels"), [("grey", 1), ("RGB", 3), ("grey as RGB", 3), ("RGBA", 4)])
def test_pictures_of_every_kind(compare, kind, channels, spacing):
    pixels = RNG.integers(0, 255, (40, 36, channels)).astype(np.uint8)
    if kind == "grey as RGB":
        pixels[:] = pixels[..., :1]
    if kind == "RGBA":
        pixels[..., 3] = 255

    def write(image, label):
        Image.fromarray(pixels.squeeze()).save(image)
        Image.fromarray((pixels[..., 0] > 128).astype(np.uint8)).save(label)

    apart, _ = compare("NaturalImage2DIO", ".png", write, channels=channels, patch=(16, 16), spacing=spacing)
    assert apart < 1e-4
