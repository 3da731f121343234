from __future__ import annotations

import json

import numpy as np
import pytest

from imaseg.errors import InputError
from imaseg.report.margin_page import write_margin_page
from tests.report.margin_folder import SETS, entry, write_margins
from tests.report.test_page import HOSTILE, Page


def make(folder):
    path = write_margin_page(folder, folder / "margins.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return path, page


def run_of(folder):
    return json.loads((folder / "margins.json").read_text())


def figure(page, key):
    return next(json.loads(text) for attributes, text in page.scripts if attributes.get("id") == f"{key}-data")


def test_the_page_holds_the_numbers_of_the_folder(tmp_path):
    folder = write_margins(tmp_path / "a", cases=5)
    _, page = make(folder)
    run = run_of(folder)
    for one in run["summary"]:
        if not one["median_at_least"]:
            assert f"{one['median']:.3g}" in page.text
    for text in ("a" * 64, "d" * 64, "e" * 64, "Dice below 0.5", "30 of 30 margins held", "Ma and Liang 2023", "1,234"):
        assert text in page.text
    share = 100 * run["summary"][0]["median_share_of_range"]
    assert f"{share:.2g} % of the intensity range" in page.text


def test_nothing_is_loaded_and_everything_is_labelled(tmp_path):
    _, page = make(write_margins(tmp_path / "a", maps=1, certified=True))
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action"):
            address = attributes.get(name) or ""
            assert address.startswith(("#", "data:")) or not address, (tag, address)
    assert all(image.get("alt") for image in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attribute, tags in (("aria-labelledby", ("section", "article")), ("for", ("label", "output"))):
        for tag in tags:
            assert all(attributes[attribute] in ids for attributes in page.all(tag))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert all(attributes.get("aria-label") for attributes in page.all("div") if attributes.get("role") == "img")


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    folder = write_margins(tmp_path / "a", maps=1)
    first = make(folder)[0].read_bytes()
    assert make(folder)[0].read_bytes() == first


def test_hostile_names_stay_text(tmp_path):
    def edit(run, cases):
        run["model"]["name"] = run["data"]["labels"]["1"] = run["criterion"] = HOSTILE
        run["structures"][1] = HOSTILE
        for case in cases:
            case["structures"] = {HOSTILE if name == "Front" else name: v for name, v in case["structures"].items()}
            for row in case["rows"]:
                row["structure"] = HOSTILE if row["structure"] == "Front" else row["structure"]
        run["summary"] = [entry(cases, kind, name) for kind in SETS for name in ("whole", HOSTILE, "Back")]

    path, page = make(write_margins(tmp_path / "a", edit=edit))
    assert HOSTILE in page.text
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert "<img src=x" not in path.read_text(encoding="utf-8")


def test_margins_that_did_not_hold_turn_the_verdict_and_are_named(tmp_path):
    def edit(run, cases):
        for case in cases[:2]:
            case["rows"][0]["confirmed"] = False

    _, good = make(write_margins(tmp_path / "good"))
    _, bad = make(write_margins(tmp_path / "bad", edit=edit))
    verdicts = [[a["class"] for a in page.all("p") if "verdict" in a.get("class", "")] for page in (good, bad)]
    assert verdicts == [["verdict good"], ["verdict warn"]]
    assert "In the L2 ball only 16 of 18 margins held" in bad.text
    assert "did not hold" in bad.text
    assert "only" not in good.text.partition("Cases still unbroken")[0]


def test_what_a_reader_must_know_first(tmp_path):
    def edit(run, cases):
        run["failed"] = [{"case": "x", "reason": "unreadable"}]
        run["data"]["seen_in_training"] = ["case_00"]
        cases[1]["rows"][0].update(margin=0.0, confirmed=None)
        cases[2]["rows"][1].update(margin=None, confirmed=None)

    _, page = make(write_margins(tmp_path / "a", edit=edit))
    for text in (
        "1 case could not be measured (x: unreadable)",
        "1 case also seen in training (case_00)",
        "1 case already broken unattacked: case_01",
        "0 (fails unattacked)",
        "not in the label",
        "upper bound",
    ):
        assert text in page.text, text


def test_cases_that_nothing_broke_are_never_given_a_margin(tmp_path):
    def edit(run, cases):
        for case in cases:
            for row in case["rows"]:
                if row["perturbation"] == "gamma":
                    row.update(margin=2.0, censored=True)

    _, page = make(write_margins(tmp_path / "a", edit=edit))
    assert "contrast (gamma): above 2" in page.text
    assert "none breaks" in page.text
    curve, mark = figure(page, "unbroken-gamma")["data"][:2]
    assert curve["y"] == [1.0, 1.0]
    assert (mark["x"], mark["y"]) == ([2.0], [1.0])
    assert "6 of 6 unbroken" in curve["name"]


def test_the_weakest_case_comes_first(tmp_path):
    def edit(run, cases):
        for row in cases[3]["rows"]:
            row.update(margin=row["eps"] / 1000, censored=False)

    _, page = make(write_margins(tmp_path / "a", edit=edit))
    weakest = page.text.partition("6 of 6 cases, the weakest first")[2]
    assert min(range(6), key=lambda k: weakest.index(f"case_{k:02d}")) == 3


def test_points_show_every_margin_against_volume_and_dice(tmp_path):
    folder = write_margins(tmp_path / "a", cases=7)
    _, page = make(folder)
    cases = [json.loads(path.read_text()) for path in sorted((folder / "cases").glob("*.json"))]
    for key, field in (("volume", "volume_ml"), ("dice", "clean_dice")):
        front, back = figure(page, f"{key}-gamma")["data"]
        for trace, name in ((front, "Front"), (back, "Back")):
            rows = [next(r for r in c["rows"] if (r["perturbation"], r["structure"]) == ("gamma", name)) for c in cases]
            assert trace["x"] == [case["structures"][name][field] for case in cases]
            assert trace["y"] == [row["margin"] for row in rows]
            assert [symbol.endswith("open") for symbol in trace["marker"]["symbol"]] == [r["censored"] for r in rows]


def test_slices_are_shown_one_at_a_time_and_said(tmp_path):
    _, page = make(write_margins(tmp_path / "a", maps=2, certified=True))
    slides = [attributes for attributes in page.all("div") if "data-slide" in attributes]
    assert len(slides) == 2 * 6
    assert sum("hidden" not in attributes for attributes in slides) == 2
    assert all(attributes["data-slide"].startswith("slice ") for attributes in slides)
    assert {attributes["type"] for attributes in page.all("input")} == {"range"}
    assert [attributes["max"] for attributes in page.all("input")] == ["5", "5"]
    # Image, attack, estimate and certificate of each.
    assert len([image for image in page.all("img") if image["alt"].startswith("Slice z = ")]) == 4 * len(slides)
    for text in ("wrong unattacked", "certified", "1.3", "0.99", "0 to 1", "0.0197", "Fischer et al. 2021"):
        assert text in page.text
    distance = figure(page, "distance-l2")["data"]
    assert [trace["name"] for trace in distance] == ["Front", "Back"]
    assert (distance[0]["x"], distance[0]["y"]) == (["0 to 1", "1 to 2"], [0.01, 0.03])


def test_without_maps_there_is_no_section_of_them(tmp_path):
    _, page = make(write_margins(tmp_path / "a"))
    assert "Voxel margins" not in page.text
    assert "Fischer" not in page.text
    assert not page.all("input")


def test_many_cases_stay_below_15_mb(tmp_path):
    path, _ = make(write_margins(tmp_path / "a", cases=60, maps=8, certified=True))
    assert path.stat().st_size < 15e6


def broken(folder):
    """Ways in which a folder is unfit, and what is said of each."""
    view = folder / "cases" / "case_00.npz"
    arrays = dict(np.load(view))
    np.savez(view, **arrays | {"map_0": arrays["map_0"][:2]})
    yield "must hold stacks of slices of one shape"
    np.savez(view, **{name: array for name, array in arrays.items() if name != "map_1"})
    yield "must hold slices with .*map_1"
    (folder / "cases" / "case_00.json").write_text("{")
    yield "case_00.json must be readable JSON, .* Run `imaseg margin` again"
    run = run_of(folder)
    del run["summary"]
    (folder / "margins.json").write_text(json.dumps(run))
    yield "must be a complete margins.json, got nothing at summary"
    (folder / "margins.json").unlink()
    yield "must exist, got no such file. Finish the margin with `imaseg margin ... --resume`"


def test_unfit_folders_are_refused_in_one_sentence(tmp_path):
    folder = write_margins(tmp_path / "a", maps=1)
    for text in broken(folder):
        with pytest.raises(InputError, match=text):
            write_margin_page(folder, tmp_path / "x.html")
    with pytest.raises(InputError, match="must be a margin folder, got no such folder"):
        write_margin_page(tmp_path / "nowhere", tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()
    with pytest.raises(InputError, match="must be a file, got a folder"):
        write_margin_page(write_margins(tmp_path / "b"), tmp_path)
