"""`imaseg attack` as a user types it: table, files named, exit codes, one clear line for bad input."""

from __future__ import annotations

import re
import shutil

import nibabel as nib
import pytest

from imaseg.auditing.table import written_table
from imaseg.results import CaseRecord, load
from imaseg.results.attack import AttackRow, Written


def test_it_prints_a_row_per_case_and_names_what_it_made(imaseg, tiny_run, raw_phantom, tmp_path):
    out = tmp_path / "a"
    code, stdout, stderr = imaseg(
        "attack", tiny_run, raw_phantom, "--out", out, "--eps", "0.1", "--unit", "rms", "--steps", "3"
    )
    assert code == 0, stderr
    lines = stdout.splitlines()
    assert lines[1].split() == ["case", "clean", "attacked", "re-read", "size", "(rms)"]
    assert [line.split()[0] for line in lines[2:4]] == ["phantom_005", "phantom_006"]
    for line in lines[2:4]:
        clean, attacked, _, size = map(float, line.split()[1:5])
        assert attacked <= clean
        assert size == pytest.approx(0.1, rel=1e-3)
    assert "what the attack found in the model's space" in lines[4]
    created = [line.removeprefix("Created ") for line in lines[5:]]
    names = ("images", "predictions", "clean_predictions", "cases", "summary.json", "cases.csv", "report.html")
    assert created == [str(out / name) for name in names]
    assert re.match(
        r"2 cases \(val\), plan attack: at most about \d+ s, less where searches break a case early \(", stderr
    )
    assert max(map(len, lines[:5])) <= 120


@pytest.mark.slow
def test_every_search_preset_and_set_can_be_named(imaseg, tiny_run, prepared_phantom, tmp_path):
    from imaseg.attacks import Attack
    from imaseg.attacks.presets import PRESETS
    from imaseg.perturbations import Perturbation

    searches = {name: (name, None) for name in Attack.known()}
    for name, (search, norm) in (searches | {n: (p.attack, p.perturbation) for n, p in PRESETS.items()}).items():
        steps, norm = {"worst-case": 8, "fgsm": None}.get(search, 2), norm or "l2"
        arguments = ["--eps", "0.5", "--attack", name, "--norm", norm, *(["--steps", steps] if steps else [])]
        out = tmp_path / name
        code, _, stderr = imaseg(
            "attack", tiny_run, prepared_phantom, "--out", out, "--cases", "phantom_005", *arguments
        )
        assert code == 0, (name, stderr)
    for norm in Perturbation.known():
        arguments = ["--eps", "0.5", "--norm", norm, "--steps", "2", "--cases", "phantom_005"]
        code, stdout, stderr = imaseg("attack", tiny_run, prepared_phantom, "--out", tmp_path / norm, *arguments)
        assert code == 0, (norm, stderr)
        assert (str(tmp_path / norm / "labels") in stdout) == Perturbation.known()[norm].moves_label


def test_overrides_count_only_when_given(imaseg, tiny_run, prepared_phantom, tmp_path):
    base = ["attack", tiny_run, prepared_phantom, "--eps", "0.5", "--cases", "phantom_005", "--attack", "pgd-ce"]
    more = ["--steps", "2", "--objective", "dice-ce", "--restarts", "2", "--seed", "5"]
    for out, arguments in ((tmp_path / "a", ["--steps", "2"]), (tmp_path / "b", more)):
        assert imaseg(*base, "--out", out, *arguments)[0] == 0
    first, second = (load(tmp_path / name).summary.probes[0] for name in "ab")
    told = [(one.attack, one.objective, one.steps, one.restarts, one.seed) for one in (first, second)]
    assert told == [("pgd-ce", "cross-entropy", 2, 1, 0), ("pgd-ce", "dice-ce", 2, 2, 5)]


def test_sizes_are_stated_in_the_unit_of_the_budget(imaseg, tiny_run, raw_phantom, tmp_path):
    arguments = ["--eps", "700", "--unit", "native", "--steps", "2", "--cases", "phantom_005"]
    code, stdout, stderr = imaseg("attack", tiny_run, raw_phantom, "--out", tmp_path / "a", *arguments)
    assert code == 0, stderr
    head, row = stdout.splitlines()[1:3]
    assert head.split()[4:] == ["size", "(native)"]
    assert float(row.split()[4]) == pytest.approx(700, rel=1e-3)


