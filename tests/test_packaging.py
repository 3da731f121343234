"""What the project is installed by: wheel, sdist, container, conda recipe and constraints say the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch", "lazy-loader": "lazy_loader"}
"""Where conda-forge calls a package otherwise."""


def test_the_conda_recipe_asks_for_what_the_project_asks_for():
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
    assert recipe["context"]["version"] == PROJECT["version"]
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["build"]["python"]["entry_points"] == [f"{k} = {v}" for k, v in PROJECT["scripts"].items()]
    wanted = {"python": PROJECT["requires-python"]}
    for line in PROJECT["dependencies"]:
        need = Requirement(line)
        name = canonicalize_name(need.name)
        wanted[CONDA_NAMES.get(name, name)] = str(need.specifier)
    found = dict(line.split(" ", 1) for line in recipe["requirements"]["run"])
    assert {name: sorted(text.split(",")) for name, text in found.items()} == {
        name: sorted(text.split(",")) for name, text in wanted.items()
    }


def test_the_container_copies_and_installs_what_there_is():
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*build["packages"], *build["force-include"], PROJECT["readme"], *PROJECT["license-files"]}
    assert needed | {"pyproject.toml"} <= set(copied)
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', "\n".join(lines))
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    (constraints,) = re.findall(r"--constraint (\S+)", "\n".join(lines))
    assert constraints in copied
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == allowed
    assert f'ENTRYPOINT ["{next(iter(PROJECT["scripts"]))}"]' in lines
    version = re.search(r"^FROM python:([\d.]+)", "\n".join(lines), re.MULTILINE)[1]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


def test_constraints_pin_every_direct_dependency_within_its_range():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    asked = [*PROJECT["dependencies"], *(one for some in PROJECT["optional-dependencies"].values() for one in some)]
    needs = [need for need in map(Requirement, asked) if need.name != PROJECT["name"]]
    assert sorted({canonicalize_name(need.name) for need in needs} - set(pins)) == []
    wrong = [str(need) for need in needs if not need.specifier.contains(pins[canonicalize_name(need.name)])]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed (pip install hatchling)")
def test_the_wheel_installs_and_runs_alone(tmp_path):
    dist = tmp_path / "dist"
    _run(sys.executable, "-m", "hatchling", "build", "-d", str(dist))
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {"imaseg/_resources/configs/demo_ima.yaml", "imaseg/_resources/data_prep/msd.yaml"} <= set(inside)
    assert "imaseg/report/style/vendor/niivue.umd.js.gz" in inside
    assert [name for name in inside if not name.startswith("imaseg")] == []
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/test_packaging.py", "conda/recipe.yaml", "Dockerfile", "constraints.txt", ".ci/run"} <= held
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # The environment sees the packages of this one, and imaseg from nowhere but the wheel.
    parent = next(path for path in map(Path, sys.path) if path.name == "site-packages" and (path / "torch").is_dir())
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    (site / "outer.pth").write_text(f"{parent}\n")
    _run(python, "-m", "pip", "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel), cwd=tmp_path)
    said = _run(tmp_path / "env" / "bin" / "imaseg", "--version", cwd=tmp_path)
    assert PROJECT["version"] in said
    place = _run(python, "-c", "import imaseg; print(imaseg.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(tmp_path / "env")
    assert "msd" in _run(tmp_path / "env" / "bin" / "imaseg", "list", "recipes", cwd=tmp_path)


def _run(*command, cwd=ROOT):
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, cwd=cwd, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
