"""The containers of the dialect: lists, dicts and sets that freeze, structs, and how values print.

A .bzl file is shared by all who load it, so when it has been loaded all that it holds is frozen: `freeze`
flips the class of each container, which costs nothing where nothing is frozen. A container counts the loops
that go through it (`busy`) and refuses changes meanwhile. BUCK files export nothing, so their literals stay
plain Python lists and dicts (wrapping them tripled their compile time); every function here takes both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, ClassVar, NoReturn, SupportsIndex

from fairlead.build.dialect.fault import DialectError


def _frozen(kind: str) -> NoReturn:
    raise DialectError(
        f"this {kind} is frozen: the file that made it has been loaded", remedy=f"change a copy: {kind}(x)"
    )


def _guard(container: List | Dict | Set) -> None:
    if container.busy:
        raise DialectError(
            "a container was changed while a loop went through it", remedy="loop over a copy: list(x)"
        )


class List(list[Any]):
    """A list made in a .bzl file."""

    busy = 0

    def append(self, item: Any) -> None:
        _guard(self)
        list.append(self, item)

    def extend(self, items: Iterable[Any]) -> None:
        _guard(self)
        list.extend(self, plain(items))

    def insert(self, index: SupportsIndex, item: Any) -> None:
        _guard(self)
        list.insert(self, index, item)

    def pop(self, index: SupportsIndex = -1) -> Any:
        _guard(self)
        return list.pop(self, index)

    def remove(self, item: Any) -> None:
        _guard(self)
        if item not in self:
            raise DialectError(f"{text_of(item, quoted=True)} is not in the list")
        list.remove(self, item)

    def clear(self) -> None:
        _guard(self)
        list.clear(self)

    def __setitem__(self, index: Any, item: Any) -> None:
        _guard(self)
        list.__setitem__(self, index, item)

    def __getitem__(self, index: Any) -> Any:
        found = list.__getitem__(self, index)
        return List(found) if type(index) is slice else found

    def __add__(self, other: Any) -> Any:
        return List(list.__add__(self, other)) if isinstance(other, list) else NotImplemented

    def __iadd__(self, other: Any) -> Any:
        _guard(self)
        list.extend(self, plain(other))
        return self

    def __mul__(self, times: Any) -> Any:
        return List(list.__mul__(self, times))

    __rmul__ = __mul__

    def __imul__(self, times: Any) -> Any:
        return self * times


class FrozenList(List):
    """A list of a loaded .bzl file."""

    def _refuse(self, *_args: Any) -> NoReturn:
        _frozen("list")

    append = extend = insert = pop = remove = clear = __setitem__ = __iadd__ = _refuse  # type: ignore[assignment]


class Dict(dict[Any, Any]):
    """A dict made in a .bzl file."""

    busy = 0

    def __setitem__(self, key: Any, value: Any) -> None:
        _guard(self)
        dict.__setitem__(self, key, value)

    def pop(self, *args: Any) -> Any:
        _guard(self)
        return dict.pop(self, *args)

    def popitem(self) -> tuple[Any, Any]:
        """Take out the first item, as Starlark does (CPython takes the last)."""
        _guard(self)
        return take_first(self)

    def clear(self) -> None:
        _guard(self)
        dict.clear(self)

    def update(self, *args: Any, **named: Any) -> None:
        _guard(self)
        dict.update(self, *args, **named)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            _guard(self)
        return dict.setdefault(self, key, default)

    def __or__(self, other: Any) -> Any:
        return Dict({**self, **other}) if isinstance(other, dict) else NotImplemented

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def keys(self) -> Any:
        return List(dict.keys(self))

    def values(self) -> Any:
        return List(dict.values(self))

    def items(self) -> Any:
        return List(dict.items(self))


class FrozenDict(Dict):
    """A dict of a loaded .bzl file."""

    def _refuse(self, *_args: Any, **_named: Any) -> NoReturn:
        _frozen("dict")

    __setitem__ = pop = popitem = clear = update = setdefault = __ior__ = _refuse


def take_first(table: dict[Any, Any]) -> tuple[Any, Any]:
    """Remove and return the first item of a dict."""
    for key in dict.__iter__(table):
        return key, dict.pop(table, key)
    raise DialectError("the container is empty")


class Set:
    """A set that keeps the order in which items came."""

    busy = 0
    _is_frozen = False

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items: dict[Any, None] = dict.fromkeys(items)

    def _change(self) -> dict[Any, None]:
        if self._is_frozen:
            _frozen("set")
        _guard(self)
        return self._items

    def add(self, item: Any) -> None:
        self._change()[item] = None

    def remove(self, item: Any) -> None:
        if item not in self._items:
            raise DialectError(f"{text_of(item, quoted=True)} is not in the set", remedy="use .discard()")
        del self._change()[item]

    def discard(self, item: Any) -> None:
        self._change().pop(item, None)

    def pop(self) -> Any:
        """Take out the first item."""
        return take_first(self._change())[0]

    def clear(self) -> None:
        self._change().clear()

    def update(self, *others: Iterable[Any]) -> None:
        items = self._change()
        for other in others:
            items.update(dict.fromkeys(plain(other)))

    def union(self, *others: Iterable[Any]) -> Set:
        made = Set(self._items)
        made.update(*others)
        return made

    def intersection(self, other: Iterable[Any]) -> Set:
        kept = dict.fromkeys(plain(other))
        return Set(item for item in self._items if item in kept)

    def difference(self, other: Iterable[Any]) -> Set:
        dropped = dict.fromkeys(plain(other))
        return Set(item for item in self._items if item not in dropped)

    def symmetric_difference(self, other: Iterable[Any]) -> Set:
        theirs = Set(plain(other))
        return self.difference(theirs).union(theirs.difference(self))

    def issubset(self, other: Iterable[Any]) -> bool:
        theirs = dict.fromkeys(plain(other))
        return all(item in theirs for item in self._items)

    def issuperset(self, other: Iterable[Any]) -> bool:
        return all(item in self._items for item in plain(other))

    def __or__(self, other: Any) -> Any:
        return self.union(other) if isinstance(other, Set) else NotImplemented

    def __and__(self, other: Any) -> Any:
        return self.intersection(other) if isinstance(other, Set) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return self.difference(other) if isinstance(other, Set) else NotImplemented

    def __xor__(self, other: Any) -> Any:
        return self.symmetric_difference(other) if isinstance(other, Set) else NotImplemented

    def __contains__(self, item: Any) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Set) and self._items.keys() == other._items.keys()

    __hash__ = None  # type: ignore[assignment]


class Native:
    """A value of ours that project code holds: its public attributes are its fields in the dialect, `TYPE`
    is what type() says, and str() shows it."""

    TYPE: ClassVar[str] = "native"

    def _type_name(self) -> str:
        return type(self).TYPE

    def __str__(self) -> str:
        return f"<{type(self).TYPE}>"  # not where it is in memory: a text may end up in a key

    def _freeze(self) -> None:
        """Make this value unchangeable, with all that it holds. Most values of ours never change."""


class Struct(Native):
    """struct(a = 1): named fields, never changed."""

    TYPE = "struct"

    def __init__(self, _fields: Mapping[str, Any]) -> None:
        self.__dict__.update(_fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.items()))

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={text_of(value, quoted=True)}" for name, value in self.__dict__.items())
        return f"{type_name(self)}({inside})"


_TYPES: dict[type, str] = {
    type(None): "NoneType",
    bool: "bool",
    int: "int",
    float: "float",
    str: "string",
    tuple: "tuple",
    range: "range",
    Set: "set",
    FunctionType: "function",
    BuiltinFunctionType: "function",
    MethodType: "function",
}


def type_name(value: object) -> str:
    """What type() says: Starlark's names."""
    if isinstance(value, Native):
        return type(value)._type_name(value)  # not value._type_name(): a struct may have such a field
    if isinstance(value, list):
        return "list"
    if isinstance(value, dict):
        return "dict"
    return _TYPES.get(type(value), "function")


