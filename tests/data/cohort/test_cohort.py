from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaseg.data.cohort.flags import cohort_flags
from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.cohort.survey import Survey


def survey(i: int, **more) -> Survey:
    usual = Survey(
        spacing=[1.0, 1.0, 2.0],
        shape=[40 + i, 40, 20],
        channels=1,
        class_volume_ml={"1": 3.0 + 0.1 * i},
        sample=[[float(i), float(i + 1)]],
        spread=[0.12, 0.2, 0.21, 0.22],
        image_sha256=f"image {i}",
        label_sha256=f"label {i}",
    )
    return replace(usual, **more)


@pytest.fixture
def cohort() -> dict[str, Survey]:
    return {f"case_{i}": survey(i) for i in range(7)}


def test_statistics_are_medians_and_pooled_percentiles(cohort):
    statistics = CohortStatistics.of(list(cohort.values()), ["CT"])
    assert statistics.spacing == (1.0, 1.0, 2.0)
    assert statistics.shape == (43, 40, 20)
    assert statistics.class_volume_ml == {"1": pytest.approx(3.3)}
    pooled = np.array([[i, i + 1] for i in range(7)]).ravel()
    assert statistics.intensity[0]["mean"] == pytest.approx(pooled.mean())
    assert statistics.intensity[0]["std"] == pytest.approx(pooled.std())
    assert statistics.intensity[0]["percentile_99_5"] == pytest.approx(np.percentile(pooled, 99.5))
    assert CohortStatistics.from_json(statistics.to_json()) == statistics


def test_a_uniform_cohort_has_no_flags(cohort):
    assert not any(cohort_flags(cohort, {}).values())


def test_the_same_image_twice_flags_both(cohort):
    cohort["case_5"] = replace(cohort["case_5"], image_sha256="image 2", label_sha256="label 2")
    cohort["case_6"] = replace(cohort["case_6"], image_sha256="image 1")
    flags = cohort_flags(cohort, {"train": ["case_1", "case_2", "case_5"], "val": ["case_6"]})
    assert flags["case_2"] == ["same image as case_5, with the same label."]
    assert flags["case_5"] == ["same image as case_2, with the same label."]
    assert flags["case_1"] == [
        "same image as case_6, with another label; train and val share it, so scores will flatter."
    ]
    assert flags["case_0"] == []


def test_a_label_that_fits_better_mirrored_is_flagged(cohort):
    cohort["case_3"] = survey(3, spread=[0.22, 0.21, 0.12, 0.23])
    flags = cohort_flags(cohort, {})
    assert [name for name in flags if flags[name]] == ["case_3"]
    assert "better mirrored front-back" in flags["case_3"][0]


def test_a_label_in_a_mixed_region_is_not_mistaken_for_a_mirrored_one(cohort):
    cohort["case_3"] = survey(3, spread=[0.3, 0.28, 0.29, 0.31])
    assert not any(cohort_flags(cohort, {}).values())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"spacing": [1.0, 1.0, 8.0]}, "voxel size along z (mm) is out of line: 8, cohort median 2"),
        ({"shape": [200, 40, 20]}, "extent along x (mm) is out of line: 200"),
        ({"class_volume_ml": {"1": 60.0}}, "volume of label 1 (ml) is out of line: 60"),
        ({"class_volume_ml": {"1": 0.1}}, "volume of label 1 (ml) is out of line: 0.1"),
    ],
)
def test_cases_out_of_line_are_flagged(cohort, change, what):
    cohort["case_2"] = survey(2, **change)
    flags = cohort_flags(cohort, {})
    assert any(what in flag for flag in flags["case_2"])
    assert [name for name in flags if flags[name]] == ["case_2"]


def test_four_cases_are_too_few_to_say_what_is_usual(cohort):
    few = {name: cohort[name] for name in list(cohort)[:3]} | {"odd": survey(9, spacing=[9.0, 9.0, 9.0])}
    assert not any(cohort_flags(few, {}).values())
