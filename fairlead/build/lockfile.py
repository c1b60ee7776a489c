"""Locks of other tools as pinned, hashed requirements: uv.lock, pylock.toml, poetry.lock.

Only what is complete is taken: every package by name and version from a registry, with the hash of at least
one wheel. Where packages come from is not read; that is said in the user's own settings. What a lock leaves
to its tool (extras and groups of pylock markers, git sources, poetry's older format) is refused with the
command that exports it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

from fairlead.errors import UsageError

GROUPS = ("tests", "test", "testing", "dev", "develop", "development", "pytest")
"""Dependency groups and extras that tests are taken to need, by their normalised names."""
_HASH = re.compile(r"sha(?:256|384|512):[0-9a-f]+")
_CONDITIONS = 200
_EXPORT = "export it, such as `uv export --format requirements.txt -o requirements.tests.lock`"


def normal(name: str) -> str:
    """A distribution's or group's name as names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def reads(path: str) -> bool:
    """Whether a lock is of a kind that is translated; any other is a requirements file already."""
    name = path.rpartition("/")[2]
    return name in ("uv.lock", "poetry.lock") or (name.startswith("pylock.") and name.endswith(".toml"))


def requirements(path: str, text: str) -> str:
    """The text of the lock at `path` as a requirements file; UsageError if it is not complete."""
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"the lock is not valid TOML: {error}", where=path, remedy="make it anew") from None
    name = path.rpartition("/")[2]
    if name == "uv.lock":
        lines = _Uv(found, path).lines()
    elif name == "poetry.lock":
        lines = _poetry(found, path)
    else:
        lines = _pylock(found, path)
    return "".join(f"{line}\n" for line in sorted(lines))


def _line(name: str, version: object, marker: str, hashes: Iterator[str], path: str) -> str:
    known = sorted({text for text in hashes if _HASH.fullmatch(text)})
    if not isinstance(version, str) or not known:
        raise UsageError(f"the lock has no version or no wheel's hash for {name}", where=path, remedy=_EXPORT)
    condition = f" ; {marker}" if marker else ""
    return f"{name}=={version}{condition} " + " ".join(f"--hash={text}" for text in known)


