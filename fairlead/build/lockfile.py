"""Locks of other tools as pinned, hashed requirements: pylock.toml (PEP 751), uv.lock, poetry.lock, pdm.lock,
Pipfile.lock.

Only what is complete is taken: every package by name and version from an index, with the hash of at least
one file. Which index is not read; that is said in the user's own settings, and files are known by name and
hash. What comes from git, a folder or an address is refused with the command that exports the lock.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping

from fairlead.errors import UsageError

GROUPS = ("tests", "test", "testing", "dev", "develop", "development", "pytest")
"""Dependency groups and extras that tests are taken to need, by their normalised names."""
_HASH = re.compile(r"sha(?:256|384|512):[0-9a-f]+")
_CONDITIONS = 200
_NAMES = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")
_ELSEWHERE = ("git", "url", "path", "file", "vcs", "archive", "directory", "ref", "editable")
_TOKEN = re.compile(r"""\s*(?:([()])|(and|or)\b|((?:"[^"]*"|'[^']*'|[^\s()"']+|\s+(?!and\b|or\b|[()]))+))""")
_ASKS = re.compile(r"""\s*["']([^"']*)["']\s+(not\s+)?in\s+(extras|dependency_groups)\s*""")
_EXPORT = "export it, such as `uv export --format requirements.txt -o requirements.tests.lock`"


def normal(name: str) -> str:
    """A distribution's or group's name as names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def reads(path: str) -> bool:
    """Whether a lock is of a kind that is translated; any other is a requirements file already."""
    name = path.rpartition("/")[2]
    return name in _NAMES or name == "pylock.toml" or (name.startswith("pylock.") and name.endswith(".toml"))


def requirements(path: str, text: str) -> str:
    """The text of the lock at `path` as a requirements file; UsageError if it is not complete."""
    name = path.rpartition("/")[2]
    try:
        found: object = json.loads(text) if name == "Pipfile.lock" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if name == "Pipfile.lock" else "TOML"
        raise UsageError(
            f"the lock is not valid {kind}: {error}", where=path, remedy="make it anew"
        ) from None
    if not isinstance(found, dict):
        raise UsageError("the lock is no table of packages", where=path, remedy="make it anew")
    if name == "uv.lock":
        lines: Iterable[str] = _Uv(found, path).lines()
    elif name == "poetry.lock":
        lines = _poetry(found, path)
    elif name == "pdm.lock":
        lines = _pdm(found, path)
    elif name == "Pipfile.lock":
        lines = _pipfile(found, path)
    else:
        lines = _pylock(found, path)
    return "".join(f"{line}\n" for line in sorted(set(lines)))


def _line(name: str, version: object, marker: str, hashes: Iterator[str], path: str) -> str:
    known = sorted({text for text in hashes if _HASH.fullmatch(text)})
    if not isinstance(version, str) or not known:
        raise UsageError(f"the lock has no version or no hash for {name}", where=path, remedy=_EXPORT)
    condition = f" ; {marker}" if marker else ""
    return f"{name}=={version}{condition} " + " ".join(f"--hash={text}" for text in known)


def _tables(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _pylock(found: Mapping[str, object], path: str) -> Iterator[str]:
    chosen = {normal(name) for name in GROUPS}
    default = found.get("default-groups")
    chosen |= {
        normal(name) for name in (default if isinstance(default, list) else ()) if isinstance(name, str)
    }
    for package in _tables(found.get("packages")):
        name, marker = _text(package.get("name")), _text(package.get("marker"))
        if "directory" in package:
            continue  # the project itself
        if marker:
            left = _under(marker, chosen)
            if left is False:
                continue
            marker = left if isinstance(left, str) else ""
        if any(kind in package for kind in _ELSEWHERE):
            raise UsageError(f"{name} is not from an index", where=path, remedy=_EXPORT)
        hashes = (
            f"{kind}:{value}"
            for file in [*_tables(package.get("wheels")), *_tables([package.get("sdist")])]
            for kind, value in (file.get("hashes") or {}).items()  # type: ignore[attr-defined]
        )
        yield _line(name, package.get("version"), marker, hashes, path)


def _under(marker: str, chosen: Collection[str]) -> str | bool:
    """What is left of a marker once its questions for extras and groups are answered: True or False, or a
    marker without them. What cannot be understood stays, and is an error where it is used."""
    tokens = [found.group(1) or found.group(2) or found.group(3).strip() for found in _TOKEN.finditer(marker)]
    tokens = [token for token in tokens if token]
    at = 0

    def either() -> str | bool:
        nonlocal at
        parts = [both()]
        while at < len(tokens) and tokens[at] == "or":
            at += 1
            parts.append(both())
        if True in parts:
            return True
        left = [part for part in parts if isinstance(part, str)]
        return " or ".join(left) if left else False

    def both() -> str | bool:
        nonlocal at
        parts = [one()]
        while at < len(tokens) and tokens[at] == "and":
            at += 1
            parts.append(one())
        if False in parts:
            return False
        left = [part for part in parts if isinstance(part, str)]
        return " and ".join(left) if left else True

    def one() -> str | bool:
        nonlocal at
        if at >= len(tokens):
            return ""
        token = tokens[at]
        at += 1
        if token == "(":
            inner = either()
            at += 1  # the closing one
            return f"({inner})" if isinstance(inner, str) else inner
        asks = _ASKS.fullmatch(token)
        return (normal(asks[1]) in chosen) != bool(asks[2]) if asks else token

    return either()


def _pdm(found: Mapping[str, object], path: str) -> Iterator[str]:
    for package in _tables(found.get("package")):
        name, groups = _text(package.get("name")), package.get("groups")
        if not isinstance(groups, list):
            raise UsageError(
                "the lock does not say which group a package is for",
                where=path,
                remedy="run `pdm lock -S inherit_metadata`",
            )
        if not any(group == "default" or normal(str(group)) in GROUPS for group in groups):
            continue
        if any(kind in package for kind in _ELSEWHERE):
            if package.get("path") in (".", "./"):
                continue
            raise UsageError(f"{name} is not from an index", where=path, remedy=_EXPORT)
        marker = _text(package.get("marker")) or _text(package.get("markers"))
        hashes = (_text(file.get("hash")) for file in _tables(package.get("files")))
        yield _line(name, package.get("version"), marker, hashes, path)


def _pipfile(found: Mapping[str, object], path: str) -> Iterator[str]:
    """What is for running and what is for development; the lock does not say which hashes are of wheels."""
    entries: dict[str, Mapping[str, object]] = {}
    for kind in ("default", "develop"):
        listed = found.get(kind)
        for name, package in (listed if isinstance(listed, dict) else {}).items():
            if isinstance(package, dict):
                entries.setdefault(normal(name), package)
    for name, package in entries.items():
        if package.get("path") == "." and package.get("editable") is True:
            continue  # the project itself
        version = _text(package.get("version")).removeprefix("==")
        if any(kind in package for kind in _ELSEWHERE) or not version:
            raise UsageError(
                f"{name} is not from an index", where=path, remedy="`pipenv requirements --hash`"
            )
        hashes = package.get("hashes")
        known = (_text(text) for text in (hashes if isinstance(hashes, list) else ()))
        yield _line(name, version, _text(package.get("markers")), known, path)


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
        source = package.get("source")
        if isinstance(source, dict) and source.get("type") not in (None, "legacy", "pypi"):
            if source.get("type") == "directory" and source.get("url") == ".":
                continue
            raise UsageError(f"{name} is not from an index", where=path, remedy=_EXPORT)
        marker = package.get("markers")
        if isinstance(marker, dict):
            parts = [_text(marker.get(str(g))) for g in wanted]
            marker = "" if "" in parts else " or ".join(f"({part})" for part in dict.fromkeys(parts))
        hashes = (_text(file.get("hash")) for file in _tables(package.get("files")))
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
            files = [*_tables(package.get("wheels")), *_tables([package.get("sdist")])]
            hashes = (_text(file.get("hash")) for file in files)
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
