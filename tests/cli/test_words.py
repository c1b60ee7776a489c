"""What a person is told whose words are wrong: what, and what to do, in our words and not in argparse's."""

from __future__ import annotations

import pytest

from fairlead.cli import main

CASES = [
    (["build"], "error: PATTERN is missing", "fairlead build [-h]"),
    (["query"], "error: EXPR is missing", "EXPR [ARG ...]"),
    (["run"], "error: FILE|LABEL is missing", "fairlead run"),
    (["daemon"], "error: status or stop?", "{status,stop}"),
    (["daemon", "stopp"], "error: fairlead daemon knows no stopp", "did you mean stop?"),
    (["review", "D1"], "error: comment or accept or request", "fairlead review"),
    (["log", "lats"], "error: fairlead log knows no lats", "did you mean last?"),
    (["log", "last", "//:a", "b"], "error: b is one word too many", "fairlead log"),
    (["build", "--jobs", "x", "//:a"], "error: --jobs is 'x'", "use a whole number"),
    (["test", "--sandbox", "foo"], "error: --sandbox cannot be foo", "use auto, namespace, landlock, none"),
    (["test", "--junit"], "error: --junit stands alone", "--junit FILE"),
    (["test", "--jnit", "x"], "error: there is no option --jnit", "did you mean --junit"),
    (["tset"], "error: there is no verb tset", "did you mean test?"),
]


@pytest.mark.parametrize(("words", "what", "remedy"), CASES)
def test_wrong_words(words: list[str], what: str, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    first, *rest = err.splitlines()
    assert out == "" and first.startswith(what)
    assert rest[-1].startswith("  what to do: ") and remedy in rest[-1]
