"""The libraries that pages carry are those that the table beside them names, and fit what writes the plots."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

from plotly.offline import get_plotlyjs_version

import imaseg.report.page as page

FOLDER = Path(page.__file__).parent / "style" / "vendor"
ROW = re.compile(r"^\| `(.+\.gz)` \| `(.+)` \| (.+) \| `.+` \| `(\w+)` \|$", re.MULTILINE)
TABLE = {name: (version, digest) for name, _, version, digest in ROW.findall((FOLDER / "README.md").read_text())}


def test_every_library_is_in_the_table_with_its_licence_beside_it():
    assert sorted(TABLE) == sorted(path.name for path in FOLDER.glob("*.gz"))
    for name, (_, digest) in TABLE.items():
        assert hashlib.sha256(gzip.decompress((FOLDER / name).read_bytes())).hexdigest() == digest
        licence = FOLDER / f"{name.split('.')[0]}.LICENSE"
        assert "Copyright" in licence.read_text()


def test_plotly_draws_what_the_python_package_writes():
    first = gzip.decompress((FOLDER / "plotly-basic.min.js.gz").read_bytes())[:200].decode()
    version, _ = TABLE["plotly-basic.min.js.gz"]
    assert f"plotly.js (basic - minified) v{version}" in first
    assert version.split(".")[0] == get_plotlyjs_version().split(".")[0]


def test_plots_need_only_what_the_basic_library_draws(tiny):
    from imaseg.report.sections import build_sections
    from tests.report.vary import blocks_of

    figures = [figure for section in build_sections([tiny]) for figure in blocks_of(section, "figure")]
    assert {trace["type"] for figure in figures for trace in figure.plot["data"]} <= {"scatter", "bar"}


def test_a_script_that_ends_early_would_break_the_page():
    for name in TABLE:
        assert b"</script" not in gzip.decompress((FOLDER / name).read_bytes())
