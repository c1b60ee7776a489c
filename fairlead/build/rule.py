"""Rules: `rule(impl, attrs)` in a .bzl file, called in a BUCK file to declare a target."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from fairlead.build.attrs import ATTRS, Attr, DepRef, Place, SourceRef, references
from fairlead.build.dialect.fault import PREFIX, DialectError
from fairlead.build.dialect.values import List, Native, type_name
from fairlead.build.label import Label, check_name
from fairlead.build.plan import NESTING
from fairlead.build.provider import Provider
from fairlead.errors import FairleadError, did_you_mean


@dataclass(frozen=True)
class Declared:
    """A target as its BUCK file declares it: attributes coerced, rule not run."""

    label: Label
    rule: Rule
    attrs: Mapping[str, Any]
    place: str
    visibility: tuple[str, ...]
    within_view: tuple[str, ...] | None

    @cached_property
    def _references(self) -> list[DepRef | SourceRef]:
        return [ref for value in self.attrs.values() for ref in references(value)]

    def deps(self) -> list[DepRef]:
        """The dependencies that the attributes name, each label once."""
        found: dict[Label, DepRef] = {}
        for ref in self._references:
            if isinstance(ref, DepRef):
                found.setdefault(ref.label.raw_target(), ref)
        return list(found.values())

    def sources(self) -> list[str]:
        """The repository files that the attributes name, sorted."""
        found: set[str] = set()
        for ref in self._references:
            if isinstance(ref, SourceRef):
                found.update((ref.path,) if ref.files is None else ref.files)
        return sorted(found)


class OpenPackage(Place, Protocol):
    """The package whose BUCK file is being evaluated."""

    name: str

    def declare(self, target: Declared) -> None: ...

    def glob(self, include: Iterable[str], exclude: Iterable[str]) -> List: ...


CURRENT: ContextVar[OpenPackage | None] = ContextVar("package", default=None)
"""The package being evaluated, None while .bzl files load and rules run."""


def current(what: str) -> OpenPackage:
    """The package being evaluated, for a function that only makes sense there."""
    package = CURRENT.get()
    if package is None:
        raise DialectError(
            f"{what} works only while a BUCK file is evaluated",
            remedy="call it in a BUCK file, or in a function that a BUCK file calls",
        )
    return package


_IMPLICIT: dict[str, Attr] = {
    "visibility": ATTRS.list(ATTRS.string(), default=[]),  # type: ignore[attr-defined]
    "within_view": ATTRS.option(ATTRS.list(ATTRS.string()), default=None),  # type: ignore[attr-defined]
}


class Rule(Native):
    """A rule. `module` is the .bzl file that defines it; its name is the global that it was assigned to."""

    TYPE = "rule"

    def __init__(
        self, impl: Any, attrs: Any, module: str, doc: str = "", is_toolchain_rule: bool = False
    ) -> None:
        if not callable(impl):
            raise DialectError(f"rule() takes a function, not a value of type {type_name(impl)}")
        if not isinstance(attrs, dict):
            raise DialectError("rule() takes attrs as a dict of names and attribute types")
        self._impl = impl
        self._module = module
        self._doc = doc
        self._name = ""
        self._wanted: list[tuple[Provider, ...]] | None = None  # see packages.wanted_providers
        self._attrs: dict[str, Attr] = {}
        for name, kind in dict.items(attrs):
            if name in ("name", *_IMPLICIT):
                raise DialectError(
                    f"every rule has the attribute {name!r} already", remedy="use another name"
                )
            if not isinstance(kind, Attr):
                raise DialectError(f"the attribute {name!r} has no type", remedy="such as attrs.string()")
            self._attrs[name] = kind

    def __call__(self, *args: Any, **values: Any) -> None:
        package = current(f"the rule {self._name}")
        if args:
            raise DialectError(f"{self._name}() takes named arguments only", remedy='write name = "..."')
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise DialectError(f"{self._name}() needs a name", remedy='add name = "..."')
        check_name(name)
        label = package.label(f":{name}")
        implicit = {
            n: self._value(label, n, kind, values.pop(n, None), package) for n, kind in _IMPLICIT.items()
        }
        made: dict[str, Any] = {}
        for attr, kind in self._attrs.items():
            if attr in values and kind._name == "default_only":
                raise DialectError(
                    f"the attribute {attr!r} of {self._name} cannot be set", remedy="remove it"
                )
            made[attr] = self._value(label, attr, kind, values.pop(attr, None), package)
        for attr in values:
            known = ["name", *self._attrs, *_IMPLICIT]
            raise DialectError(
                f"{self._name} has no attribute {attr!r} (target {label})",
                remedy=did_you_mean(attr, known) or f"it has {', '.join(sorted(known))}",
            )
        package.declare(
            Declared(
                label=label,
                rule=self,
                attrs=made,
                place=_call_place(),
                visibility=tuple(implicit["visibility"]),
                within_view=None if implicit["within_view"] is None else tuple(implicit["within_view"]),
            )
        )

    def _value(self, label: Label, name: str, kind: Attr, value: Any, package: Place) -> Any:
        if value is None:  # as in Buck2, None is "not given"
            if kind._required:
                if kind._name == "option":
                    return None
                raise DialectError(
                    f"{self._name} needs the attribute {name!r} (target {label})",
                    remedy=f"give {kind._describe()}",
                )
            value = kind._default
        try:
            made = kind._coerce(value, package)
            if type(made) in _NESTS:
                check_nesting(made)
            return made
        except FairleadError as error:
            error.what = f"the attribute {name!r} of {label}: {error.what}"
            raise
        except RecursionError:
            raise DialectError(f"the attribute {name!r} of {label}: {_TOO_DEEP}", remedy=_FLATTER) from None

    def __str__(self) -> str:
        return f"<rule {self._name}>"


_NESTS = (list, tuple, dict)
_TOO_DEEP = f"its value is nested deeper than {NESTING} lists and dicts"
_FLATTER = "make it flatter"


def check_nesting(value: Any) -> None:
    """Raise if lists, tuples and dicts lie in each other deeper than a plan holds them."""
    level: list[Any] = [value]
    for _ in range(NESTING):
        below: list[Any] = []
        for one in level:
            below += [item for item in (one.values() if type(one) is dict else one) if type(item) in _NESTS]
        if not below:
            return
        level = below
    raise DialectError(_TOO_DEEP, remedy=_FLATTER)


def _call_place() -> str:
    """The line of the BUCK file that is being evaluated: the outermost frame of project code."""
    frame, place = sys._getframe(2), ""
    while frame is not None:
        if frame.f_code.co_filename.startswith(PREFIX):
            place = f"{frame.f_code.co_filename.removeprefix(PREFIX)}:{frame.f_lineno}"
            if frame.f_code.co_name == "<module>":
                break
        frame = frame.f_back  # type: ignore[assignment]
    return place
