"""nnU-Net v2 results folders as models: `load_model("nnunet:DIR[@FOLD]")`.

Nothing here is needed unless such a folder is loaded, and nnunetv2 (`pip install "imaseg[nnunet]"`) only then.
"""

from imaseg.models.nnunet.load import load_nnunet

__all__ = ["load_nnunet"]
