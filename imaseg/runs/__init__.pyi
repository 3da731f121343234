from .config import TrainConfig as TrainConfig
from .config import load_config as load_config
from .job import train as train
