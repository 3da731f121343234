from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser

import pytest

from imaseg.errors import InputError
from imaseg.report import write_report
from tests.report.audit_parts import write_voxels

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
SINGLE = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements of a page, the text outside scripts, and whether every element is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open, self.scripts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in SINGLE and tag != "path":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.scripts.append((self.elements[-1][1], data))
        else:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def make(tmp_path, *folders):
    path = write_report(folders, tmp_path / "page" / "report.html")
    return path, Page(path.read_text(encoding="utf-8"))


def test_the_page_holds_the_numbers_of_the_summary(write_audit, tmp_path):
    folder = write_audit("ima", cases=5)
    summary = json.loads((folder / "summary.json").read_text())
    path, page = make(tmp_path, folder)
    assert path == tmp_path / "page" / "report.html"
    assert page.open == []
    for probe in summary["probes"]:
        assert f"{probe['foreground_mean']['dice']:.3f}" in page.text
        assert f"[{probe['dice_ci95'][0]:.3f}, {probe['dice_ci95'][1]:.3f}]" in page.text
    for fact in ("a" * 64, "d" * 64, "e" * 64, "A processor", "12,345", "2.8.0", summary["validity"][0]["number"]):
        assert fact in page.text


def test_nothing_is_loaded_from_the_network(write_audit, tmp_path):
    _, page = make(tmp_path, write_audit(cases=3), write_audit("ima", cases=3, slope=9.0))
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            address = attributes.get(name) or ""
            assert address.startswith(("#", "data:")) or not address, (tag, address)
    style = next(data for _, data in page.scripts if ":root" in data)
    assert "url(" not in style
    assert "@import" not in style
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.all("meta"))


def test_plotly_is_inlined_once(write_audit, tmp_path):
    path, page = make(tmp_path, write_audit(cases=3))
    large = [data for _, data in page.scripts if len(data) > 1_000_000]
    assert len(large) == 1
    assert path.stat().st_size < 15e6


def test_every_plot_has_words_and_a_table(write_audit, tmp_path):
    _, page = make(tmp_path, write_audit(cases=3))
    plots = [a["data-plot"] for a in page.all("div") if "data-plot" in a]
    data = {a["id"]: json.loads(text) for a, text in page.scripts if a.get("type") == "application/json"}
    assert len(plots) == 7
    assert sorted(data) == sorted(plots)
    labels = [a["aria-label"] for a in page.all("div") if a.get("role") == "img"]
    assert len(labels) == 7
    assert all(len(label) > 40 for label in labels)
    assert len(page.all("table")) >= 7 + 4


def test_landmarks_alternatives_and_scopes(write_audit, tmp_path):
    _, page = make(tmp_path, write_audit(cases=3))
    assert len(page.all("main")) == len(page.all("h1")) == len(page.all("nav")) == 1
    assert page.all("html")[0]["lang"] == "en"
    assert next(a for a in page.all("a"))["href"] == "#summary"
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)
    assert {a["aria-labelledby"] for a in page.all("section")} <= set(ids)
    assert all(len(image["alt"]) > 30 for image in page.all("img"))
    assert len(page.all("img")) == 9
    assert all(head["scope"] in ("col", "row") for head in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))


def test_headings_are_in_order_and_every_part_has_its_place(write_audit, tmp_path):
    _, page = make(tmp_path, *(write_audit(name, cases=3, parts=True) for name in ("a", "b")))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    sections = [a["id"] for a in page.all("section")]
    assert [a["href"] for a in page.all("a") if a["href"][1:] in sections][1:] == [f"#{key}" for key in sections]
    assert {"tradeoff", "voxels", "certified", "corruptions", "sizes", "calibration"} <= set(sections)
    assert all("for" in a for a in page.all("label"))


def test_parts_that_an_audit_lacks_leave_no_trace(write_audit, tmp_path):
    _, page = make(tmp_path, write_audit(cases=3))
    sections = {a["id"] for a in page.all("section")}
    assert sections.isdisjoint({"voxels", "certified", "corruptions", "sizes", "calibration"})
    for word in ("Degradation", "slider", "Certified", "Calibration", "Corruptions", "TorchIO"):
        assert word not in page.text
    assert not page.all("input")


def test_an_unknown_check_is_grey_and_leaves_no_banner(write_audit, tmp_path):
    _, page = make(tmp_path, write_audit(cases=2, slices=False, parts=True))
    states = [a.get("class") for a in page.all("li") if a.get("class") in ("pass", "fail", "grey")]
    assert states == ["pass", "pass", "grey"]
    assert not [a for a in page.all("div") if a.get("class") == "banner"]
    assert [a["class"] for a in page.all("p") if "verdict" in a.get("class", "")] == ["verdict warn"]
    assert "2 of 3 validity checks passed and none failed. 1 could not be run" in page.text


