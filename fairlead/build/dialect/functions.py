"""The built-in functions of the dialect, and the `$...` functions that rewritten code calls.

Every evaluation gets its own table (`universe`) with its own step budget and its own place to print, so two
evaluations in one process do not meet.
"""

from __future__ import annotations

import functools
import json as python_json
import string
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from fairlead.build.dialect.fault import DialectError
from fairlead.build.dialect.values import (
    Dict,
    FrozenDict,
    FrozenList,
    List,
    Native,
    Set,
    Struct,
    plain,
    take_first,
    text_of,
    type_name,
)
from fairlead.errors import did_you_mean

STEPS = 20_000_000
"""Calls and turns of loops that one evaluation may take: some seconds of work, far beyond real files."""

_STRING = frozenset(
    name
    for line in (
        "capitalize count endswith find index join lower lstrip partition removeprefix removesuffix replace",
        "isalnum isalpha isdigit islower isspace istitle isupper format elems codepoint_ords",
        "rfind rindex rpartition rsplit rstrip split splitlines startswith strip title upper",
    )
    for name in line.split()
)
_LIST = frozenset(["append", "clear", "extend", "index", "insert", "pop", "remove"])
_DICT = frozenset(["clear", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"])

_PYTHON = frozenset(
    name
    for kind in (str, list, dict, tuple, int, float, bool, range, type(None), FunctionType)
    for name in dir(kind)
    if not name.startswith("_")
)

INTERCEPTED = (_PYTHON - _STRING - _LIST - _DICT) | {
    "format", "elems", "codepoint_ords", "keys", "values", "items", "popitem", "join"
}  # fmt: skip
"""Field names that do not go straight to Python: methods that only Python's types have, and those that work
otherwise here."""


def methods_of(value: object) -> list[str]:
    """The fields and methods that code may reach on `value`, sorted: what dir() lists."""
    if isinstance(value, Struct):
        return sorted(value.__dict__)
    if isinstance(value, (Native, Set)):
        return sorted(
            name for name in dir(value) if not name.startswith("_") and name not in ("TYPE", "busy")
        )
    for kind, names in ((str, _STRING), (list, _LIST), (dict, _DICT)):
        if isinstance(value, kind):
            return sorted(names)
    return []


def no_field(value: object, name: str) -> DialectError:
    """The error for a field that is not there."""
    known = methods_of(value)
    remedy = did_you_mean(name, known) or (f"it has {', '.join(known)}" if known else "it has no fields")
    return DialectError(f"a value of type {type_name(value)} has no field {name!r}", remedy=remedy)


def attr(value: Any, name: str) -> Any:
    """`value.name` for the names that Python must not answer by itself."""
    if isinstance(value, Struct):
        try:
            return value.__dict__[name]
        except KeyError:
            raise no_field(value, name) from None
    if name.startswith("_"):
        raise no_field(value, name)
    if isinstance(value, str):
        if name == "format":
            return functools.partial(format_text, value)
        if name == "elems":
            return lambda: List(value)
        if name == "codepoint_ords":
            return lambda: List(ord(c) for c in value)
        if name == "join":
            return lambda items: value.join(plain(items))
        if name not in _STRING:
            raise no_field(value, name)
    elif isinstance(value, dict):
        if name == "popitem" and type(value) is dict:
            return lambda: take_first(value)
        if name in ("keys", "values", "items"):
            found = getattr(value, name)
            return lambda: List(found())
        if name not in _DICT:
            raise no_field(value, name)
    elif isinstance(value, list):
        if name not in _LIST:
            raise no_field(value, name)
    elif not isinstance(value, (Native, Set)) or name not in methods_of(value):
        raise no_field(value, name)
    return getattr(value, name)


def _getattr(value: Any, name: str, *default: Any) -> Any:
    if type(name) is str and not name.startswith("__") and name in methods_of(value):
        return attr(value, name)
    if default:
        return default[0]
    raise no_field(value, str(name))


def _hasattr(value: Any, name: str) -> bool:
    return name in methods_of(value)


def format_text(template: str, *args: Any, **named: Any) -> str:
    """`template.format(...)`: {}, {0}, {name}, with !r or !s; no fields of fields, no format codes."""
    made: list[str] = []
    count = 0
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DialectError(
            f"this format string is broken: {error}", remedy="write {{ and }} for braces"
        ) from None
    for text, field, spec, conversion in parts:
        made.append(text)
        if field is None:
            continue
        if spec or conversion not in (None, "s", "r"):
            raise DialectError("format() takes no format codes", remedy="use {}, {0}, {name} or {!r}")
        if field == "":
            value: Any = _argument(args, count)
            count += 1
        elif field.isdecimal():
            value = _argument(args, int(field))
        elif field in named:
            value = named[field]
        else:
            raise DialectError(f"format() has no value for {{{field}}}", remedy="give it as a named argument")
        made.append(text_of(value, quoted=conversion == "r"))
    return "".join(made)


def _argument(args: tuple[Any, ...], index: int) -> Any:
    if index < len(args):
        return args[index]
    raise DialectError(f"format() has {len(args)} values, and the text asks for number {index + 1}")


def percent(left: Any, right: Any) -> Any:
    """`left % right`: the remainder of numbers, or a text with %s, %r, %d, %x, %o, %c, %f, %g, %e, %%."""
    if not isinstance(left, str):
        return left % right
    values = list(right) if isinstance(right, tuple) else [right]
    made: list[str] = []
    at = used = 0
    while (found := left.find("%", at)) >= 0:
        made.append(left[at:found])
        code = left[found + 1 : found + 2]
        at = found + 2
        if code == "%":
            made.append("%")
            continue
        if code == "(" and isinstance(right, dict):
            end = left.find(")", at)
            value, code, at = right[left[at:end]], left[end + 1 : end + 2], end + 2
            used = len(values)
        elif used < len(values):
            value = values[used]
            used += 1
        else:
            raise DialectError("there are not enough values for this format string")
        made.append(_percent_one(code, value))
    if used < len(values) and not (isinstance(right, dict) and used == 0):
        raise DialectError("there are more values than this format string takes")
    return "".join(made) + left[at:]


def _percent_one(code: str, value: Any) -> str:
    if code in ("s", "r"):
        return text_of(value, quoted=code == "r")
    if code in ("d", "i", "x", "X", "o", "e", "f", "g", "E", "F", "G"):
        if type(value) not in (int, float):
            raise DialectError(f"%{code} takes a number, not a value of type {type_name(value)}")
        return str(("%" + code) % value)
    if code == "c" and type(value) in (int, str):
        return _chr(value) if type(value) is int else str(value)
    raise DialectError(f"the format code %{code} is unknown", remedy="use %s, %r, %d or %%")


def equal(left: Any, right: Any) -> bool:
    """`left == right`, with True and 1 apart."""
    if type(left) is bool or type(right) is bool:
        return left is right
    return bool(left == right)


class TypeFunction(Native):
    """str, int, list, ...: a function that makes such a value, and a type for isinstance()."""

    TYPE = "function"

    def __init__(self, name: str, kinds: tuple[type, ...], make: Callable[..., Any]) -> None:
        self._name = name
        self._kinds = kinds
        self._make = make

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._make(*args, **named)

    def __getitem__(self, _inner: Any) -> TypeFunction:
        return self  # list[str]: the container is checked, what it holds is not

    def __or__(self, other: Any) -> tuple[Any, ...]:
        return (self, *other) if isinstance(other, tuple) else (self, other)

    def __ror__(self, other: Any) -> tuple[Any, ...]:
        return (*other, self) if isinstance(other, tuple) else (other, self)

    def __str__(self) -> str:
        return f"<function {self._name}>"

    def _holds(self, value: Any) -> bool:
        if type(value) is bool:
            return bool in self._kinds
        return isinstance(value, self._kinds)


class _Anything(Native):
    TYPE = "type"

    def _holds(self, _value: Any) -> bool:
        return True


def is_instance(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if isinstance(kind, (tuple, list)):
        return any(is_instance(value, one) for one in kind)
    holds = getattr(kind, "_holds", None)
    if isinstance(kind, Native) and holds is not None:
        return bool(holds(value))
    raise DialectError(
        f"isinstance() takes a type, not a value of type {type_name(kind)}",
        remedy="such as str, or a provider",
    )


def _int(value: Any = 0, base: int = 10) -> int:
    if isinstance(value, str):
        try:
            return int(value, base)
        except ValueError:
            raise DialectError(f"{text_of(value, quoted=True)} is no number in base {base}") from None
    if isinstance(value, (bool, int, float)):
        return int(value)
    raise DialectError(f"int() takes no value of type {type_name(value)}")


def _float(value: Any = 0) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DialectError(f"float() cannot read {text_of(value, quoted=True)}") from None


def _dict(*args: Any, **named: Any) -> Dict:
    return Dict(*(dict.items(a) if isinstance(a, dict) else plain(a) for a in args), **named)


def _sorted(items: Any, key: Any = None, reverse: bool = False) -> List:
    return List(sorted(plain(items), key=key, reverse=reverse))


def _extreme(pick: Callable[..., Any]) -> Callable[..., Any]:
    def find(*args: Any, key: Any = None) -> Any:
        items = plain(args[0]) if len(args) == 1 else args
        if not len(items):
            raise DialectError(f"{pick.__name__}() of nothing")
        return pick(items, key=key)

    return find


def _hash(text: Any) -> int:
    """The hash of a string, the same on every machine: Java's, as Starlark defines it."""
    if not isinstance(text, str):
        raise DialectError(f"hash() takes a string, not a value of type {type_name(text)}")
    total = 0
    for unit in memoryview(text.encode("utf-16-le")).cast("H"):
        total = (31 * total + unit) & 0xFFFFFFFF
    return total - (1 << 32) if total >= 1 << 31 else total


def _chr(number: Any) -> str:
    if type(number) is int and 0 <= number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
        return chr(number)
    raise DialectError(f"{text_of(number, quoted=True)} is the number of no character")


def _fail(*args: Any, sep: str = " ") -> None:
    raise DialectError(sep.join(text_of(arg) for arg in args) or "fail() was called")


class Partial(Native):
    """partial(f, ...): a function with its first arguments given."""

    TYPE = "function"

    def __init__(self, func: Any, /, *args: Any, **named: Any) -> None:
        self._call = functools.partial(func, *args, **named)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._call(*args, **named)

    def __str__(self) -> str:
        return f"partial({text_of(self._call.func)})"


class _Json(Native):
    TYPE = "json"

    def encode(self, value: Any) -> str:
        return python_json.dumps(jsonable(value), separators=(",", ":"), ensure_ascii=False)

    def decode(self, text: str, default: Any = ...) -> Any:
        try:
            return _from_json(python_json.loads(text))
        except (ValueError, RecursionError) as error:
            if default is not ...:
                return default
            raise DialectError(f"json.decode: {error}") from None


def jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, Set)):
        return [jsonable(item) for item in value]
    if isinstance(value, dict):
        for key in dict.keys(value):
            if not isinstance(key, str):
                raise DialectError(f"json.encode: the key {text_of(key, quoted=True)} is no string")
        return {key: jsonable(dict.__getitem__(value, key)) for key in sorted(dict.keys(value))}
    if isinstance(value, Struct):
        return {key: jsonable(value.__dict__[key]) for key in sorted(value.__dict__)}
    raise DialectError(f"json.encode takes no value of type {type_name(value)}")


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return List(_from_json(item) for item in value)
    if isinstance(value, dict):
        return Dict({key: _from_json(item) for key, item in value.items()})
    return value


_CALLABLE = (FunctionType, BuiltinFunctionType, MethodType, TypeFunction, Partial)

TYPES: dict[str, TypeFunction] = {
    "bool": TypeFunction("bool", (bool,), lambda value=False: bool(value)),
    "dict": TypeFunction("dict", (dict,), _dict),
    "float": TypeFunction("float", (float,), _float),
    "int": TypeFunction("int", (int,), _int),
    "list": TypeFunction("list", (list,), lambda items=(): List(plain(items))),
    "set": TypeFunction("set", (Set,), lambda items=(): Set(plain(items))),
    "str": TypeFunction("str", (str,), lambda value: text_of(value)),
    "tuple": TypeFunction("tuple", (tuple,), lambda items=(): tuple(plain(items))),
}


class Budget:
    """The steps that one evaluation has left."""

    def __init__(self, steps: int = STEPS) -> None:
        self.left = steps
        self.steps = steps

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise DialectError(
                f"the evaluation took more than {self.steps} steps",
                remedy="look for a loop or call without an end",
            )


def universe(budget: Budget, on_print: Callable[[str], None]) -> dict[str, Any]:
    """The built-in names of one evaluation."""

    def tick() -> None:
        budget.left -= 1
        if budget.left < 0:
            budget.spend(0)

    def gone_through(value: Any) -> Any:
        kind = type(value)
        if kind is range:
            return counted(value) if len(value) > 100_000 else charged(value)
        if kind is List or kind is Dict or kind is Set:
            return guarded(charged(value))
        if kind is tuple or kind is FrozenList or kind is FrozenDict or kind is dict:
            return charged(value)
        if kind is list:
            return unchanged(charged(value))
        return charged(plain(value))

    def charged(value: Any) -> Any:
        budget.spend(len(value))
        return value

    def counted(value: range) -> Iterator[int]:
        # A long range stands for "while": what is not reached is not charged.
        for index, item in enumerate(value):
            if index % 1000 == 0:
                budget.spend(1000)
            yield item

    def guarded(value: Any) -> Iterator[Any]:
        value.busy += 1
        try:
            yield from (value._items if type(value) is Set else value)
        finally:
            value.busy -= 1

    def unchanged(value: list[Any]) -> Iterator[Any]:
        size = len(value)
        for item in value:
            yield item
            if len(value) != size:
                raise DialectError(
                    "a container was changed while a loop went through it", remedy="loop over a copy: list(x)"
                )

    def show(*args: Any, sep: str = " ") -> None:
        on_print(sep.join(text_of(arg) for arg in args))

    def map_(func: Any, items: Any) -> List:
        return List([func(item) for item in gone_through(items)])

    def filter_(func: Any, items: Any) -> List:
        if func is None:
            return List([item for item in gone_through(items) if item is not None])
        return List([item for item in gone_through(items) if func(item)])

    return {
        **TYPES,
        "None": None,
        "True": True,
        "False": False,
        "$attr": attr,
        "$dict": Dict,
        "$eq": equal,
        "$iter": gone_through,
        "$list": List,
        "$mod": percent,
        "$plain": plain,
        "$text": text_of,
        "$tick": tick,
        "abs": abs,
        "all": lambda items: all(plain(items)),
        "any": lambda items: any(plain(items)),
        "callable": lambda value: isinstance(value, _CALLABLE) or callable(value),
        "chr": _chr,
        "dedupe": lambda items: List(dict.fromkeys(plain(items))),
        "dir": lambda value: List(methods_of(value)),
        "enumerate": lambda items, start=0: List(enumerate(plain(items), start)),
        "fail": _fail,
        "filter": filter_,
        "getattr": _getattr,
        "hasattr": _hasattr,
        "hash": _hash,
        "isinstance": is_instance,
        "json": _Json(),
        "len": len,
        "map": map_,
        "max": _extreme(max),
        "min": _extreme(min),
        "ord": ord,
        "partial": Partial,
        "print": show,
        "range": range,
        "repr": lambda value: text_of(value, quoted=True),
        "reversed": lambda items: List(reversed(list(plain(items)))),
        "sorted": _sorted,
        "struct": lambda **fields: Struct(fields),
        "type": type_name,
        "typing": Struct({"Any": _Anything(), "Callable": _Anything(), "Iterable": _Anything()}),
        "zip": lambda *items: List(zip(*[plain(item) for item in items], strict=False)),
    }
