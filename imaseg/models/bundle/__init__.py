"""MONAI bundle folders as models: `load_model("bundle:DIR")`."""

from imaseg.models.bundle.load import load_bundle

__all__ = ["load_bundle"]
