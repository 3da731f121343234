"""Public data sets that MONAI knows how to fetch."""

from __future__ import annotations

from pathlib import Path

from imaseg.errors import InputError


def download(source: Path) -> None:
    """Fetch the data set that the folder `source` is named after, unless the folder is there.

    Raises:
        InputError: if MONAI has no data set of this name, or it cannot be fetched whole.
    """
    if source.is_dir():
        return
    from monai.apps import DecathlonDataset, download_and_extract

    name = source.name
    if name not in DecathlonDataset.resource:
        known = ", ".join(sorted(DecathlonDataset.resource))
        msg = (
            f"source must be named after a data set that MONAI can download ({known}), got {name!r}. Others ask for "
            "a registration: get them from their site, which their recipe names."
        )
        raise InputError(msg)
    archive = source.parent / f"{name}.tar"
    source.parent.mkdir(parents=True, exist_ok=True)
    try:
        download_and_extract(
            DecathlonDataset.resource[name], archive, source.parent, DecathlonDataset.md5.get(name), "md5"
        )
    except Exception as error:
        msg = f"{name} must be downloadable from {DecathlonDataset.resource[name]}, got {' '.join(str(error).split())}."
        raise InputError(msg) from error
    if not source.is_dir():
        msg = f"{archive} must hold the folder {name}, got another. Extract it by hand."
        raise InputError(msg)
    archive.unlink(missing_ok=True)
