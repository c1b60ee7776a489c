"""The folder in which one action or test runs: its declared sources and inputs, and nothing else of the
project.

In a namespace the folder is seen read-only at /project and its files are the store's own (hard links); only
the folders that hold outputs are writable, and what else stands in those is copied. Without namespaces
everything is a copy, for nothing would keep a program from writing into a shared file (at level landlock,
from changing its mode); after such a run the
inputs are compared with what was staged, and a run that changed one is not recorded.
"""

from __future__ import annotations

import os
import posixpath
import re
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.build import manifest, roots, sandbox
from fairlead.build.manifest import File, Manifest
from fairlead.build.plan import GEN
from fairlead.build.record.asked import Asked
from fairlead.build.sandbox import MIB, Bind, Command, Enforced, logfile
from fairlead.build.tree import EXECUTABLE
from fairlead.errors import MachineryError, UsageError, WorkFailed
from fairlead.store import Blobs, atomic

if TYPE_CHECKING:
    from fairlead.build.snapshot import Snapshot

PROJECT = "/project"
_LOG = 4 * MIB  # of a longer log the beginning and the end are kept, on disk too while it grows
_KEEP_FREE = 256 * MIB  # of a large disk; of a small one a fiftieth
_TOOLCHAIN = re.compile(r"\{toolchain:([^{}\s]+)\}")

ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "USER": "sandbox",
    "LOGNAME": "sandbox",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "SOURCE_DATE_EPOCH": str(manifest.EPOCH),
}
"""What every action and test finds in its environment, beside HOME and TMPDIR and what it declares itself."""


@dataclass(frozen=True)
class Environment:
    """A toolchain's environment on this machine: its folder, where it is seen inside, and what it stands
    on."""

    folder: Path
    key: str
    binds: tuple[Bind, ...] = ()
    masks: tuple[str, ...] = ()

    @property
    def inside(self) -> str:
        """Its path in a namespace: the same on every machine."""
        return f"/toolchains/{self.key[:16]}"


