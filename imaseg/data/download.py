"""Download of the public data sets that MONAI offers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from imaseg.errors import InputError


def download(source: Path) -> None:
    """Download the data set whose name the folder `source` bears, unless the folder exists.

    Raises:
        InputError: if MONAI has no data set of this name, or the download fails.
    """
    if source.is_dir():
        return
    from monai.apps import DecathlonDataset, download_url, extractall

    name = source.name
    if name not in DecathlonDataset.resource:
        choices = ", ".join(sorted(DecathlonDataset.resource))
        msg = (
            f"source must be named after a data set that MONAI can download ({choices}), got {name!r}. Others ask for "
            "a registration: get them from their site, which their recipe names."
        )
        raise InputError(msg)
    archive = source.parent / f"{name}.tar"
    source.parent.mkdir(parents=True, exist_ok=True)
    try:
        # MONAI's download_and_extract would ask for `requests`, only to guess the type of the archive.
        download_url(DecathlonDataset.resource[name], archive, DecathlonDataset.md5.get(name), "md5")
        with TemporaryDirectory(dir=source.parent, prefix=".") as part:
            extractall(archive, part, file_type="tar")
            if (Path(part) / name).is_dir():  # moved in one go: a folder that is there is whole
                (Path(part) / name).rename(source)
    except Exception as error:
        msg = f"{name} must be downloadable from {DecathlonDataset.resource[name]}, got {' '.join(str(error).split())}."
        raise InputError(msg) from error
    if not source.is_dir():
        msg = f"{archive} must hold the folder {name}, got another. Extract it by hand."
        raise InputError(msg)
    archive.unlink(missing_ok=True)
