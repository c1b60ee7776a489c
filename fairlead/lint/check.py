"""Checking: one file's bytes and some rules to findings, touching nothing else.

Used by the engine, by fixes, by the harness and by a worker on submitted commits. All rules share
one walk of the tree. Metadata is computed when a rule first asks for it, since most files have no
finding and most rules ask for none before they find: what a rule declares is a permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import libcst
from libcst.metadata import MetadataWrapper, ProviderT

from fairlead.errors import MachineryError
from fairlead.lint.badsource import BadSource
from fairlead.lint.finding import Finding
from fairlead.lint.rule import LintRule, LintViolation
from fairlead.lint.source import deep, parse


class RuleFailed(MachineryError):
    """A rule that raised an exception on a file: a bug in the rule."""

    def __init__(self, rule: type[LintRule], path: str, reason: str) -> None:
        self.rule = rule
        name = rule.__name__
        super().__init__(
            f"the rule {name} failed: {reason}",
            where=path,
            remedy=f"tell the rule's author; meanwhile leave {name.removesuffix('Rule')} out by lint.disable",
        )


@dataclass(frozen=True)
class Checked:
    """One parsed file and what rules reported on its nodes, in the order of `Finding`."""

    path: str
    module: libcst.Module
    violations: tuple[LintViolation, ...]

    def findings(self) -> list[Finding]:
        """The violations as plain values."""
        return [_finding(self.path, violation) for violation in self.violations]


def lint_bytes(path: str, data: bytes, rules: Sequence[type[LintRule]]) -> list[Finding]:
    """What `rules` find in `data`, in order of line and column; `path` only names the file.

    `BadSource` if it is not Python, `RuleFailed` if a rule raises.
    """
    return check(path, data, rules).findings()


def check(path: str, data: bytes, rules: Sequence[type[LintRule]]) -> Checked:
    """As `lint_bytes`, with the tree, for those who apply fixes."""
    with deep():
        module = parse(path, data)
        try:
            found = _visit(path, module, rules)
        except RuleFailed:
            raise
        except RecursionError:
            raise BadSource(path, 1, 1, "it is nested too deeply") from None
        except Exception as error:
            raise _blame(path, module, rules, error) from error
    return Checked(path, module, tuple(sorted(found, key=lambda v: _finding(path, v))))


class _Metadata(dict[ProviderT, Mapping[libcst.CSTNode, Any]]):
    """A rule's metadata, each provider run when it is first asked for. One for all rules of a file."""

    def __init__(self, wrapper: MetadataWrapper) -> None:
        super().__init__()
        self._wrapper = wrapper

    def __missing__(self, provider: ProviderT) -> Mapping[libcst.CSTNode, Any]:
        found = self[provider] = self._wrapper.resolve(provider)
        return found

    def __contains__(self, provider: object) -> bool:
        return True


def _visit(path: str, module: libcst.Module, rules: Iterable[type[LintRule]]) -> list[LintViolation]:
    # No copy: the module is fresh from the parser, so no node is in it twice.
    metadata = _Metadata(MetadataWrapper(module, unsafe_skip_copy=True))
    instances = []
    for rule in rules:
        for provider in rule.get_inherited_dependencies():
            if provider.gen_cache is not None:
                needs = f"it needs {provider.__name__}, which looks at more than one file"
                raise RuleFailed(rule, path, needs)
        instance = rule()
        instance.metadata = metadata
        instances.append(instance)
    libcst.visit_batched(module, instances)
    return [violation for instance in instances for violation in instance.violations]


def _blame(path: str, module: libcst.Module, rules: Sequence[type[LintRule]], error: Exception) -> RuleFailed:
    """Which of the rules raised: each is run alone."""
    for rule in rules:
        try:
            _visit(path, module, [rule])
        except Exception as own:
            return RuleFailed(rule, path, f"{type(own).__name__}: {own}")
    return RuleFailed(rules[-1], path, f"{type(error).__name__}: {error} (only together with other rules)")


def _finding(path: str, violation: LintViolation) -> Finding:
    start, end = violation.range.start, violation.range.end
    return Finding(
        path=path,
        line=start.line,
        column=start.column + 1,
        end_line=end.line,
        end_column=end.column + 1,
        rule=violation.rule_name,
        message=violation.message,
        fixable=violation.autofixable,
    )
