"""References of a bundle's configuration lead where MONAI's parser follows them to."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from imaseg import InputError
from imaseg.models.bundle.config import BundleConfig

CONTENT = {
    "key": "image",
    "sizes": [1.5, 2, {"deep": [4, 5]}],
    "all": {"a": "@key", "b": "@sizes#2#deep#1", "c": "@sizes::0", "d": "%sizes#2", "e": "$@sizes[:2]", "f": "@#a",
            "g": {"h": "@##b", "i": ["@####key", "@#0"]}},
    "choice": "$[1, 2] if @flags#high else [3]",
    "flags": {"high": True},
    "count": "$len(@sizes) + 1",
    "chain": "@again",
    "again": "$@count ",
    "through": "@all#g#h",
}  # fmt: skip


def config(folder, content, name="inference.json", *, trust=False):
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / name).write_text(json.dumps(content))
    return BundleConfig(folder, trust=trust)


@pytest.mark.parametrize("key", CONTENT)
def test_entries_are_what_monai_makes_of_them(tmp_path, key):
    from monai.bundle import ConfigParser

    wanted = ConfigParser(deepcopy(CONTENT)).get_parsed_content(key)
    assert config(tmp_path, CONTENT).get(key) == wanted


def test_entries_of_another_file_are_copied(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text(json.dumps({"before": {"x": [1, "@key"]}}))
    found = config(tmp_path, {"key": "image", "all": "%train.json::before", "one": ["%train.json#before#x"]})
    assert found.get("all") == {"x": [1, "image"]}
    assert found.get("one") == [[1, "image"]]


def test_keys_of_several_levels_are_nested(tmp_path):
    assert config(tmp_path, {"a": {"b": 1}, "a#c": 2, "a::d#e": 3}).get("a") == {"b": 1, "c": 2, "d": {"e": 3}}


@pytest.mark.parametrize("content", [{"a": "@b", "b": "@a"}, {"a": ["@a"]}, {"a": "$@a + 1"}])
def test_circles_are_one_clear_line(tmp_path, content):
    with pytest.raises(InputError, match="must not refer in circles"):
        config(tmp_path, content).get("a")


def test_code_is_neither_run_nor_built_without_trust(tmp_path, monkeypatch):
    monkeypatch.delenv("IMASEG_RAN", raising=False)
    code = {"a": "$__import__('os').environ.update(IMASEG_RAN='1')"}
    with pytest.raises(InputError, match="the expression .* runs code .*--trust"):
        config(tmp_path, code).get("a")
    with pytest.raises(InputError, match="runs code"):
        config(tmp_path, code).build("a")
    import os

    assert "IMASEG_RAN" not in os.environ
    config(tmp_path, code, trust=True).get("a")
    assert os.environ["IMASEG_RAN"] == "1"


def test_a_gpu_that_is_named_is_the_cpu_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    device = config(tmp_path, {"d": "$torch.device('cuda')", "e": '$torch.device("cuda:0")'}, trust=True)
    assert device.get("d").type == device.get("e").type == "cpu"


def test_two_bundles_have_scripts_of_their_own(tmp_path):
    for number, name in enumerate("ab"):
        folder = tmp_path / name
        (folder / "scripts").mkdir(parents=True)
        (folder / "scripts" / "__init__.py").write_text("")
        (folder / "scripts" / "mine.py").write_text(f"def value():\n    return {number}\n")
        entry = {"_target_": "scripts.mine.value"}
        assert config(folder, {"x": entry}, trust=True).build("x") == number