@dataclass
class Stage:
    """One run's folder, below `root`, which must not exist. Fill it, `run` in it, collect outputs, `remove`
    it. With a `view` (in a namespace) the program sees that instead, and of the folder fairlead-out alone.
    `search` are folders of the project in which every Python of its environments finds modules (in a
    namespace)."""

    root: Path
    blobs: Blobs
    enforced: Enforced
    outputs: Sequence[str] = ()
    environments: Mapping[str, Environment] = field(default_factory=dict)
    view: Path | None = None
    search: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.project = self.root / "project"
        self.log = self.root / "log"
        self._writable = sorted({posixpath.dirname(path) for path in self.outputs})
        self._made: set[str] = set()
        self._copies: dict[str, tuple[str, tuple[int, int, int]]] = {}
        try:
            inner = [self.project / name for name in self._writable]
            tmp = [] if self.enforced == "namespace" else [self.root / "tmp"]  # there it has its own
            for path in (self.project, *tmp, *inner):
                manifest.make_folder(path, self._made)
        except OSError as error:
            raise manifest.unplaced(error, "make the folder", self.root) from error

    def add(self, path: str, content: Manifest) -> None:
        """Put `content` at `path` of the project."""
        link = self.enforced == "namespace" and not any(
            path.startswith(folder + "/") for folder in self._writable
        )
        target = self.project / path
        manifest.place(content, target, self.blobs, link=link, made=self._made, readonly=True)
        if not link:
            inner = [target] if isinstance(content, File) else [target / name for name in content.entries]
            for file in inner:
                if not file.is_symlink():
                    self._copies[str(file)] = str(file.relative_to(self.project)), signature(file)

    def spread(self, whole: Snapshot) -> None:
        """Put all of a project there, as copies that may be written to."""
        try:
            for path in sorted(whole.folders - {""}):
                (self.project / path).mkdir(exist_ok=True)
            for path, (mode, _) in whole.files.items():
                whole.place(path, self.project / path)
                (self.project / path).chmod(0o755 if mode == EXECUTABLE else 0o644)
            for path, target in whole.links.items():
                (self.project / path).symlink_to(target)
        except OSError as error:
            raise manifest.unplaced(error, "copy the project to", self.project) from error

    def run(
        self,
        argv: Iterable[str],
        env: Mapping[str, str],
        *,
        seconds: float,
        cancel: threading.Event | None = None,
        record: bool = False,
        on_tick: Callable[[], None] | None = None,
    ) -> sandbox.Completed:
        """Run the program in the project's folder, its output in `self.log`; with `record` the answer says
        what it asked for there."""
        inside = self.enforced == "namespace"
        tmp = "/tmp" if inside else str(self.root / "tmp")
        binds: list[Bind] = []
        masks: list[str] = []
        if inside:
            binds = self._binds()
            for environment in self.environments.values():
                lasting = [*environment.binds, Bind(environment.folder, environment.inside)]
                binds += [replace(bind, lasting=True) for bind in lasting]
                masks += environment.masks
            binds += self._roots()
        elif self.enforced == "landlock":
            binds, masks = self._at_their_places()
        command = Command(
            argv=self._command(argv),
            env={
                **ENVIRONMENT,
                "HOME": tmp,
                "TMPDIR": tmp,
                **self._asked_roots(),
                **{name: self._resolved(value) for name, value in env.items()},
            },
            cwd=PROJECT if inside else str(self.project),
            stdout=self.log,
            root_binds=binds,
            masks=masks,
            memory_bytes=8192 * MIB,
            wall_seconds=seconds,
            keep_free=self._keep_free(),
            level=self.enforced,
            record=record,
        )

        def tick() -> None:
            logfile.trim(self.log, _LOG)
            if on_tick is not None:
                on_tick()

        return sandbox.run(command, cancel=cancel, on_tick=tick)

    def _binds(self) -> list[Bind]:
        """The project as a program in a namespace sees it."""
        binds = [Bind(self.project, PROJECT)]
        if self.view is not None:
            outputs = posixpath.dirname(GEN)
            binds = [Bind(self.view, PROJECT, overlay=True)]
            binds.append(Bind(self.project / outputs, f"{PROJECT}/{outputs}"))
        return binds + [Bind(self.at(path), f"{PROJECT}/{path}", True) for path in self._writable]

    def at(self, path: str) -> Path:
        """Where a path of the project is here."""
        return self.project / path

    def asked(self, done: sandbox.Completed) -> tuple[Asked | None, dict[str, Asked]]:
        """What the program asked of the project, and of each environment by the toolchain's label."""
        if done.asked is None:
            return None, {}
        inside = self.enforced == "namespace"
        places = {
            label: found.inside if inside else str(found.folder) for label, found in self.environments.items()
        }
        project = PROJECT if inside else str(self.project)
        return done.asked.below(project), {label: done.asked.below(at) for label, at in places.items()}

    def _roots(self) -> Iterable[Bind]:
        """What tells the Pythons of each environment of the folders to search."""
        folders = [posixpath.normpath(f"{PROJECT}/{folder}") for folder in self.search]
        for number, environment in enumerate(self.environments.values() if folders else ()):
            at = self.root / f"roots-{number}"
            try:
                yield roots.mounted(at, environment.folder, environment.inside, folders, PROJECT)
            except OSError as error:
                raise manifest.unplaced(error, "write", at) from error

    def _asked_roots(self) -> Mapping[str, str]:
        """The same where nothing can be mounted."""
        if not self.search or self.enforced == "namespace":
            return {}
        try:
            for environment in self.environments.values():
                roots.asking(environment.folder)
        except OSError:  # another user's: run_pytest.py sets a PYTHONPATH then
            return {}
        folders = (posixpath.normpath(str(self.project / folder)) for folder in self.search)
        return {roots.ROOTS: os.pathsep.join(folders)}

    def _at_their_places(self) -> tuple[list[Bind], list[str]]:
        """What the program may see where it keeps its own path, and the masks of that."""
        free = [self.root / "tmp", *(self.project / path for path in self._writable)]
        binds = [Bind(self.project, str(self.project)), *(Bind(path, str(path), True) for path in free)]
        masks: list[str] = []
        for environment in self.environments.values():
            binds += [*environment.binds, Bind(environment.folder, str(environment.folder))]
            masks += environment.masks
        return binds, masks

    def lacks(self, path: str) -> bool:
        """Whether nothing stands at a path of the project's folder."""
        return not any(os.path.lexists(root / path) for root in (self.project, self.view) if root)

    def foreground(self, argv: Iterable[str], env: Mapping[str, str], *, terminal: Mapping[str, str]) -> int:
        """Run the program with our own terminal, in the same environment but without walls; its exit code.

        `terminal` are the variables that say what the terminal can do. Ctrl-C is the program's to heed.
        """
        tmp = str(self.root / "tmp")
        declared = {name: self._resolved(value) for name, value in env.items()}
        own = {"HOME": tmp, "TMPDIR": tmp, **self._asked_roots()}
        # A handler that does nothing: an ignored signal would be ignored by the program too.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            return subprocess.run(
                self._command(argv),
                env={**ENVIRONMENT, **own, **terminal, **declared},
                cwd=self.project,
                restore_signals=True,
                check=False,
            ).returncode
        except OSError as error:
            raise UsageError(
                f"the program cannot be started: {error.strerror}", where=str(error.filename)
            ) from None
        finally:
            signal.signal(signal.SIGINT, before)

    def seen(self, path: str) -> str:
        """The absolute path at which the program sees a path of the project."""
        return f"{PROJECT}/{path}" if self.enforced == "namespace" else str(self.project / path)

    def check_disk(self, done: sandbox.Completed) -> None:
        """After a run that failed: MachineryError if the disk is full, for then nothing it said can be
        relied on."""
        seen = os.statvfs(self.root)
        free = seen.f_bavail * seen.f_frsize
        if done.disk_full or free < self._keep_free() or (seen.f_files and seen.f_favail == 0):
            raise MachineryError(
                "the disk ran full while the program ran: No space left on device",
                where=str(self.root.parent),
                remedy="free some space on that disk, or set FAIRLEAD_STORE_DIR, and run it again",
            )

    def check_inputs(self) -> None:
        """After the run: WorkFailed if the program changed a file that it was given to read."""
        for path, (name, before) in self._copies.items():
            try:
                now = signature(path)
            except OSError:
                now = (0, 0, 0)
            if now != before:
                raise WorkFailed(
                    f"the action changed its own input {name}",
                    remedy="write to an output or to $TMPDIR instead",
                )

    def collect(self, output: str, *, folder: bool) -> Manifest:
        """Store one output; WorkFailed if it is missing or not what was declared."""
        at = posixpath.dirname(output)
        while at:
            if os.path.islink(self.at(at)):
                raise WorkFailed(f"the action put a symbolic link where the folder of {output} was")
            at = posixpath.dirname(at)
        take = self.enforced == "namespace"  # nothing that the program started is left
        return manifest.collect(self.at(output), self.blobs, folder=folder, name=output, take=take)

    def remove(self) -> None:
        """Remove the folder, whatever the program did to it."""
        discard(self.root)

    def _keep_free(self) -> int:
        seen = os.statvfs(self.root)
        return min(_KEEP_FREE, seen.f_blocks * seen.f_frsize // 50)

    def _command(self, argv: Iterable[str]) -> list[str]:
        """The command, its program named so that one in the project's root is not looked for on the PATH."""
        words = [self._resolved(word) for word in argv]
        if words and "/" not in words[0] and (self.project / words[0]).is_file():
            words[0] = f"./{words[0]}"
        return words

    def _resolved(self, text: str) -> str:
        def path(match: re.Match[str]) -> str:
            environment = self.environments[match[1]]
            return environment.inside if self.enforced == "namespace" else str(environment.folder)

        return _TOOLCHAIN.sub(path, text)


def discard(folder: Path) -> None:
    """Remove a folder of ours in which nothing runs any more, whatever programs did to it; absent is fine."""
    try:
        if stat.S_ISDIR(os.lstat(folder).st_mode):
            clear(str(folder))
    except (OSError, RecursionError):
        pass
    atomic.remove(folder)


def clear(folder: str) -> None:
    """Remove a folder in which nothing runs any more: by paths, with half the calls of shutil.rmtree."""
    empty(folder)
    os.rmdir(folder)


def empty(folder: str) -> None:
    """Remove what is in a folder in which nothing runs any more."""
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            clear(entry.path)
        else:
            os.unlink(entry.path)


def keep_log(blobs: Blobs, log: Path, limit: int = _LOG) -> str:
    """Keep a log as a blob and return its digest; of a huge one the beginning and the end are kept."""
    try:
        size = os.stat(log).st_size
        if size <= limit:
            return blobs.put(log.read_bytes())
        first, last = logfile.kept(size, limit)
        with log.open("rb") as stream:
            head = stream.read(first)
            stream.seek(size - last)
            tail = stream.read()
    except FileNotFoundError:
        return blobs.put(b"")
    except OSError as error:
        raise MachineryError(f"cannot read a log: {error.strerror}", where=str(log)) from error
    cut = size - len(head) - len(tail)
    return blobs.put(head + f"\n... {cut} bytes of this log left out ...\n".encode() + tail)


def keep_report(blobs: Blobs, path: Path, limit: int = 16 * MIB) -> str:
    """Keep a file that a program may have written beside its outputs, "" if there is none or it is too long.

    The program chose what stands there: only a regular file is read, and no link is followed.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(opened, "rb") as stream:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return ""
        data = stream.read(limit + 1)
    return blobs.put(data) if 0 < len(data) <= limit else ""


def signature(path: Path | str) -> tuple[int, int, int]:
    """What changes if a file is written to, or another stands in its place."""
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns
