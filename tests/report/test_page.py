from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest

from imaseg.errors import InputError
from imaseg.report import write_report
from imaseg.report.page import render
from imaseg.report.sections import build_sections
from tests.report.parser import Page
from tests.report.vary import blocks_of, vary

CASE = '<script>alert("x")<script><img src=x onerror=alert(1)>'  # an id may hold no slash
HOSTILE = '</</script><script>alert("x")</script><img src=x onerror=alert(1)>'
SECTIONS = [
    "summary", "tradeoff", "results", "curves", "margins", "voxels", "certified", "corruptions", "worst", "files",
    "clean", "sizes", "volume-changes", "calibration", "validity", "preparation", "budgets", "methods", "limits",
    "provenance",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(tiny):
    return Page(render([tiny]))


@pytest.fixture(scope="module")
def pair(tiny):
    return Page(render([tiny, vary(tiny, "ima")]))


def test_the_audit_wrote_this_page_and_every_section_has_its_place(real_audit, tiny, page):
    assert (real_audit / "report.html").read_text(encoding="utf-8") == render([tiny])
    assert [a["id"] for a in page.all("section")] == SECTIONS
    links = [a["href"][1:] for a in page.all("a")]
    assert [key for key in links if key in SECTIONS and key != "summary"] == ["validity", *SECTIONS[1:]]


def test_the_page_holds_the_numbers_of_the_summary(tiny, page):
    assert page.open == []
    for entry in tiny.summary.probes:
        assert f"{entry.dice:.3f}" in page.text
    assert "no interval below n = 7" in page.text
    assert "95 % intervals over 6 cases" in page.text
    assert "each counts as a patient of its own" in page.text
    facts = [tiny.summary.model.sha256, tiny.run.data_sha256, tiny.run.plan_sha256, f"{tiny.run.forward_calls:,}"]
    for fact in (*facts, *tiny.run.versions.values(), *(check.number for check in tiny.summary.validity if check.ok)):
        assert fact in page.text


@pytest.mark.parametrize("which", ["page", "pair"])
def test_nothing_is_loaded_from_the_network(which, request):
    page = request.getfixturevalue(which)
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            address = attributes.get(name) or ""
            assert address.startswith(("#", "data:")) or not address, (tag, address)
    style = next(data for _, data in page.scripts if ":root" in data)
    assert "url(" not in style
    assert "@import" not in style
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.all("meta"))
    packed = {
        a["id"] for a, data in page.scripts if a.get("type") == "text/plain" and not a["id"].startswith("volumes-")
    }
    assert packed == {"plotly", "niivue"}
    assert max(len(data) for _, data in page.scripts) < 1.1e6


@pytest.mark.parametrize("which", ["page", "pair"])
def test_plots_pictures_and_tables_have_words(which, request):
    page = request.getfixturevalue(which)
    plots = [a["data-plot"] for a in page.all("div") if "data-plot" in a]
    data = {a["id"]: json.loads(text) for a, text in page.scripts if a.get("type") == "application/json"}
    assert sorted(data) == sorted(plots)
    labels = [a["aria-label"] for a in page.all("div") if a.get("role") == "img"]
    assert len(labels) == len(plots) > 10
    assert all(len(label) > 40 for label in labels)
    assert all(len(image["alt"]) > 30 for image in page.all("img"))
    assert all(head["scope"] in ("col", "row", "rowgroup", "colgroup") for head in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > len(plots)


@pytest.mark.parametrize("which", ["page", "pair"])
def test_landmarks_anchors_and_headings(which, request):
    page = request.getfixturevalue(which)
    assert len(page.all("main")) == len(page.all("h1")) == len(page.all("nav")) == 1
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("a")[0]["href"] == "#summary"
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    pointed = {a["href"][1:] for a in page.all("a")} | {a["aria-labelledby"] for a in page.all("section")}
    assert pointed | {a["for"] for a in page.all("label") if "for" in a} <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("several", [False, True])
def test_rows_of_every_table_are_as_long_as_its_head(tiny, several):
    sections = build_sections([tiny, vary(tiny, "ima")] if several else [tiny])
    tables = [table for section in sections for table in blocks_of(section, "table")]
    tables += [figure.table for section in sections for figure in blocks_of(section, "figure")]
    assert len(tables) > 30
    for table in tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.head)}, table.caption


