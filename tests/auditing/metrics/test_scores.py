"""Metrics of one prediction against hand-made volumes and MONAI's own results."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import HausdorffDistanceMetric, SurfaceDiceMetric, SurfaceDistanceMetric
from sklearn.metrics import precision_score, recall_score

from imaseg.auditing.metrics.scores import METRICS, interval_scores, mean_scores, score, score_regions, volumes_ml
from imaseg.statistics import mean_interval

PERFECT = {
    "dice": 1.0, "surface_dice": 1.0, "surface_dice_2mm": 1.0, "hd95": 0.0, "assd": 0.0, "precision": 1.0,
    "recall": 1.0, "volume_error": 0.0, "relative_volume_error": 0.0, "fp_volume": 0.0, "missed": 0.0,
    "false_positive": 0.0,
}  # fmt: skip
LOST = PERFECT | {"dice": 0.0, "surface_dice": 0.0, "surface_dice_2mm": 0.0, "hd95": None, "assd": None}
PAINTED = LOST | {"precision": 0.0, "recall": None, "relative_volume_error": None}
ERASED = LOST | {"precision": None, "precision_penalty": 0.0, "recall": 0.0, "relative_volume_error": -1.0}
SIDES = (12, 10, 8)
maps = arrays("int64", (4, 5, 3), elements=st.sampled_from([0, 0, 1, 2])).map(torch.from_numpy)


def _volumes():
    label = torch.zeros(12, 10, 8, dtype=torch.long)
    label[2:8, 2:7, 2:6] = 1
    label[8:11, 2:7, 2:6] = 2
    return label, label.roll(1, 0)


def _dice(prediction, label, k):
    a, b = prediction == k, label == k
    return float(2 * (a & b).sum() / (a.sum() + b.sum())) if (a | b).any() else 1.0


def _scores(prediction, label, spacing=(1.0, 1.5, 2.0), classes=(1, 2)):
    dice = torch.tensor([_dice(prediction, label, k) for k in (0, *classes)])
    return score(prediction, label, dice, spacing=spacing, classes=classes)


def test_equals_monai_with_spacing():
    label, prediction = _volumes()
    scores = _scores(prediction, label)
    onehot = [torch.stack([volume == k for k in (1, 2)])[None].float() for volume in (prediction, label)]
    hausdorff = HausdorffDistanceMetric(include_background=True, percentile=95)
    surface = SurfaceDiceMetric([1.0, 1.0], include_background=True)
    distances, overlaps = hausdorff(*onehot, spacing=(1.0, 1.5, 2.0))[0], surface(*onehot)[0]
    average = SurfaceDistanceMetric(include_background=True, symmetric=True)(*onehot, spacing=(1.0, 1.5, 2.0))[0]
    for row, k in enumerate(("1", "2")):
        assert scores[k]["hd95"] == pytest.approx(float(distances[row]))
        assert scores[k]["assd"] == pytest.approx(float(average[row]))
        assert scores[k]["surface_dice"] == pytest.approx(float(overlaps[row]))
        assert scores[k]["fp_volume"] == 0.0


def test_a_shift_along_one_axis_is_as_many_millimetres_as_its_spacing():
    label, prediction = _volumes()
    assert _scores(prediction, label, spacing=(3.0, 1.0, 1.0))["1"]["hd95"] == pytest.approx(3.0)


def test_a_painted_structure_is_a_volume_and_has_no_distance():
    label, _ = _volumes()
    bare = torch.where(label == 2, 0, label)
    scores = _scores(label, bare, spacing=(1.0, 2.0, 0.5))
    voxels = float((label == 2).sum())
    found = {"volume_error": voxels / 1000, "fp_volume": voxels, "false_positive": 1.0}
    diagonal = pytest.approx(math.sqrt(12**2 + 20**2 + 4**2))
    assert scores["2"] == PAINTED | found | {"hd95_penalty": diagonal, "assd_penalty": diagonal}
    assert scores["foreground_mean"]["hd95"] == 0.0, "the label does not hold it"
    assert "hd95_penalised" not in scores["foreground_mean"]
    assert scores["foreground_mean"]["false_positive"] == 0.5


def test_a_missed_structure_scores_zero_without_a_distance():
    label, _ = _volumes()
    scores = _scores(torch.where(label == 2, 0, label), label)
    penalty = math.dist((0, 0, 0), [n * size for n, size in zip(SIDES, (1.0, 1.5, 2.0), strict=True)])
    lost = {"volume_error": -3.0 * float((label == 2).sum()) / 1000, "missed": 1.0}
    assert scores["2"] == ERASED | lost | {"hd95_penalty": penalty, "assd_penalty": penalty}


def test_erasing_a_structure_makes_mean_hd95_worse_than_any_segmentation_of_it():
    label, shifted = _volumes()
    one = torch.where(shifted == 2, 0, shifted)
    clean, erased, empty = (_scores(volume, label) for volume in (shifted, one, torch.zeros_like(label)))
    penalty = erased["2"]["hd95_penalty"]
    means = [scores["foreground_mean"] for scores in (clean, erased, empty)]
    assert means[0]["hd95"] < means[1]["hd95"] < means[2]["hd95"] == penalty
    assert means[1]["hd95"] == pytest.approx((clean["1"]["hd95"] + penalty) / 2)
    assert [mean.get("hd95_penalised") for mean in means] == [None, 1.0, 2.0]
    assert [mean.get("hd95_undefined") for mean in means] == [None] * 3
    over_cases = mean_scores(means)
    assert over_cases["hd95"] == pytest.approx(sum(mean["hd95"] for mean in means) / 3)
    assert over_cases["hd95_penalised"] == 3.0
    of_class = mean_scores([clean["2"], erased["2"], empty["2"]])
    assert of_class["hd95"] == pytest.approx((clean["2"]["hd95"] + 2 * penalty) / 3)
    assert of_class["hd95_penalised"] == 2.0


def test_erasing_a_structure_does_not_make_mean_precision_better():
    label, shifted = _volumes()
    erased = _scores(torch.where(shifted == 2, 0, shifted), label)
    mean = erased["foreground_mean"]
    assert mean["precision"] == pytest.approx(erased["1"]["precision"] / 2)
    assert mean["precision_penalised"] == 1.0
    assert mean["recall"] == pytest.approx(erased["1"]["recall"] / 2)
    assert mean["relative_volume_error"] == -0.5


@settings(max_examples=40, deadline=None)
@given(maps, maps)
def test_precision_recall_and_relative_volume_are_those_of_scikit_learn_and_of_each_other(found, label):
    scores = _scores(found, label)
    for k in (1, 2):
        one, pair = scores[str(k)], ((label == k).flatten(), (found == k).flatten())
        for name, measure in (("precision", precision_score), ("recall", recall_score)):
            undefined = not pair[name == "precision"].any()
            assert (one[name] is None) == (undefined and bool(torch.cat(pair).any()))
            assert undefined or one[name] == pytest.approx(measure(*pair))
        if one["precision"] and one["recall"]:
            assert one["relative_volume_error"] == pytest.approx(one["recall"] / one["precision"] - 1)


def test_a_structure_found_only_elsewhere_is_missed_too():
    label, _ = _volumes()
    astray = torch.where(label == 2, 0, label)
    astray[0, 0, 0] = 2
    scores = _scores(astray, label)["2"]
    assert (scores["missed"], scores["false_positive"], scores["fp_volume"]) == (1.0, 0.0, 0.0)
    assert scores["hd95"] > 0


def test_volume_error_is_in_millilitres_and_signed():
    label, _ = _volumes()
    larger = torch.where((label == 0) & (label.roll(1, 2) == 1), 1, label)
    extra = int((larger == 1).sum() - (label == 1).sum())
    spacing = (0.8, 0.9, 2.5)
    assert extra > 0
    assert _scores(larger, label, spacing)["1"]["volume_error"] == pytest.approx(extra * 1.8 / 1000)
    assert _scores(label, larger, spacing)["1"]["volume_error"] == pytest.approx(-extra * 1.8 / 1000)
    groups, wanted = {1: [1], 2: [2], 3: [3], 4: [2, 1]}, {"1": 0.216, "2": 0.108, "3": 0.0, "4": 0.324}
    assert volumes_ml(label, spacing=spacing, groups=groups) == pytest.approx(wanted)


def test_regions_are_scored_one_by_one_as_inside_and_outside():
    label, spacing = _volumes()[0], (1.0, 1.0, 1.5)
    found = label.roll(1, 0)
    label[:1] = -1
    groups = {1: [1, 2], 2: [2]}
    dice = torch.tensor([torch.nan, 0.25, 0.5])
    scores = score_regions(found, label, dice, spacing=spacing, groups=groups)
    for k, inside in groups.items():
        one, other = (torch.isin(volume, torch.tensor(inside)) & (label >= 0) for volume in (found, label))
        metric = HausdorffDistanceMetric(percentile=95, include_background=True)
        assert scores[str(k)]["hd95"] == pytest.approx(
            float(metric(one[None, None], other[None, None], spacing=spacing))
        )
        assert scores[str(k)]["volume_error"] == pytest.approx(float(one.sum() - other.sum()) * 1.5 / 1000)
        assert scores[str(k)]["dice"] == float(dice[k])
    assert scores["foreground_mean"]["dice"] == 0.375


def test_empty_on_both_sides_is_perfect():
    label, _ = _volumes()
    bare = torch.where(label == 2, 0, label)
    assert _scores(bare, bare)["2"] == PERFECT
    nothing = torch.zeros_like(label)
    assert _scores(nothing, nothing) == {"1": PERFECT, "2": PERFECT, "foreground_mean": PERFECT}


def test_what_is_painted_on_ignored_voxels_does_not_count():
    label, _ = _volumes()
    ignored = torch.where(label == 2, -1, label)
    assert _scores(label, ignored)["2"] == PERFECT | {"dice": 0.0}


@settings(max_examples=40, deadline=None)
@given(maps)
def test_a_perfect_prediction_is_perfect(label):
    assert _scores(label, label) == {"1": PERFECT, "2": PERFECT, "foreground_mean": PERFECT}


@settings(max_examples=60, deadline=None)
@given(maps, maps)
def test_swapping_prediction_and_label_keeps_what_is_symmetric_and_turns_the_rest(one, other):
    there, back = _scores(one, other), _scores(other, one)
    for k in ("1", "2"):
        for metric in ("dice", "surface_dice", "surface_dice_2mm", "hd95", "assd"):
            assert there[k][metric] == pytest.approx(back[k][metric])
        assert there[k]["precision"] == back[k]["recall"]
        assert there[k]["volume_error"] == -back[k]["volume_error"]
        assert there[k]["surface_dice"] <= 1
        assert (there[k]["fp_volume"] > 0) == (there[k]["false_positive"] == 1)
        assert not there[k]["missed"] or there[k]["dice"] == 0
        assert math.isclose(there[k]["volume_error"] * 1000, there[k]["fp_volume"]) or not there[k]["false_positive"]


def test_means_leave_undefined_values_out_and_count_them():
    rows = [{"dice": 1.0, "hd95": None, "ece": 0.1}, {"dice": 0.5, "hd95": 2.0, "ece": 0.3}]
    assert mean_scores(rows) == {"dice": 0.75, "hd95": 2.0, "hd95_undefined": 1.0, "ece": pytest.approx(0.2)}
    assert mean_scores([{"hd95": None}]) == {"hd95": None, "hd95_undefined": 1.0}


def test_intervals_take_the_penalty_and_stay_within_the_range():
    rows = [{"dice": 1.0, "hd95": 1.0}] * 8 + [{"dice": 0.2, "hd95": None, "hd95_penalty": 100.0}]
    found = interval_scores({"1": rows})["1"]
    assert found["hd95"] == pytest.approx([0.0, mean_interval([1.0] * 8 + [100.0])[1]])
    assert found["dice"][1] == 1.0


def test_cases_of_one_patient_are_one():
    rows = [{"dice": 0.1 * i} for i in range(9)]
    assert interval_scores({"1": rows}, ["a", "a", *"bcdefgh"])["1"]["dice"] == pytest.approx(
        mean_interval([0.1 * i for i in range(9)], ["a", "a", *"bcdefgh"])
    )
    assert interval_scores({"1": rows}, [*"aaabbbccc"])["1"]["dice"] is None


def test_every_mean_has_the_interval_of_its_defined_values():
    rows = [{"dice": 0.1 * i, "hd95": None if i == 2 else float(i)} for i in range(9)]
    found = interval_scores({"foreground_mean": rows, "1": [*rows[:2], *[{"dice": None, "hd95": None}] * 7]})
    assert found["foreground_mean"]["dice"] == pytest.approx(mean_interval([0.1 * i for i in range(9)]))
    assert found["foreground_mean"]["hd95"] == pytest.approx(mean_interval([0, 1, 3, 4, 5, 6, 7, 8]))
    assert found["1"] == {"dice": None, "hd95": None}


def test_scores_hold_every_metric_but_those_of_the_whole_case_or_the_files_and_what_plans_ask_for():
    asked = {name for name, metric in METRICS.items() if metric.asked}
    assert {*_scores(*_volumes())["1"], "ece", "native_dice"} == set(METRICS) - asked
    assert len(asked) == 21
