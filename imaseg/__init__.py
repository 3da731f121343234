"""Robust medical image segmentation: exact attacks, margins, IMA training and audits.

Every public name is imported when it is first used: `imaseg --help` waits for nothing, the core needs torch only, and
`load_model`, `load_cases` and `audit` bring what they need. `__init__.pyi` says where each name lives.
"""

from __future__ import annotations

import lazy_loader

from imaseg.version import __version__ as __version__

__getattr__, _lazy, _names = lazy_loader.attach_stub(__name__, __file__)
_layers = "attacks auditing data errors margins models perturbations tiling training"  # attributes, but no public names
__all__ = sorted({*_names, "__version__"}.difference(_layers.split()))


def __dir__() -> list[str]:
    return sorted({*globals(), *_lazy()})
