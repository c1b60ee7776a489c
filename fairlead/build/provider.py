"""Providers: what a target tells those who depend on it. `provider()` makes new kinds; a few are built in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.build.artifact import Artifact, CommandLine
from fairlead.build.dialect.fault import DialectError
from fairlead.build.dialect.functions import is_instance
from fairlead.build.dialect.values import Native, Struct, type_name
from fairlead.errors import did_you_mean

_REQUIRED = object()


class ProviderField(Native):
    """provider_field(type, default = ...)."""

    TYPE = "provider_field"

    def __init__(self, type: Any, default: Any = _REQUIRED) -> None:
        self._type = type
        self._default = default


class Provider(Native):
    """A kind of provider; calling it makes one. Its name is the global that it was assigned to."""

    TYPE = "provider_callable"

    def __init__(self, fields: Any, doc: str = "") -> None:
        self._name = ""
        self._doc = doc
        self._fields: dict[str, ProviderField | None] = {}
        if isinstance(fields, (list, tuple)):
            self._fields = dict.fromkeys(fields)
        elif isinstance(fields, dict):
            for name, kind in dict.items(fields):
                self._fields[name] = kind if isinstance(kind, ProviderField) else ProviderField(kind)
        else:
            raise DialectError("provider() takes a list of field names, or a dict of names and types")
        for name in self._fields:
            if not isinstance(name, str) or not name.isidentifier() or name.startswith("__"):
                raise DialectError(f"{name!r} cannot be a field's name")

    def __call__(self, *args: Any, **values: Any) -> Instance:
        if args:
            raise DialectError(
                f"{self._name or 'a provider'} takes named arguments only", remedy="write field = value"
            )
        for name in values:
            if name not in self._fields:
                raise DialectError(
                    f"{self._name} has no field {name!r}",
                    remedy=did_you_mean(name, self._fields) or f"it has {', '.join(self._fields)}",
                )
        made: dict[str, Any] = {}
        for name, field in self._fields.items():
            if name in values:
                made[name] = values[name]
                if field is not None and not is_instance(values[name], field._type):
                    raise DialectError(
                        f"the field {name!r} of {self._name} takes no value of type {type_name(values[name])}"
                    )
            elif field is None:
                made[name] = None
            elif field._default is _REQUIRED:
                raise DialectError(f"{self._name} needs a value for its field {name!r}")
            else:
                made[name] = field._default
        return Instance(self, made)

    def _holds(self, value: Any) -> bool:
        return isinstance(value, Instance) and value._provider is self

    def __str__(self) -> str:
        return self._name


class Instance(Struct):
    """One provider of a target."""

    __slots__ = ("_provider",)

    def __init__(self, provider: Provider, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        object.__setattr__(self, "_provider", provider)

    _provider: Provider

    def _type_name(self) -> str:
        return self._provider._name


class _DefaultInfo(Provider):
    def __call__(self, *args: Any, **values: Any) -> Instance:
        made = super().__call__(*args, **values).__dict__
        if made["default_output"] is not None:
            if made["default_outputs"] is not None:
                raise DialectError("DefaultInfo takes default_output or default_outputs, not both")
            made["default_outputs"] = [made["default_output"]]
        made["default_outputs"] = list(made["default_outputs"] or [])
        made["other_outputs"] = list(made["other_outputs"] or [])
        for artifact in (*made["default_outputs"], *made["other_outputs"]):
            if not isinstance(artifact, Artifact):
                raise DialectError(f"DefaultInfo takes artifacts, not a value of type {type_name(artifact)}")
        subs = made["sub_targets"] or {}
        if not isinstance(subs, dict):
            raise DialectError("sub_targets is a dict of names and lists of providers")
        made["sub_targets"] = {key: list(value) for key, value in dict.items(subs)}
        del made["default_output"]
        return Instance(self, made)


class _RunInfo(Provider):
    def __call__(self, *args: Any, **values: Any) -> Instance:
        if len(args) == 1 and not values:
            values = {"args": args[0]}
            args = ()
        made = super().__call__(*args, **values)
        return Instance(self, {"args": CommandLine(made.__dict__["args"] or [])})


class _TestInfo(Provider):
    def __call__(self, *args: Any, **values: Any) -> Instance:
        made = super().__call__(*args, **values)
        if not made.__dict__["command"]:
            raise DialectError(f"{self._name} needs a command")
        return made


def _special(kind: type[Provider], name: str, *fields: str) -> Provider:
    made = kind(list(fields))
    made._name = name
    return made


DEFAULT = _special(
    _DefaultInfo, "DefaultInfo", "default_output", "default_outputs", "other_outputs", "sub_targets"
)
RUN = _special(_RunInfo, "RunInfo", "args")
TEST = _special(
    _TestInfo,
    "ExternalRunnerTestInfo",
    "type",
    "command",
    "env",
    "labels",
    "contacts",
    "timeout_seconds",
    "recorded",  # ours: whether it sees the whole project, and what it asked for decides when it runs again
    "shards",  # ours: in how many parts it runs
)

BUILT_IN: dict[str, Provider] = {"DefaultInfo": DEFAULT, "RunInfo": RUN, "ExternalRunnerTestInfo": TEST}


def sort_out(values: Any, what: str) -> dict[Provider, Instance]:
    """The providers that a rule returned, by their kind; DefaultInfo is always there."""
    if not isinstance(values, list):
        raise DialectError(
            f"{what} returned a value of type {type_name(values)}", remedy="return a list of providers"
        )
    found: dict[Provider, Instance] = {}
    for value in values:
        if not isinstance(value, Instance):
            raise DialectError(f"{what} returned a list with a value of type {type_name(value)}")
        if value._provider in found:
            raise DialectError(f"{what} returned {type_name(value)} twice")
        found[value._provider] = value
    if DEFAULT not in found:
        found[DEFAULT] = DEFAULT()
    return found
