"""Messages are one line of limited length, whatever the user's files hold."""

from __future__ import annotations

from imaseg.errors import InputError


def test_a_message_keeps_the_file_and_the_mend():
    told = str(InputError(f"/a/card.yaml: name must be short, got {'x' * 10_000_000}. Shorten it."))
    assert len(told) == 1000
    assert told.startswith("/a/card.yaml: name must be short, got xxx")
    assert told.endswith("xxx. Shorten it.")


def test_a_message_does_not_move_the_cursor():
    told = str(InputError("got '\x1b]0;title\x07\r\n\x9b2J'. Mend é it."))
    assert told == r"got '\x1b]0;title\x07\r\n\x9b2J'. Mend é it."
