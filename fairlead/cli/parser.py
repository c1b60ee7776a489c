"""argparse with our errors: what is wrong with the words of a command, and its usage as the remedy."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from fairlead.errors import UsageError, did_you_mean


class Parser(argparse.ArgumentParser):
    """A verb's parser. Long options may not be abbreviated: a script must survive a new option."""

    def __init__(self, *, prog: str, description: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` in place of argparse's exit."""
        options = [name for action in self._actions for name in action.option_strings]
        usage = " ".join(self.format_usage().removeprefix("usage: ").split())
        needed = [a for a in self._actions if a.required and a.nargs not in ("*", argparse.REMAINDER)]
        what, remedy = _said(message, self.prog, options, needed)
        raise UsageError(what, where=self.prog, remedy=remedy or usage)


def _said(message: str, verb: str, options: list[str], needed: list[argparse.Action]) -> tuple[str, str]:
    """argparse's words in ours, and what to do; "" for the usage. `needed` are the words that a verb must
    have: argparse names those that may be left out beside them."""
    if found := re.fullmatch(r"unrecognized arguments: (.*)", message):
        word = found[1].split()[0]
        if word.startswith("-"):
            return f"there is no option {word}", did_you_mean(word, options)
        return f"{word} is one word too many", ""
    if message.startswith("the following arguments are required: "):
        named = message.partition(": ")[2].split(", ")
        first = next((a for a in needed if str(a.metavar or a.dest) in named), needed[0])
        return f"{_name(first)} is missing" if not first.choices else f"{_name(first)}?", ""
    if found := re.fullmatch(r"argument ([^:]*): invalid choice: '?(.*?)'? \(choose from (.*)\)", message):
        choices = found[3].replace("'", "").split(", ")
        remedy = did_you_mean(found[2], choices) or "use " + ", ".join(choices)
        option = found[1].startswith("-")
        return f"{found[1]} cannot be {found[2]}" if option else f"{verb} knows no {found[2]}", remedy
    if found := re.fullmatch(r"argument ([^:]*): invalid int value: (.*)", message):
        return f"{found[1]} is {found[2]}", "use a whole number"
    if found := re.fullmatch(r"argument ([^:]*): expected (?:one|at least one) argument", message):
        return f"{found[1]} stands alone", ""
    return message, ""


def _name(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return " or ".join(map(str, action.choices)) if action.choices else action.dest
