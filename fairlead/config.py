"""Settings, and where each value came from.

One table declares every setting: its name is `room.key`, its type is that of its default.
Later sources win: the default; the person's `fairlead/config.toml`; the repository's
`fairlead.toml` or `[tool.fairlead]` of pyproject.toml; the environment (FAIRLEAD_ROOM_KEY).
A name that the table lacks is an error with the nearest names, not a silent nothing.
`.buckconfig` belongs to the build room and is read there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.errors import UsageError, did_you_mean, nearest

Value = str | int | bool | list[str]


@dataclass(frozen=True)
class Setting:
    """One declared setting; `personal` ones are refused in a repository's files."""

    name: str
    default: Value
    help: str
    personal: bool = False


SETTINGS: tuple[Setting, ...] = (
    Setting("build.infer", False, "Whether targets are inferred; counts in the repository's file."),
    Setting(
        "build.interpreter", "", "The Python of inferred tests, such as python3.13; empty: Fairlead's own."
    ),
    Setting("build.lock", "", "The lock that inferred tests run with; empty means the one that is found."),
    Setting("build.data", [], "Files and folders that every inferred test gets, besides those found."),
    Setting(
        "build.ignore",
        [],
        "Paths and patterns that inference and its tests leave out, as in .gitignore.",
    ),
    Setting("build.packages", [], "The packages of an inferred project, as paths; empty means those found."),
    Setting("build.requires", [], "More requirements for `fairlead init --lock`, besides the declared ones."),
    Setting("build.groups", [], "Groups and extras that tests need; empty means those that are found."),
    Setting("build.join", [], "Test files that are one target: paths, folders or patterns, a group a text."),
    Setting("build.env", [], "Variables that inferred tests see, such as MODE=quick; part of their keys."),
    Setting("build.version", "", "The version of an inferred project, where no file says it."),
    Setting("build.jobs", 0, "Actions and tests that run at once; 0 means one for each processor."),
    Setting("build.daemon", "auto", "Whether a process stays between commands: auto, on or off."),
    Setting("build.daemon_idle", 10800, "Seconds after which a daemon that nobody asks ends."),
    Setting("build.shard_seconds", 60, "A pytest file that takes this long runs in parts; 0: none does."),
    Setting("build.sandbox", "auto", "Isolation of actions and tests: auto, namespace, landlock or none."),
    Setting(
        "build.native_launcher", "auto", "Whether programs are started by the launcher in C: auto or off."
    ),
    Setting("store.dir", "", "Folder of build blobs and results; empty means fairlead-out/store.", True),
    Setting("lint.disable", [], "Built-in rules that lint and fix leave out, by name."),
    Setting("lint.exclude", [], "Paths that lint and fix leave out, as globs relative to the repository."),
    Setting("serve.approvals", 1, "Approvals that a diff needs before it lands.", True),
    Setting("serve.author_may_approve", False, "Whether an author's own accept counts as an approval.", True),
    Setting(
        "serve.enforcement",
        "namespace",
        "Least isolation of a pass that counts: namespace, landlock, none.",
        True,
    ),
    Setting(
        "serve.keep_candidates", 30, "Days that candidates which did not land are kept; 0: for ever.", True
    ),
    Setting("serve.keep_events", 90, "Days that events are kept; 0: for ever.", True),
    Setting(
        "serve.keep_logs", 180, "Days that logs are kept which no evidence may refer to; 0: for ever.", True
    ),
    Setting("serve.trunk", "main", "The trunk of a repository that `fairlead serve` makes.", True),
    Setting("serve.url", "", "The address people use, if a proxy stands before the server.", True),
    Setting("ship.remote", "origin", "The git remote that holds the trunk in this clone."),
    Setting("worker.download_hosts", [], "Hosts that a worker fetches files of http_file from.", True),
    Setting("worker.memory_mib", 4096, "Memory of the process that checks a candidate, in MiB.", True),
    Setting("worker.seconds", 3600, "How long checking one candidate may take, in seconds.", True),
    Setting("worker.test_seconds", 900, "How long a worker lets one test run, in seconds.", True),
)


@dataclass(frozen=True)
class Effective:
    """A setting's value in force and its source, such as `default` or a file's path."""

    setting: Setting
    value: Value
    source: str


class Config:
    """The settings in force. Asking for an undeclared name is a programming error (KeyError)."""

    def __init__(self, values: Mapping[str, Effective]) -> None:
        self._values = dict(values)

    def get(self, name: str) -> Value:
        """The value in force."""
        return self._values[name].value

    def text(self, name: str) -> str:
        """The value of a str setting."""
        value = self._values[name].value
        assert isinstance(value, str)
        return value

    def number(self, name: str) -> int:
        """The value of an int setting."""
        value = self._values[name].value
        assert isinstance(value, int)
        return value

    def words(self, name: str) -> list[str]:
        """The value of a list setting."""
        value = self._values[name].value
        assert isinstance(value, list)
        return value

    def source(self, name: str) -> str:
        """Where the value came from."""
        return self._values[name].source

    def items(self) -> Iterator[Effective]:
        """All settings in order of name."""
        yield from (self._values[name] for name in sorted(self._values))


