"""Limits that readers of voxels and of descriptions share; imports nothing."""

from __future__ import annotations

MOST_VALUES = 4096
"""Label values of a cohort."""
