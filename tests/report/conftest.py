from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.audit_parts import add_parts, write_voxels
from tests.report.chromium import BROWSERS, Chromium, find_browser

LABELS = {"1": "Anterior", "2": "Posterior"}
BUDGETS = (0.013, 0.026, 0.052, 0.078, 0.1)
ATTACKS = {
    "gaussian-noise-l2": ("gaussian-noise", 0.02),
    "uniform-noise-l2": ("uniform-noise", 0.03),
    "fgsm-l2": ("fgsm", 0.35),
    "ifgsm-l2": ("ifgsm", 0.8),
    "pgd-l2": ("pgd", 1.0),
}


def block(dice: float, undefined: int = 0) -> dict[str, Any]:
    lost = {"hd95_undefined": float(undefined)} if undefined else {}
    hd95 = None if dice < 0.02 else round(1.0 + 20 * (1 - dice) ** 2, 4)
    return {"dice": dice, "hd95": hd95, "surface_dice": min(1.0, dice * 1.1), "fp_volume": 0.0, **lost}


def scores(rng: np.random.Generator, centre: float, cases: int) -> list[dict[str, Any]]:
    """Per-case metrics whose two classes lie symmetrically about their mean."""
    drawn = np.clip(rng.normal(centre, 0.04 + 0.3 * centre * (1 - centre), cases), 0, 0.97)
    entries = []
    for place, value in enumerate(np.round(drawn, 4).tolist()):
        metrics = {"1": block(value), "2": block(value), "foreground_mean": block(value)}
        entries.append({"case": f"case_{place:03d}", "metrics": metrics})
    return entries


def averages(per_case: list[dict[str, Any]]) -> dict[str, Any]:
    dice = [entry["metrics"]["foreground_mean"]["dice"] for entry in per_case]
    lost = sum(entry["metrics"]["foreground_mean"]["hd95"] is None for entry in per_case)
    mean = float(np.mean(dice))
    half = float(1.96 * np.std(dice) / np.sqrt(len(dice)))
    return {
        "foreground_mean": block(mean, lost),
        "mean": {"1": block(min(1.0, mean + 0.01), lost), "2": block(max(0.0, mean - 0.01), lost)},
        "metric_per_case": per_case,
        "dice_ci95": [max(0.0, mean - half), min(1.0, mean + half)],
    }


def probe(rng: np.random.Generator, name: str, eps: float, clean: float, slope: float, cases: int) -> dict[str, Any]:
    attack, weight = ATTACKS[name]
    centre = clean / (1 + (eps * weight * slope) ** 3)
    noise = attack.endswith("noise")
    return {
        "probe": name,
        "attack": attack,
        "perturbation": "l2",
        "unit": "rms",
        "objective": None if noise else "dice",
        "steps": None if noise else 20,
        "restarts": None if noise else 1,
        "seed": 7,
        "eps": eps,
        "eps_native": {"median": 240 * eps, "min": 60 * eps, "max": 80000 * eps},
        "sizes": {"rms": eps, "l2": 250 * eps, "linf": 6 * eps, "range": eps},
        "n": cases,
        **averages(scores(rng, centre, cases)),
    }


def margins(rng: np.random.Generator, slope: float, cases: int) -> dict[str, Any]:
    found = np.sort(rng.lognormal(np.log(0.9 / slope), 0.35, cases))
    per_case = [
        {"case": f"case_{i:03d}", "margin": float(min(m, 0.2)), "censored": bool(m > 0.2), "clean_dice": 0.85}
        for i, m in enumerate(found)
    ]
    middle = float(min(np.median(found), 0.2))
    return {
        "probe": "margin-l2",
        "perturbation": "l2",
        "unit": "rms",
        "criterion": "Dice below 0.5",
        "eps": 0.2,
        "rtol": 0.05,
        "n": cases,
        "median": middle,
        "median_ci95": [0.9 * middle, 1.1 * middle],
        "censored": sum(case["censored"] for case in per_case),
        "per_case": per_case,
    }


