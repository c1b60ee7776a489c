"""Attribute types: `attrs.string()`, `attrs.list(attrs.source())`, and what their values become.

A value goes through three forms. *Coerced*: checked when the BUCK file calls the rule, with labels and paths
resolved; a coerced value is text, numbers, lists and dicts that hold the references below, nothing else.
*JSON*: the coerced value in a target's key. *Resolved*: what the rule reads in `ctx.attrs`. Since coerced
values are so few kinds of things, walking, printing and resolving them is written once, not per type.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

from fairlead.build.artifact import CommandLine, SourceArtifact
from fairlead.build.dialect.fault import DialectError
from fairlead.build.dialect.values import Dict, List, Native, Struct, check_text, text_of, type_name
from fairlead.build.label import Label
from fairlead.build.plan import JSON
from fairlead.build.provider import DEFAULT, RUN, Provider
from fairlead.errors import FairleadError, did_you_mean

# What a coerced value may refer to -----------------------------------------------------------------------


@dataclass(frozen=True)
class DepRef:
    """A dependency. `as_source` asks for its default outputs instead of its providers."""

    label: Label
    providers: tuple[Provider, ...] = ()
    as_source: bool = False


@dataclass(frozen=True)
class SourceRef:
    """A file of the package, or a folder with the `files` below it. Paths are relative to the project."""

    path: str
    short_path: str
    files: tuple[str, ...] | None = None


@dataclass(frozen=True)
class MacroRef:
    """`$(location label)` or `$(exe label)` in an attrs.arg()."""

    kind: str
    dep: DepRef


@dataclass(frozen=True)
class ArgRef:
    """An attrs.arg(): pieces of text and macros."""

    parts: tuple[str | MacroRef, ...]


class Place(Protocol):
    """The package in which values are coerced."""

    def label(self, text: str) -> Label: ...

    def source(self, text: str, *, folder: bool) -> SourceRef: ...


class Resolver(Protocol):
    """The analysed targets to which references lead."""

    def dependency(self, ref: DepRef) -> Any: ...

    def outputs(self, ref: DepRef) -> list[Any]: ...


_PLAIN = frozenset({str, bool, int, type(None)})
"""Types of values that refer to nothing: most are, so they are asked for first."""
_SEQUENCES = (list, tuple)


def references(value: Any) -> list[DepRef | SourceRef]:
    """The references in a coerced value, in order."""
    found: list[DepRef | SourceRef] = []
    if type(value) not in _PLAIN:
        _gather(value, found)
    return found


def _gather(value: Any, found: list[DepRef | SourceRef]) -> None:
    kind = type(value)
    if kind is SourceRef or kind is DepRef:
        found.append(value)
    elif isinstance(value, _SEQUENCES):
        for item in value:
            if type(item) not in _PLAIN:
                _gather(item, found)
    elif isinstance(value, ArgRef):
        found.extend(part.dep for part in value.parts if isinstance(part, MacroRef))
    elif isinstance(value, dict):
        for pair in value.items():
            _gather(pair, found)


def to_json(value: Any) -> JSON:
    """A coerced value as it stands in the target's key and in `why`."""
    if type(value) in _PLAIN:
        plain: JSON = value
        return plain
    if isinstance(value, DepRef):
        return str(value.label)
    if isinstance(value, SourceRef):
        return value.path
    if isinstance(value, ArgRef):
        return "".join(
            part.replace("$(", r"\$(") if isinstance(part, str) else f"$({part.kind} {part.dep.label})"
            for part in value.parts
        )
    if isinstance(value, _SEQUENCES):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(to_json(key)): to_json(item) for key, item in value.items()}
    return str(value)  # a Label


