"""JSON Schema of the files of an audit folder, with every kind of row and entry that is known here."""

from __future__ import annotations

from typing import Any

from imaseg.results.base import Entry, Record, Row
from imaseg.results.case import CaseRecord
from imaseg.results.run import Run
from imaseg.results.summary import Summary

FILES: dict[str, type[Record]] = {"summary": Summary, "run": Run, "case": CaseRecord}
_KINDS: dict[str, Any] = {"Row": Row, "Entry": Entry}


def json_schema(file: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `summary.json`, `run.json` or `cases/<id>.json`.

    Args:
        file: "summary", "run" or "case".

    Raises:
        KeyError: for any other name.
    """
    schema = FILES[file].model_json_schema(mode="serialization")
    definitions = schema.setdefault("$defs", {})
    for name, family in _KINDS.items():
        if name in definitions:
            members = {kind.__name__: kind for kind in family.registry.values()}
            for kind in members.values():
                own = kind.model_json_schema(mode="serialization", ref_template="#/$defs/{model}")
                definitions |= own.pop("$defs", {})
                definitions[kind.__name__] = own
            definitions[name] = {"oneOf": [{"$ref": f"#/$defs/{member}"} for member in members]}
    return schema