_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


def text_of(value: object, *, quoted: bool = False) -> str:
    """str(value), or repr(value) if `quoted`: strings inside containers stand in double quotes."""
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"' if quoted else value
    if isinstance(value, list):
        return "[" + ", ".join([text_of(item, quoted=True) for item in value]) + "]"
    if isinstance(value, tuple):
        inside = ", ".join([text_of(item, quoted=True) for item in value])
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, dict):
        pairs = [f"{text_of(k, quoted=True)}: {text_of(v, quoted=True)}" for k, v in dict.items(value)]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Set):
        return "set([" + ", ".join([text_of(item, quoted=True) for item in value]) + "])"
    if isinstance(value, (FunctionType, BuiltinFunctionType, MethodType)):
        return f"<function {value.__name__}>"
    return str(value)


def check_text(value: str, *, allow_nul: bool = False) -> str:
    """`value`, if it can leave the evaluation: half a surrogate pair has no UTF-8, a NUL fits no command."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DialectError(f"{value!a} holds half a character", remedy="write it as one") from None
    if "\0" in value and not allow_nul:
        raise DialectError(f"{value!a} holds a NUL", remedy="remove it")
    return value


def plain(value: Any) -> Any:
    """`value` as something Python may go through; strings and numbers are refused, as the dialect does."""
    if isinstance(value, (list, tuple, dict, range, Set)):
        return value
    if isinstance(value, str):
        raise DialectError(
            "a string cannot be gone through", remedy="use .elems() for its characters, .split() for words"
        )
    raise DialectError(f"a value of type {type_name(value)} cannot be gone through")


def freeze(names: dict[str, Any]) -> None:
    """Freeze all that the globals `names` of a loaded file reach. Plain containers (made by Python's own
    methods, such as str.split) are replaced by frozen copies wherever they are held."""
    _Freezer(names).fill(names)


class _Freezer:
    """One walk through what globals reach. An object, for closures would hold each other, and all that they
    saw, until the collector comes."""

    __slots__ = ("_kept", "_names", "_seen")

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._seen: dict[int, Any] = {}
        self._kept: list[Any] = []  # what was replaced stays alive, so that no other value takes its id

    def fill(self, table: dict[Any, Any]) -> None:
        """Freeze the values of a table, in place."""
        for key, item in tuple(dict.items(table)):
            new = self._walk(item)
            if new is not item:
                dict.__setitem__(table, key, new)

    def _walk(self, value: Any) -> Any:
        kind = type(value)
        if kind is str or kind is int or kind is bool or value is None:
            return value
        if kind is FrozenList or kind is FrozenDict:
            return value
        seen = self._seen
        if id(value) in seen:
            return seen[id(value)]
        seen[id(value)] = value
        self._kept.append(value)
        if isinstance(value, list):
            if kind is List:
                value.__class__ = FrozenList
            elif kind is list:
                seen[id(value)] = FrozenList(value)
            items = seen[id(value)]
            for index, item in enumerate(items):
                list.__setitem__(items, index, self._walk(item))
        elif isinstance(value, dict):
            if kind is Dict:
                value.__class__ = FrozenDict
            elif kind is dict:
                seen[id(value)] = FrozenDict(value)
            self.fill(seen[id(value)])
        elif kind is tuple:
            items = tuple(self._walk(item) for item in value)
            if any(new is not old for new, old in zip(items, value, strict=True)):
                seen[id(value)] = items
        elif kind is Set:
            value._is_frozen = True
        elif isinstance(value, Struct):
            self.fill(value.__dict__)
        elif isinstance(value, Native):
            value._freeze()
        elif kind is FunctionType and value.__globals__ is self._names:
            for cell in value.__closure__ or ():
                try:
                    cell.cell_contents = self._walk(cell.cell_contents)
                except ValueError:  # a cell that never got a value
                    continue
            if value.__defaults__:
                value.__defaults__ = tuple(self._walk(item) for item in value.__defaults__)
            self.fill(value.__kwdefaults__ or {})
        return seen[id(value)]
