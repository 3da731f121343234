"""Results of a preparation kept per case, so that a rerun redoes only cases whose files or settings changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imaseg.data.cases import Case
from imaseg.data.files import files_behind, write_json
from imaseg.data.plain import read_json
from imaseg.errors import InputError

_VERSION = 4
"""Version of the content of notes; those of another version are ignored."""
OutLayout = Literal["msd", "nnunet"]


@dataclass(frozen=True)
class Notes:
    """Reads and writes the notes in `OUT/.prepare/`, and names the files of prepared cases.

    Attributes:
        out: the prepared folder.
        layout: `msd`, or `nnunet` with a file per channel.
    """

    out: Path
    layout: OutLayout = "msd"

    @property
    def job(self) -> Path:
        """What is prepared here and how: written first."""
        return self.out / ".prepare" / "job.json"

    @staticmethod
    def key(case: Case, settings: object) -> str:
        """Digest of what a note depends on: size and time of the files of the case, and the settings."""
        states = [(path.name, *_state(path)) for named in case.files for path in files_behind(named)]
        text = json.dumps([_VERSION, states, case.segments, case.fault, settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, kind: str, name: str, key: str) -> dict[str, Any] | None:
        """Content of a note; None if there is none, or if it was written under another key."""
        path = self._path(kind, name)
        try:
            note = read_json(path) if path.is_file() else {}
        except InputError:
            return None
        return note["content"] if note.get("key") == key else None

    def write(self, kind: str, name: str, key: str, content: dict[str, Any]) -> None:
        """Write a note, valid as long as `key` returns the same."""
        write_json(self._path(kind, name), {"key": key, "content": content})

    def images(self, name: str, channels: int) -> list[Path]:
        """Image files of a prepared case: one, or in nnU-Net's layout one per channel."""
        names = [f"{name}_{i:04d}" for i in range(channels)] if self.layout == "nnunet" else [name]
        return [self.out / "imagesTr" / f"{each}.nii.gz" for each in names]

    def label(self, name: str) -> Path:
        """Label file of a prepared case."""
        return self.out / "labelsTr" / f"{name}.nii.gz"

    def thumbnail(self, name: str) -> Path:
        """Picture of a case for the contact sheet."""
        return self.out / ".prepare" / f"{name}.png"

    def outputs(self, case: Case, channels: int) -> list[Path]:
        """All files of a prepared case."""
        labels = [self.label(case.id)] if case.label is not None else []
        return [*self.images(case.id, channels), *labels, self.thumbnail(case.id)]

    def discard(self, name: str, channels: int = 0) -> None:
        """Delete the note and the files of a prepared case that is out of date."""
        for path in (self._path("case", name), *self.images(name, channels), self.label(name)):
            path.unlink(missing_ok=True)

    def forget_all_but(self, names: Sequence[str]) -> None:
        """Delete the prepared cases whose ids are not in `names`."""
        for note in self.out.glob(".prepare/*.case.json"):
            name = note.name.removesuffix(".case.json")
            if name not in names:
                self.discard(name, 32)
                self.thumbnail(name).unlink(missing_ok=True)

    def _path(self, kind: str, name: str) -> Path:
        return self.out / ".prepare" / f"{name}.{kind}.json"


def _state(path: Path) -> tuple[int, int]:
    if not path.exists():
        return -1, 0
    status = path.stat()
    return status.st_size, status.st_mtime_ns
