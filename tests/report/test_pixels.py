"""Pages of pictures, whose files state no voxel size, speak of pixels where others speak of mm."""

from __future__ import annotations

import re

from imaseg.report.evidence import evidence
from imaseg.report.page import render
from imaseg.report.pixels import _rewritten
from tests.report.parser import Page
from tests.report.vary import vary

_MILLIMETRES = re.compile(r"\bmm(3|\u00b3)?\b|\bml\b")


def _unsized(audit):
    """The audit as if of pictures; a plan for these holds no budget in mm."""
    preparation = audit.summary.preparation.model_copy(update={"sized": False})
    return vary(audit, audit.name, preparation=preparation, run={"plan": {"name": "pictures"}})


def test_no_length_is_in_millimetres_where_no_file_states_a_size(tiny):
    assert _MILLIMETRES.search(Page(render([tiny])).text)
    page = Page(render([_unsized(tiny)]))
    assert not _MILLIMETRES.search(page.text)
    for text in ("HD95 (pixels)", "Surface Dice (2 pixels)", "FP area (pixels)"):
        assert text in page.text
    assert "HD95 (mm)" in evidence([tiny])
    assert not _MILLIMETRES.search(evidence([_unsized(tiny)]))


def test_pictures_have_pixels_and_areas(tiny):
    page = Page(render([_unsized(tiny)])).text
    for text in ("Surface Dice (1 pixel)", "Area error (1000 pixels)", "within 5 pixels of one"):
        assert text in page
    assert "Volume error" not in page
    assert _rewritten("Volumes of volume-12, by_volume and volume/a") == "Areas of volume-12, by_volume and volume/a"


def test_what_is_encoded_stays(tiny):
    encoded = "a+mm/" * 1000
    assert _rewritten({"y": [encoded, "2 mm"]}) == {"y": [encoded, "2 pixels"]}
    for page in (render([tiny]), render([_unsized(tiny)])):
        assert page.count("data:image/") > 0
    pictures = [re.findall(r'data:image/[^"]+', render([one])) for one in (tiny, _unsized(tiny))]
    assert pictures[0] == pictures[1]
