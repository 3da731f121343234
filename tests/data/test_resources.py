from __future__ import annotations

import pytest

from imaseg.data.resources import resource, resource_names
from imaseg.errors import InputError


def test_shipped_recipe_is_found():
    assert resource("data_prep/msd.yaml").read_text().startswith("#")
    assert "msd" in resource_names("data_prep")
    assert resource_names("no_such_folder") == []


def test_unknown_resource_lists_its_neighbours():
    with pytest.raises(InputError, match=r"data_prep must be one of those that ship \(.*msd.*\), got 'mds'"):
        resource("data_prep/mds.yaml")


def test_installed_package_folder_comes_first(tmp_path, monkeypatch):
    from imaseg.data import resources

    (tmp_path / "data_prep").mkdir()
    (tmp_path / "data_prep" / "msd.yaml").write_text("spacing: null")
    monkeypatch.setattr(resources, "_ROOTS", (tmp_path, *resources._ROOTS))
    assert resource("data_prep/msd.yaml") == tmp_path / "data_prep" / "msd.yaml"