def resolve(value: Any, resolver: Resolver) -> Any:
    """A coerced value as the rule sees it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, DepRef):
        if not value.as_source:
            return resolver.dependency(value)
        return _only(resolver.outputs(value), value.label, "used as a source")
    if isinstance(value, SourceRef):
        return SourceArtifact(value.path, value.short_path, value.files)
    if isinstance(value, ArgRef):
        return _argument(value, resolver)
    if isinstance(value, list):
        made = List()
        for item in value:
            if isinstance(item, DepRef) and item.as_source:
                made.extend(resolver.outputs(item))  # in a list, a target stands for all its outputs
            else:
                made.append(resolve(item, resolver))
        return made
    if isinstance(value, tuple):
        return tuple(resolve(item, resolver) for item in value)
    if isinstance(value, dict):
        return Dict({resolve(key, resolver): resolve(item, resolver) for key, item in value.items()})
    return value


def _only(outputs: list[Any], label: Label, use: str) -> Any:
    if len(outputs) == 1:
        return outputs[0]
    raise DialectError(
        f"{label} is {use}, but has {len(outputs)} outputs", remedy="name a target with one output"
    )


def _argument(value: ArgRef, resolver: Resolver) -> CommandLine:
    made = CommandLine(delimiter="")
    for part in value.parts:
        if isinstance(part, str):
            made.add(part)
        elif part.kind == "location":
            made.add(_only(resolver.outputs(part.dep), part.dep.label, "named by $(location)"))
        else:
            dep = resolver.dependency(part.dep)
            made.add(CommandLine(dep[RUN], delimiter=" "))
    return made


# Attribute types -----------------------------------------------------------------------------------------

_NO_DEFAULT = object()


class Attr(Native, ABC):
    """One attribute type. `_default` is coerced with the rest, so a default dep is a dep."""

    TYPE = "attribute"

    def __init__(self, name: str, default: Any = _NO_DEFAULT, doc: str = "") -> None:
        self._name = name
        self._default = default
        self._doc = doc

    @property
    def _required(self) -> bool:
        return self._default is _NO_DEFAULT

    @abstractmethod
    def _coerce(self, value: Any, place: Place) -> Any:
        """The value as the rule's implementation sees it; DialectError if it is of another type."""

    def _wrong(self, value: Any) -> DialectError:
        shown = text_of(value, quoted=True)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return DialectError(
            f"{shown} is a value of type {type_name(value)}", remedy=f"give {self._describe()}"
        )

    def _describe(self) -> str:
        return f"a {self._name}"

    def __str__(self) -> str:
        return f"<attrs.{self._name}>"


class _Plain(Attr):
    """string, int, bool."""

    _KINDS = {"string": str, "int": int, "bool": bool}

    def _coerce(self, value: Any, place: Place) -> Any:
        if type(value) is not self._KINDS[self._name]:
            raise self._wrong(value)
        return check_text(value) if type(value) is str else value


class _Any(Attr):
    def _coerce(self, value: Any, place: Place) -> Any:
        if isinstance(value, str):
            return check_text(value)
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, (list, tuple)):
            return [self._coerce(item, place) for item in value]
        if isinstance(value, dict) and all(isinstance(key, str) for key in dict.keys(value)):
            return {check_text(key): self._coerce(item, place) for key, item in dict.items(value)}
        raise self._wrong(value)

    def _describe(self) -> str:
        return "text, numbers, lists and dicts"


