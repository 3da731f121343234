"""Notes of a preparation on each case, each with the key under which it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imaseg.data.cases import Case
from imaseg.data.files import files_behind, read_json, write_json
from imaseg.errors import InputError

_VERSION = 3
"""Of what the notes hold; notes of another version are made again."""
OutLayout = Literal["msd", "nnunet"]


@dataclass(frozen=True)
class Notes:
    """Keep, per case, what was found and done, in `OUT/.prepare/`.

    Attributes:
        out: the prepared folder.
        layout: `msd`, or `nnunet` with a file per channel.
    """

    out: Path
    layout: OutLayout = "msd"

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
        """Remove a prepared case that does not hold any more."""
        for path in (self._path("case", name), *self.images(name, channels), self.label(name)):
            path.unlink(missing_ok=True)

    def forget_all_but(self, names: Sequence[str]) -> None:
        """Remove prepared cases that the source does not have any more."""
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
    found = path.stat()
    return found.st_size, found.st_mtime_ns
