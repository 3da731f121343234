"""`imaseg margin` as a user types it: table, files named, exit codes, one clear line for bad input."""

from __future__ import annotations

import pytest

from imaseg.auditing.table import margin_table
from imaseg.results import load
from imaseg.results.margin import MarginEntry

QUICK = ("--steps", "2", "--rtol", "0.9", "--cases", "phantom_005")


def asked(out, kind):
    """Probes of a kind in the plan that was run."""
    return [probe for probe in load(out).run.plan["probes"] if probe["kind"] == kind]


def test_it_prints_a_row_per_set_and_structure_and_names_what_it_made(imaseg, tiny_run, raw_phantom, tmp_path):
    out = tmp_path / "a"
    chosen = ["--perturbation", "l2:1", "--perturbation", "gamma", "--relative"]
    code, stdout, stderr = imaseg("margin", tiny_run, raw_phantom, "--out", out, *QUICK[:4], *chosen)
    assert code == 0, stderr
    lines = stdout.splitlines()
    criterion = "Dice below 0.5 of the clean Dice, or over 100 mm3 more of absent structures"
    assert lines[0] == f"Smallest change found that breaks a case ({criterion}), over 2 cases"
    assert lines[1].split()[:3] == ["set", "structure", "median"]
    names = [(line.split()[0], line.split()[1]) for line in lines[2:8]]
    assert names == [(kind, name) for kind in ("l2", "gamma") for name in ("whole", "Front", "Back")]
    created = [line.removeprefix("Created ") for line in lines[8:]]
    names = ("cases", "summary.json", "cases.csv", "margins.csv", "report.html")
    assert created == [str(out / name) for name in names]
    assert stderr.startswith("2 cases (val), plan margin: at most about ")
    assert max(map(len, lines[1:8])) <= 120
    assert (out / "report.html").read_text().startswith("<!")


def test_without_a_word_it_measures_five_sets(imaseg, tiny_run, prepared_phantom, tmp_path):
    # At this threshold every case fails unattacked, so that nothing is searched.
    out = tmp_path / "a"
    code, stdout, stderr = imaseg("margin", tiny_run, prepared_phantom, "--out", out, "--threshold", "1", *QUICK)
    assert code == 0, stderr
    kinds = ["l2", "linf", "bias-field", "gamma", "deformation"]
    assert list(dict.fromkeys(line.split()[0] for line in stdout.splitlines()[2:-5])) == kinds
    probes = load(out).run.plan["probes"]
    assert [probe["perturbation"] for probe in probes] == kinds
    assert {probe["kind"] for probe in probes} == {"margin"}
    assert probes[0]["criterion"] == {"name": "dice-below", "threshold": 1.0, "relative": False}


def test_maps_and_certificates_are_named(imaseg, tiny_run, prepared_phantom, tmp_path):
    out = tmp_path / "a"
    more = ["--voxel", "--method", "gradient", "--certify", "0.1", "--samples", "90", "--seed", "3"]
    code, stdout, stderr = imaseg(
        "margin", tiny_run, prepared_phantom, "--out", out, *QUICK, "--perturbation", "gamma:1", *more
    )
    assert code == 0, stderr
    created = {line.removeprefix("Created ") for line in stdout.splitlines() if line.startswith("Created ")}
    assert {str(out / name) for name in ("voxel_margins", "certified", "voxel_margins.csv")} <= created
    assert (out / "voxel_margins" / "gamma-gradient" / "phantom_005.nii.gz").is_file()
    assert not (out / "voxel_margins" / "gamma").exists()
    (maps,), (certificate,) = asked(out, "voxel-margin"), asked(out, "certificate")
    assert (maps["methods"], maps["perturbation"], load(out).run.seed) == (["gradient"], "gamma", 3)
    assert (certificate["sigma"], certificate["samples"]) == (0.1, 90)


REFUSED = [
    (["--perturbation", "nonsense"], "perturbation must be one of "),
    (["--perturbation", "l2:x"], "must be NAME, NAME:EPS or NAME:EPS:UNIT"),
    (["--perturbation", "l2:1:nonsense"], "unit must be 'norm' or 'rms'"),
    (["--perturbation", "gamma:1:native"], "must go with l2 or linf"),
    (["--perturbation", "l2", "--perturbation", "l2:1"], "must be different sets, got l2 twice"),
    (["--criterion", "nonsense"], "criterion must be one of dice-below, voxels-flipped"),
    (["--criterion", "voxels-flipped", "--threshold", "0.5"], "--threshold must go with another criterion"),
    (["--threshold", "7"], "threshold must be in (0, 1]"),
    (["--method", "gradient"], "method must be attack, gradient or both, next to --voxel"),
    (["--voxel", "--method", "nonsense"], "method must be attack, gradient or both"),
    (["--voxel", "--focus", "-1"], " must be valid, got -1"),
    (["--certify", "0"], " must be valid, got 0.0"),
    (["--rtol", "0"], "rtol must be in [0.0001, 1)"),
    (["--steps", "0"], " must be valid, got 0"),
    (["--cases", "phantom_999"], "case id must be one of the 6"),
    (["--device", "cuda:99"], "device must exist"),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED, ids=[" ".join(pair[0]) for pair in REFUSED])
def test_bad_input_is_one_clear_line(imaseg, tiny_run, prepared_phantom, tmp_path, arguments, text):
    code, stdout, stderr = imaseg("margin", tiny_run, prepared_phantom, "--out", tmp_path / "a", *arguments)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("imaseg: ")
    assert len(stderr.splitlines()) == 1, stderr
    assert text in stderr
    assert not (tmp_path / "a").exists()


def test_a_median_that_rests_on_unbroken_cases_is_printed_as_a_bound():
    fixed = {"perturbation": "l2", "structure": None, "unit": "rms", "n": 3, "clean_failures": 0, "held": 2}
    entry = fixed | {"tested": 3, "censored": 1, "q25": 0.1, "median": 0.25, "q75": 0.4}
    entry |= {"q25_at_least": False, "median_at_least": True, "q75_at_least": True}
    line = margin_table([MarginEntry.model_construct(**entry)]).splitlines()[1]
    assert line.split() == [
        "l2",
        "whole",
        ">=0.25",
        "rms",
        "0.1",
        "to",
        ">=0.4",
        "1",
        "of",
        "3",
        "0",
        "2",
        "of",
        "3",
        "checked",
    ]
    unknown = MarginEntry.model_construct(**entry | {"q25": None, "median": None, "q75": None})
    assert "-" in margin_table([unknown])
