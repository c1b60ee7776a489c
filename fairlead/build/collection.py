"""What pytest itself collects in a repository, in the environment that its tests will have.

Inference reads; this is the proof. Each project is collected once as a whole, in the sandbox and with the
recorder on, and a second time with another hash seed: ids that differ then cannot be told apart from run to
run. One process a file, as tests run later, would hide that two files have one name, and whole collections
are what people know from pytest.

Nothing here decides what a test depends on. It finds what cannot be collected, and why, in pytest's words.
"""

from __future__ import annotations

import json
import pkgutil
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build import roots, sandbox
from fairlead.build.infer.layout import Project
from fairlead.build.record.asked import Asked
from fairlead.build.sandbox import MIB, Bind, Command
from fairlead.build.stage import ENVIRONMENT, PROJECT, Environment

Trouble: TypeAlias = Literal["removed", "module", "name", "clash", "plugin", "option", "error"]

_SECONDS = 300.0
_SEEDS = ("0", "1")
_MODULE = re.compile(r"No module named '?([\w.]+)'?")
_NAME = re.compile(r"cannot import name '?(\w+)'? from (?:partially initialized module )?'?([\w.]+)'?")
_REMOVED = re.compile(r"^INTERNALERROR> \S*\b(PytestRemovedIn(\d+)Warning: .*)", re.MULTILINE)
_REQUIRED = re.compile(r"Missing required plugins: (.*)")
_OPTION = re.compile(r"unrecognized arguments: (.*)")
_ERROR = re.compile(r"^E\s+(\S.*)$", re.MULTILINE)
_WHERE = re.compile(r"^(\S+?\.py):(\d+): ", re.MULTILINE)


