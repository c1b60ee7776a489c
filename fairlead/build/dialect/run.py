"""Running a compiled file: its globals, its errors, and the freezing of what it made."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from fairlead.build.dialect.fault import translate
from fairlead.build.dialect.syntax import Code
from fairlead.build.dialect.values import freeze


def run(code: Code, names: Mapping[str, Any], loaded: Mapping[str, Any]) -> dict[str, Any]:
    """Run a file and return the globals that it made itself.

    `names` are the built-in names of this file, `loaded` what its load() lines bring. What a .bzl file made
    is frozen afterwards.
    """
    # `__builtins__` must be exactly a dict, and holds all that the file may call: nothing of Python's own.
    table: dict[str, Any] = {"__builtins__": dict(names), **loaded}
    try:
        builtins.exec(code.code, table)
    except Exception as error:
        raise translate(error, [n for n in (*names, *table) if not n.startswith(("$", "__"))]) from None
    del table["__builtins__"]
    if code.is_bzl:
        freeze(table)
    return {name: value for name, value in table.items() if name not in loaded}
