"""Lightning's trainer computes what a plain loop computes, and goes on from its checkpoint with the same margins."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from imaseg import IMA, L2, DiceBelow, FreeTraining
from tests.attacks.models import trained_model

lightning = pytest.importorskip("lightning", reason="lightning is not installed")
from imaseg.integrations.lightning import EndEpochs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def _loss(logits, label):
    return cross_entropy(logits, label)


class _Segmenter(lightning.LightningModule):
    def __init__(self, network, method):
        super().__init__()
        self.network, self.method = network, method

    def training_step(self, batch, _):
        image, label, ids = batch
        return self.method(self.network, image, label, list(ids))

    def configure_optimizers(self):
        return torch.optim.SGD(self.network.parameters(), lr=0.05)


def _made():
    network, image, label = trained_model()
    method = IMA(_loss, L2(2.0), criterion=DiceBelow(0.6), steps=2, bisections=1)
    batches = [(image[i : i + 4], label[i : i + 4], [f"case{j}" for j in range(i, i + 4)]) for i in (0, 4)]
    return network.train(), method, batches


def _fitted(tmp_path, network, method, batches, epochs, checkpoint=None):
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[EndEpochs(method)], accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, enable_checkpointing=False,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer.fit(_Segmenter(network, method), loader, ckpt_path=checkpoint)
    return trainer


def _plain(network, method, batches, epochs):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(epochs):
        for image, label, ids in batches:
            optimizer.zero_grad()
            method(network, image, label, ids).backward()
            optimizer.step()
        method.end_epoch()


def test_it_trains_as_a_plain_loop(tmp_path):
    network, method, batches = _made()
    other, ima, _ = _made()
    _fitted(tmp_path, network, method, batches, 2)
    _plain(other, ima, batches, 2)
    assert method.margins == ima.margins
    assert min(ima.margins.values()) > ima.table.increment  # both epochs were ended
    for found, expected in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_margins_go_on_from_the_trainers_checkpoint(tmp_path):
    network, method, batches = _made()
    _fitted(tmp_path, network, method, batches, 1).save_checkpoint(tmp_path / "one.ckpt")
    again, ima, _ = _made()
    _fitted(tmp_path, again, ima, batches, 2, checkpoint=tmp_path / "one.ckpt")
    whole, expected, _ = _made()
    _fitted(tmp_path, whole, expected, batches, 2)
    assert ima.margins == expected.margins


def test_methods_that_repeat_batches_are_refused():
    with pytest.raises(ValueError, match="method must take each batch once, got free with 4 replays"):
        EndEpochs(FreeTraining(_loss, L2(1.0)))
