"""Training methods with one interface: `method(model, image, label, ids) -> loss`, `end_epoch()`, `state_dict()`."""

from imaseg.training.awp import adversarial_weights
from imaseg.training.base import TrainingMethod
from imaseg.training.build import build_method
from imaseg.training.free import FreeTraining
from imaseg.training.ima import IMA
from imaseg.training.ima_published import PublishedIMA
from imaseg.training.margin_table import MarginTable
from imaseg.training.one_of import OneOf
from imaseg.training.pgd import PGDTraining
from imaseg.training.standard import Standard
from imaseg.training.trades import TRADES

__all__ = [
    "IMA",
    "TRADES",
    "FreeTraining",
    "MarginTable",
    "OneOf",
    "PGDTraining",
    "PublishedIMA",
    "Standard",
    "TrainingMethod",
    "adversarial_weights",
    "build_method",
]
