"""The benchmark scripts run in their small form, and go on where they were stopped."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imaseg import statistics
from imaseg.corruptions import Corruption
from imaseg.data import write_nifti
from imaseg.report import read_audits
from imaseg.results import load
from imaseg.statistics import interval

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch, capsys):
    """Runs a script of `benchmarks/` in this process; gives what it printed."""
    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)


def _rows(text):
    """Cells of all table rows that begin with a number."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines if cells[1][:1].isdigit()}


def test_a_run_is_taken_up_only_with_its_own_settings(bench, raw_phantom, tmp_path):
    options = ("--out", tmp_path, "--only", "PGD at 4")
    bench("ima_ablation.py", raw_phantom, *options, "--small")
    with pytest.raises(SystemExit, match=r"standard must hold a run with .*'epochs': 12.* got one with .*'epochs': 1"):
        bench("ima_ablation.py", raw_phantom, *options)


def test_sunnybrook_2d(bench, tmp_path):
    rng = np.random.default_rng(0)
    for patient in range(5):
        for name in ("images", "labels"):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        label = np.zeros((64, 64), np.uint8)
        label[20:40, 15 + 2 * patient : 40] = 255
        image = (label // 2 + rng.integers(0, 60, label.shape)).astype(np.uint8)
        for name, values in (("images", image), ("labels", label)):
            Image.fromarray(np.stack([values] * 3, 2)).save(tmp_path / "data" / name / f"SC-{patient}-IM-0001.png")
    printed = bench("sunnybrook_2d.py", tmp_path / "data", "--out", tmp_path, "--small", "--methods", "standard", "ima")
    found = _rows(printed)
    assert found.keys() >= {"standard", "ima"}
    assert "ima-0: 0 of 4 margins below the ceiling, mean 0.1\n" in printed
    assert len(found["ima"]) == 5


def test_the_example_report(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = bench("example_report.py", "--out", tmp_path / "out", "--work", tmp_path / "work", "--small")
    assert printed.splitlines()[-1].startswith(f"Created {tmp_path / 'out'}")
    audits = read_audits([tmp_path / "out" / name for name in ("standard", "ima")])
    assert [audit.name for audit in audits] == ["standard", "ima"]
    assert [path for path in (tmp_path / "out").rglob("*.json") if str(tmp_path) in path.read_text()] == []


def test_hippocampus_3d(bench, raw_phantom, tmp_path):
    options = ("--out", tmp_path, "--small", "--runs", "standard", "ima-0.8")
    first = bench("hippocampus_3d.py", raw_phantom, *options)
    rows = _rows(first)
    assert (rows["standard"][-1], rows["ima-0.8"][-1]) == ("1", "6")
    assert "- ima-0.8: 3 of 3 below 0.8" in first
    assert _rows(bench("hippocampus_3d.py", raw_phantom, *options)) == rows
    kept = json.loads((tmp_path / "rows-0.json").read_text())
    assert (kept["columns"], kept["seed"]) == ({"0.05": [1], "0.1": [2]}, 0)
    assert [*kept["rows"]] == ["standard", "IMA at 0.8"]
    assert "IMA at 0.8" in kept["fronts"]["IMA"]
    for name, run in (("standard", "standard"), ("IMA at 0.8", "ima-0.8")):
        means = np.mean(kept["rows"][name]["dice"], axis=1)
        assert [f"{mean:.3f}" for mean in means] == [cell.split()[0] for cell in rows[run][:3]]


def test_without_labels(bench, raw_phantom, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(raw_phantom, data / "Task04_Hippocampus")
    rng = np.random.default_rng(0)
    sets = {"open_ms_lesion": {"one": 1, "two": 1}, "totalsegmentator_examples": {"aorta_crop": 1, "ct_sm": 52}}
    for folder, cases in sets.items():
        for name, value in cases.items():
            label = np.zeros((20, 18, 16), np.uint8)
            label[6:14, 5:13, 4:12] = value
            image = (100.0 * (label > 0) + rng.normal(0, 20, label.shape)).astype(np.int16)
            for part, array in (("images", image), ("labels", label)):
                (data / folder / part).mkdir(parents=True, exist_ok=True)
                write_nifti(data / folder / part / f"{name}.nii.gz", array, np.diag([3.0, 3, 3, 1]), dtype=array.dtype)
    options = (data, "--out", tmp_path / "out", "--small", "--only", "hippocampus", "lesions", "aorta")
    printed = bench("without_labels.py", *options)
    assert _rows(printed)["agreement"][0] == "2"
    assert printed.count("4 rows, all the same.") == 2
    assert printed.count("| yes | ") >= 2
    assert bench("without_labels.py", *options) == printed
    # Each case of an audit that was handed no label has none.
    for folder in ("hippocampus", "lesions", "aorta"):
        assert all(not case.truth for case in load(tmp_path / "out" / folder / "hidden").cases)


def test_every_run_of_hippocampus_3d_differs_from_ima_as_its_name_says(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    import hippocampus_3d

    def pretend(name, seed, *_):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "margins.csv").write_text("case,margin\na,0.02\nb,0.06\n")
        return tmp_path / name

    monkeypatch.setattr(hippocampus_3d, "train_run", pretend)
    configs = {name: hippocampus_3d.settings(name, 3, tmp_path, tmp_path, ()) for name in hippocampus_3d.RECIPES}
    eps = {name: config.method.get("perturbation", {}).get("eps") for name, config in configs.items()}
    assert (eps["ima-0.8"], eps["pgd-ramp-0.4"], eps["pgd-at-margin"], eps["ima"]) == (0.8, 0.4, 0.04, 0.1)
    increments = [configs[name].method["increment"] for name in ("ima", "ima-0.8", "ima-jitter", "ima-jitter-0.8")]
    assert increments == pytest.approx([0.01, 0.08, 0.02, 0.16])
    alike = {
        (config.epochs, config.learning_rate, config.schedule, config.init, config.seed)
        for name, config in configs.items()
        if name not in ("standard", "ima-scratch", "pgd-scratch")
    }
    assert alike == {(12, 0.001, "cosine", str(tmp_path / "standard"), 3)}
    searches = {name: (config.method.get("steps"), config.method.get("warm")) for name, config in configs.items()}
    assert {name for name, search in searches.items() if search == (None, None)} == {"standard", "standard-longer"}
    assert set(searches.values()) == {(None, None), (3, True)}
    for scratch in (configs["pgd-scratch"], configs["ima-scratch"]):
        assert scratch.init is None
        assert scratch.epochs == configs["standard"].epochs + configs["ima"].epochs
        assert scratch.learning_rate == configs["standard"].learning_rate


def test_the_figure_of_the_sweep_has_a_line_for_each_method_at_several_ceilings(monkeypatch, real_audit, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib, in none of the extras, draws the figure")
    monkeypatch.syspath_prepend(str(FOLDER))
    from hippocampus_3d import draw

    for name in ("ima", "ima-0.4", "pgd-ramp-0.2", "pgd-ramp", "standard"):
        shutil.copytree(real_audit, tmp_path / f"audit-{name}")
    draw(sorted(tmp_path.iterdir()), tmp_path / "sweep.svg")
    text = (tmp_path / "sweep.svg").read_text()
    assert [text.count(f"<!-- {name} -->") for name in ("clean", "ima", "pgd-ramp")] == [1] * 3
    assert "<!-- L2 " in text
    assert "<!-- standard -->" not in text


def test_warm_starts(bench, raw_phantom, tmp_path):
    lines = bench("warm_starts.py", raw_phantom, "--runs", tmp_path, "--cases", "2", "--small").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if ", RMS " in line]
    assert [(name.partition(",")[0], visit) for name, visit, *_ in cells] == [
        (name, visit) for name in ("standard", "pgd", "ima") for visit in "12"
    ]
    for _, visit, *values in cells:
        clean, warm, *cold = map(float, values)
        assert clean <= min(warm, *cold)
        assert visit == "2" or warm == cold[0]


def test_half_precision(bench, raw_phantom, tmp_path):
    options = ("--runs", tmp_path, "--cases", 2, "--nets", "standard", "--small")
    found = bench("half_precision.py", raw_phantom, *options)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.splitlines() if line.startswith("| sta")]
    assert [row[1] for row in rows] == ["float32", "bfloat16", "float16"]
    for _, _, pgd, strong, margin in rows:
        for dices in (pgd, strong):
            low, high = map(float, dices.split(", "))
            assert 0 <= high <= low <= 1
        assert 0 <= float(margin) <= 0.4


def test_ima_cost(bench, raw_phantom, tmp_path):
    names = ("default", "thrifty, every 2", "standard, longer", "free at 5, 4 replays")
    rows = _rows(bench("ima_cost.py", raw_phantom, "--out", tmp_path, "--small", "--only", *names))
    default, thrifty = rows["default"], rows["thrifty, every 2"]
    # After one epoch most cases break at the first step, whatever may be saved later on.
    assert float(thrifty[0]) < float(default[0])
    assert float(thrifty[1]) <= float(default[1]) <= 9
    assert float(thrifty[2]) < float(default[2])
    assert rows["standard, longer"][:3] == ["0.0", "0.0", "1.0"]
    assert float(rows["free at 5, 4 replays"][1]) == 0


def test_ima_ablation(bench, raw_phantom, tmp_path):
    options = ("--out", tmp_path, "--small", "--only", "PGD up to 15", "IMA, worst, jitter")
    first = bench("ima_ablation.py", raw_phantom, *options)
    rows = _rows(first)
    assert rows.keys() == {"standard", "PGD up to 15", "IMA, worst, jitter"}
    assert rows["IMA, worst, jitter"][-1].endswith("(100% below 30)")
    extras = _rows(bench("ima_ablation.py", raw_phantom, *options[:3], "--only", "IMA, AWP", "IMA, EMA"))
    assert extras.keys() == {"standard", "IMA, AWP", "IMA, EMA"}
    assert (
        torch.load(tmp_path / "IMA_AWP" / "weights.pt", weights_only=True).keys()
        == torch.load(tmp_path / "IMA_EMA" / "weights.pt", weights_only=True).keys()
    )
    (tmp_path / "PGD_up_to_15" / "weights.pt").unlink()  # as if stopped at the end: its checkpoint has all epochs
    assert bench("ima_ablation.py", raw_phantom, *options) == first
    compared = bench("fronts.py", tmp_path / "rows.json")
    assert _rows(compared).keys() == rows.keys() | extras.keys()
    assert "Of IMA less that of a control" in compared


def test_many_sets(bench, raw_phantom, tmp_path):
    pytest.importorskip("torchio", reason="TorchIO is one of the extras `corruptions`")
    options = ("--out", tmp_path, "--small", "--only", "standard, longer", "IMA, a margin per set")
    rows = _rows(bench("many_sets.py", raw_phantom, *options))
    assert rows.keys() == {"standard", "standard, longer", "IMA, a margin per set"}
    kept = json.loads((tmp_path / "rows.json").read_text())
    assert "missing-channel" not in kept["corruptions"]  # of one channel, and after normalisation
    assert {"gamma", "motion", "translation"} <= set(kept["corruptions"])
    margins = kept["rows"]["IMA, a margin per set"]["margins"]
    assert margins.keys() <= {"l2", "bias-field", "gamma", "deformation", "frequency"}
    for name, cells in rows.items():
        dice = np.array(kept["rows"][name]["dice"])
        assert dice.shape == (11 + len(kept["corruptions"]), len(kept["patients"]))
        assert float(cells[0]) == pytest.approx(dice[0].mean(), abs=6e-4)
        assert (dice[1:11] <= dice[0] + 1e-6).mean() > 0.9
    assert _rows(bench("fronts.py", tmp_path / "rows.json")).keys() == rows.keys()


def test_equilibrium(bench, raw_phantom, tmp_path):
    options = ("--out", tmp_path, "--small", "--only", "usual", "ceiling 60")
    rows = _rows(bench("equilibrium.py", raw_phantom, *options))
    assert rows["usual"] == rows["ceiling 60"]  # three epochs reach neither ceiling
    assert _rows(bench("equilibrium.py", raw_phantom, *options)) == rows


def test_the_figure_of_the_front_has_a_panel_for_each_budget(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib, in none of the extras, draws the figure")
    monkeypatch.syspath_prepend(str(FOLDER))
    from planes import draw

    rows = {name: [0.9 - place / 10, 0.8, 0.5 - place / 10] for place, name in enumerate(("standard", "PGD", "IMA"))}
    draw(rows, ["standard", "PGD"], ["L2 1", "L2 15"], tmp_path / "front.svg")
    text = (tmp_path / "front.svg").read_text()
    assert all(text.count(f"<!-- {name} -->") == 1 for name in ("L2 1", "L2 15", "IMA"))
    assert "<!-- PGD -->" not in text


def test_coverage(bench):
    text = bench("coverage.py", "--small")
    assert all(text.count(f"| {name} | 7 | ") == times for name, times in (("normal", 2), ("10 % ones", 1)))
    assert "| normal | 5 | " in text
    assert statistics.FEWEST == interval.FEWEST > 2


def test_two_moons(bench):
    rows = _rows(bench("two_moons.py", "--small"))
    assert all(float(rows[name][0]) > 0.8 for name in ("standard", "IMA", "IMA, weighting 6"))


def test_digits(bench, tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is one of the extras `dev`")
    options = ("digits.py", "--small", "--out", tmp_path, "--methods", "standard", "PGD at 1", "IMA")
    rows = _rows(bench(*options))
    shares = {name: [float(cell.split(" ")[0]) for cell in cells[:6]] for name, cells in rows.items()}
    assert all(values == sorted(values, reverse=True) for values in shares.values())
    assert {name: len(cells[6:]) for name, cells in rows.items()} == {"standard": 0, "PGD at 1": 0, "IMA": 1}
    kept = tmp_path / "results.json"
    entries = json.loads(kept.read_text())
    kept.write_text(json.dumps({key: [*values[:-1], 7.0] for key, values in entries.items()}))
    assert _rows(bench(*options))["PGD at 1"] == [*rows["PGD at 1"], "7.00"]  # read, not run again


def test_corruption_montage(bench, tmp_path):
    pytest.importorskip("torchio", reason="TorchIO is one of the extras `corruptions`")
    rows = _rows(bench("corruption_montage.py", "--small", "--out", tmp_path / "all.png"))
    header = rows.pop("corruption")
    assert header == ["1", "2", "3", "4", "5"]
    assert rows.keys() == Corruption.known().keys()
    assert all(list(map(float, cells)) == sorted(map(float, cells)) for cells in rows.values())
    assert np.asarray(Image.open(tmp_path / "all.png")).std() > 20


def test_prepare_time(bench, monkeypatch):
    pytest.importorskip("nnunetv2", reason="nnunetv2 is one of the extras `nnunet`")
    monkeypatch.delattr("os.sched_setaffinity", raising=False)  # of the process that runs the tests
    rows = _rows(bench("prepare_time.py", "--small", "--to", "1.5", "1.5", "1.5", "--to", "0.7", "0.7", "1.2"))
    assert rows.keys() == {"1.5 x 1.5 x 1.5", "0.7 x 0.7 x 1.2"}
    assert all(float(wall) > 0 and float(cpu) > 0 and rounds == "1" for wall, cpu, rounds in rows.values())


def test_two_processes_may_fill_one_book(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    from attack_strength import Book

    one, other = Book(tmp_path / "results.json"), Book(tmp_path / "results.json")
    one.fill("a", lambda: [1.0])
    other.fill("b", lambda: [2.0])
    assert Book(tmp_path / "results.json").entries == {"a": [1.0], "b": [2.0]}
    other.fill("a", lambda: pytest.fail("is there already"))


def test_outside_searches_stay_within_the_budget_and_do_damage(monkeypatch):
    """PAdam by its formulas, on a small network in an L2 and a Linf ball."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import padam

    from imaseg import L2, Linf
    from imaseg.scores import foreground_dice
    from tests.attacks.models import trained_model

    model, image, label = trained_model()
    before = foreground_dice(model(image).detach(), label)
    for budget in (L2(2.0), Linf(0.21)):
        for name, search in padam.searches().items():
            found = search(model, image, label, budget, 10, 0)
            assert (budget.size(found - image) <= float(budget.eps) * (1 + 1e-5)).all(), name
            with torch.no_grad():
                after = foreground_dice(model(found), label)
            assert after.mean() < before.mean(), name