@dataclass(frozen=True)
class Failure:
    """Something that pytest could not collect. `path` is the file in the repository, "" if it is the whole
    project; `what` is pytest's sentence; `names` are the modules, plugins or options that are missing, the
    other file of two with one name, or the pytest that has what is used."""

    path: str
    trouble: Trouble
    what: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collection:
    """One project, collected. `items` are the node ids by file; `unstable` the files whose ids differ from
    run to run; `skipped` the files that skip themselves as a whole, with the reason. `read` are the files of
    the repository that were opened, as far as the recorder heard; None if nobody listened. `deselected` are
    files with tests that the project's settings leave out. `error` says that nothing could be collected at
    all, with the end of pytest's output."""

    items: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    unstable: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    read: frozenset[str] | None = None
    error: str = ""
    deselected: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """JSON; `decode` reads it back."""
        return json.dumps(
            {
                "items": {path: list(ids) for path, ids in self.items.items()},
                "failures": [[f.path, f.trouble, f.what, list(f.names)] for f in self.failures],
                "unstable": list(self.unstable),
                "skipped": [list(pair) for pair in self.skipped],
                "read": None if self.read is None else sorted(self.read),
                "error": self.error,
                "deselected": list(self.deselected),
            }
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> Collection:
        """What `encode` made; ValueError, KeyError or TypeError for anything else."""
        found = json.loads(data)
        return cls(
            {path: tuple(ids) for path, ids in found["items"].items()},
            tuple(Failure(path, kind, what, tuple(names)) for path, kind, what, names in found["failures"]),
            tuple(found["unstable"]),
            tuple((path, why) for path, why in found["skipped"]),
            None if found["read"] is None else frozenset(found["read"]),
            found["error"],
            tuple(found["deselected"]),
        )


def collect(
    root: Path,
    project: Project,
    search: Sequence[str],
    environment: Environment,
    scratch: Path,
    *,
    metadata: Mapping[str, str],
    level: sandbox.Requested = "auto",
) -> Collection:
    """Collect the project of the repository at `root` twice.

    `search` are the folders for imports, relative to the repository. `metadata` are files, by path, of a
    folder that is searched behind them: what an installation would say of the repository's own
    distributions. `scratch` is a new folder for this call.
    """
    prepare(scratch, metadata)
    answers: list[tuple[object, Asked | None, str]] = [(None, None, "")] * len(_SEEDS)

    def one(number: int) -> None:
        answers[number] = start(
            root, project, search, environment, scratch, _SEEDS[number], level, number == 0
        )

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(_SEEDS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (first, asked, log), (second, _, _) = answers
    return understand(first, second, log, project, None if asked is None else asked.opened)


def prepare(scratch: Path, metadata: Mapping[str, str]) -> None:
    """Put into `scratch` what `start` needs there."""
    made = scratch / "metadata"
    for path, text in metadata.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text(text, "utf-8")
    made.mkdir(parents=True, exist_ok=True)
    source = pkgutil.get_data("fairlead.build", "collect_pytest.py")
    assert source is not None
    (scratch / "collect_pytest.py").write_bytes(source)


def start(
    root: Path,
    project: Project,
    search: Sequence[str],
    environment: Environment,
    scratch: Path,
    seed: str,
    level: sandbox.Requested,
    record: bool,
    *,
    files: Sequence[str] = (),
    run: bool = False,
    name: str = "",
    seconds: float = _SECONDS,
) -> tuple[object, Asked | None, str]:
    """Run collect_pytest.py: what it answered, what it asked for below the repository, and its log. `files`
    are relative to the project; `name` tells runs in one `scratch` apart."""
    inside = sandbox.enforcement(level) == "namespace"
    out = scratch / f"out-{name or seed}"
    out.mkdir()
    home = scratch / f"home-{name or seed}"
    home.mkdir()
    seen = PROJECT if inside else str(root)
    python = f"{environment.inside if inside else environment.folder}/bin/python"
    extra = "/fairlead-init" if inside else str(scratch)
    place = f"{seen}/{project.folder}".rstrip("/")
    searched = [*(f"{seen}/{path}".rstrip("/") for path in search), f"{extra}/metadata"]
    asked = {
        "root": place,
        "search": searched,
        "ignore": [f"{seen}/fairlead-out"],
        "files": list(files),
        "run": run,
        "out": f"{extra}/out/answer" if inside else str(out / "answer"),
    }
    binds = [
        *environment.binds,
        Bind(environment.folder, environment.inside),
        roots.mounted(scratch / f"roots-{name or seed}", environment.folder, environment.inside, searched),
        Bind(root, PROJECT, overlay=True),
        Bind(scratch / "metadata", f"{extra}/metadata"),
        Bind(scratch / "collect_pytest.py", f"{extra}/collect_pytest.py"),
        Bind(out, f"{extra}/out", writable=True),
    ]
    masks = [*environment.masks]
    if (root / "fairlead-out").is_dir():
        masks.append(f"{PROJECT}/fairlead-out")
    tmp = "/tmp" if inside else str(home)
    done = sandbox.run(
        Command(
            argv=[python, f"{extra}/collect_pytest.py", json.dumps(asked)],
            env={**ENVIRONMENT, "HOME": tmp, "TMPDIR": tmp, **project.env, "PYTHONHASHSEED": seed},
            cwd=place,
            stdout=out / "log",
            root_binds=binds if inside else [],
            masks=masks if inside else [],
            memory_bytes=8192 * MIB,
            wall_seconds=seconds,
            level=level,
            record=record,
        )
    )
    text = (out / "log").read_text("utf-8", "replace").replace(f"{seen}/", "")
    try:
        answer: object = json.loads((out / "answer").read_text("utf-8"))
    except (OSError, ValueError):
        answer = None
    if done.timed_out:
        text += f"\nit took more than {seconds:.0f} s"
    heard = done.asked.below(seen) if done.asked is not None and done.asked.recorder != "none" else None
    return _without(answer, f"{seen}/"), heard, text


def _without(answer: object, prefix: str) -> object:
    """The answer with paths relative to the repository."""
    if isinstance(answer, str):
        return answer.replace(prefix, "")
    if isinstance(answer, list):
        return [_without(item, prefix) for item in answer]
    if isinstance(answer, dict):
        return {key: _without(value, prefix) for key, value in answer.items()}
    return answer


def understand(
    first: object, second: object, log: str, project: Project, read: Iterable[str] | None
) -> Collection:
    """What two runs of collect_pytest.py say together; `log` is the output of the first."""
    heard = None if read is None else frozenset(read)
    items, failed, skipped, code = _answer(first)
    if not items and not failed and code not in (0, 5):
        return Collection(read=heard, failures=tuple(_of_session(log)), error=_end(log))
    # A node id begins with a path relative to pytest's rootdir, which may be a folder above the project.
    known = {node.partition("::")[0]: path for path, node in items}
    again: dict[str, list[str]] = {}
    for path, node in _answer(second)[0]:
        again.setdefault(path, []).append(node)
    found: dict[str, list[str]] = {}
    for path, node in items:
        found.setdefault(path, []).append(node)

    def place(node: str) -> str:
        file = node.partition("::")[0]
        return known.get(file) or project.at(file)

    return Collection(
        {path: tuple(ids) for path, ids in found.items()},
        tuple(failure(place(node), text) for node, text in failed),
        tuple(
            sorted(
                path for path, ids in found.items() if path in again and sorted(again[path]) != sorted(ids)
            )
        ),
        tuple((place(node), why) for node, why in skipped if node.partition("::")[0].endswith(".py")),
        heard,
        deselected=_texts(first, "deselected"),
    )


def _texts(value: object, name: str) -> tuple[str, ...]:
    listed = value.get(name) if isinstance(value, dict) else None
    return tuple(map(str, listed)) if isinstance(listed, list) else ()


def _answer(
    value: object,
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]], int]:
    """The parts of an answer; the project's code may have written anything."""
    if not isinstance(value, dict):
        return [], [], [], -1

    def pairs(name: str) -> list[tuple[str, str]]:
        listed = value.get(name)
        return [
            (str(pair[0]), str(pair[1]))
            for pair in (listed if isinstance(listed, list) else ())
            if isinstance(pair, list) and len(pair) == 2
        ]

    code = value.get("code")
    return pairs("items"), pairs("failed"), pairs("skipped"), code if isinstance(code, int) else -1


