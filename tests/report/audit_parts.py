"""The parts of an audit that not every audit holds, made up: corruptions, certificates, voxel margins, sizes, cost."""

from __future__ import annotations

import numpy as np

CORRUPTIONS = {"rician-noise": ("Rician noise", 0.12), "motion": ("Motion", 0.6), "gamma": ("Gamma", 0.03)}
SEVERITIES = (1, 2, 3, 4, 5)
CHANGES = (0.05, 0.1, 0.2, 0.4, 0.8)


def corruption(summary, name, severity):
    title, loss = CORRUPTIONS[name]
    share = 1 - loss * severity / 5
    cases = [
        {"case": one["case"], "metrics": {"foreground_mean": {"dice": share * dice_of(one), "ece": 0.1 * severity}}}
        for one in summary["metric_per_case"]
    ]
    mean = float(np.mean([dice_of(one) for one in cases]))
    change = CHANGES[severity - 1]
    return {
        "corruption": name, "severity": severity, "title": title,
        "parameters": {"strength": round(loss * severity, 3), "range": [0.5, 1.0]},
        "change": {"median": change, "min": 0.8 * change, "max": 1.3 * change},
        "n": len(cases), "dice_ci95": [mean - 0.02, mean + 0.02],
        "foreground_mean": {"dice": mean, "ece": 0.1 * severity},
        "mean": {"1": {"dice": mean}, "2": {"dice": mean}}, "metric_per_case": cases,
    }  # fmt: skip


def dice_of(one):
    return one["metrics"]["foreground_mean"]["dice"]


def group(summary, size, low, high, kind):
    probes = [
        {"probe": probe["probe"], "eps": probe["eps"], "dice": 0.9 * probe["foreground_mean"]["dice"]}
        for probe in summary["probes"]
    ]
    return {"group": size, "class": kind, "volume_ml": [low, high], "n": 6, "clean": 0.81, "probes": probes}


def add_parts(summary, run, *, voxels=()):
    """Fit for `edit` of the fixture that writes audits."""
    summary["foreground_mean"]["ece"] = 0.04
    summary["foreground_mean"].update(surface_dice_2mm=0.97, volume_error=-0.12, missed=0.02, false_positive=0.0)
    for probe in summary["probes"]:
        probe["foreground_mean"]["ece"] = round(0.04 + 2 * probe["eps"], 4)
    summary["corruptions"] = [corruption(summary, name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    summary["degradation"] = {
        "per_corruption": {"rician-noise": 0.1, "motion": 0.36, "gamma": 0.02}, "mean": 0.16, "ci95": [0.12, 0.2],
        "worst": 0.36, "definition": "Share of the clean Dice that is lost, averaged over severities.",
    }  # fmt: skip
    summary["certified"] = [
        {"probe": "certified-l2", "sigma": 0.1, "samples": 100, "alpha": 0.001, "unit": "norm", "n": 3,
         "abstained": 0.08, "radii": [0.0, 0.05, 0.1], "dice_at_radius": [0.81, 0.74, 0.6],
         "what": "lower bound on Dice, mean over cases",
         "per_case": [{"case": "case_000", "dice_at_radius": [0.8, 0.7, 0.6]}]},
    ]  # fmt: skip
    summary["voxel_margins"] = {"perturbation": "l2", "unit": "rms", "eps": 0.2, "cases": list(voxels)}
    summary["by_size"] = [
        group(summary, size, *limits, kind)
        for kind in ("1", "2")
        for size, limits in (("small", (0.4, 1.1)), ("medium", (1.1, 1.6)), ("large", (1.6, 3.0)))
    ]
    summary["cost"] = {"seconds_per_case": 12.34, "peak_memory_mb": 1830.0}
    summary["validity"].append(
        {"check": "Black box is no stronger", "ok": None, "number": "", "detail": "the plan has no black-box attack"}
    )


def write_voxels(path, seed, *, shape=(24, 20, 12), eps=0.2, spacing=(1.0, 1.0, 1.0)):
    """A ball in noise: small margins near its surface, nothing flips far away, one voxel wrong."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.arange(size) - size // 2 for size in shape], indexing="ij")
    away = np.sqrt(sum(axis**2.0 for axis in axes)) - 0.3 * min(shape)
    label = (away < 0).astype(np.uint8)
    margin = np.minimum(0.03 * (np.abs(away) + 0.1), eps)
    censored = margin >= eps
    margin[tuple(size // 2 for size in shape)] = 0.0
    np.savez_compressed(
        path, image=(label + rng.normal(0, 0.2, shape)).astype(np.float16), margin=margin.astype(np.float16),
        censored=censored, label=label, prediction=np.roll(label, 1, 0), spacing=np.array(spacing),
    )  # fmt: skip
    return label, margin, censored