def _tables(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _pylock(found: Mapping[str, object], path: str) -> Iterator[str]:
    for package in _tables(found.get("packages")):
        name, marker = _text(package.get("name")), _text(package.get("marker"))
        if "directory" in package:
            continue  # the project itself
        if "dependency_groups" in marker or "extras" in marker or "wheels" not in package:
            raise UsageError(
                f"the lock does not say on its own what to install of {name}", where=path, remedy=_EXPORT
            )
        hashes = (
            f"{kind}:{value}"
            for wheel in _tables(package["wheels"])
            for kind, value in (wheel.get("hashes") or {}).items()  # type: ignore[attr-defined]
        )
        yield _line(name, package.get("version"), marker, hashes, path)


def _poetry(found: Mapping[str, object], path: str) -> Iterator[str]:
    for package in _tables(found.get("package")):
        name, groups = _text(package.get("name")), package.get("groups")
        if not isinstance(groups, list):
            raise UsageError(
                "the lock does not say which group a package is for", where=path, remedy="run `poetry lock`"
            )
        wanted = [g for g in groups if g == "main" or normal(str(g)) in GROUPS]
        if not wanted or (package.get("optional") is True and wanted == ["main"]):
            continue
        if "source" in package:
            raise UsageError(f"{name} is not from the registry", where=path, remedy=_EXPORT)
        marker = package.get("markers")
        if isinstance(marker, dict):
            parts = [_text(marker.get(str(g))) for g in wanted]
            marker = "" if "" in parts else " or ".join(f"({part})" for part in dict.fromkeys(parts))
        hashes = (
            _text(file.get("hash"))
            for file in _tables(package.get("files"))
            if _text(file.get("file")).endswith(".whl")
        )
        yield _line(name, package.get("version"), _text(marker), hashes, path)


class _Uv:
    """The packages that the projects of a uv.lock and their test groups lead to."""

    def __init__(self, found: Mapping[str, object], path: str) -> None:
        self.path = path
        self.packages: dict[str, list[Mapping[str, object]]] = {}
        for package in _tables(found.get("package")):
            self.packages.setdefault(_text(package.get("name")), []).append(package)

    def lines(self) -> Iterator[str]:
        # (package, extra) -> the sets of markers under each of which it is needed; the empty set is always
        needed: dict[tuple[str, str], list[frozenset[str]]] = {}
        at: dict[str, Mapping[str, object]] = {}
        todo: list[tuple[Mapping[str, object], str, frozenset[str]]] = [
            (package, extra, frozenset())
            for package in self._own()
            for extra in ("", *self._test_extras(package))
        ]
        while todo:
            package, extra, markers = todo.pop()
            name = f"{_text(package.get('name'))}=={_text(package.get('version'))}"
            known = needed.setdefault((name, extra), [])
            if any(other <= markers for other in known):
                continue
            known[:] = [*(other for other in known if not markers <= other), markers]
            if len(known) > _CONDITIONS:
                raise UsageError(f"the conditions of {name} are too many", where=self.path, remedy=_EXPORT)
            at[name] = package
            for dependency in self._dependencies(package, extra):
                marker = _text(dependency.get("marker"))
                both = markers | {marker} if marker else markers
                extras = dependency.get("extra")
                for other in self._found(dependency):
                    todo.append((other, "", both))
                    todo += [(other, str(e), both) for e in (extras if isinstance(extras, list) else ())]
        for name, package in at.items():
            source = package.get("source")
            if not isinstance(source, dict) or "registry" not in source:
                if package in self._own():
                    continue
                raise UsageError(f"{name} is not from a registry", where=self.path, remedy=_EXPORT)
            marker = _either({m for (n, _), found in needed.items() if n == name for m in found})
            hashes = (_text(wheel.get("hash")) for wheel in _tables(package.get("wheels")))
            yield _line(_text(package.get("name")), package.get("version"), marker, hashes, self.path)

    def _own(self) -> list[Mapping[str, object]]:
        return [
            package
            for packages in self.packages.values()
            for package in packages
            if isinstance(package.get("source"), dict)
            and {"editable", "virtual", "directory"} & set(package["source"])  # type: ignore[call-overload]
        ]

    def _test_extras(self, package: Mapping[str, object]) -> list[str]:
        extras, groups = package.get("optional-dependencies"), package.get("dev-dependencies")
        return [
            *(name for name in (extras if isinstance(extras, dict) else ()) if normal(name) in GROUPS),
            *(f"group:{g}" for g in (groups if isinstance(groups, dict) else ()) if normal(g) in GROUPS),
        ]

    def _dependencies(self, package: Mapping[str, object], extra: str) -> list[Mapping[str, object]]:
        if not extra:
            return _tables(package.get("dependencies"))
        kind, name = "optional-dependencies", extra
        if extra.startswith("group:"):
            kind, name = "dev-dependencies", extra.removeprefix("group:")
        found = package.get(kind)
        return _tables(found.get(name)) if isinstance(found, dict) else []

    def _found(self, dependency: Mapping[str, object]) -> list[Mapping[str, object]]:
        name, version = _text(dependency.get("name")), dependency.get("version")
        found = [p for p in self.packages.get(name, ()) if version is None or p.get("version") == version]
        if not found:
            raise UsageError(f"the lock names {name}, and does not hold it", where=self.path, remedy=_EXPORT)
        return found


def _either(conditions: set[frozenset[str]]) -> str:
    """One marker for "under any of these sets", "" if one of them is empty."""
    if frozenset() in conditions:
        return ""
    made = []
    for markers in sorted(conditions, key=sorted):
        both = " and ".join(f"({m})" if len(markers) > 1 else m for m in sorted(markers))
        made.append(f"({both})" if len(conditions) > 1 else both)
    return " or ".join(made)
