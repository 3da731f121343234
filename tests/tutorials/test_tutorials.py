"""The tutorials run as they stand: every block, from the top down, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.tutorials.play import READ_ONLY, blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["audit_a_checkpoint", "monai_loop", "prepare_and_look", "choosing", "own_parts"]
NEEDS_NNUNET = "nnunet_first"


def _play(page, folder):
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "tutorials" / "play.py"), str(page)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", PAGES)
def test_a_tutorial_runs_from_the_top_down(name, tmp_path):
    code, stdout, stderr = _play(ROOT / "docs" / f"{name}.md", tmp_path)
    assert code == 0, stdout[-3000:] + stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nnunetv2") is None, reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")
def test_the_nnunet_tutorial_runs_from_the_top_down(tmp_path):
    code, stdout, stderr = _play(ROOT / "docs" / f"{NEEDS_NNUNET}.md", tmp_path)
    assert code == 0, stdout[-3000:] + stderr[-3000:]


def test_every_tutorial_of_the_site_is_run():
    site = (ROOT / "mkdocs.yml").read_text()
    listed = re.search(r"- Tutorials:\n((?: {6}- .+\n)+)", site)[1]
    assert sorted(re.findall(r": (\w+)\.md", listed)) == sorted([*PAGES, NEEDS_NNUNET])


@pytest.mark.parametrize("name", [*PAGES, NEEDS_NNUNET])
def test_a_tutorial_holds_little_that_does_not_run(name):
    page = ROOT / "docs" / f"{name}.md"
    found = list(blocks(page))
    assert len([block for block in found if block.language not in READ_ONLY]) >= 3
    assert len([block for block in found if block.language in READ_ONLY]) <= 1
    assert not re.search(r"^ {4}(imaseg|python|pip) ", page.read_text(), re.MULTILINE), "an indented command is not run"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", 'page.md", line 6'),
        ("```sh\nimaseg list nonsense\n```\n", "imaseg list nonsense: exit code 2"),
        ("```sh\nimaseg --version # exit code 1\n```\n", "exit code 0"),
        ("```bash\ntrue\n```\n", "line 2: a block of bash is not run"),
    ],
)
def test_a_block_that_fails_is_told_by_its_line(tmp_path, text, said):
    (tmp_path / "page.md").write_text(text)
    code, _, stderr = _play(tmp_path / "page.md", tmp_path)
    assert code == 1
    assert said in stderr