class _Enum(Attr):
    def __init__(self, values: Any, default: Any = _NO_DEFAULT, doc: str = "") -> None:
        self._values = tuple(values)
        super().__init__("enum", default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        if type(value) is not str or value not in self._values:
            remedy = did_you_mean(value, self._values) if type(value) is str else ""
            raise DialectError(
                f"{text_of(value, quoted=True)} is not one of the values", remedy=remedy or self._describe()
            )
        return value

    def _describe(self) -> str:
        return "one of " + ", ".join(text_of(value, quoted=True) for value in self._values)


class _List(Attr):
    def __init__(self, name: str, inner: Attr, default: Any = _NO_DEFAULT, doc: str = "") -> None:
        self._inner = inner
        super().__init__(name, default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        if not isinstance(value, (list, tuple)):
            raise self._wrong(value)
        made = [_at(f"item {index}", self._inner, item, place) for index, item in enumerate(value)]
        if self._name == "set":
            return list(dict.fromkeys(made))
        return made

    def _describe(self) -> str:
        return f"a list, each item {self._inner._describe()}"


class _Tuple(Attr):
    def __init__(self, *inner: Attr, default: Any = _NO_DEFAULT, doc: str = "") -> None:
        self._inner = inner
        super().__init__("tuple", default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        if not isinstance(value, tuple) or len(value) != len(self._inner):
            raise self._wrong(value)
        pairs = zip(self._inner, value, strict=True)
        return tuple(_at(f"item {index}", kind, item, place) for index, (kind, item) in enumerate(pairs))

    def _describe(self) -> str:
        return "a tuple of " + ", ".join(kind._describe() for kind in self._inner)


class _Dict(Attr):
    def __init__(
        self, key: Attr, value: Attr, sorted: bool = False, default: Any = _NO_DEFAULT, doc: str = ""
    ) -> None:
        self._key, self._value, self._sorted = key, value, sorted
        super().__init__("dict", default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        if not isinstance(value, dict):
            raise self._wrong(value)
        made = {
            _at("a key", self._key, key, place): _at(
                f"[{text_of(key, quoted=True)}]", self._value, item, place
            )
            for key, item in dict.items(value)
        }
        return dict(sorted(made.items())) if self._sorted else made

    def _describe(self) -> str:
        return f"a dict, each value {self._value._describe()}"


class _Option(Attr):
    def __init__(self, inner: Attr, default: Any = _NO_DEFAULT, doc: str = "") -> None:
        self._inner = inner
        super().__init__("option", default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        return None if value is None else self._inner._coerce(value, place)

    def _describe(self) -> str:
        return f"None or {self._inner._describe()}"


class _OneOf(Attr):
    def __init__(self, *inner: Attr, default: Any = _NO_DEFAULT, doc: str = "") -> None:
        self._inner = inner
        super().__init__("one_of", default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        errors: list[FairleadError] = []
        for kind in self._inner:
            try:
                return kind._coerce(value, place)
            except FairleadError as error:
                errors.append(error)
        # The kind that got furthest says most: a wrong item of a list beats "this is no dict".
        shallow = self._wrong(value)
        raise next((error for error in reversed(errors) if error.what != shallow.what), shallow)

    def _describe(self) -> str:
        return " or ".join(kind._describe() for kind in self._inner)


class _Dep(Attr):
    """dep, exec_dep, toolchain_dep: the three are one until there are execution platforms."""

    def __init__(self, name: str, providers: Any = (), default: Any = _NO_DEFAULT, doc: str = "") -> None:
        self._providers = tuple(providers)
        super().__init__(name, default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        if isinstance(value, Label):
            return DepRef(value, self._providers)
        if type(value) is not str:
            raise self._wrong(value)
        return DepRef(place.label(value), self._providers)

    def _describe(self) -> str:
        return 'a label such as "//package:name"'


class _Source(Attr):
    def __init__(self, allow_directory: bool = False, default: Any = _NO_DEFAULT, doc: str = "") -> None:
        self._folder = allow_directory
        super().__init__("source", default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        if type(value) is not str:
            raise self._wrong(value)
        if value.startswith((":", "//", "@")) or "//" in value:
            return DepRef(place.label(value), as_source=True)
        return place.source(value, folder=self._folder)

    def _describe(self) -> str:
        return "a file of the package, or a label"


class _LabelAttr(Attr):
    def _coerce(self, value: Any, place: Place) -> Any:
        if type(value) is not str:
            raise self._wrong(value)
        return place.label(value)

    def _describe(self) -> str:
        return 'a label such as "//package:name"'


_MACRO = re.compile(r"(\\?)\$\(([^()\s]*)\s*([^()]*)\)")


class _Arg(Attr):
    def _coerce(self, value: Any, place: Place) -> Any:
        if type(value) is not str:
            raise self._wrong(value)
        parts: list[str | MacroRef] = []
        at = 0
        check_text(value)
        for found in _MACRO.finditer(value):
            parts.append(value[at : found.start()])
            at = found.end()
            if found[1]:
                parts.append(found[0][1:])  # \$(...) is for the shell
            elif found[2] in ("location", "exe"):
                providers = (RUN,) if found[2] == "exe" else (DEFAULT,)
                parts.append(MacroRef(found[2], DepRef(place.label(found[3].strip()), providers)))
            else:
                raise DialectError(
                    f"the macro {found[0]} is unknown",
                    remedy=r"write $(location label) or $(exe label), or \\$(...) for the shell's own",
                )
        parts.append(value[at:])
        return ArgRef(tuple(part for part in parts if part != ""))

    def _describe(self) -> str:
        return "text, with $(location label) and $(exe label)"


class _DefaultOnly(Attr):
    """An attribute that BUCK files cannot set: always its inner type's default."""

    def __init__(self, inner: Attr, doc: str = "") -> None:
        self._inner = inner
        super().__init__("default_only", inner._default, doc)

    def _coerce(self, value: Any, place: Place) -> Any:
        return self._inner._coerce(value, place)


def _at(where: str, kind: Attr, value: Any, place: Place) -> Any:
    try:
        return kind._coerce(value, place)
    except FairleadError as error:
        error.what = f"{where}: {error.what}"
        raise


def _plain_type(name: str) -> Any:
    return lambda default=_NO_DEFAULT, doc="", validate=None: _Plain(name, default, doc)


def _inner(value: Any, name: str) -> Attr:
    if isinstance(value, Attr):
        return value
    raise DialectError(
        f"attrs.{name}() takes an attribute type, not a value of type {type_name(value)}",
        remedy="such as attrs.string()",
    )


def _dep_type(name: str) -> Any:
    return lambda providers=(), default=_NO_DEFAULT, doc="": _Dep(name, providers, default, doc)


ATTRS = Struct(
    {
        "any": lambda default=_NO_DEFAULT, doc="": _Any("any", default, doc),
        "arg": lambda default=_NO_DEFAULT, doc="": _Arg("arg", default, doc),
        "bool": _plain_type("bool"),
        "default_only": lambda inner, doc="": _DefaultOnly(_inner(inner, "default_only"), doc),
        "dep": _dep_type("dep"),
        "dict": lambda key, value, sorted=False, default=_NO_DEFAULT, doc="": _Dict(
            _inner(key, "dict"), _inner(value, "dict"), sorted, default, doc
        ),
        "enum": _Enum,
        "exec_dep": _dep_type("exec_dep"),
        "int": _plain_type("int"),
        "label": lambda default=_NO_DEFAULT, doc="": _LabelAttr("label", default, doc),
        "list": lambda inner, default=_NO_DEFAULT, doc="": _List("list", _inner(inner, "list"), default, doc),
        "one_of": lambda *inner, default=_NO_DEFAULT, doc="": _OneOf(
            *(_inner(one, "one_of") for one in inner), default=default, doc=doc
        ),
        "option": lambda inner, default=_NO_DEFAULT, doc="": _Option(_inner(inner, "option"), default, doc),
        "set": lambda inner, sorted=False, default=_NO_DEFAULT, doc="": _List(
            "set", _inner(inner, "set"), default, doc
        ),
        "source": _Source,
        "string": _plain_type("string"),
        "toolchain_dep": _dep_type("toolchain_dep"),
        "tuple": lambda *inner, default=_NO_DEFAULT, doc="": _Tuple(
            *(_inner(one, "tuple") for one in inner), default=default, doc=doc
        ),
    }
)
"""The `attrs` namespace."""
