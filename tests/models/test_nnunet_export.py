"""Exported folders: stock nnU-Net predicts with them the same, and they hold nothing but data."""

from __future__ import annotations

import pytest
import torch

from imaseg import InputError, load_model
from imaseg.models.nnunet.export import export_nnunet
from tests.nnunet_folder import Harmful, plans, write_results

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")


def _logits(folder):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None)
    return predictor.predict_logits_from_preprocessed_data(
        torch.randn(1, 20, 18, 16, generator=torch.Generator().manual_seed(0))
    )


@pytest.mark.parametrize("trainer", ["nnUNetTrainerIMA_5epochs", "nnUNetTrainerOfSomebody"])
def test_stock_nnunet_predicts_the_same_without_the_trainer(trainer, tmp_path):
    original = write_results(tmp_path / "stock", plans(), folds=("0", "1"))
    folder = write_results(tmp_path / "r", plans(), folds=("0", "1"), trainer=trainer)
    written = export_nnunet(str(folder), tmp_path / "out")
    assert {path.name for path in written} == {"checkpoint_final.pth", "plans.json", "dataset.json"}
    assert torch.equal(_logits(tmp_path / "out"), _logits(original))
    content = torch.load(tmp_path / "out" / "fold_1" / "checkpoint_final.pth", weights_only=True)
    assert content["trainer_name"] == "nnUNetTrainer"
    assert "optimizer_state" not in content


def test_a_foreign_checkpoint_becomes_data_once_it_was_trusted(tmp_path):
    folder = write_results(tmp_path / "r", plans(), extra=Harmful(tmp_path / "touched"))
    with pytest.raises(InputError, match="add --trust"):
        export_nnunet(f"{folder}@0", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_nnunet(f"{folder}@0", tmp_path / "out", trust=True)
    (tmp_path / "touched").unlink()
    model = load_model(f"nnunet:{tmp_path / 'out'}@0")
    assert not (tmp_path / "touched").exists()
    image = torch.randn(1, 1, 16, 16, 12)
    with torch.no_grad():
        assert torch.equal(model(image), load_model(f"nnunet:{folder}@0", trust=True)(image))


def test_nothing_is_overwritten(tmp_path):
    folder = write_results(tmp_path / "r", plans())
    with pytest.raises(InputError, match="r must be a new or empty folder, got one with content"):
        export_nnunet(str(folder), folder)


def test_a_network_that_the_plans_do_not_describe_is_not_exported(tmp_path):
    folder = write_results(tmp_path / "r", plans())
    (folder / "plans.json").write_text((folder / "plans.json").read_text().replace("[4, 6, 8]", "[4, 6, 9]"))
    with pytest.raises(InputError, match="must hold weights of this PlainConvUNet"):
        export_nnunet(str(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()
