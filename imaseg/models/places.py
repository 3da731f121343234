"""Paths that a checkpoint's own files name: they stay inside of its folder, unless the user trusts it."""

from __future__ import annotations

from pathlib import Path

from imaseg.errors import InputError


def inside(folder: Path, name: str, *, source: str, trust: bool, mend: str = "") -> Path:
    """The file that a card or a configuration names.

    Args:
        folder: of the checkpoint, to which names are relative.
        name: as it is written.
        source: what names it, for the message.
        trust: whether it may be anywhere on this machine.
        mend: what else to do about one that is elsewhere.

    Raises:
        InputError: if it is no path, or leaves the folder by `..`, from the root or by a link.
    """
    path = folder / name
    if "\0" in name:
        msg = f"{source} must be a path, got {name!r:.80}. Correct it."
        raise InputError(msg)
    if not trust and not path.resolve().is_relative_to(folder.resolve()):
        msg = (
            f"{source} must be inside of {folder}, got {name!r}, which leads out of it. Put the file there, or add "
            f"--trust if you trust the author{f', {mend}' if mend else '.'}"
        )
        raise InputError(msg)
    return path
