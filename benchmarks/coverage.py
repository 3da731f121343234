"""How often 95 % intervals hold the truth, by the number of cases and of patients, for each way to make them.

    python benchmarks/coverage.py [--samples N] [--draws N] [--small]

Samples are drawn from distributions whose mean and median are known: like Dice (normal), like Dice with structures lost
altogether (30 % zeros, the others Beta(9, 2)), like distances (log-normal, shape 1), like rare events (10 % ones). In
the second table the cases of a patient, 1 to 24 of them, are alike (half of the variance lies between patients; of
zeros, patients differ in their share), and in `more slices, better` Dice grows with their number.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import scipy
import scipy.stats
from attack_strength import footer
from numpy.typing import NDArray

from imaseg.progress import bar
from imaseg.statistics import interval
from imaseg.statistics.interval import mean_interval, mean_intervals, median_interval

Values = NDArray[np.float64]
Ends = tuple[Values, Values]
SIZES = (3, 4, 5, 6, 7, 8, 10, 17, 35, 50)
PATIENTS = (6, 7, 8, 10, 17, 30)


def beta_or_zero(rng: np.random.Generator, zero: Values) -> Values:
    return np.where(zero, 0.0, rng.beta(9, 2, zero.shape))


SINGLE: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], Values], float, float]] = {
    "normal": (lambda rng, shape: rng.normal(0.8, 0.1, shape), 0.8, 0.8),
    "30 % zeros": (
        lambda rng, shape: beta_or_zero(rng, rng.random(shape) < 0.3),
        0.7 * 9 / 11,
        float(scipy.stats.beta(9, 2).ppf(0.2 / 0.7)),
    ),
    "log-normal": (lambda rng, shape: rng.lognormal(0, 1, shape), float(np.exp(0.5)), 1.0),
    "10 % ones": (lambda rng, shape: (rng.random(shape) < 0.1).astype(float), 0.1, 0.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=1000, help="of each bootstrap")
    parser.add_argument("--small", action="store_true", help="few samples and draws, for tests")
    arguments = parser.parse_args()
    samples, draws = (20, 50) if arguments.small else (arguments.samples, arguments.draws)
    with mock.patch.object(interval, "FEWEST", 2):  # what happens below the limit is the question
        report(samples, draws)
    print(
        footer(
            f"{samples} samples of {draws} draws per cell, a quarter of both for patients, scipy {scipy.__version__}",
            (0,),
        )
    )


def report(samples: int, draws: int) -> None:
    head = "| data | n | " + " | ".join([*means(draws), *(f"median, {name}" for name in medians(draws))]) + " |"
    print(head, "| --- " * head.count(" | ") + "| --- |", sep="\n")
    for (name, size), row in tell(single(samples, draws), len(SINGLE) * len(SIZES)):
        print(f"| {name} | {size} | {' | '.join(map(percent, row))} |")
    lost = percent(unbounded(samples, draws))
    print(f"\nOf ten values, some of them ones, the bootstrap t has an infinite end in {lost} of the samples.")
    head = "| data | patients | " + " | ".join([*clustered_means(draws), *clustered_medians(draws)]) + " |"
    print("", head, "| --- " * head.count(" | ") + "| --- |", sep="\n")
    for (name, size), row in tell(clustered(samples // 4, draws // 4), len(CLUSTERED) * len(PATIENTS)):
        print(f"| {name} | {size} | {' | '.join(map(percent, row))} |")


def percent(share: float) -> str:
    return "none" if np.isnan(share) else f"{100 * share:.0f} %"


def tell(rows: Any, total: int) -> Any:
    with bar("coverage") as show:
        for place, row in enumerate(rows):
            show(place, total, str(row[0]))
            yield row


def single(samples: int, draws: int) -> Any:
    """Of each distribution and size: how often each interval holds the truth."""
    for name, (draw, mean, median) in SINGLE.items():
        for size in SIZES:
            values = draw(np.random.default_rng(0), (samples, size))
            ways = [(way, mean) for way in means(draws).values()] + [(way, median) for way in medians(draws).values()]
            yield (name, size), [covered(way(values), truth) for way, truth in ways]


def covered(ends: Ends, truth: float) -> float:
    """Share of the samples; NaN where there are no intervals."""
    return np.nan if np.isnan(ends[0]).all() else float(np.mean((ends[0] <= truth) & (truth <= ends[1])))


def means(draws: int) -> dict[str, Callable[[Values], Ends]]:
    """Ways to make intervals of means of (samples, cases)."""
    return {
        "Student t": lambda values: tuple(np.array(mean_intervals(values)).T),
        "t, skewness (Johnson)": johnson,
        "percentile": partial(bootstrap, np.mean, draws, "percentile"),
        "basic": partial(bootstrap, np.mean, draws, "basic"),
        "BCa": partial(bootstrap, np.mean, draws, "BCa"),
        "bootstrap t": partial(bootstrap_t, draws),
    }


def medians(draws: int) -> dict[str, Callable[[Values], Ends]]:
    return {
        "order statistics": order_statistics,
        "percentile": partial(bootstrap, np.median, draws, "percentile"),
    }


def order_statistics(values: Values) -> Ends:
    """Below six values there are none."""
    return tuple(np.array([median_interval(row) for row in values]).T)


def bootstrap(statistic: Any, draws: int, method: Any, values: Values) -> Ends:
    """Samples that are all one value have none by BCa; they are given that value."""
    how = {"axis": 1, "n_resamples": draws, "batch": 50, "method": method, "rng": np.random.default_rng(0)}
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings(action="ignore"):
        found = scipy.stats.bootstrap((values,), statistic, **how).confidence_interval
    same = np.isnan(found.low)
    return np.where(same, values[:, 0], found.low), np.where(same, values[:, 0], found.high)


def bootstrap_t(draws: int, values: Values) -> Ends:
    """Draws without spread count as infinitely far."""
    rng, size = np.random.default_rng(0), values.shape[1]
    ends = []
    for row in values:
        drawn, mean = row[rng.integers(size, size=(draws, size))], row.mean()
        with np.errstate(invalid="ignore", divide="ignore"):
            far = np.nan_to_num((drawn.mean(1) - mean) / drawn.std(1, ddof=1), nan=0.0, posinf=np.inf, neginf=-np.inf)
        low, high = np.quantile(far, [0.025, 0.975], method="inverted_cdf")
        spread = row.std(ddof=1)
        ends.append((mean - high * spread, mean - low * spread) if spread else (mean, mean))
    return tuple(np.array(ends).T)


def johnson(values: Values) -> Ends:
    """Student's t moved by the third moment (Johnson 1978)."""
    size, centre = values.shape[1], values.mean(1, keepdims=True)
    variance, third = values.var(1, ddof=1), ((values - centre) ** 3).mean(1)
    moved = centre[:, 0] + np.divide(third, 6 * size * variance, out=np.zeros_like(third), where=variance > 0)
    half = scipy.stats.t.ppf(0.975, size - 1) * np.sqrt(variance / size)
    return moved - half, moved + half


