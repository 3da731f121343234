"""Loading of checkpoints of every supported kind, each as a `SegmentationModel`."""

from imaseg.models.load import load_model
from imaseg.models.segmentation import ModelCard, SegmentationModel

__all__ = ["ModelCard", "SegmentationModel", "load_model"]
