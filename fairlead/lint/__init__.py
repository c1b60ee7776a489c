"""Lint: rules that find and mend, on LibCST's lossless tree, in Fixit's class.

    rule, case     what a rule's author writes: LintRule, Valid, Invalid
    check          one file's bytes and some rules to findings; pure
    engine, cache  many files; an answer is kept under a key of all it depends on
    fix            findings mended to a fixpoint
    files          which files are meant
    harness        a rule's own cases, run
    rules/         the rules that come with Fairlead

`from fairlead.lint import LintRule, Valid, Invalid` is what a rule writes. The names are resolved
on first use, so that a run answered from the cache imports neither LibCST nor a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.lint.case import Invalid, Valid
    from fairlead.lint.check import lint_bytes
    from fairlead.lint.rule import LintRule, LintViolation

__all__ = ["Invalid", "LintRule", "LintViolation", "Valid", "lint_bytes"]

_HOMES = {
    "Invalid": "case",
    "Valid": "case",
    "LintRule": "rule",
    "LintViolation": "rule",
    "lint_bytes": "check",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
