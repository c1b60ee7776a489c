"""`.buckconfig`: settings of a project's build, the same whether read from disk or from a commit.

INI with `key = value`, `#` comments, `$(config section.key)`, and `<file:path>` to include another file (with
`<?file:path>` it may be absent). Read in this order, later wins: `.buckconfig.d/*`, `.buckconfig`,
`.buckconfig.local`, then overrides of the command line. Settings of the machine or the home folder are not
read: a key that depends on them could not be computed by another machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

from fairlead.build.label import Cells
from fairlead.build.tree import NEVER, Tree
from fairlead.errors import UsageError

_SECTION = re.compile(r"\[([^\[\]]+)\]")
_INCLUDE = re.compile(r"<(\??)file:(.+)>")
_REFERENCE = re.compile(r"\$\(config ([^\s.()]+)\.([^\s()]+)\)")

# A submitted commit is read by programs that must outlive it: neither circles nor doublings may stop them.
_FILES = 1000
_LENGTH = 1 << 16


class BuckConfig:
    """Sections of keys and values, with the few that Fairlead itself reads as properties."""

    def __init__(self, sections: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._files = 0
        self._sections = {name: dict(values) for name, values in (sections or {}).items()}

    @classmethod
    def load(cls, tree: Tree, overrides: Iterable[str] = ()) -> BuckConfig:
        """Read the files of a tree; `overrides` are `section.key=value`."""
        config = cls()
        for name in tree.list(".buckconfig.d"):
            if tree.kind(f".buckconfig.d/{name}") == "file":
                config._read(tree, f".buckconfig.d/{name}", ())
        for path in (".buckconfig", ".buckconfig.local"):
            if tree.kind(path) == "file":
                config._read(tree, path, ())
        for text in overrides:
            name, equals, value = text.partition("=")
            section, dot, key = name.strip().partition(".")
            if not (equals and dot and section and key):
                raise UsageError(f"{text!r} is no setting", remedy="write section.key=value")
            config._sections.setdefault(section, {})[key] = value.strip()
        for section, values in config._sections.items():
            for key in values:
                config._resolve(section, key, ())
        return config

    def _read(self, tree: Tree, path: str, chain: tuple[str, ...]) -> None:
        if path in chain:
            raise UsageError(
                "files include each other in a circle", where=" -> ".join((*chain, path)), remedy="break it"
            )
        self._files += 1
        if self._files > _FILES:
            where = " -> ".join((*chain, path))
            raise UsageError(
                f"more than {_FILES} files of settings are read", where=where, remedy="include less"
            )
        try:
            lines = tree.read(path).decode().splitlines()
        except UnicodeDecodeError:
            raise UsageError("the file is not UTF-8", where=path, remedy="save it as UTF-8") from None
        section: dict[str, str] | None = None
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text or text.startswith(("#", ";")):
                continue
            where = f"{path}:{number}"
            if found := _INCLUDE.fullmatch(text):
                other = _join(path.rpartition("/")[0], found[2].strip(), where)
                if tree.kind(other) == "file":
                    self._read(tree, other, (*chain, path))
                elif not found[1]:
                    raise UsageError(
                        f"the included file {other} does not exist", where=where, remedy="write <?file:...>"
                    )
            elif found := _SECTION.fullmatch(text):
                section = self._sections.setdefault(found[1].strip(), {})
            else:
                key, equals, value = text.partition("=")
                if not equals or not key.strip():
                    raise UsageError(
                        f"this line is no setting: {text}",
                        where=where,
                        remedy="write key = value, or [section]",
                    )
                if section is None:
                    raise UsageError(
                        "a setting stands before any section", where=where, remedy="add [section]"
                    )
                section[key.strip()] = value.strip()

    def _resolve(self, section: str, key: str, chain: tuple[str, ...]) -> str:
        name = f"{section}.{key}"
        if name in chain:
            raise UsageError(
                "settings refer to each other in a circle",
                where=f".buckconfig {' -> '.join((*chain, name))}",
                remedy="break it",
            )
        value = self._sections.get(section, {}).get(key, "")
        if "$(config " in value:
            value = _REFERENCE.sub(lambda m: self._resolve(m[1], m[2], (*chain, name)), value)
            if len(value) > _LENGTH:
                raise UsageError(
                    "a setting is too long", where=f".buckconfig {name}", remedy="shorten what it names"
                )
            self._sections[section][key] = value
        return value

    def get(self, section: str, key: str) -> str | None:
        """A value, or None if it is not set."""
        return self._sections.get(section, {}).get(key)

    @cached_property
    def cells(self) -> Cells:
        """[cells] and [cell_aliases]; the project root is a cell even if nothing says so."""
        folders = {"": ""}
        for name, path in self._sections.get("cells", {}).items():
            folders[name] = "" if path in (".", "") else _join("", path, f".buckconfig [cells] {name}")
        folders.setdefault("root", "")
        for alias, name in self._sections.get("cell_aliases", {}).items():
            if name not in folders:
                raise UsageError(
                    f"the alias {alias} stands for the unknown cell {name}",
                    where=".buckconfig [cell_aliases]",
                    remedy="name a cell of [cells]",
                )
            folders[alias] = folders[name]
        return Cells(folders)

    @cached_property
    def build_files(self) -> tuple[str, ...]:
        """[buildfile] name: the names that make a folder a package, first wins."""
        names = self.get("buildfile", "name") or self.get("buildfile", "name_v2") or "BUCK.v2, BUCK"
        return tuple(name.strip() for name in names.split(",") if name.strip())

    @cached_property
    def ignored(self) -> tuple[str, ...]:
        """[project] ignore: folders, relative to the root, that hold no packages and no sources."""
        found = (self.get("project", "ignore") or "").split(",")
        return tuple(path.strip().strip("/") for path in found if path.strip().strip("/"))

    def layout(self) -> str:
        """What says which files belong to which package: all that loading reads of the settings by itself."""
        return repr([sorted(self.cells.folders.items()), self.build_files, self.ignored])

    def is_ignored(self, path: str) -> bool:
        """Whether `path` lies in a folder that is no part of the build."""
        return not NEVER.isdisjoint(path.split("/")) or any(
            path == folder or path.startswith(folder + "/") for folder in self.ignored
        )


def _join(folder: str, path: str, where: str) -> str:
    parts = folder.split("/") if folder else []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise UsageError(f"{path} leaves the project", where=where, remedy="name a path inside it")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