def failure(path: str, text: str) -> Failure:
    """Why pytest did not collect the file, from its own report."""
    said = _ERROR.findall(text)
    if "import file mismatch" in text:
        other = re.search(r"has this __file__ attribute:\s+(?:E\s+)?(\S+)", text)
        return Failure(path, "clash", "another file has the same base name", (other[1],) if other else ())
    for line in reversed(said or text.strip().splitlines()[-1:]):
        if found := _MODULE.search(line):
            return Failure(path, "module", line, (found[1],))
        if found := _NAME.search(line):
            return Failure(path, "name", line, (f"{found[2]}.{found[1]}",))
    last = said[-1] if said else (text.strip().splitlines() or ["no word why"])[-1]
    return Failure(path, "error", last[:300])


def _of_session(log: str) -> list[Failure]:
    """Why pytest did not even begin: a conftest, a plugin or an option."""
    found = re.search(r"ImportError while loading conftest '([^']+)'", log)
    at = found[1] if found else ""
    if missing := _REQUIRED.search(log):
        names = tuple(re.split(r"[=<>!~ ;\[]", name.strip())[0] for name in missing[1].split(","))
        return [Failure("", "plugin", missing[0], names)]
    if removed := _REMOVED.search(log):  # it warns, and warnings are errors
        return [Failure("", "removed", removed[1], (f"pytest<{int(removed[2]) - 1}",))]
    if options := _OPTION.search(log):
        return [Failure("", "option", options[0], tuple(w for w in options[1].split() if w.startswith("-")))]
    modules = _MODULE.findall(log)
    if modules:
        return [Failure(at, "module", f"No module named '{modules[-1]}'", (modules[-1],))]
    if name := _NAME.search(log):
        return [Failure(at, "name", name[0], (f"{name[2]}.{name[1]}",))]
    return [Failure(at, "error", _end(log).splitlines()[-1] if log.strip() else "pytest said nothing")]


def _end(log: str, lines: int = 12) -> str:
    return "\n".join(log.strip().splitlines()[-lines:])
