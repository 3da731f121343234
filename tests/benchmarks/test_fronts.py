"""`benchmarks/fronts.py` against fronts whose differences are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def fronts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import fronts

    return fronts


def _voxels(clean, attacked, patients=5):
    """One class, 1000 voxels labelled and predicted per patient: Dice is the share that is right."""
    return [[[[1000 * dice, 1000, 1000]]] * patients for dice in (clean, attacked)]


def _runs(fronts, *seeds, way="pooled"):
    columns = {"L2 5": [1]}
    files = [
        {"columns": columns, "fronts": {}, "rows": {name: {"voxels": voxels} for name, voxels in rows.items()}}
        for rows in seeds
    ]
    return fronts.read(files, way)


def test_above_a_front_is_the_height_over_its_line(fronts):
    rows = {"a": _voxels(0.9, 0.1), "b": _voxels(0.8, 0.5), "IMA": _voxels(0.85, 0.4), "best": _voxels(0.95, 0.0)}
    (points,) = _runs(fronts, rows).points()
    assert fronts.above(points, "IMA", ["b", "a"], 1) == pytest.approx(0.4 - 0.3)
    assert fronts.above(points, "a", ["b", "a"], 1) == pytest.approx(0)
    assert np.isnan(fronts.above(points, "best", ["a", "b"], 1))  # beyond the front's clean Dice


def test_between_two_fronts_is_their_mean_gap_where_both_are(fronts):
    rows = {"a": _voxels(0.9, 0.1), "b": _voxels(0.7, 0.5), "c": _voxels(0.8, 0.5), "d": _voxels(0.6, 0.7)}
    (points,) = _runs(fronts, rows).points()
    # From 0.7 to 0.8 of clean Dice: the first falls from 0.5 to 0.3, the other from 0.6 to 0.5.
    assert fronts.between(points, ["a", "b"], ["c", "d"], 1) == pytest.approx(-0.15)
    assert fronts.between(points, ["c", "d"], ["a", "b"], 1) == pytest.approx(0.15)
    assert np.isnan(fronts.between(points, ["a", "c"], ["d"], 1))


def test_pooled_dice_weighs_patients_by_their_voxels_and_dice_alone_cannot_be_pooled(fronts):
    voxels = np.array(_voxels(0.9, 0.5, patients=2))
    voxels[1, 0] = [[300.0, 3000, 3000]]  # a large structure of which a tenth is right
    (pooled,), (mean,) = (_runs(fronts, {"a": voxels.tolist()}, way=way).points() for way in ("pooled", "patients"))
    assert pooled["a"][1] == pytest.approx((300 + 500) / 4000)
    assert mean["a"][1] == pytest.approx((0.1 + 0.5) / 2)
    file = {"columns": {"both": [1, 2]}, "fronts": {}, "rows": {"a": {"dice": [[0.9, 0.8], [0.5, 0.1], [0.7, 0.3]]}}}
    assert fronts.read([file], "pooled") is None
    assert fronts.read([file], "patients").points()[0]["a"] == pytest.approx([0.85, 0.4])


def test_the_interval_grows_with_seeds_and_with_patients_that_differ(fronts):
    def rows(gap, rest=0.0):
        voxels = np.array(_voxels(0.85, 0.3 + gap))
        voxels[1, 0, 0, 0] += 1000 * rest  # one patient for whom IMA does better
        return {"a": _voxels(0.9, 0.2), "b": _voxels(0.8, 0.4), "IMA": voxels.tolist()}

    def spread(*seeds):
        return fronts._spread(_runs(fronts, *seeds), lambda one: fronts.above(one, "IMA", ["a", "b"], 1))

    mean, half, p = spread(rows(0.1), rows(0.1), rows(0.1))
    assert (mean, half, p) == (pytest.approx(0.1), pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    mean, by_seeds, p = spread(rows(0.05), rows(0.1), rows(0.15))
    assert mean == pytest.approx(0.1)
    assert by_seeds == pytest.approx(4.302653 * 0.05 / 3**0.5, rel=1e-5)  # Student's t of three values
    assert p == pytest.approx(0.0741799, rel=1e-4)
    mean, by_patients, _ = spread(*[rows(0.1, 0.2)] * 3)
    assert mean == pytest.approx(0.1 + 0.2 / 5)
    assert by_patients == pytest.approx(4.302653 * 0.2 / 5, rel=1e-5)  # of 0.2, 0, 0, 0, 0: standard error of the mean
    mean, one_seed, _ = spread(rows(0.1, 0.2))
    assert one_seed == pytest.approx(2.776445 * 0.2 / 5, rel=1e-5)  # over five patients alone


def test_rows_less_another_one_are_paired_by_patient(fronts):
    voxels = np.array(_voxels(0.9, 0.5))
    voxels[1, :, 0, 0] += [0, 100, 200, 300, 400]  # patients differ, rows do not
    rows = {"a": voxels.tolist(), "b": (voxels - np.array([20, 0, 0])).tolist()}
    lines = fronts._differences(_runs(fronts, rows), "a").splitlines()
    assert lines[0].startswith("| row | control | clean | L2 5 |")
    assert lines[2] == "| b | a | -0.020 [-0.020, -0.020]* | -0.020 [-0.020, -0.020]* |"
    with pytest.raises(SystemExit, match="--against must be one of a, b, got c"):
        fronts._differences(_runs(fronts, rows), "c")


def test_runs_that_differ_in_more_than_the_seed_are_refused(fronts, monkeypatch, tmp_path):
    rows = {"columns": {}, "fronts": {}, "epochs": 1, "steps": 4, "patients": ["a"], "rows": {}}
    for number, changes in enumerate(({"seed": 0}, {"seed": 0}, {"seed": 1, "epochs": 2})):
        (tmp_path / f"{number}.json").write_text(json.dumps({**rows, **changes}))
    for other, message in ((1, "must be of different seeds"), (2, "must have the same epochs")):
        monkeypatch.setattr("sys.argv", ["fronts.py", str(tmp_path / "0.json"), str(tmp_path / f"{other}.json")])
        with pytest.raises(SystemExit, match=message):
            fronts.main()
