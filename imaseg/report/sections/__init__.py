"""The sections of the page, one file each, here and in `context/`, discovered and sorted by their `order`.

A section's module has `build(audits)`, which returns its `Section`, or None where the audits hold nothing for it. The
summary, methods and limits, which gather what the other sections contribute, have `collect(audits, sections)` instead.
Installed packages add such `build` functions by entry points in the group `imaseg.sections`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages

from imaseg.plugins import plugins
from imaseg.report.audits import Audits
from imaseg.report.blocks import Section


def build_sections(audits: Audits) -> list[Section]:
    """All sections that the audits hold something for, in their order on the page."""
    modules = [import_module(info.name) for info in walk_packages(__path__, f"{__name__}.")]
    builders = [module.build for module in modules if hasattr(module, "build")]
    built = [build(audits) for build in (*builders, *plugins("imaseg.sections").values())]
    sections = sorted((section for section in built if section is not None), key=lambda section: section.order)
    gathered = [module.collect(audits, sections) for module in modules if hasattr(module, "collect")]
    return sorted([*sections, *gathered], key=lambda section: section.order)
