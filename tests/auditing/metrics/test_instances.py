"""Instances against brute force over all pairings, by another library, and by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from imaseg.auditing.metrics.instances import COUNTED, SIZES, Instances, instance_scores
from imaseg.auditing.metrics.scores import METRICS, mean_scores, score, score_regions

COUNTS = [f"{name}{size}" for name in COUNTED for size in ("", *(f"_{size}" for size in SIZES))]
SHARES = ["instance_recall", "instance_precision", "instance_f1", "instance_sq", "instance_pq"]


def _asked(**given):
    return Instances(**{"classes": [1], **given})


def _scores(found, truth, spacing=None, **given):
    spacing = spacing or (1.0,) * truth.ndim
    return instance_scores(found.astype(bool), truth.astype(bool), spacing=spacing, settings=_asked(**given))


def _islands(mask, reach):
    """Connected components as sets of voxels, by walking from neighbour to neighbour; `reach` axes may differ."""
    left = {tuple(int(i) for i in place) for place in np.argwhere(mask)}
    steps = [s for s in itertools.product((-1, 0, 1), repeat=mask.ndim) if 0 < sum(map(abs, s)) <= reach]
    islands = []
    while left:
        island, edge = set(), [left.pop()]
        while edge:
            place = edge.pop()
            island.add(place)
            near = {tuple(a + b for a, b in zip(place, step, strict=True)) for step in steps} & left
            left -= near
            edge += near
        islands.append(island)
    return islands


def _best(real, painted, least):
    """IoU of the pairs of the pairing with the largest sum of IoU, then most pairs, of all pairings there are."""
    iou = {
        (a, b): len(one & other) / len(one | other)
        for a, one in enumerate(real)
        for b, other in enumerate(painted)
        if one & other and len(one & other) / len(one | other) >= least
    }
    best, total = (), 0.0
    for chosen in itertools.chain.from_iterable(itertools.combinations(iou, n) for n in range(len(iou) + 1)):
        ours, theirs = {a for a, _ in chosen}, {b for _, b in chosen}
        value = sum(iou[pair] for pair in chosen)
        if len(ours) == len(theirs) == len(chosen) and (round(value, 9), len(chosen)) > (total, len(best)):
            best, total = chosen, round(value, 9)
    return [iou[pair] for pair in best]


masks = st.sampled_from([(5, 6), (3, 4, 3)]).flatmap(
    lambda shape: st.tuples(*[arrays(np.int64, shape, elements=st.sampled_from([0, 0, 0, 1]))] * 2)
)


@settings(max_examples=200, deadline=None)
@given(masks, st.sampled_from([0.0, 0.1, 0.3, 0.5]), st.sampled_from(["faces", "corners"]))
def test_counts_and_quality_are_those_of_the_best_of_all_pairings(pair, least, connectivity):
    found, truth = pair
    spacing = (0.5, 2.0, 3.0)[: truth.ndim]
    reach, voxel = (1 if connectivity == "faces" else truth.ndim), math.prod(spacing)
    asked = {"iou": least, "connectivity": connectivity, "smallest": 2 * voxel, "sizes": [3 * voxel, 5 * voxel]}
    real, painted = ([one for one in _islands(mask, reach) if len(one) > 1] for mask in (truth, found))
    iou = _best(real, painted, least)
    scores = _scores(found, truth, spacing, **asked)
    n, m, p = len(real), len(painted), len(iou)
    assert [scores[name] for name in COUNTED] == [n, n - p, m, m - p]
    assert scores["instance_recall"] == (p / n if n else None if m else 1)
    assert scores["instance_precision"] == (p / m if m else None if n else 1)
    assert scores["instance_f1"] == pytest.approx(p / (p + (n - p + m - p) / 2) if n + m else 1)
    assert scores["instance_sq"] == (pytest.approx(np.mean(iou)) if p else None)
    assert scores["instance_pq"] == pytest.approx(sum(iou) / ((n + m) / 2) if n + m else 1)
    for size, low, high in (("small", 0, 3), ("medium", 3, 5), ("large", 5, np.inf)):
        assert scores[f"instances_{size}"] == sum(low <= len(one) < high for one in real)
        assert scores[f"instances_predicted_{size}"] == sum(low <= len(one) < high for one in painted)
    for name in ("instances_missed", "instances_invented"):
        assert sum(scores[f"{name}_{size}"] for size in SIZES) == scores[name]


@pytest.mark.parametrize(("connectivity", "backend"), [("corners", "cc3d"), ("faces", "scipy")])
@pytest.mark.parametrize("least", [0.1, 0.5])
def test_equals_panoptica(connectivity, backend, least):
    panoptica = pytest.importorskip("panoptica", reason="panoptica, the other implementation, is not installed")
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(panoptica.CCABackend[backend]),
        instance_matcher=panoptica.MaxBipartiteMatching(matching_threshold=least),
        instance_metrics=[panoptica.Metric.IOU],
        global_metrics=[],
    )
    rng = np.random.default_rng(0)
    for density in (0.08, 0.15, 0.25):
        truth = rng.random((16, 15, 12)) < density
        found = np.where(rng.random(truth.shape) < 0.15, rng.random(truth.shape) < density, truth)
        (theirs,) = evaluator.evaluate(found.astype(np.uint8), truth.astype(np.uint8), verbose=False).values()
        ours = _scores(found, truth, iou=least, connectivity=connectivity)
        assert [ours["instances"], ours["instances_predicted"]] == [theirs.n_ref_instances, theirs.n_pred_instances]
        assert [ours["instances_missed"], ours["instances_invented"]] == [theirs.fn, theirs.fp]
        assert ours["instances_missed"] < ours["instances"]
        for name, value in (("f1", theirs.rq), ("sq", theirs.sq), ("pq", theirs.pq)):
            assert ours[f"instance_{name}"] == pytest.approx(value)


def _row(*runs):
    """A picture of two rows whose first holds runs of ones, from a to b."""
    mask = np.zeros((2, 30), dtype=bool)
    for a, b in runs:
        mask[0, a:b] = True
    return mask


def test_a_lesion_found_in_two_parts_is_one_pair_and_one_invented():
    scores = _scores(_row((0, 4), (5, 10)), _row((0, 10)))
    assert [scores[name] for name in COUNTED] == [1, 0, 2, 1]
    assert scores["instance_sq"] == 0.5


def test_two_lesions_found_as_one_are_one_pair_and_one_missed():
    scores = _scores(_row((0, 10)), _row((0, 4), (5, 10)))
    assert [scores[name] for name in COUNTED] == [2, 1, 1, 0]


def test_the_best_pairing_is_not_the_greedy_one():
    found, truth = _row((0, 3), (4, 16)), _row((0, 10), (11, 21))
    scores = _scores(found, truth)  # 6/16 alone, or 3/10 and 5/17
    assert scores["instances_missed"] == 0
    assert scores["instance_sq"] == pytest.approx((3 / 10 + 5 / 17) / 2)


def test_of_equal_pairings_the_one_with_more_pairs_counts():
    scores = _scores(_row((0, 1), (3, 9)), _row((0, 6), (7, 15)))  # 1/3 alone, or 1/6 twice
    assert scores["instances_missed"] == 0
    assert scores["instance_sq"] == pytest.approx(1 / 6)


def test_a_threshold_is_met_by_exactly_its_iou():
    found, truth = _row((0, 5)), _row((0, 10))
    assert _scores(found, truth, iou=0.5)["instance_recall"] == 1
    assert _scores(found, truth, iou=0.51)["instance_recall"] == 0
    beside = _row((10, 15))
    assert _scores(beside, truth, iou=0.0)["instance_recall"] == 0, "touching is no overlap"


def test_sizes_are_in_mm3_of_the_given_voxels():
    truth = _row((0, 9), (10, 20), (21, 23))
    sizes = _scores(truth, truth, spacing=(2.0, 5.0), sizes=[50, 100])
    assert [sizes[f"instances_{size}"] for size in SIZES] == [1, 1, 1]
    step = float(np.nextafter(np.float32(0.1), np.float32(0)))  # ten such voxels are a hair less than 10 x 0.1
    assert _scores(truth, truth, spacing=(step, 1.0), sizes=[1.0, 9.0])["instances_medium"] == 1
    assert _scores(truth, truth, spacing=(1.0, 1.0), smallest=3)["instances"] == 2


@pytest.mark.parametrize(
    ("found", "truth", "wanted"),
    [((), (), (1, 1, 1, None, 1)), (((0, 3),), (), (None, 0, 0, None, 0)), ((), ((0, 3),), (0, None, 0, None, 0))],
)
def test_what_nothing_counts_is_stated(found, truth, wanted):
    scores = _scores(_row(*found), _row(*truth))
    assert tuple(scores[name] for name in SHARES) == wanted


def _of_classes(found, truth, **given):
    dice = torch.ones(3)
    return score(found, truth, dice, spacing=(1.0, 1.0), classes=[1, 2], **given)


def test_only_classes_that_are_asked_for_are_counted():
    truth = torch.from_numpy(_row((0, 3), (5, 8)).astype(np.int64))
    truth[1, 20:25] = 2
    found = truth.clone()
    found[0, 5:8] = 0
    plain, asked = _of_classes(found, truth), _of_classes(found, truth, instances=_asked())
    assert not any(METRICS[name].asked for k in plain for name in plain[k] if name in METRICS)
    assert asked["2"] == plain["2"]
    assert {*asked["1"]} - {*plain["1"]} == {*COUNTS, *SHARES}
    assert asked["foreground_mean"]["instances_missed"] == 1
    assert asked["foreground_mean"]["instance_recall"] == 0.5
    assert not [name for name in asked["foreground_mean"] if name.startswith("instance") and "undefined" in name]
    rows = [asked["1"], {"dice": 1.0}]
    assert "instances_undefined" not in mean_scores(rows)


def test_a_case_whose_label_has_other_classes_alone_is_counted_as_undefined():
    truth = torch.zeros(2, 30, dtype=torch.long)
    truth[1, 20:25] = 2
    mean = _of_classes(truth, truth, instances=_asked())["foreground_mean"]
    assert (mean["instance_f1"], mean["instances"]) == (None, 0)
    assert mean_scores([mean, mean])["instance_f1_undefined"] == 2


def test_erasing_every_lesion_costs_precision():
    truth = torch.from_numpy(_row((0, 3)).astype(np.int64))
    means = [_of_classes(found, truth, instances=_asked())["foreground_mean"] for found in (truth, truth * 0)]
    assert [mean["instance_precision"] for mean in means] == [1, 0]
    assert means[1]["instance_precision_penalised"] == 1


def test_regions_are_counted_as_what_is_inside():
    truth = torch.from_numpy(_row((0, 4), (6, 9)).astype(np.int64))
    truth[0, 2:4] = 2
    scores = score_regions(
        truth, truth, torch.ones(3), spacing=(1.0, 1.0), groups={1: [1, 2], 2: [2]}, instances=_asked(classes=[1])
    )
    assert scores["1"]["instances"] == 2
    assert "instances" not in scores["2"]


def test_settings_are_refused_if_they_make_no_sense():
    for wrong in ({"classes": []}, {"classes": [0]}, {"iou": 1.1}, {"smallest": -1}, {"connectivity": "edges"}):
        with pytest.raises(ValidationError):
            _asked(**wrong)
    with pytest.raises(ValidationError, match="sizes must be two rising volumes in mm3 above 0, got"):
        _asked(sizes=[100, 10])
