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
        unknown = re.search(r"unrecognized arguments: (-\S+)", message)
        guess = did_you_mean(unknown[1], options) if unknown else ""
        usage = " ".join(self.format_usage().removeprefix("usage: ").split())
        raise UsageError(message, where=self.prog, remedy=guess or usage)