def make_summary(name: str, *, clean: float, slope: float, cases: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    untouched = averages(scores(rng, clean, cases))
    return {
        "model": {
            "spec": f"runs/{name}",
            "name": name,
            "network": "UNet",
            "parameters": 480123,
            "sha256": "a" * 64,
            "trained_by": name,
        },
        "data": {
            "name": "Hippocampus",
            "cases": cases,
            "labels": dict(LABELS),
            "selection": "val",
            "seen_in_training": [],
        },
        "clean_dice_ci95": untouched.pop("dice_ci95"),
        **untouched,
        "probes": [probe(rng, attack, eps, clean, slope, cases) for attack in ATTACKS for eps in BUDGETS],
        "margins": [margins(rng, slope, cases)],
        "validity": [
            {
                "check": "Noise is weaker than FGSM",
                "ok": True,
                "number": "0.846 > 0.612",
                "detail": "mean Dice over the cases at eps 0.052",
            },
            {"check": "FGSM is weaker than PGD", "ok": True, "number": "0.612 > 0.114", "detail": "same budget"},
        ],
        "showcase": {"probe": "pgd-l2", "eps": 0.052, "unit": "rms"},
    }


def make_run(cases: int) -> dict[str, Any]:
    return {
        "imaseg": "0.1.0",
        "versions": {"python": "3.11.7", "torch": "2.8.0", "monai": "1.5.0"},
        "data_sha256": "d" * 64,
        "plan": {"probes": list(ATTACKS), "eps": list(BUDGETS)},
        "plan_sha256": "e" * 64,
        "seed": 7,
        "hardware": {"device": "cpu", "cpu": "A processor", "threads": 2},
        "seconds": 312.0,
        "forward_calls": 12345,
        "backward_calls": 9876,
        "failed": [],
        "command": "imaseg audit runs/ima data --out audits/ima",
    }


def make_slice(path: Path, seed: int, strength: float, shape: tuple[int, int] = (36, 48)) -> None:
    """Two touching ellipses on a textured ground; the attack shrinks one and paints a speck elsewhere."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    left = ((rows - 18) / 8) ** 2 + ((columns - 17 - seed % 3) / 9) ** 2 < 1
    right = (((rows - 19) / 7) ** 2 + ((columns - 31) / 8) ** 2 < 1) & ~left
    label = left.astype(np.uint8) + 2 * right.astype(np.uint8)
    ground = np.cumsum(rng.normal(0, 0.15, shape), axis=1)
    image = (ground + 1.2 * left + 1.6 * right + rng.normal(0, 0.15, shape)).astype(np.float32)
    change = np.round(strength * np.sign(rng.normal(0, 1, shape)) * rng.random(shape), 4)
    attacked = np.where(columns > 17 + 20 * (1 - strength), 0, label).astype(np.uint8)
    attacked[4:9, 4:10] = 2
    np.savez_compressed(
        path,
        image=image,
        attacked_image=(image + change).astype(np.float32),
        label=label,
        clean_prediction=np.roll(label, 1, axis=1),
        attacked_prediction=attacked,
        spacing=np.array([1.0, 1.0]),
    )


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A headless Chromium for all tests of pages; skips where there is none."""
    path = find_browser()
    if path is None:
        pytest.skip(f"no Chromium: none of {', '.join(BROWSERS)} is on the PATH")
    browser = Chromium(path, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def write_audit(tmp_path: Path):
    """Write one synthetic audit folder, with `parts` every section; `edit` may change its JSON before it is written."""

    def write(
        name="standard", *, folder=None, clean=0.86, slope=40.0, cases=17, seed=0, slices=True, edit=None, parts=False
    ):
        where = tmp_path / (folder or name)
        (where / "cases").mkdir(parents=True)
        summary, run = make_summary(name, clean=clean, slope=slope, cases=cases, seed=seed), make_run(cases)
        if parts:
            add_parts(summary, run, voxels=("case_000", "case_001"))
            for place, case in enumerate(summary["voxel_margins"]["cases"]):
                write_voxels(where / "cases" / f"{case}.voxel_margin.npz", place)
        if edit is not None:
            edit(summary, run)
        (where / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        (where / "run.json").write_text(json.dumps(run), encoding="utf-8")
        if slices:
            for place in range(cases):
                make_slice(where / "cases" / f"case_{place:03d}.npz", place, min(0.95, slope / 45))
        return where

    return write
