from __future__ import annotations

import pytest

from imaseg.report.sections.context.validity import failed_checks, is_sound, verdict_text
from imaseg.results.summary import Check
from tests.report.vary import vary


def checked(tiny, *states, name="a"):
    checks = [Check(check=f"check {i}", ok=ok, number=f"number {i}", detail="") for i, ok in enumerate(states)]
    return vary(tiny, name, validity=checks)


@pytest.mark.parametrize(
    ("states", "text", "sound"),
    [
        ((True, True), "All 2 validity checks passed.", True),
        ((True,), "The one validity check passed.", True),
        ((False, True), '1 of 2 validity checks failed: "check 0" (number 0).', False),
        ((None, True), '1 of 2 validity checks passed and none failed. 1 could not be run: "check 0".', False),
        ((), "No validity checks were recorded, so nothing here shows that the attacks worked as they should.", False),
    ],
)
def test_states_of_checks(tiny, states, text, sound):
    audit = checked(tiny, *states)
    assert verdict_text([audit]) == text
    assert is_sound([audit]) is sound
    assert len(failed_checks([audit])) == states.count(False)


def test_of_several_models_the_failing_and_the_silent_are_named(tiny):
    bad, mute = checked(tiny, False, name="bad"), checked(tiny, name="mute")
    text = '1 of 1 validity check failed: "check 0" (bad: number 0). No check was recorded for: mute.'
    assert verdict_text([bad, mute]) == text
    assert not is_sound([checked(tiny, True), mute])
