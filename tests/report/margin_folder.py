"""A synthetic margin folder, as `imaseg margin` writes one."""

from __future__ import annotations

import json

import numpy as np

SETS = {"l2": ("rms", 0.4, 0.05), "gamma": ("relative", 2.0, 1.5)}
NAMES = ("Front", "Back")
AGREEMENT = {"voxels": 900, "ratio": 1.3, "low": 1.2, "high": 1.4, "spearman": 0.99}
GAP = {"voxels": 700, "lower": 0.0003, "upper": 0.02, "gap": 0.0197, "violations": 0}


def structures(rng):
    parts = {
        name: {"clean_dice": round(rng.uniform(0.7, 0.95), 4), "volume_ml": round(rng.uniform(1, 4), 4)}
        for name in NAMES
    }
    mean = sum(part["clean_dice"] for part in parts.values()) / len(parts)
    return {"whole": {"clean_dice": mean, "volume_ml": sum(part["volume_ml"] for part in parts.values())}} | parts


def row(kind, structure, margin):
    unit, eps, _ = SETS[kind]
    censored = margin > eps
    return {
        "perturbation": kind, "unit": unit, "structure": structure, "eps": eps, "margin": min(margin, eps),
        "censored": censored, "confirmed": True, "forward_calls": 9, "backward_calls": 8,
    }  # fmt: skip


def case(rng, name):
    found = structures(rng)
    rows = [
        row(kind, structure, round(float(typical * rng.lognormal(0, 0.4)), 5))
        for kind, (_, _, typical) in SETS.items()
        for structure in found
    ]
    return {"case": name, "structures": found, "rows": rows, "span": 5.0, "maps": [], "voxel": []}


def entry(cases, kind, structure):
    """An entry of the summary; medians by the test's own arithmetic."""
    every = [r for c in cases for r in c["rows"] if (r["perturbation"], r["structure"]) == (kind, structure)]
    rows = [r for r in every if r["margin"] is not None]
    margins = [r["margin"] for r in rows]
    ends = [r["margin"] for r in rows if r["censored"]]
    found = {name: float(np.quantile(margins, q)) for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75))}
    bounds = {f"{name}_at_least": any(e <= value for e in ends) for name, value in found.items()}
    return {
        "perturbation": kind, "unit": rows[0]["unit"], "structure": structure, "eps": rows[0]["eps"], "n": len(rows),
        "absent": len(every) - len(rows), **found, **bounds,
        "median_ci95": [min(margins), max(margins)],
        "median_share_of_range": found["median"] / 5 if rows[0]["unit"] == "rms" else None,
        "censored": len(ends), "clean_failures": sum(m == 0 for m in margins),
        "held": sum(r["confirmed"] is True for r in rows), "tested": sum(r["confirmed"] is not None for r in rows),
    }  # fmt: skip


def voxel_map(kind, method, view, **more):
    unit, eps, _ = SETS[kind]
    name = f"voxel_margins/{kind}/x.nii.gz"
    return {"perturbation": kind, "unit": unit, "method": method, "eps": eps, "file": name, "view": view, **more}


def band(structure, low, high, median, *, method="attack", **more):
    return {
        "perturbation": "l2", "unit": "rms", "method": method, "structure": structure, "from_mm": low, "to_mm": high,
        "labelled": 100, "right": 93, "censored": 0.2, "q25": median / 2, "median": median, "q75": median * 2, **more,
    }  # fmt: skip


def add_maps(one, path, rng, *, certified=False):
    """Maps of a ball in a noisy image: small margins near its surface, nothing flips far away."""
    axes = np.meshgrid(*[np.arange(n) - n // 2 for n in (6, 20, 24)], indexing="ij")
    away = np.abs(np.sqrt(sum(axis**2.0 for axis in axes)) - 6)
    label = (np.sqrt(sum(axis**2.0 for axis in axes)) < 6).astype(np.uint8)
    attack = np.minimum(0.01 * (away + 0.1), 0.4)
    attack[away > 8] = 0.4
    attack[0, 10, 12] = 0.0
    arrays = {"map_0": attack, "map_1": np.minimum(attack * 1.3, 0.4)}
    one["maps"] = [
        voxel_map("l2", "attack", "map_0"),
        voxel_map("l2", "gradient", "map_1", against_attack={"structures": AGREEMENT}),
    ]
    if certified:
        certificate = {"unit": "norm", "eps": 0.07, "rms": 0.0003, "against_attack": {"structures": GAP}}
        arrays["map_2"] = np.where(away > 2, 0.07, 0)
        one["maps"].append(voxel_map("l2", "certified", "map_2") | certificate)
    one["voxel"] = [
        band(name, *limits, median)
        for name in NAMES
        for limits, median in (((None, None), 0.04), ((0.0, 1.0), 0.01), ((1.0, 2.0), 0.03))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, image=rng.normal(size=label.shape).astype(np.float32), label=label, prediction=np.roll(label, 1, 2),
        places=np.arange(4, 10), axis=np.array(2), spacing=np.array([1.5, 1.0]),
        **{name: values.astype(np.float32) for name, values in arrays.items()},
    )  # fmt: skip


def write_margins(folder, *, cases=6, maps=0, certified=False, edit=None):
    """Write a folder; `edit(run, cases)` may change it before it is written."""
    rng = np.random.default_rng(0)
    found = [case(rng, f"case_{place:02d}") for place in range(cases)]
    (folder / "cases").mkdir(parents=True)
    for one in found[:maps]:
        add_maps(one, folder / "cases" / f"{one['case']}.npz", rng, certified=certified)
    run = {
        "imaseg": "0.1.0", "versions": {"python": "3.11.7", "torch": "2.8.0"}, "data_sha256": "d" * 64,
        "model": {"spec": "runs/a", "name": "standard", "network": "UNet", "parameters": 1234, "sha256": "a" * 64,
                  "trained_by": "standard"},
        "data": {"name": "Hippocampus", "cases": cases, "selection": "val", "seen_in_training": [],
                 "labels": {"1": "Front", "2": "Back"}},
        "settings": {"steps": 20, "rtol": 0.05, "certify": 0.1 if certified else None, "samples": 100, "alpha": 0.001},
        "settings_sha256": "e" * 64, "seed": 3, "hardware": {"device": "cpu"}, "seconds": 12.0, "forward_calls": 1234,
        "backward_calls": 567, "command": "imaseg margin ...", "failed": [], "criterion": "Dice below 0.5",
        "structures": ["whole", *NAMES],
    }  # fmt: skip
    if edit is not None:
        edit(run, found)
    if "summary" not in run:
        run["summary"] = [entry(found, kind, name) for kind in SETS for name in ("whole", *NAMES)]
    (folder / "margins.json").write_text(json.dumps(run))
    for one in found:
        (folder / "cases" / f"{one['case']}.json").write_text(json.dumps(one))
    return folder
