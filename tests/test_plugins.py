"""Packages that add names by entry points, really installed for a process of their own, and local files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imaseg.attacks import Attack
from imaseg.errors import InputError
from imaseg.plugins import import_local

ROOT = Path(__file__).resolve().parents[1]
ZIPPER = re.search(r'```python title="zipper.py"\n(.*?)```', (ROOT / "docs" / "own_parts.md").read_text(), re.DOTALL)[1]
LAZY = '''
from imaseg.attacks import Attack

class LazyOne(Attack):
    """Looks nowhere."""

    title = "lazy search"

    def _run(self, search):
        search.begin(0, random=False)
'''


def install(site, module, code, group, **targets):
    """Write a package as an installer leaves it, from its module's code and its entry points in one group."""
    (site / f"{module}.py").write_text(code)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"{name.replace('_', '-')} = {module}:{target}" for name, target in targets.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    (info / "RECORD").write_text(f"{module}.py,,\n{info.name}/METADATA,,\n{info.name}/entry_points.txt,,\n")


def python(site, *arguments):
    paths = [str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.mark.slow
def test_the_documented_corruption_is_listed_and_keeps_the_contract(tmp_path):
    install(tmp_path, "imaseg_zipper", ZIPPER, "imaseg.corruptions", zipper="Zipper")
    code, stdout, stderr = python(tmp_path, "-m", "imaseg", "list", "corruptions", "--json")
    assert (code, stderr) == (0, "")
    (entry,) = [entry for entry in json.loads(stdout) if entry["name"] == "zipper"]
    assert (entry["title"], entry["images"]) == ("Zipper", "all but CT")
    code, stdout, _ = python(tmp_path, "-m", "pytest", "-q", "tests/corruptions/test_corruptions.py", "-k", "zipper")
    assert code == 0, stdout
    assert int(re.search(r"(\d+) passed", stdout)[1]) >= 6


@pytest.mark.slow
def test_an_attack_is_listed_built_and_taken_up_by_the_contract_tests(tmp_path):
    install(tmp_path, "lazy_pack", LAZY, "imaseg.attacks", lazy_one="LazyOne")
    code, stdout, stderr = python(tmp_path, "-m", "imaseg", "list", "attacks", "--json")
    assert (code, stderr) == (0, "")
    (entry,) = [entry for entry in json.loads(stdout) if entry["name"] == "lazy-one"]
    assert (entry["title"], entry["summary"]) == ("lazy search", "Looks nowhere.")
    built = "from imaseg import Attack, L2; print(Attack.build('lazy-one', L2(1.0)), Attack.about('lazy-one').title)"
    code, stdout, stderr = python(tmp_path, "-W", "error", "-c", built)
    assert (code, stderr) == (0, "")
    assert stdout.startswith("LazyOne(")
    assert stdout.endswith(" lazy search")
    _, stdout, _ = python(tmp_path, "-m", "pytest", "-q", "--collect-only", "tests/attacks/test_contract.py")
    assert "lazy-one" in stdout


def test_packages_are_imported_only_when_a_name_is_not_known(tmp_path):
    install(tmp_path, "lazy_pack", LAZY, "imaseg.attacks", lazy_one="LazyOne")
    code = (
        "import sys, imaseg; seen = []; look = lambda: seen.append('lazy_pack' in sys.modules);"
        "look(); imaseg.Attack.build('pgd', imaseg.L2(1.0)); look(); imaseg.Attack.find('none'); look(); print(seen)"
    )
    assert python(tmp_path, "-c", code) == (0, "[False, False, True]", "")


def test_a_package_that_cannot_be_imported_is_told_in_one_line(tmp_path):
    install(tmp_path, "lazy_pack", LAZY, "imaseg.attacks", lazy_one="LazyOne")
    install(tmp_path, "broken_pack", "import nowhere_to_be_found", "imaseg.attacks", first="First", second="Second")
    code, stdout, stderr = python(tmp_path, "-m", "imaseg", "list", "attacks", "--json")
    assert code == 0
    assert stderr == (
        "imaseg: package broken_pack must be importable to add to imaseg.attacks, "
        "got ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    )
    names = {entry["name"] for entry in json.loads(stdout)}
    assert "lazy-one" in names
    assert not names & {"first", "second"}


@pytest.mark.parametrize(
    ("name", "other"), [("PGD", "imaseg.attacks.pgd.PGD"), ("SEA", "a preset"), ("LazyOne", "lazy_pack.LazyOne")]
)
def test_a_name_that_is_taken_is_refused_and_both_are_named(tmp_path, name, other):
    install(tmp_path, "lazy_pack", LAZY, "imaseg.attacks", lazy_one="LazyOne")
    install(tmp_path, "mine_pack", LAZY.replace("LazyOne", name), "imaseg.attacks", mine=name)
    code, stdout, stderr = python(tmp_path, "-m", "imaseg", "list", "attacks")
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert f"mine_pack.{name}" in stderr
    assert other in stderr


def test_two_packages_with_the_same_entry_point_are_refused(tmp_path):
    for module in ("lazy_pack", "other_pack"):
        install(tmp_path, module, LAZY, "imaseg.attacks", lazy_one="LazyOne")
    code, _, stderr = python(tmp_path, "-m", "imaseg", "list", "attacks")
    assert code == 2
    assert {"lazy_pack", "other_pack"} <= set(re.findall(r"\w+_pack", stderr))


def test_a_local_file_adds_its_classes_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Attack, "registry", dict(Attack.registry))
    file = tmp_path / "mine.py"
    file.write_text(LAZY + "\nwith open(__file__ + '.runs', 'a') as log:\n    log.write('once ')\n")
    import_local([file])
    import_local([str(file)])
    assert Attack.about("lazy-one").title == "lazy search"
    assert (tmp_path / "mine.py.runs").read_text() == "once "


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import sys\nsys.exit(3)\n", "mine.py, line 2: SystemExit: 3"),
        ("a = 1\n\nb = a / 0\n", r"mine\.py, line 3: ZeroDivisionError: division by zero"),
        ("a = 1\nb = = 2\n", r"mine\.py, line 2: SyntaxError: invalid syntax"),
        ("def f():\n    import nowhere_to_be_found\n\nf()\n", r"mine\.py, line 2: ModuleNotFoundError"),
    ],
)
def test_a_local_file_that_fails_is_told_by_file_and_line(tmp_path, code, text):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(InputError, match=text):
        import_local([tmp_path / "mine.py"])


def test_what_is_no_python_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"imports must be Python files \(\.py\), got '.*notes\.txt', which is none"):
        import_local([tmp_path / "notes.txt"])
    with pytest.raises(InputError, match=r"no such file: .*missing\.py\. A plan's are relative to its folder\."):
        import_local([tmp_path / "missing.py"])
