"""MONAI bundle folders as models: `load_model("bundle:DIR")`, and their own pipeline to compare with: `own_pipeline`."""

from imaseg.models.bundle.load import load_bundle
from imaseg.models.bundle.own import OwnPipeline, OwnPrediction, own_pipeline

__all__ = ["OwnPipeline", "OwnPrediction", "load_bundle", "own_pipeline"]
