"""JSON with comments and trailing commas, read exactly as DotSlash reads it.

A JSON5 or "json with comments" library accepts far more than DotSlash does (`#` comments, single quotes,
bare keys), and a manifest that only Fairlead can read is a broken manifest. So this is a reader of our own;
tests compare it with the real binary. Two habits of that binary that look like mistakes are kept for the same
reason: the star of an opening `/*` counts as a star of the comment, so `/*/` is a whole comment and `/**/` is
not closed; and numbers beyond 64 bits become floats.
"""

from __future__ import annotations

import re

from fairlead.errors import UsageError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

MOST_NESTED = 127  # arrays and objects inside one another
_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)

_BLANK = re.compile(r"[ \t\r\n]+")
_LINE_COMMENT = re.compile(r"//[^\n]*")
_BLOCK_COMMENT = re.compile(r"/(?:[^*]|\*[^/])*+\*/", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: tuple[tuple[str, Json], ...] = (("true", True), ("false", False), ("null", None))


def parse(text: str, *, where: str = "", first_line: int = 1) -> Json:
    """The one value in `text`. Errors name `where:line:column`, lines counted from `first_line`.

    Of a key given twice the last value counts.
    """
    reader = _Reader(text, where, first_line)
    value = reader.value(0)
    reader.skip()
    if reader.at < len(text):
        raise reader.error("there is more after the end of the JSON value", "remove it")
    return value


class _Reader:
    def __init__(self, text: str, where: str, first_line: int) -> None:
        self.text, self.where, self.first_line = text, where, first_line
        self.at = 0

    def error(self, what: str, remedy: str = "") -> UsageError:
        line = self.text.count("\n", 0, self.at)
        column = self.at - (self.text.rfind("\n", 0, self.at) + 1) + 1
        return UsageError(what, where=f"{self.where}:{line + self.first_line}:{column}", remedy=remedy)

    def skip(self) -> None:
        """Pass over blanks and comments."""
        while True:
            start = self.text[self.at : self.at + 1]
            if start in (" ", "\t", "\r", "\n"):
                found = _BLANK.match(self.text, self.at)
            elif start == "/":
                found = _LINE_COMMENT.match(self.text, self.at)
                if found is None and self.text.startswith("/*", self.at):
                    found = _BLOCK_COMMENT.match(self.text, self.at)
                    if found is None:
                        raise self.error(
                            "a comment is not closed",
                            "end it with */ and a blank before that (DotSlash does not see the end of /**/)",
                        )
                if found is None:
                    raise self.error("a single / stands here", "begin a comment with // or /*")
            else:
                return
            assert found is not None
            self.at = found.end()

    def peek(self) -> str:
        """The next character that counts, or "" at the end."""
        self.skip()
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Json:
        start = self.peek()
        if start == '"':
            return self.string()
        if start == "{":
            return self.object(depth + 1)
        if start == "[":
            return self.array(depth + 1)
        for word, meaning in _WORDS:
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return meaning
        return self.number()

    def object(self, depth: int) -> dict[str, Json]:
        self.enter(depth)
        made: dict[str, Json] = {}
        while self.peek() != "}":
            if self.peek() != '"':
                raise self.error("a key in double quotes is missing here")
            key = self.string()
            if self.peek() != ":":
                raise self.error(f'a colon is missing after the key "{key}"')
            self.at += 1
            made[key] = self.value(depth)
            self.comma("}")
        self.at += 1
        return made

    def array(self, depth: int) -> list[Json]:
        self.enter(depth)
        made: list[Json] = []
        while self.peek() != "]":
            made.append(self.value(depth))
            self.comma("]")
        self.at += 1
        return made

    def enter(self, depth: int) -> None:
        if depth > MOST_NESTED:
            raise self.error(f"arrays and objects are nested more than {MOST_NESTED} deep")
        self.at += 1

    def comma(self, closing: str) -> None:
        found = self.peek()
        if found == ",":
            self.at += 1
        elif found != closing:
            raise self.error(f"a comma or {closing} is missing here")

    def string(self) -> str:
        self.at += 1
        parts: list[str] = []
        while True:
            plain = _PLAIN.match(self.text, self.at)
            assert plain is not None
            parts.append(plain.group())
            self.at = plain.end()
            stop = self.text[self.at : self.at + 1]
            if stop == '"':
                self.at += 1
                return "".join(parts)
            if stop == "\\":
                parts.append(self.escape())
            else:
                raise self.error("a string is not closed" if not stop else "a string has a control character")

    def escape(self) -> str:
        letter = self.text[self.at + 1 : self.at + 2]
        if letter in _ESCAPES:
            self.at += 2
            return _ESCAPES[letter]
        if letter != "u":
            raise self.error(f"a string has the unknown escape \\{letter}")
        first = self.unit()
        if not 0xD800 <= first <= 0xDFFF:
            return chr(first)
        if first < 0xDC00 and self.text.startswith("\\u", self.at):
            second = self.unit()
            if 0xDC00 <= second <= 0xDFFF:
                return chr(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
        raise self.error("a string has half of a surrogate pair")

    def unit(self) -> int:
        """One `\\uXXXX`."""
        digits = _HEX.match(self.text, self.at + 2)
        if digits is None:
            raise self.error("a \\u escape needs four hexadecimal digits")
        self.at += 6
        return int(digits.group(), 16)

    def number(self) -> int | float:
        found = _NUMBER.match(self.text, self.at)
        if found is None:
            raise self.error("a value is missing here")
        if self.text[found.end() : found.end() + 1] in tuple("0123456789.eE"):
            raise self.error("this is not a number that JSON knows")
        if found.group(1) is None and found.group(2) is None and len(found.group()) <= 20:
            whole = int(found.group())
            if _SMALLEST <= whole <= _LARGEST:
                self.at = found.end()
                return whole
        number = float(found.group())
        if number in (float("inf"), float("-inf")):
            raise self.error("this number is too large")
        self.at = found.end()
        return number
