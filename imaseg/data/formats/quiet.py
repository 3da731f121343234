"""Libraries kept from logging what imaseg says itself."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(logger: logging.Logger) -> Iterator[None]:
    """Silence a logger for a while."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
