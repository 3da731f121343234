"""How large pages are: small enough to send by mail."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from imaseg.auditing.probes.cropped import cropped
from imaseg.data.phantom import draw
from imaseg.report import page as rendering
from imaseg.report.page import write_report

_IDS, _SHAPE = [f"hippocampus_{number:03d}" for number in range(17)], (36, 50, 36)
"""As many, and of the size, as the held-out hippocampi of MSD's Task04."""


def test_the_libraries_that_every_page_carries_are_small():
    packed = [path.stat().st_size for path in (Path(rendering.__file__).parent / "style" / "vendor").glob("*.gz")]
    assert len(packed) == 2
    assert sum(packed) < 1.2e6


def test_a_page_of_two_audits_of_17_volumes_is_at_most_three_and_a_half_megabytes(real_audit, tmp_path):
    folders = [_grown(real_audit, tmp_path / name) for name in ("standard", "ima")]
    page = write_report(folders, tmp_path / "report.html")
    text = page.read_text()
    assert 'id="volumes-5"' in text
    assert text.count("data:image/") > 90
    assert page.stat().st_size <= 3.5e6


def _grown(small, out):
    """The audit as if of 17 volumes of full size: its lists by case go on, its stored volumes are drawn anew."""
    (out / "cases").mkdir(parents=True)
    shutil.copy(small / "run.json", out)
    summary = _longer(json.loads((small / "summary.json").read_text()))
    summary["model"]["name"], summary["data"]["cases"], summary["certified"] = out.name, len(_IDS), []
    for entry in summary["probes"]:
        entry["written"] = None
    (out / "summary.json").write_text(json.dumps(summary))
    for place, name in enumerate(_IDS):
        rng = np.random.default_rng([place, len(out.name)])
        _store(out / "cases" / name, rng, *_drawn(place % 3))
    return out


def _longer(found):
    if isinstance(found, dict):
        return {key: _longer(value) for key, value in found.items()}
    if not isinstance(found, list):
        return found
    if not found or not isinstance(found[0], dict) or "case" not in found[0]:
        return [_longer(value) for value in found]
    maps = "maps" in found[0]
    ids = _IDS[: len(found)] if maps else _IDS
    longer = [found[place % len(found)] | {"case": name} for place, name in enumerate(ids)]
    if maps:
        for entry in longer:
            entry["maps"] = [one | {"view": f"cases/{entry['case']}.maps.npz"} for one in entry["maps"]]
    return longer


@cache
def _drawn(seed):
    return draw(np.random.default_rng(seed), _SHAPE, np.ones(3))


def _store(path, rng, image, label):
    """What an audit stores of a case: a slice, the part around the structures, and maps of margins."""
    change = gaussian_filter(rng.normal(size=_SHAPE), 0.7).astype(np.float32) / 10
    classes = {"label": label, "clean_prediction": label, "attacked_prediction": np.roll(label, 2, 1)}
    middle = _SHAPE[2] // 2
    view = {name: values[:, :, middle] for name, values in classes.items()}
    view |= {"image": image[:, :, middle], "attacked_image": (image + change)[:, :, middle], "spacing": np.ones(2)}
    np.savez(f"{path}.npz", **view, **cropped(image, change, classes=classes, affine=np.eye(4)))
    margins = {name: np.abs(change) * 3 for name in ("attack", "gradient")}
    np.savez(f"{path}.maps.npz", image=image, label=label, prediction=label, spacing=np.ones(3), **margins)
