"""The text of a question, read into a tree.

A word is a target pattern or, where a function asks for one, a string. It holds letters, digits and
`*/@.-_:$#%[]~!=<>?`, and does not begin with `-`: `a-b` is one word, `a - b` a difference. Anything else is
quoted, with ' or ". The operators are `+ - ^` and `union except intersect`; they have one precedence and
group from the left, as in Buck2 and Bazel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fairlead.errors import UsageError

Operator: TypeAlias = Literal["+", "-", "^"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[(),+^-])|"(?P<double>[^"]*)"|'(?P<single>[^']*)'"""
    r"""|(?P<word>[\w*/@.:$\#%\[\]~!=<>?][\w*/@.:$\#%\[\]~!=<>?-]*))"""
)
_OPERATORS: dict[str, Operator] = {
    "+": "+", "-": "-", "^": "^", "union": "+", "except": "-", "intersect": "^",
}  # fmt: skip
_DEEPEST = 100


@dataclass(frozen=True)
class Word:
    """A pattern, a string or a number; `at` is its place in the text, from 0."""

    text: str
    at: int


@dataclass(frozen=True)
class Call:
    """A function and its arguments. `set` is called with words that no commas part."""

    name: str
    args: tuple[Expression, ...]
    at: int


@dataclass(frozen=True)
class Chain:
    """Operands joined by operators, which apply from the left; there is one operator fewer."""

    first: Expression
    rest: tuple[tuple[Operator, Expression], ...]


Expression: TypeAlias = Word | Call | Chain


@dataclass(frozen=True)
class _Token:
    kind: Literal["mark", "text", "word", "end"]
    text: str
    at: int


def parse(text: str) -> Expression:
    """Read a question; UsageError that names the column if it is none."""
    parser = _Parser(list(_tokens(text)), text)
    found = parser.chain(0)
    parser.expect_end()
    return found


def bad(what: str, at: int, remedy: str = "") -> UsageError:
    """The error for a place in a question."""
    return UsageError(what, where=f"column {at + 1} of the query", remedy=remedy)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            quote = text[at] in "'\""
            raise bad(
                "a quote is not closed" if quote else f"{text[at]!r} stands in no word and is no operator",
                at,
                "" if quote else "put the word in quotes",
            )
        at = match.end()
        for kind in ("mark", "word"):
            if match[kind] is not None:
                yield _Token(kind, match[kind], match.start(kind))
        for quoted in ("double", "single"):
            if match[quoted] is not None:
                yield _Token("text", match[quoted], match.start(quoted) - 1)
    yield _Token("end", "", end)


class _Parser:
    def __init__(self, tokens: list[_Token], text: str) -> None:
        self.tokens = tokens
        self.text = text
        self.next = 0

    def take(self) -> _Token:
        token = self.tokens[self.next]
        self.next = min(self.next + 1, len(self.tokens) - 1)
        return token

    def peek(self, kind: str, text: str) -> bool:
        token = self.tokens[self.next]
        return token.kind == kind and token.text == text

    def expect(self, mark: str) -> None:
        token = self.take()
        if token.kind != "mark" or token.text != mark:
            raise bad(f"{mark} is missing", token.at, _shown(token))

    def expect_end(self) -> None:
        token = self.take()
        if token.kind != "end":
            raise bad(
                f"{token.text!r} is too much",
                token.at,
                "join two expressions with + - ^ or put them in set()",
            )

    def chain(self, depth: int) -> Expression:
        if depth > _DEEPEST:
            raise bad(f"the query is nested deeper than {_DEEPEST}", self.tokens[self.next].at)
        first = self.operand(depth)
        rest: list[tuple[Operator, Expression]] = []
        while (operator := self.operator()) is not None:
            self.take()
            rest.append((operator, self.operand(depth)))
        return Chain(first, tuple(rest)) if rest else first

    def operator(self) -> Operator | None:
        token = self.tokens[self.next]
        return _OPERATORS.get(token.text) if token.kind in ("mark", "word") else None

    def operand(self, depth: int) -> Expression:
        token = self.take()
        if token.kind == "text":
            return Word(token.text, token.at)
        if token.kind == "mark" and token.text == "(":
            inner = self.chain(depth + 1)
            self.expect(")")
            return inner
        if token.kind != "word" or token.text in _OPERATORS:
            raise bad("an expression is missing", token.at, _shown(token))
        if self.peek("mark", "("):
            self.take()
            return self.call(token, depth)
        return Word(token.text, token.at)

    def call(self, name: _Token, depth: int) -> Call:
        args: list[Expression] = []
        if name.text == "set":
            while not self.peek("mark", ")"):
                token = self.take()
                if token.kind not in ("word", "text"):
                    raise bad("set() holds words, parted by spaces", token.at, _shown(token))
                args.append(Word(token.text, token.at))
        elif not self.peek("mark", ")"):
            args.append(self.chain(depth + 1))
            while self.peek("mark", ","):
                self.take()
                args.append(self.chain(depth + 1))
        self.expect(")")
        return Call(name.text, tuple(args), name.at)


def _shown(token: _Token) -> str:
    return "the query ends here" if token.kind == "end" else f"there is {token.text!r} instead"
