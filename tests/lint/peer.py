"""Fixit as oracle: its rules loaded on its own classes and on ours, and its engine run."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fixit
import fixit.rules
import fixit.rules.extra
import fixit.upgrade
from fixit.engine import LintRunner
from fixit.ftypes import Config

from fairlead.lint import Invalid, LintRule, LintViolation, Valid
from fairlead.lint.check import check

# What a report is equal by: rule, range, message, whether it can be fixed.
Row = tuple[str, tuple[int, int, int, int], str, bool]

# What Fixit's rules import from it, as ours.
OURS = {
    "LintRule": LintRule,
    "CstLintRule": LintRule,
    "Invalid": Invalid,
    "InvalidTestCase": Invalid,
    "Valid": Valid,
    "ValidTestCase": Valid,
    "CodeRange": fixit.CodeRange,
    "CodePosition": fixit.CodePosition,
}


def rule_pairs() -> Iterator[tuple[type[LintRule], Any]]:
    """Each rule that comes with Fixit: its unmodified source on our class, and the original."""
    for package in (fixit.rules, fixit.rules.extra, fixit.upgrade):
        for module in pkgutil.iter_modules(package.__path__):
            if module.ispkg:
                continue
            original = importlib.import_module(f"{package.__name__}.{module.name}")
            ours = _on_our_class(original)
            for name, value in list(vars(ours).items()):
                if isinstance(value, type) and issubclass(value, LintRule) and value is not LintRule:
                    yield value, getattr(original, name)


def by_fixit(rule: Any, code: str) -> list[Row]:
    """What Fixit's own engine says, in order of place."""
    path = Path("invalid.py").resolve()
    runner = LintRunner(path, code.encode())
    return sorted(_row(v) for v in runner.collect_violations([rule()], Config(path=path)))


def by_us(rule: type[LintRule], code: str) -> list[Row]:
    """What our engine says."""
    return sorted(_row(v) for v in check("invalid.py", code.encode(), [rule]).violations)


def _row(violation: LintViolation | Any) -> Row:
    start, end = violation.range.start, violation.range.end
    place = (start.line, start.column, end.line, end.column)
    return (violation.rule_name, place, violation.message, violation.autofixable)


def _on_our_class(original: types.ModuleType) -> types.ModuleType:
    """The same source, run while `fixit` names a module with our classes."""
    assert original.__file__ is not None
    stand_in = types.ModuleType("fixit")
    vars(stand_in).update(OURS)
    ours = types.ModuleType(f"on_our_class.{original.__name__}")
    code = compile(Path(original.__file__).read_text(), original.__file__, "exec")
    real = sys.modules["fixit"]
    sys.modules["fixit"] = stand_in
    try:
        exec(code, vars(ours))
    finally:
        sys.modules["fixit"] = real
    return ours
