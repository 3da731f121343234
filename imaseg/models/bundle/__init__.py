"""MONAI bundle folders as models: `load_model("bundle:DIR")`; and their own pipelines to compare with."""

from imaseg.models.bundle.load import load_bundle
from imaseg.models.bundle.own import BundlePipeline, OwnPrediction, own_pipeline

__all__ = ["BundlePipeline", "OwnPrediction", "load_bundle", "own_pipeline"]
