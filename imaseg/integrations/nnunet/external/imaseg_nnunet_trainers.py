"""Re-exports imaseg's trainers, so that nnU-Net finds them by name; the classes themselves stay in the package."""

from imaseg.integrations.nnunet.trainers import *  # noqa: F403
