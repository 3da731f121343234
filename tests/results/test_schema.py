"""JSON Schemas of the files, against the files that an audit writes."""

from __future__ import annotations

import json

import pytest

from imaseg.cli.main import run
from imaseg.results import json_schema
from imaseg.results.base import Entry, Row
from imaseg.results.schema import FILES


def _valid(value, schema, root):
    """Whether a value fits a schema: the keywords that these schemas use, by the standard's rules."""
    if "$ref" in schema:
        return _valid(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return any(_valid(value, one, root) for one in schema["anyOf"])
    if "oneOf" in schema:
        return sum(_valid(value, one, root) for one in schema["oneOf"]) == 1
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    return _typed(value, schema.get("type")) and _inside(value, schema, root)


def _typed(value, name):
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int}
    if name in (None, "number", "integer") and isinstance(value, bool):
        return name is None
    if name == "number":
        return isinstance(value, int | float)
    return name is None or isinstance(value, kinds[name])


def _inside(value, schema, root):
    if isinstance(value, list):
        return all(_valid(one, schema.get("items", {}), root) for one in value)
    if not isinstance(value, dict):
        return True
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    if not set(schema.get("required", ())) <= value.keys():
        return False
    for key, one in value.items():
        rule = known.get(key, others)
        if rule is False or (rule is not True and not _valid(one, rule, root)):
            return False
    return True


def _refs(content):
    if isinstance(content, dict):
        if "$ref" in content:
            yield content["$ref"]
        for value in content.values():
            yield from _refs(value)
    elif isinstance(content, list):
        for value in content:
            yield from _refs(value)


@pytest.fixture(scope="module")
def files(real_audit):
    paths = {"summary": real_audit / "summary.json", "run": real_audit / "run.json"}
    paths["case"] = real_audit / "cases" / "phantom_001.json"
    return {name: json.loads(path.read_text()) for name, path in paths.items()}


@pytest.mark.parametrize("name", FILES)
def test_the_written_file_fits_its_schema(name, files):
    schema = json_schema(name)
    assert _valid(files[name], schema, schema)
    assert not _valid(files[name] | {"more": 1}, schema, schema)
    assert not _valid({key: value for key, value in files[name].items() if key != "model"}, schema, schema) or (
        name == "case"
    )


@pytest.mark.parametrize("name", FILES)
def test_every_reference_leads_somewhere(name):
    schema = json_schema(name)
    found = set(_refs(schema))
    assert found
    assert {ref.removeprefix("#/$defs/") for ref in found} <= schema["$defs"].keys()


@pytest.mark.parametrize(("name", "key", "family"), [("case", "rows", Row), ("summary", "others", Entry)])
def test_every_kind_has_its_form(name, key, family, files):
    schema = json_schema(name)
    listed = {ref.removeprefix("#/$defs/") for ref in _refs(schema["$defs"][family.__name__])}
    assert listed == {kind.__name__ for kind in family.registry.values()}
    if name == "case":
        wrong = json.loads(json.dumps(files["case"]))
        wrong["rows"][0]["epsilon"] = wrong["rows"][0].pop("eps")
        assert not _valid(wrong, schema, schema)


@pytest.mark.parametrize("name", FILES)
def test_the_command_prints_it(name, monkeypatch, capsys, files):
    monkeypatch.setattr("sys.argv", ["imaseg", "schema", name])
    with pytest.raises(SystemExit) as stop:
        run()
    assert not stop.value.code
    printed = json.loads(capsys.readouterr().out)
    assert printed == json_schema(name)
    assert _valid(files[name], printed, printed)


def test_an_unknown_file_is_one_clear_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["imaseg", "schema", "cases"])
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "imaseg: schema must be one of summary, run, case, got 'cases'.\n"
