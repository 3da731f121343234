"""`imaseg train`: from a prepared folder and a YAML file to a run folder."""

from imaseg.runs.config import TrainConfig, load_config
from imaseg.runs.train import train

__all__ = ["TrainConfig", "load_config", "train"]
