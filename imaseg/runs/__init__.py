"""`imaseg train`: from a prepared folder and a YAML file to a run folder.

Names are imported when they are first used, since keys of configurations can be listed without MONAI.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
