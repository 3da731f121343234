from __future__ import annotations

import pytest

from imaseg.errors import InputError
from imaseg.report import read_audits
from imaseg.report.audits import owner


def names(folders):
    return [audit.name for audit in read_audits(folders)]


def test_models_with_one_name_are_told_apart_by_their_folders(write_variant, real_audit, tmp_path):
    def same(summary, run):
        summary["model"]["name"] = "tiny"

    assert names([real_audit, write_variant("a")]) == ["tiny", "a"]
    first, second = write_variant("b", same), write_variant("c", same)
    assert names([first, second]) == ["b", "c"]
    assert names([first, first]) == ["tiny (1)", "tiny (2)"]


def test_slices_and_names_of_classes(tiny):
    assert tiny.slice_of("phantom_001").name == "phantom_001.npz"
    assert tiny.slice_of("nobody") is None
    assert (tiny.structure("1"), tiny.structure("9")) == ("Front", "class 9")
    assert (owner([tiny], tiny), owner([tiny, tiny], tiny)) == ("", "tiny: ")


def test_what_is_no_audit_is_refused(tmp_path):
    with pytest.raises(InputError, match="must be at least one audit folder, got none"):
        read_audits([])
    with pytest.raises(InputError, match="must be an audit folder, got no such folder"):
        read_audits([tmp_path / "none"])
    with pytest.raises(InputError, match=r"summary\.json must exist"):
        read_audits([tmp_path])
