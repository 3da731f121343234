"""Images of a data set's own test part (`imagesTs`): not prepared, but compared with the cases that are."""

from __future__ import annotations

import re
from pathlib import Path

from imaseg.data.cases import Case
from imaseg.data.files import list_volumes, stem
from imaseg.data.layouts.channels import split_name
from imaseg.data.layouts.links import listed_inside, voxels_inside
from imaseg.data.layouts.paired import channels_of
from imaseg.data.layouts.time_limit import matching_ends
from imaseg.data.plain import read_json

FOLDER = "imagesTs"


def held_out_images(root: Path, patient: str | None = None, *, follow_links: bool = False) -> list[Case]:
    """Images that `dataset.json` lists as `test`, or those of `imagesTs`, if their files exist.

    Args:
        root: folder of the data set.
        patient: regular expression that finds the patient in a name.
        follow_links: as in `load_cases`.
    """
    described = root / "dataset.json"
    listed = read_json(described).get("test") if described.is_file() else None
    images: dict[str, list[Path]] = {}
    if isinstance(listed, list) and listed:
        names = [entry.get("image") if isinstance(entry, dict) else entry for entry in listed]
        for name in (name for name in names if isinstance(name, str)):
            images[stem(root / name)] = channels_of(root / name)
    elif (root / FOLDER).is_dir():
        files = list_volumes(root / FOLDER)
        channels = any(split_name(stem(path))[1] == 0 for path in files)
        for path in files:
            images.setdefault(split_name(stem(path))[0] if channels else stem(path), []).append(path)
    cases = []
    with matching_ends(patient or ""):
        found = {name: re.search(patient, name) if patient else None for name in images}
    for name, paths in images.items():
        match = found[name]
        if all(path.is_file() for path in paths):
            cases.append(Case(f"{FOLDER}-{name}", tuple(paths), None, patient=match[0] if match else ""))
    return cases if follow_links else voxels_inside(root, listed_inside(root, cases) if listed else cases)
