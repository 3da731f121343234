"""Files of weights that claim more than they hold, or are not what they seem, are refused in one sentence."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from imaseg.errors import InputError
from imaseg.models.archive import read_archive
from imaseg.models.weights import read_state
from tests.hostile import refused_cheaply

_RECORD = b"M\xe8\x03"
"""1,000 in a pickle."""
_HUNDRED_MILLION = b"J\x00\xe1\xf5\x05"


def _rewritten(path, *, data=lambda pickled: pickled, compression=zipfile.ZIP_STORED, more=()):
    """A file of 1,000 zeros whose records are changed."""
    torch.save({"w": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in (*records.items(), *more):
            archive.writestr(name, data(content) if name.endswith("data.pkl") else content)
    return path


def _claiming(pickled):
    assert pickled.count(_RECORD) == 2
    return pickled.replace(_RECORD, _HUNDRED_MILLION)


def _sizes_only(pickled):
    before, after = pickled.rsplit(_RECORD, 1)
    return before + _HUNDRED_MILLION + after


def _asking(pickled):
    return b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x19\x85R."


def _doubling(pickled):
    text = b"X\x03\x00\x00\x00hex\x86R"
    return (
        b"\x80\x02" + 40 * b"c_codecs\nencode\n" + b"X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86R" + 39 * text + b"."
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": _claiming}, "unreadable"),
        ({"data": _sizes_only}, "unreadable"),
        ({"data": _asking}, "a pickle that asks for memory"),
        ({"data": _doubling}, "a pickle that asks for memory"),
        ({"data": lambda pickled: pickled[:2] + 600_000 * b"N0" + pickled[2:]}, "more than 200000 steps"),
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed records"),
        ({"more": [("archive/../../../etc/x", b"")]}, "records that lead out of it"),
        ({"more": [("/etc/x", b"")]}, "records that lead out of it"),
    ],
)
def test_an_archive_that_claims_too_much_is_refused(tmp_path, changes, told):
    path = _rewritten(tmp_path / "w.pt", **changes)
    assert refused_cheaply(lambda: read_state(path), told).startswith(str(path))


def test_a_bomb_is_refused_without_being_unpacked(tmp_path):
    path = tmp_path / "w.pt"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as record,
    ):
        for _ in range(500):
            record.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    refused_cheaply(lambda: read_state(path), "compressed records")


def test_an_archive_with_a_huge_table_of_contents_is_refused(tmp_path):
    path = tmp_path / "w.pt"
    _rewritten(path, more=[(f"archive/{'x' * 4000}{i}", b"") for i in range(2200)])
    refused_cheaply(lambda: read_state(path), "a table of contents of")


def test_a_tensor_that_repeats_one_number_is_refused(tmp_path):
    torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "w.pt")
    told = r"got \(1000000000000,\), which is more than the file holds as 'w'"
    refused_cheaply(lambda: read_state(tmp_path / "w.pt"), told)


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (torch.eye(3).to_sparse(), "nested or sparse"),
        (torch.eye(3).to_sparse_csr(), "nested or sparse"),
        (torch.zeros(3, dtype=torch.complex64), "complex"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
        (torch.zeros(3, device="meta"), "without values"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(tmp_path, tensor, told):
    torch.save({"state_dict": {"w": tensor}}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=told):
        read_state(tmp_path / "w.pt")


def test_files_that_are_something_else_are_refused(tmp_path):
    inside_itself = {}
    inside_itself["state_dict"] = inside_itself
    torch.save(inside_itself, tmp_path / "itself.pt")
    torch.save({"w": torch.zeros(9)}, tmp_path / "whole.pt")
    contents = {
        "passwd.pt": b"root:x:0:0:root:/root:/bin/bash\n",
        "empty.pt": b"",
        "cut.pt": (tmp_path / "whole.pt").read_bytes()[:300],
        "bare.pt": pickle.dumps(OrderedDict(a=1)),
        "zip.pt": b"PK\x03\x04" + bytes(100),
        "header.safetensors": (2**40).to_bytes(8, "little") + b"{}",
        "shape.safetensors": (72).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000]}}',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.pt").mkdir()
    for name in (*contents, "itself.pt", "folder.pt", "none.pt"):
        refused_cheaply(lambda name=name: read_state(tmp_path / name), name)


@pytest.mark.parametrize("new", [True, False])
def test_real_files_of_both_forms_are_read(tmp_path, new):
    torch.manual_seed(0)
    state = torch.nn.BatchNorm2d(3).state_dict() | {"shared": torch.rand(5)}
    torch.save({"state_dict": state, "log": [1, "x"]}, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
    read = read_archive(tmp_path / "w.pt", mend="")["state_dict"]
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_safetensors_are_read(tmp_path):
    save_file({"a": torch.arange(3)}, tmp_path / "w.safetensors")
    assert read_state(tmp_path / "w.safetensors")["a"].tolist() == [0, 1, 2]


def _memo(number):
    return b"q" + bytes([number]) + b"h" + bytes([number])


def _deep_key(pickled):
    return b"\x80\x02}K\x01" + b"".join(_memo(level) + b"\x86" for level in range(40)) + b"K\x02s."


def _wide_key(pickled):
    return b"\x80\x02}K\x01q\x00" + b"(" + 100 * b"h\x00" + b"tq\x01" + b"(" + 100 * b"h\x01" + b"tK\x02s."


@pytest.mark.parametrize("key", [_deep_key, _wide_key])
def test_a_key_that_takes_forever_to_hash_is_refused(tmp_path, key):
    path, bare = _rewritten(tmp_path / "w.pt", data=key), tmp_path / "bare.pt"
    bare.write_bytes(key(b""))
    for each in (path, bare):
        refused_cheaply(lambda each=each: read_state(each), "a tuple that stands for more than 1000 values")


def test_pickles_are_found_whatever_the_case_of_their_name(tmp_path):
    path = _rewritten(tmp_path / "w.pt")
    with zipfile.ZipFile(path) as archive:
        records = {name.replace("data.pkl", "DATA.PKL"): archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, _asking(content) if name.endswith("DATA.PKL") else content)
    with pytest.raises(InputError, match="a pickle that asks for memory"):
        read_state(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("w/data.pkl", pickle.dumps({}, protocol=2))
    with pytest.raises(InputError, match="records of one name"):
        read_state(path)


def test_a_second_table_of_contents_is_refused(tmp_path):
    """Python reads the table right before the end, PyTorch the one at the place that the end states."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sound = _rewritten(tmp_path / "a" / "w.pt").read_bytes()
    hostile = _rewritten(tmp_path / "b" / "w.pt", data=lambda data: _asking(data).ljust(len(data), b".")).read_bytes()
    path = tmp_path / "both.pt"
    path.write_bytes(hostile[:-22] + sound)  # of 32 bits, as long as each other
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "a" / "w.pt") as other:
        assert archive.read("w/data.pkl") == other.read("w/data.pkl")
    assert torch._C.PyTorchFileReader(str(path)).get_record("data.pkl").startswith(_asking(b"")[:10])
    with pytest.raises(InputError, match="a table of contents that lies elsewhere"):
        read_state(path)


def test_a_flipped_bit_of_a_weight_is_found(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"weight": torch.arange(100.0)}, path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(torch.tensor([42.0]).numpy().tobytes())] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"w\.pt must be .* got a damaged one, whose record w/data/0 differs"):
        read_archive(path, mend="")


def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.arange(100.0)}, tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_archive(tmp_path / "w.pt", mend="")["weight"], torch.arange(100.0))
