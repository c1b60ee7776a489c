"""The class that rules extend: Fixit's `LintRule`, so that a rule written for either runs in both.

Same names, same defaults and same order of events as Fixit 2, because rules and their cases rely on
them: state lives on the instance and each file gets a new one; a suppressed report leaves no trace;
positions are whole nodes unless told otherwise. What differs is under the surface: metadata is
resolved when a rule first asks for it (see `check`), and no diff is made for a finding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from libcst import BatchableCSTVisitor, CSTNode, Decorator, FlattenSentinel, Module, RemovalSentinel
from libcst.metadata import CodePosition, CodeRange, ParentNodeProvider, PositionProvider, ProviderT

from fairlead.lint.case import Invalid, Valid
from fairlead.lint.directive import silences

Replacement = CSTNode | FlattenSentinel[CSTNode] | RemovalSentinel

# Where a comment that belongs to a node may hang, in the order of looking: on the node's own line
# (for a block: on its header), behind its comma, inside its brackets, between its decorators and
# it, above it.
_PLACES = (
    ("trailing_whitespace",),
    ("body", "trailing_whitespace"),
    ("body", "header"),
    ("comma", "whitespace_after", "first_line"),
    ("rbracket", "whitespace_before", "first_line"),
    ("lbracket", "whitespace_after", "empty_lines"),
    ("lines_after_decorators",),
    ("leading_lines",),
)


@dataclass(frozen=True)
class LintViolation:
    """One report of a rule on a parsed file, tied to its node; `check` turns it into a `Finding`.

    `diff` is Fixit's field, which its engine fills; ours leaves it empty.
    """

    rule_name: str
    range: CodeRange
    message: str
    node: CSTNode
    replacement: Replacement | None
    diff: str = ""

    @property
    def autofixable(self) -> bool:
        """Whether there is a fix. As in Fixit, an empty FlattenSentinel counts as none."""
        return bool(self.replacement)


class LintRule(BatchableCSTVisitor):
    """A rule: visitor methods (`visit_Call`, `leave_Call`, ...) that call `report`.

    A rule reads the tree and never changes it; what a visitor method returns is not looked at, so
    children are always visited.
    """

    METADATA_DEPENDENCIES: ClassVar[Collection[ProviderT]] = (PositionProvider,)
    TAGS: set[str] = set()
    PYTHON_VERSION: str = ""
    VALID: ClassVar[list[str | Valid]]
    INVALID: ClassVar[list[str | Invalid]]
    AUTOFIX: bool = False
    name: str
    _dependencies: ClassVar[frozenset[ProviderT]] = frozenset(METADATA_DEPENDENCIES)

    def __init__(self) -> None:
        super().__init__()
        self._violations: list[LintViolation] = []
        self.name = type(self).__name__.removesuffix("Rule")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if ParentNodeProvider not in cls.METADATA_DEPENDENCIES:  # suppression walks up the tree
            cls.METADATA_DEPENDENCIES = (*cls.METADATA_DEPENDENCIES, ParentNodeProvider)
        cls._dependencies = frozenset(
            provider for base in cls.__mro__ for provider in getattr(base, "METADATA_DEPENDENCIES", ())
        )
        cases: list[str | Invalid] = getattr(cls, "INVALID", [])
        if any(getattr(case, "expected_replacement", None) for case in cases):
            cls.AUTOFIX = True

    def __str__(self) -> str:
        return f"{type(self).__module__}:{type(self).__name__}"

    @classmethod
    def get_inherited_dependencies(cls) -> Collection[ProviderT]:
        """The providers that this rule and the classes it extends declare.

        LibCST remembers them on the class in a way that subclasses inherit, so a rule that extends
        one that has run before would be refused its own providers.
        """
        return cls._dependencies

    @property
    def violations(self) -> tuple[LintViolation, ...]:
        """What this instance has reported so far, in the order of reporting."""
        return tuple(self._violations)

    def node_comments(self, node: CSTNode) -> Iterator[str]:
        """Each comment that belongs to `node` or to the statement it is in, nearest first."""
        while not isinstance(node, Module):
            for place in _PLACES:
                yield from _comments_at(node, place)
            # A statement owns the lines above it: comments further out belong to others.
            # A decorator has such lines too, but is a part of the statement below.
            if hasattr(node, "leading_lines") and not isinstance(node, Decorator):
                break
            node = self.get_metadata(ParentNodeProvider, node)
        # What stands above the first statement is kept as the module's header.
        if isinstance(node, Module):
            yield from _comments_at(node, ("header",))
            return
        parent = self.get_metadata(ParentNodeProvider, node)
        if isinstance(parent, Module) and parent.body and parent.body[0] is node:
            yield from _comments_at(parent, ("header",))

    def ignore_lint(self, node: CSTNode) -> bool:
        """Whether a comment silences this rule at `node` (see `directive`)."""
        return any(silences(comment, self.name) for comment in self.node_comments(node))

    def report(
        self,
        node: CSTNode,
        message: str | None = None,
        *,
        position: CodePosition | CodeRange | None = None,
        replacement: Replacement | None = None,
    ) -> None:
        """Report `node`, unless a comment silences it.

        `message` defaults to the rule's MESSAGE; without either this is a ValueError. `position`
        defaults to the node's range; a single position extends to the start of the next line.
        Putting `replacement` in the node's place should make the finding go away.
        """
        if self.ignore_lint(node):
            return
        text = message or getattr(self, "MESSAGE", None)
        if not text:
            raise ValueError(f"{self.name} reports without a message and has no MESSAGE")
        if position is None:
            position = self.get_metadata(PositionProvider, node)
        elif isinstance(position, CodePosition):
            position = CodeRange(start=position, end=CodePosition(position.line + 1, 0))
        self._violations.append(LintViolation(self.name, position, text, node, replacement))


def _comments_at(node: CSTNode, place: tuple[str, ...]) -> Iterator[str]:
    found: Any = node
    for attribute in place:
        found = getattr(found, attribute, None)
    for line in found if isinstance(found, (list, tuple)) else (found,):
        comment = getattr(line, "comment", None)
        if comment is not None:
            yield comment.value
