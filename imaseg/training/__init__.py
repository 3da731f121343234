"""Training methods with one interface: `method(model, image, label, ids) -> loss`, `end_epoch()`, `state_dict()`."""

from imaseg.training.base import TrainingMethod
from imaseg.training.build import build_method
from imaseg.training.free import FreeTraining
from imaseg.training.ima import IMA
from imaseg.training.margin_table import MarginTable
from imaseg.training.pgd import PGDTraining
from imaseg.training.standard import Standard
from imaseg.training.trades import TRADES

__all__ = ["IMA", "TRADES", "FreeTraining", "MarginTable", "PGDTraining", "Standard", "TrainingMethod", "build_method"]
