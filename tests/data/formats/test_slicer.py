"""Segmentations of 3D Slicer, as NRRD files that the test writes byte by byte."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from imaseg.data.formats.read import read_scan
from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe

AS_IT_IS = Recipe(spacing=None, crop=None, normalise="none", orientation=None)
SHAPE = (12, 14, 10)


def nrrd(path, array, *, origin=(0, 0, 0), segments=()) -> None:
    """Axes along the patient's, layers first; `segments` are (name, value, layer)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layered = array.ndim == 4
    axes = [*(["none"] if layered else []), "(1,0,0)", "(0,1,0)", "(0,0,1)"]
    lines = [
        "NRRD0004",
        f"type: {'float' if array.dtype == np.float32 else 'unsigned char'}",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, array.shape))}",
        f"space directions: {' '.join(axes)}",
        f"kinds: {'list ' * layered}domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: ({','.join(map(str, origin))})",
    ]
    for n, (name, value, layer) in enumerate(segments):
        lines += [f"Segment{n}_Name:={name}", f"Segment{n}_LabelValue:={value}", f"Segment{n}_Layer:={layer}"]
    path.write_bytes("\n".join([*lines, "", ""]).encode() + gzip.compress(array.tobytes(order="F")))


def box(x, y, z) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[slice(*x), slice(*y), slice(*z)] = 1
    return mask


TUMOUR, OEDEMA = box((3, 7), (4, 9), (2, 6)), box((5, 10), (6, 12), (3, 8))


@pytest.fixture
def prepared(tmp_path):
    def run(**files):
        for i, (case, (array, more)) in enumerate(files.items()):
            image = np.random.default_rng(i).normal(size=SHAPE).astype(np.float32)
            nrrd(tmp_path / "raw" / case / "x.nrrd", image)
            nrrd(tmp_path / "raw" / case / "x.seg.nrrd", array, **more)
        summary = prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
        cases = load_cases(tmp_path / "out")
        return summary, cases.labels, {case.id: read_scan(case.label).data for case in cases}

    return run


def test_one_name_is_one_class_whatever_its_number(prepared):
    both = TUMOUR * 4
    both[OEDEMA > 0] = 1
    summary, labels, arrays = prepared(
        a=(TUMOUR, {"segments": [("Tumour", 1, 0)]}),
        b=(TUMOUR * 3, {"segments": [("tumour ", 3, 0)]}),
        c=(both, {"segments": [("Oedema", 1, 0), ("Tumour", 4, 0)]}),
    )
    assert labels == {0: "background", 1: "Tumour", 2: "Oedema"}
    np.testing.assert_array_equal(arrays["a"], TUMOUR)
    np.testing.assert_array_equal(arrays["b"], TUMOUR)
    np.testing.assert_array_equal(arrays["c"], np.where(OEDEMA > 0, 2, TUMOUR))
    assert "b/x.seg.nrrd: structure 'tumour' of x.seg.nrrd taken for 'Tumour'." in summary.flagged["b"]


def test_a_file_cut_to_its_extent_lies_where_its_origin_says(prepared):
    cut = TUMOUR[2:8, 3:10, 2:7]
    named = {"segments": [("Tumour", 1, 0)]}
    summary, _, arrays = prepared(a=(cut, {"origin": (2, 3, 2), **named}), b=(TUMOUR, named))
    np.testing.assert_array_equal(arrays["a"], TUMOUR)
    assert summary.flagged == {}


def test_layers_are_joined_and_their_overlap_flagged(prepared):
    layers = np.stack([TUMOUR, OEDEMA])
    named = {"segments": [("Tumour", 1, 0), ("Oedema", 1, 1)]}
    summary, _, arrays = prepared(a=(layers, named), b=(layers[::-1], named))
    np.testing.assert_array_equal(arrays["a"], np.where(OEDEMA > 0, 2, TUMOUR))
    np.testing.assert_array_equal(arrays["b"], np.where(TUMOUR > 0, 2, OEDEMA))
    shared = int((TUMOUR & OEDEMA).sum())
    assert summary.flagged["a"] == [
        f"a/x.seg.nrrd: structure 'Oedema' of x.seg.nrrd takes voxels of those that it overlaps: {shared} of 'Tumour'."
    ]


def test_labels_without_names_are_taken_by_number_and_said(prepared):
    named = {"segments": [("Tumour", 1, 0)]}
    summary, _, arrays = prepared(a=(TUMOUR, named), b=(TUMOUR, {}), c=(TUMOUR * 2, {}))
    np.testing.assert_array_equal(arrays["b"], TUMOUR)
    assert summary.flagged == {
        "b": ["b/x.seg.nrrd: structure 'Tumour' of x.seg.nrrd: label 1 of a file without names, taken by its number."]
    }
    assert summary.quarantined == {
        "c": ["c/x.seg.nrrd must name its segments, got labels [2] without names. Name them in 3D Slicer."]
    }


def test_a_layer_that_is_not_there_is_refused(prepared):
    summary, *_ = prepared(a=(TUMOUR, {"segments": [("Tumour", 1, 0)]}), b=(TUMOUR, {"segments": [("Tumour", 1, 2)]}))
    assert summary.quarantined == {"b": ["b/x.seg.nrrd must hold layer 2 of 'Tumour', got 1 layers."]}
