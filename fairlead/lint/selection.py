"""Selection: which rules are asked, by name, without importing any of them.

Small on purpose for now: the built-in rules less those that the setting `lint.disable` names. Rules
that live in a repository come with their own, stricter loader.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from fairlead.lint.rule import LintRule


@dataclass(frozen=True)
class RuleRef:
    """A rule by its class and module. `load` imports it, and LibCST with it."""

    class_name: str
    module: str

    @property
    def name(self) -> str:
        """The name that findings and comments use: without the suffix "Rule", as Fixit has it."""
        return self.class_name.removesuffix("Rule")

    def load(self) -> type[LintRule]:
        """The rule's class."""
        import importlib

        rule: type[LintRule] = getattr(importlib.import_module(self.module), self.class_name)
        return rule


BUILT_IN = (
    RuleRef("CompareSingletonPrimitivesByIs", "fairlead.lint.rules.compare_singleton_primitives_by_is"),
)


def select(disable: Iterable[str] = ()) -> tuple[RuleRef, ...]:
    """The built-in rules without those named; `UsageError` for a name that no rule has."""
    out = set(disable)
    known = {ref.name for ref in BUILT_IN}
    for name in sorted(out - known):
        raise UsageError(
            f"there is no lint rule {name}",
            where="setting lint.disable",
            remedy=did_you_mean(name, known) or f"the rules are {', '.join(sorted(known))}",
        )
    return tuple(ref for ref in BUILT_IN if ref.name not in out)
