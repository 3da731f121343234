"""Notes of a preparation on each case, each with the key under which it holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from imaseg.data.cases import Case
from imaseg.data.files import files_behind, read_json, sweep, write_json
from imaseg.errors import InputError

_VERSION = 2
"""Of what the notes hold; notes of another version are made again."""


class Notes:
    """Keep, per case, what was found and done, in `OUT/.prepare/`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        sweep(out)

    @staticmethod
    def key(case: Case, settings: object) -> str:
        """Digest of what a note depends on: size and time of the files of the case, and the settings."""
        states = [(path.name, *_state(path)) for named in case.files for path in files_behind(named)]
        text = json.dumps([_VERSION, states, case.segments, settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, kind: str, name: str, key: str) -> dict[str, Any] | None:
        """The note if there is one and it holds for this key."""
        path = self._path(kind, name)
        try:
            note = read_json(path) if path.is_file() else {}
        except InputError:
            return None
        return note["content"] if note.get("key") == key else None

    def write(self, kind: str, name: str, key: str, content: dict[str, Any]) -> None:
        """Keep a note."""
        write_json(self._path(kind, name), {"key": key, "content": content})

    def outputs(self, case: Case) -> list[Path]:
        """Files of a prepared case: image, and label if it has one."""
        folders = ["imagesTr", "labelsTr"] if case.label is not None else ["imagesTr"]
        return [self.out / folder / f"{case.id}.nii.gz" for folder in folders]

    def discard(self, name: str) -> None:
        """Remove a prepared case that does not hold any more."""
        self._path("case", name).unlink(missing_ok=True)
        for folder in ("imagesTr", "labelsTr"):
            (self.out / folder / f"{name}.nii.gz").unlink(missing_ok=True)

    def _path(self, kind: str, name: str) -> Path:
        return self.out / ".prepare" / f"{name}.{kind}.json"


def _state(path: Path) -> tuple[int, int]:
    if not path.exists():
        return -1, 0
    found = path.stat()
    return found.st_size, found.st_mtime_ns