def test_hostile_names_stay_text(write_audit, tmp_path):
    def edit(summary, run):
        summary["model"]["name"] = HOSTILE
        summary["data"]["labels"]["1"] = HOSTILE
        summary["validity"][0].update(ok=False, check=HOSTILE)
        summary["metric_per_case"][0]["case"] = HOSTILE
        run["command"] = HOSTILE
        run["plan"] = {"name": HOSTILE}

    path, page = make(tmp_path, write_audit("x", cases=3, edit=edit))
    assert page.open == []
    assert HOSTILE in page.text
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert not any(data.startswith("alert") for _, data in page.scripts)
    assert "<img src=x" not in path.read_text(encoding="utf-8")


def test_a_failed_check_puts_a_banner_on_top(write_audit, tmp_path):
    def edit(summary, run):
        summary["validity"][1].update(ok=False, number="0.114 > 0.612")

    _, good = make(tmp_path, write_audit("good", cases=2, slices=False))
    _, bad = make(tmp_path, write_audit("bad", cases=2, slices=False, edit=edit))
    assert not [a for a in good.all("div") if a.get("class") == "banner"]
    assert [a for a in bad.all("div") if a.get("class") == "banner"]
    assert "Do not rely on these numbers: 1 validity check failed" in bad.text
    assert "0.114 > 0.612" in bad.text
    assert "✗ fail" in bad.text


def test_missing_checks_are_not_shown_as_green(write_audit, tmp_path):
    _, page = make(tmp_path, write_audit(cases=2, slices=False, edit=lambda s, r: s.update(validity=[])))
    assert [a["class"] for a in page.all("p") if "verdict" in a.get("class", "")] == ["verdict warn"]


def test_several_models_side_by_side(write_audit, tmp_path):
    names = ("standard", "pgd", "ima")
    _, page = make(tmp_path, *(write_audit(name, cases=3, slope=40 / (place + 1)) for place, name in enumerate(names)))
    assert "Robustness audit: standard, pgd and ima" in page.text
    assert "Clean change vs standard" in page.text
    first = next(json.loads(d) for a, d in page.scripts if a.get("id") == "curve-0-data")
    assert [t["name"] for t in first["data"] if "name" in t] == list(names)


def test_null_metrics_and_bare_audits_are_shown_as_such(write_audit, tmp_path):
    def edit(summary, run):
        empty = {"dice": None, "hd95": None, "surface_dice": None, "fp_volume": None, "hd95_undefined": 2}
        summary.update(foreground_mean=empty, clean_dice_ci95=None, mean={"1": empty, "2": empty})
        summary["metric_per_case"] = [
            {"case": case["case"], "metrics": {"foreground_mean": empty}} for case in summary["metric_per_case"]
        ]
        summary.update(probes=[], margins=[], validity=[], showcase=None)
        run.clear()

    _, page = make(tmp_path, write_audit(cases=2, slices=False, edit=edit))
    for words in ("undefined", "No margins were measured", "No probe was run", "not recorded", "No attack was run"):
        assert words in page.text
    assert "nan" not in page.text.lower().split()


def test_same_input_same_bytes(write_audit, tmp_path):
    folder = write_audit(cases=3)
    first = write_report([folder], tmp_path / "a.html").read_bytes()
    assert write_report([folder], tmp_path / "b.html").read_bytes() == first


def test_a_failing_write_keeps_the_old_page(write_audit, tmp_path, monkeypatch):
    folder = write_audit(cases=2, slices=False)
    out = tmp_path / "out" / "report.html"
    write_report([folder], out)
    before = out.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report([folder], out)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_out_must_not_be_a_folder(write_audit, tmp_path):
    with pytest.raises(InputError, match="must be a file, got a folder"):
        write_report([write_audit(cases=2, slices=False)], tmp_path)


def test_thirty_five_cases_stay_under_15_mb(write_audit, tmp_path):
    models = (("a", 40.0), ("b", 20.0), ("c", 9.0))
    folders = [write_audit(name, cases=35, slope=s, slices=False, parts=True) for name, s in models]
    for folder in folders:
        for place in range(4):
            # large noisy slices are the worst case for PNG
            from_folder = folder / "cases" / f"case_{place:03d}.npz"
            _noisy(from_folder)
        write_voxels(folder / "cases" / "case_000.voxel_margin.npz", 0, shape=(160, 160, 40))
    path, _ = make(tmp_path, *folders)
    assert path.stat().st_size < 15e6


def _noisy(path):
    import numpy as np

    rng = np.random.default_rng(0)
    noise = rng.normal(size=(320, 320)).astype(np.float32)
    mask = np.zeros((320, 320), np.uint8)
    np.savez_compressed(
        path,
        image=noise,
        attacked_image=noise + rng.normal(size=(320, 320)).astype(np.float32),
        label=mask,
        clean_prediction=mask,
        attacked_prediction=mask,
        spacing=np.array([1.0, 1.0]),
    )
