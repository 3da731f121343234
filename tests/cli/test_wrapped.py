"""Sentences at the edge of the terminal."""

from __future__ import annotations

import pytest

from imaseg.cli.wrapped import broken, say


def test_words_stay_whole_and_lines_that_follow_are_indented():
    text = f"{'compared':<11}imaseg predicts what the model's own software predicts"
    lines = broken(text, 30, 11).split("\n")
    assert max(map(len, lines)) <= 30
    assert all(line.startswith(" " * 11) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())


@pytest.mark.parametrize("text", ["fits", "  part   cases", "/a/path/longer/than/the/terminal"])
def test_what_fits_or_has_no_blank_stays_as_it_is(text):
    assert broken(text, 16) == text


def test_what_a_script_reads_keeps_its_lines(capsys):
    say("word " * 100)
    assert capsys.readouterr().out == "word " * 100 + "\n"


def test_names_do_not_rule_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr("typer.echo", lambda text, **how: print(text))  # typer drops some of them off a terminal
    say("model \x1b[2J\u202e\nä")
    assert capsys.readouterr().out == "model \\x1b[2J\\u202e\nä\n"
