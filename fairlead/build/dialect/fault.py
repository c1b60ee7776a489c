"""Errors of BUCK and .bzl code: what a person reads instead of a Python traceback.

Code of a project is compiled under a file name that begins with `PREFIX`, so a traceback shows which of its
frames are the project's and which are ours. The place of an error is the innermost of the project's frames,
with line and column, then who called it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from types import TracebackType

from fairlead.errors import FairleadError, UsageError, did_you_mean

PREFIX = "buck:"

_CHAIN = 4
"""How many callers an error names; a deep recursion has hundreds that say the same."""


class DialectError(UsageError):
    """Raised by our own functions inside project code, before the place is known."""


# Names of Buck2 and Python that are not here: better said than "unknown name".
_LATER = {
    "select": "select() is not supported yet: write the value itself",
    "transitive_set": "transitive sets are not supported yet: collect the values in a list in a provider",
    "record": "record() is not supported yet: use struct() or provider()",
    "enum": "enum() is not supported yet: use strings, and attrs.enum() for attributes",
    "package": "PACKAGE files are not supported yet: set visibility on each target",
    "open": "BUCK files read no files: name the file in an attribute, or read a setting with read_config()",
}

# Python names a function by the way to it: Actions.run(), Loader._names.<locals>.rule().
_QUALIFIED = re.compile(r"(?:\w+\.|<locals>\.)*(<lambda>|\w+)\(\)")

_TYPE_NAMES = (
    ("NoneType", "None"),
    ("'str'", "'string'"),
    ('"str"', '"string"'),
    ("FrozenList", "list"),
    ("FrozenDict", "dict"),
    ("List", "list"),
    ("Dict", "dict"),
)


def place(traceback: TracebackType | None) -> str:
    """`file:line:column` of the innermost project frame, followed by its callers; "" if there is none."""
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename.startswith(PREFIX):
            where = f"{code.co_filename.removeprefix(PREFIX)}:{traceback.tb_lineno}"
            position = next(itertools.islice(code.co_positions(), traceback.tb_lasti // 2, None), None)
            if position is not None and position[2] is not None:
                where += f":{position[2] + 1}"
            found.append(where)
        traceback = traceback.tb_next
    found.reverse()
    more = ", ..." if len(found) > 1 + _CHAIN else ""
    return ", called from ".join(found[: 1 + _CHAIN]) + more


def translate(error: Exception, names: Iterable[str] = ()) -> FairleadError:
    """The error of project code as an error for a person. `names` are those that a misspelt one may mean."""
    if isinstance(error, FairleadError):
        error.where = error.where or place(error.__traceback__)
        return error
    what, remedy = _say(error, names)
    return UsageError(what, where=place(error.__traceback__), remedy=remedy)


def _say(error: Exception, names: Iterable[str]) -> tuple[str, str]:
    text = str(error)
    if isinstance(error, TypeError):
        text = _QUALIFIED.sub(lambda m: "this function" if m[1] == "<lambda>" else f"{m[1]}()", text)
        for python, ours in _TYPE_NAMES:
            text = text.replace(python, ours)
    match error:
        case RecursionError():
            return "calls are nested too deep", "look for a function that calls itself without an end"
        case MemoryError():
            return "the evaluation needs more memory than it may have", "build smaller values"
        case UnboundLocalError():
            return f"a variable is read before it has a value ({text})", "assign it on every path"
        case NameError(name=str(name)):
            return f"unknown name {name!r}", (
                _LATER.get(name)
                or did_you_mean(name, names)
                or "assign it before, or load it from a .bzl file"
            )
        case AttributeError(name=str(name), obj=obj):
            from fairlead.build.dialect.functions import no_field

            found = no_field(obj, name)
            return found.what, found.remedy
        case KeyError(args=(key, *_)):
            from fairlead.build.dialect.values import text_of

            return f"the key {text_of(key, quoted=True)} is not in the dict", "use .get(key, default)"
        case RuntimeError() if "changed size" in text:
            return "a container was changed while a loop went through it", "loop over a copy: list(x)"
    return text or type(error).__name__, ""
