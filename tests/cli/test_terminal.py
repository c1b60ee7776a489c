"""What is printed of other people's words cannot command the terminal it is read on."""

from __future__ import annotations

import pytest

from fairlead.cli import terminal


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Grüße, 世界\tok\nnext", "Grüße, 世界\tok\nnext"),
        ("\x1b[1A\x1b[2Kgood", "�[1A�[2Kgood"),  # up a line, and over it
        ("\x1b[8mhidden", "�[8mhidden"),
        ("\x1b]0;title\x07", "�]0;title�"),
        ("one\rtwo\x9b2J", "one�two�2J"),
        ("left \u202egnorw", "left �gnorw"),
        ("latin \udce9", "latin �"),
        ("\x1b[1;31mBAD \x1b[0m", "\x1b[1;31mBAD \x1b[0m"),  # as this program writes it
    ],
)
def test_other_peoples_words_are_tame(capsys: pytest.CaptureFixture[str], said: str, shown: str) -> None:
    terminal.say(said)
    terminal.note(said)
    assert tuple(capsys.readouterr()) == (f"{shown}\n", f"{shown}\n")


def test_every_style_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "coloured", lambda _: True)
    for name in terminal._CODES:
        styled = terminal.style("x", name, "bold")
        assert terminal.tame(styled) == styled
