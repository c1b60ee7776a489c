"""One object for equal values: what the targets and actions of a plan have in common is kept once.

A genrule's output is named by its target, by its action and by whoever reads it; most attributes of most
targets are the same empty lists. Of 200,000 targets that is half of a plan. Values of a plan are never
changed, so nobody can tell. `marshal` keeps what is shared, and gives it back shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.build.plan import JSON, Action, Target

_put = object.__setattr__


class Sharing:
    """The values met so far, in one plan."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._rows: dict[tuple[str, ...], tuple[str, ...]] = {(): ()}
        self._lists: dict[tuple[str, ...], list[JSON]] = {}
        self._empty: dict[Any, Any] = {}

    def action(self, action: Action) -> None:
        """Let the parts of an action be those of others that are equal."""
        row = self._row
        _put(action, "owner", self._text(action.owner))
        _put(action, "outputs", row(action.outputs))
        if action.argv:
            _put(action, "argv", row(action.argv))
        _put(action, "sources", row(action.sources))
        _put(action, "inputs", row(action.inputs))
        _put(action, "directories", row(action.directories))
        _put(action, "env", self._table(action.env))
        _put(action, "entries", self._table(action.entries))
        _put(action, "toolchains", row(action.toolchains))

    def target(self, target: Target) -> None:
        """Let the parts of a target be those of others that are equal."""
        row = self._row
        _put(target, "label", self._text(target.label))
        _put(target, "sources", row(target.sources))
        _put(target, "deps", row(target.deps))
        _put(target, "toolchains", row(target.toolchains))
        _put(target, "rule_bzl", row(target.rule_bzl))
        _put(target, "default_outputs", row(target.default_outputs))
        _put(target, "other_outputs", row(target.other_outputs))
        _put(target, "run_inputs", row(target.run_inputs))
        _put(target, "config", self._table(target.config))
        _put(target, "environment", self._table(target.environment))
        _put(target, "attrs", {name: self._json(value) for name, value in target.attrs.items()})

    def _text(self, text: str) -> str:
        return self._texts.setdefault(text, text)

    def _row(self, row: tuple[str, ...]) -> tuple[str, ...]:
        found = self._rows.get(row)
        if found is None:
            share = self._texts.setdefault
            found = tuple([share(text, text) for text in row])
            self._rows[found] = found
        return found

    def _table(self, table: Mapping[str, str]) -> Mapping[str, str]:
        if not table:
            return self._empty
        share = self._texts.setdefault
        return {share(name, name): share(text, text) for name, text in table.items()}

    def _json(self, value: JSON) -> JSON:
        if isinstance(value, str):
            return self._texts.setdefault(value, value)
        if isinstance(value, dict):
            return value or self._empty
        if not isinstance(value, list):
            return value
        for item in value:
            if type(item) is not str:
                return value
        row: tuple[Any, ...] = tuple(value)
        return self._lists.setdefault(row, value)
