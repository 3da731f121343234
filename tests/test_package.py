"""Public names, start-up cost, and the import rules between layers."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import grimp

import imaseg

PUBLIC = {
    "APGD", "FGSM", "IFGSM", "IMA", "L2", "PGD", "TRADES", "Attack", "AttackResult", "BalancedMaskedCE", "BiasField",
    "CertifiedMargin", "CertifiedMarginResult", "CosPGDLoss", "Criterion", "CrossEntropy", "Deformation", "Dice",
    "DiceBelow", "DiceCE", "Erase", "FreeTraining", "Frequency", "Gamma", "GaussianNoise", "Grow", "InputError",
    "JensenShannon", "Linf", "LogitMargin", "MarginTable", "MaskedCE", "MaskedSpherical", "MinimumNorm",
    "MaxDiceBelow", "Misclassified", "Objective", "PGDTraining", "Perturbation", "SampleMargin", "SampleMarginResult",
    "SegPGDLoss", "ShrinkingSetPGD", "Smoothed", "Square", "Standard", "Strong", "Swap", "TemperedDice", "TiledModel",
    "Towards",
    "TrainingMethod", "UniformNoise", "VoxelMargin", "VoxelMarginResult", "VoxelsFlipped", "WeakestVoxels", "WorstCase",
    "__version__", "audit", "certified_gap", "corruptions", "load_cases", "load_model", "objectives",
}  # fmt: skip


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_public_names_are_these_and_all_resolve():
    assert set(imaseg.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(imaseg, name) is not None


def test_audit_stays_a_function_after_its_room_was_imported():
    import imaseg.auditing

    assert callable(imaseg.audit)


def test_importing_imaseg_needs_torch_only():
    heavy = _python(
        "import sys, torch; before = set(sys.modules); from imaseg import PGD, IMA, SampleMargin, L2, DiceCE;"
        "roots = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(roots & {'monai', 'ignite', 'nnunetv2', 'SimpleITK', 'segmentation_models_pytorch', 'scipy',"
        "'matplotlib', 'pandas', 'plotly', 'skimage', 'nibabel', 'pydantic', 'rich', 'typer'}))"
    )
    assert heavy == "[]"


def test_importing_imaseg_costs_little_beside_importing_torch():
    # Time of the processor, and next to what torch itself takes: slow or busy machines slow both down.
    code = (
        "import time; a = time.process_time(); import torch; b = time.process_time();"
        "from imaseg import PGD, IMA, SampleMargin, L2, DiceBelow; print(b - a, time.process_time() - b)"
    )
    runs = [tuple(map(float, _python(code).split())) for _ in range(3)]
    torch_alone, ours = (min(pauses) for pauses in zip(*runs, strict=True))
    assert ours < max(0.3, 0.2 * torch_alone)


def test_unknown_attribute_is_an_attribute_error():
    assert not hasattr(imaseg, "nonsense")


def test_layers_import_only_lower_layers():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout


def test_no_module_imports_a_package_that_it_lies_in():
    """With the contract on siblings this leaves no circle: a package may import its modules, not they the package."""
    graph = grimp.build_graph("imaseg")
    upward = [
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if module.startswith(f"{imported}.")
    ]
    assert upward == []


def test_version_is_that_of_the_built_package():
    declared = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]["version"]
    assert imaseg.__version__ == declared