def load(start: Path | None = None, env: Mapping[str, str] = os.environ) -> Config:
    """Read every source, beginning the search for the repository's files at `start` (default: here)."""
    known = {setting.name: setting for setting in SETTINGS}
    values = {name: Effective(setting, setting.default, "default") for name, setting in known.items()}

    def apply(table: Mapping[str, object], source: str, shared: bool) -> None:
        for name, raw in _flatten(table, source):
            setting = known.get(name)
            if setting is None:
                raise UsageError(
                    f"unknown setting {name}",
                    where=source,
                    remedy=did_you_mean(name, known) or "`fairlead config` lists the settings",
                )
            if shared and setting.personal:
                raise UsageError(
                    f"{name} is personal and may not stand in a repository's file",
                    where=source,
                    remedy=f"move it to {user_config_dir(env) / 'config.toml'}",
                )
            values[name] = Effective(setting, _checked(setting, raw, source), source)

    personal = user_config_dir(env) / "config.toml"
    if os.path.isfile(personal):  # not in a folder that is closed to us, such as another user's home
        apply(_read(personal), str(personal), shared=False)
    found = _repository_table(start or Path.cwd())
    if found is not None:
        apply(*found, shared=True)
    for name, setting in known.items():
        variable = _variable(name)
        if variable in env:
            raw = _from_text(setting, env[variable], variable)
            values[name] = Effective(setting, _checked(setting, raw, variable), f"environment {variable}")
    return Config(values)


_PREFIX = "FAIRLEAD_"
# Variables that are no settings: folders of a person, and what Fairlead's own parts tell each other.
_OTHERS = ("CACHE_DIR", "CONFIG_DIR", "STATE_DIR", "CRASH_AT", "PUSH", "SOCKET", "ENTERED", "ROOTS")


def unheeded(env: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """Variables that look like settings and are none, each with the nearest ("did you mean ...?", or "").

    They are told and not refused: an environment belongs to many programs. FAIRLEAD_TEST_ is our tests' own.
    """
    known = {_variable(setting.name).removeprefix(_PREFIX) for setting in SETTINGS} | set(_OTHERS)
    words = sorted(name.removeprefix(_PREFIX) for name in env if name.startswith(_PREFIX))
    found = []
    for word in words:
        if word not in known and not word.startswith("TEST_"):
            near = nearest(word, known, limit=1)  # without the prefix, which makes all names alike
            found.append((_PREFIX + word, f"did you mean {_PREFIX}{near[0]}?" if near else ""))
    return found


def _variable(setting: str) -> str:
    return _PREFIX + setting.replace(".", "_").replace("-", "_").upper()


def user_config_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Where a person's settings are: FAIRLEAD_CONFIG_DIR, else the system's folder for that."""
    return _user_dir(env, "FAIRLEAD_CONFIG_DIR", "XDG_CONFIG_HOME", ".config", "Library/Application Support")


def user_state_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Where tokens and known servers are: FAIRLEAD_STATE_DIR, else the system's folder for state."""
    return _user_dir(
        env, "FAIRLEAD_STATE_DIR", "XDG_STATE_HOME", ".local/state", "Library/Application Support"
    )


def user_cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Where what can be made again is kept for a person: FAIRLEAD_CACHE_DIR, else the system's folder."""
    return _user_dir(env, "FAIRLEAD_CACHE_DIR", "XDG_CACHE_HOME", ".cache", "Library/Caches")


def _user_dir(env: Mapping[str, str], own: str, xdg: str, linux: str, macos: str) -> Path:
    if env.get(own):
        return Path(env[own])
    if env.get(xdg, "").startswith("/"):
        return Path(env[xdg]) / "fairlead"
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    return home / (macos if sys.platform == "darwin" else linux) / "fairlead"


def _repository_table(start: Path) -> tuple[Mapping[str, object], str] | None:
    for folder in (start.resolve(), *start.resolve().parents):
        own = folder / "fairlead.toml"
        if os.path.isfile(own):
            return _read(own), str(own)
        project = folder / "pyproject.toml"
        if os.path.isfile(project):
            tool = _read(project).get("tool")
            table = tool.get("fairlead") if isinstance(tool, dict) else None
            if isinstance(table, dict):
                return table, f"{project} [tool.fairlead]"
        if os.path.exists(folder / ".git"):
            return None
    return None


def _read(path: Path) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path.name} is not valid TOML: {error}", where=str(path), remedy="mend that line"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", where=str(path)) from None


def _flatten(table: Mapping[str, object], source: str) -> Iterator[tuple[str, object]]:
    for room, inner in table.items():
        if not isinstance(inner, dict):
            raise UsageError(
                f"{room} stands alone; settings are grouped by room",
                where=source,
                remedy="write it as [room] and key = value, as `fairlead config` shows",
            )
        for key, value in inner.items():
            yield f"{room}.{key}", value


def _from_text(setting: Setting, text: str, variable: str) -> Value:
    if isinstance(setting.default, bool):
        if text.lower() in ("1", "true", "yes"):
            return True
        if text.lower() in ("0", "false", "no", ""):
            return False
        raise UsageError(
            f"{variable} is {text!r}", where=f"environment {variable}", remedy="use true or false"
        )
    if isinstance(setting.default, int):
        try:
            return int(text)
        except ValueError:
            raise UsageError(
                f"{variable} is {text!r}", where=f"environment {variable}", remedy="use a whole number"
            ) from None
    if isinstance(setting.default, list):
        return [word.strip() for word in text.split(",") if word.strip()]
    return text


def _checked(setting: Setting, raw: object, source: str) -> Value:
    default = setting.default
    if isinstance(default, bool) or isinstance(raw, bool):
        good = isinstance(default, bool) and isinstance(raw, bool)
    elif isinstance(default, list):
        good = isinstance(raw, list) and all(isinstance(word, str) for word in raw)
    else:
        good = isinstance(raw, type(default))
    if not good:
        kind = {bool: "true or false", int: "a whole number", str: "a text", list: "a list of texts"}[
            type(default)
        ]
        raise UsageError(f"{setting.name} is {raw!r}", where=source, remedy=f"use {kind}")
    return raw  # type: ignore[return-value]