def test_a_bare_audit_has_no_trace_of_what_it_lacks(tiny):
    lists = ("probes", "margins", "voxel_margins", "certified", "corruptions", "by_size", "volume_changes", "validity")
    nothing = {key: [] for key in lists}
    page = Page(render([vary(tiny, **nothing, degradation=None, showcase=None)]))
    assert "niivue" not in {a.get("id") for a in page.all("script")}
    expected = ["summary", "clean", "preparation", "methods", "limits", "provenance"]
    assert [a["id"] for a in page.all("section")] == expected
    assert "No attack was run on single cases, so nothing here says how the model breaks under one." in page.text
    assert [a["class"] for a in page.all("p") if "verdict" in a.get("class", "")] == ["verdict warn"]
    for word in ("Degradation", "slider", "Certified", "Calibration under", "TorchIO", "Madry", "Liang", "nan"):
        assert word not in page.text.split()


def test_hostile_names_stay_text(write_variant, tmp_path):
    def edit(summary, run):
        summary["model"]["name"] = summary["data"]["labels"]["1"] = HOSTILE
        summary["validity"][0].update(ok=False, check=HOSTILE)
        for key in ("criterion", "structure", "probe"):
            summary["margins"][1][key] = HOSTILE
        for block in (*summary["probes"], summary["margins"][0]):  # ids of cases on disk hold no slash
            block.get("metric_per_case", block.get("per_case"))[0]["case"] = CASE
        run.update(command=HOSTILE, plan={"name": HOSTILE})

    path = write_report([write_variant("x", edit)], tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert HOSTILE in page.text
    assert CASE in page.text
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert not any(data.startswith("alert") for _, data in page.scripts)
    assert "<img src=x" not in text


def test_a_failed_check_puts_a_banner_on_top(tiny):
    checks = [check.model_copy(update={"ok": True}) for check in tiny.summary.validity]
    failed = [checks[0].model_copy(update={"ok": False, "number": "0.114 > 0.612"}), *checks[1:]]
    good, bad = (Page(render([vary(tiny, validity=each)])) for each in (checks, failed))
    assert not [a for a in good.all("div") if a.get("class") == "banner"]
    assert [a["class"] for a in good.all("p") if "verdict" in a.get("class", "")] == ["verdict good"]
    assert len([a for a in bad.all("div") if a.get("class") == "banner"]) == 1
    assert "Do not rely on these numbers: 1 validity check failed" in bad.text
    assert "0.114 > 0.612" in bad.text


def test_a_renamed_key_or_another_format_is_refused(write_variant, tmp_path):
    def rename(summary, run):
        summary["probes"][0]["epsilon"] = summary["probes"][0].pop("eps")

    with pytest.raises(InputError, match=r"summary\.json must be a complete summary\.json.*eps"):
        write_report([write_variant("renamed", rename)], tmp_path / "page.html")
    with pytest.raises(InputError, match="must be of results format 2"):
        write_report([write_variant("old", lambda summary, run: summary.pop("format"))], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_failing_write_keeps_the_old_page(real_audit, tmp_path, monkeypatch):
    out = write_report([real_audit], tmp_path / "out" / "report.html")
    before = out.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(InputError, match="report.html must be writable, got disk full"):
        write_report([real_audit], out)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_out_must_not_be_a_folder(real_audit, tmp_path):
    with pytest.raises(InputError, match="must be a file, got a folder"):
        write_report([real_audit], tmp_path)


@pytest.mark.slow
def test_three_models_with_large_noisy_pictures_stay_under_15_mb(write_variant, tmp_path):
    folders = [write_variant(name) for name in "abc"]
    rng = np.random.default_rng(0)
    noise, mask = rng.normal(size=(320, 320)).astype(np.float32), np.zeros((320, 320), np.uint8)
    for path in (path for folder in folders for path in (folder / "cases").glob("*.npz")):
        with np.load(path) as file:
            arrays = dict(file)
        for name, array in arrays.items():
            if name in ("volume_image", "volume_change"):
                arrays[name] = rng.integers(0, 100, (160, 160, 60)).astype(array.dtype)
            elif name == "volume_start":
                arrays[name] = np.zeros(3, int)
            elif array.ndim == 2 and name != "volume_affine":
                arrays[name] = noise if array.dtype == np.float32 else mask
            elif array.ndim == 3:
                arrays[name] = np.abs(rng.normal(size=(160, 160, 60))).astype(array.dtype)
        np.savez(path, **arrays)
    assert write_report(folders, tmp_path / "page.html").stat().st_size < 15e6