def unbounded(samples: int, draws: int, size: int = 10) -> float:
    """Share of samples of rare events that are not all equal for which the bootstrap t has an infinite end."""
    values = SINGLE["10 % ones"][0](np.random.default_rng(0), (samples, size))
    low, high = bootstrap_t(draws, values[values.any(1)])
    return float(np.mean(np.isinf(low) | np.isinf(high)))


Cluster = Callable[[np.random.Generator, NDArray[np.intp], NDArray[np.intp]], Values]
"""From the patient of each case and the number of cases of each patient to values."""


def of_patients(rng: np.random.Generator, who: NDArray[np.intp], centre: float, spread: float) -> Values:
    """Normal values, half of their variance between patients."""
    one, other = (spread * np.sqrt(0.5) * rng.standard_normal(n) for n in (who.max() + 1, len(who)))
    return centre + one[who] + other


CLUSTERED: dict[str, Cluster] = {
    "normal": lambda rng, who, _: of_patients(rng, who, 0.8, 0.1),
    "30 % zeros": lambda rng, who, n: beta_or_zero(rng, rng.random(len(who)) < rng.beta(0.9, 2.1, len(n))[who]),
    "log-normal": lambda rng, who, _: np.exp(of_patients(rng, who, 0.0, 1.0)),
    "more slices, better": lambda rng, who, n: of_patients(rng, who, 0.6, 0.07) + n[who] / 60,
}


def clustered(samples: int, draws: int) -> Any:
    """As `single`, of cases that share patients; the truth is that of very many patients."""
    for name, draw in CLUSTERED.items():
        every = sample(draw, np.random.default_rng(1), 200_000)[0]
        truths = (float(np.mean(every)), float(np.median(every)))
        for size in PATIENTS:
            rng, kinds = np.random.default_rng(0), (clustered_means(draws), clustered_medians(draws))
            ways = [(way, truth) for ways, truth in zip(kinds, truths, strict=True) for way in ways.values()]
            hits = np.zeros(len(ways))
            for _ in range(samples):
                values, who = sample(draw, rng, size)
                ends = [(way(values, who), truth) for way, truth in ways]
                hits += [low <= truth <= high for (low, high), truth in ends]
            yield (name, size), hits / samples


def sample(draw: Cluster, rng: np.random.Generator, patients: int) -> tuple[Values, NDArray[np.intp]]:
    number = rng.integers(1, 25, patients)
    who = np.repeat(np.arange(patients), number)
    return draw(rng, who, number), who


def clustered_means(draws: int) -> dict[str, Any]:
    return {
        "t over cases": lambda values, _: mean_interval(values),
        "t over means of patients": lambda values, who: mean_interval(np.bincount(who, values) / np.bincount(who)),
        "t, one patient left out": mean_interval,
        "bootstrap of patients": partial(draw_patients, draws, mean_of),
    }


def clustered_medians(draws: int) -> dict[str, Any]:
    return {
        "median, order statistics over cases": lambda values, _: median_interval(values),
        "median, of the share below it": median_interval,
        "median, bootstrap of patients": partial(draw_patients, draws, median_of),
    }


def draw_patients(draws: int, statistic: Any, values: Values, who: NDArray[np.intp]) -> Values:
    """Percentile bootstrap of whole patients."""
    patients = int(who.max()) + 1
    times = np.random.default_rng(0).multinomial(patients, np.full(patients, 1 / patients), size=draws)
    return np.percentile(statistic(values, times[:, who]), [2.5, 97.5])


def mean_of(values: Values, times: NDArray[np.intp]) -> Values:
    return times @ values / times.sum(1)


def median_of(values: Values, times: NDArray[np.intp]) -> Values:
    order = np.argsort(values)
    reached = times[:, order].cumsum(1)
    return values[order][(2 * reached >= reached[:, -1:]).argmax(1)]


if __name__ == "__main__":
    main()