def test_a_budget_is_spelt_as_of_margins_or_in_words_of_its_own(imaseg, tiny_run, prepared_phantom, tmp_path):
    base = ["attack", tiny_run, prepared_phantom, "--cases", "phantom_005", "--steps", "1"]
    spelt = {
        "a": ["--perturbation", "l2:0.4:rms"], "b": ["--norm", "l2", "--eps", "0.4", "--unit", "rms"],
        "c": ["--norm", "l2:0.4", "--unit", "rms"], "d": ["--eps", "0.4", "--unit", "rms"],
    }  # fmt: skip
    for out, words in spelt.items():
        code, _, stderr = imaseg(*base, "--out", tmp_path / out, *words)
        assert code == 0, stderr
    plans = [load(tmp_path / out).run.plan for out in spelt]
    assert all(plan == plans[0] for plan in plans)
    assert plans[0]["probes"][0]["eps"] == [0.4]


def test_an_attack_of_a_case_that_fails_leaves_no_file_of_it(imaseg, tiny_run, raw_phantom, tmp_path):
    data = shutil.copytree(raw_phantom, tmp_path / "data")
    path = data / "imagesTr" / "phantom_006.nii.gz"
    path.write_bytes(path.read_bytes()[:400])
    code, stdout, _ = imaseg("attack", tiny_run, data, "--out", tmp_path / "a", "--eps", "1", "--steps", "2")
    assert code == 1
    assert "phantom_005" in stdout
    assert nib.load(tmp_path / "a" / "images" / "phantom_005.nii.gz").shape == (24, 24, 16)
    assert not (tmp_path / "a" / "images" / "phantom_006.nii.gz").exists()


REFUSED = [
    (["--attack", "nonsense"], "attack must be one of "),
    (["--norm", "nonsense"], "perturbation must be one of "),
    (
        ["--perturbation", "l2:x"],
        "perturbation must be NAME:EPS or NAME:EPS:UNIT, or NAME next to --eps, got 'l2:x'. Write",
    ),
    (["--perturbation", "l2:1:rms:2"], "got 'l2:1:rms:2'. Write l2:0.1."),
    (["--perturbation", "l2:1", "--eps", "2"], "got 'l2:1' next to --eps."),
    (["--perturbation", "l2:1:rms", "--unit", "rms"], "got 'l2:1:rms' next to --unit."),
    (["--objective", "nonsense"], "objective must be one of "),
    (["--unit", "nonsense"], "unit must be 'norm' or 'rms'"),
    (["--norm", "gamma", "--unit", "native"], "must go with l2 or linf"),
    (["--attack", "vafa"], "perturbation of vafa must be frequency"),
    (["--cases", "phantom_999"], "case id must be one of the 6"),
    (["--device", "cuda:99"], "device must exist"),
    (["--eps", "-1"], " must be valid, got -1.0"),
    (["--steps", "0"], " must be valid, got 0"),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED, ids=[" ".join(pair[0]) for pair in REFUSED])
def test_bad_input_is_one_clear_line(imaseg, tiny_run, raw_phantom, tmp_path, arguments, text):
    eps = [] if {"--eps", "--perturbation"} & {*arguments} else ["--eps", "1"]
    code, stdout, stderr = imaseg("attack", tiny_run, raw_phantom, "--out", tmp_path / "a", *eps, *arguments)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("imaseg: ")
    assert len(stderr.splitlines()) == 1, stderr
    assert text in stderr
    assert not (tmp_path / "a").exists()


def test_the_budget_has_to_be_named(imaseg, tiny_run, raw_phantom, tmp_path):
    code, _, stderr = imaseg("attack", tiny_run, raw_phantom, "--out", tmp_path / "a")
    assert code == 2
    assert "--eps" in stderr


def test_the_table_lines_up_and_says_what_was_lost():
    def record(case, note):
        dice = {"foreground_mean": {"clean": 0.9, "attacked": 0.1, "reread": 0.9}}
        written = Written(images=[], sizes_reread=None, astray=None, dice=dice, note=note)
        row = AttackRow.model_construct(probe="pgd-l2", eps=5.0, eps_set=0.5, size=0.25, written=written)
        return CaseRecord.model_construct(case=case, rows=[row])

    records = [record("a", "lost in the file: rounding to int16"), record("a_longer_name", "")]
    lines = written_table(records, "native").splitlines()
    assert lines[1].endswith("  lost in the file: rounding to int16")
    assert len(lines[0]) == len(lines[2]) == len(lines[1].partition("  lost")[0])
    assert lines[1].split()[:5] == ["a", "0.900", "0.100", "0.900", "2.5"]
