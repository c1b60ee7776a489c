"""A project's folder: the archives of two releases, the tree as it is, the tree for Fairlead, the tree for
the oracle, and Python environments by what is installed in them. Everything in it is made once and found
again.

Nothing ever runs in the tree as it is, and nobody edits it. The two others are made from it, and what a
stopped run left behind in the oracle's is found by comparing them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from fairlead.build import toolchain
from fairlead.build.plan import Toolchain
from fairlead.build.stage import ENVIRONMENT  # what a test finds under Fairlead; the oracle's finds the same
from selection import planted
from selection.catalogue import Foreign
from selection.edit import Content, File, look, put
from selection.process import Failed, call, must, python

GENERATED = "requirements.tests.lock"
SETTINGS = "settings-of-init.toml"
"""Not fairlead.toml: the folder would be taken for the repository of all that is in it."""
_MADE = {"__pycache__", "fairlead-out", ".fairlead", ".pytest_cache", ".hypothesis", ".git", ".coverage"}


_RIGHTS = "-dac_override,-dac_read_search"
_UNPRIVILEGED = (
    ["setpriv", f"--bounding-set={_RIGHTS}", f"--inh-caps={_RIGHTS}"]
    if os.geteuid() == 0 and shutil.which("setpriv")
    else []
)
"""What is put before the oracle's command for root, who may read what nobody may: tests of permissions fail
for root, and no test of Fairlead is root."""


class Workplace:
    """Everything about one project and this Python below one folder; `plant` puts the planted tests into it.

    Fairlead's tests and the oracle's run with the Python that runs this.
    """

    def __init__(self, project: Foreign, base: Path, fairlead: list[str], *, plant: bool = True) -> None:
        self.project = project
        self.folder = base / f"python{sys.version_info[0]}.{sys.version_info[1]}" / project.name
        self.fairlead = fairlead
        self.plant = plant
        self.clean = self.folder / "clean" / project.name
        self.ours = self.folder / "ours" / project.name
        self.plain = self.folder / "plain" / project.name
        self.folder.mkdir(parents=True, exist_ok=True)

    def archive(self, version: str) -> Path:
        """The source archive of a release. Fetching it may run its build code."""
        kept = self.folder / "archives" / (version or "newest")
        if not kept.is_dir():
            making = self.folder / "archives" / "making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            wanted = f"{self.project.name}=={version}" if version else self.project.name
            download = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            must(python(*download, "--dest", ".", wanted), making)
            making.rename(kept)
        return next(kept.glob("*.tar.gz"))

    def unpack(self, version: str, to: Path) -> None:
        """The files of a release as the folder `to`, which must not exist."""
        making = to.parent / f"{to.name}.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        with tarfile.open(self.archive(version)) as tar:
            tar.extractall(making, filter="data")
        next(path for path in making.iterdir() if path.is_dir()).rename(to)
        shutil.rmtree(making)

    @cached_property
    def older(self) -> Path:
        """The files of the older release."""
        kept = self.folder / "older" / self.project.older
        if not kept.is_dir():
            self.unpack(self.project.older, kept)
        return kept

    def tree(self, to: Path) -> None:
        """A new copy of the project, with the planted tests."""
        shutil.rmtree(to, ignore_errors=True)
        self.unpack(self.project.version, to)
        if not self.plant:
            return
        if not any((to / self.project.folder).rglob("test*.py")):
            raise Failed(f"{self.project.name}: no test is below {self.project.folder}, where more would go")
        for path, content in planted.files(self.project.folder).items():
            put(to / path, content)

    @cached_property
    def said(self) -> Mapping[str, object]:
        """What `fairlead init` says of the project, which has no more than the answers; kept with the
        settings and the lock that it made."""
        kept = self.folder / "init.json"
        if not (kept.exists() and (self.folder / SETTINGS).exists()):
            scratch = self.folder / "init" / self.project.name
            self.tree(scratch)
            self.answer(scratch)
            done = call([*self.fairlead, "init", "--json"], scratch)
            if done.code:
                raise Failed(f"fairlead init ended with {done.code}: {(done.out + done.err)[-2000:]}")
            said = json.loads(done.out)
            lock = next(f["value"] for f in said["findings"] if f["subject"] == "environment")
            installed = distributions(scratch, lock)
            if not installed:
                raise Failed(f"fairlead init made no environment: {done.out[-2000:]}")
            if lock.startswith(".fairlead/"):
                shutil.copy(scratch / lock, self.folder / GENERATED)
            shutil.copy(scratch / "fairlead.toml", self.folder / SETTINGS)
            (self.folder / "installed.json").write_text(json.dumps(installed))
            kept.write_text(json.dumps(said))
            shutil.rmtree(scratch)
        found: Mapping[str, object] = json.loads(kept.read_text())
        return found

    def answer(self, root: Path) -> None:
        """Write the answers into a tree, and nothing if there are none."""
        if self.project.answers:
            lines = ("[build]", "infer = true", *self.project.answers)
            (root / "fairlead.toml").write_text("".join(f"{line}\n" for line in lines))

    def as_found(self) -> Path:
        """A new tree for Fairlead as a person has it before the first `init`: with the answers alone."""
        shutil.rmtree(self.ours, ignore_errors=True)
        self.tree(self.ours)
        self.answer(self.ours)
        return self.ours

    @property
    def lock(self) -> str:
        """The lock that `init` made, "" if the project has one of its own."""
        assert self.said
        kept = self.folder / GENERATED
        return kept.read_text() if kept.exists() else ""

    @property
    def installed(self) -> dict[str, str]:
        """Versions of the distributions in the clean environment, by name."""
        assert self.said
        found: dict[str, str] = json.loads((self.folder / "installed.json").read_text())
        return found

    def as_it_is(self) -> Path:
        """The tree that the others are copies of, made once. It has what `init` wrote, so that both sides
        are equal."""
        assert self.said
        if not self.clean.is_dir():
            making = self.folder / "clean" / "making"
            self.tree(making)
            shutil.copy(self.folder / SETTINGS, making / "fairlead.toml")
            if self.lock:
                (making / GENERATED).write_text(self.lock)
            making.rename(self.clean)
        return self.clean

    def for_fairlead(self) -> Path:
        """A new tree for Fairlead, without any verdict."""
        shutil.rmtree(self.ours, ignore_errors=True)
        shutil.copytree(self.as_it_is(), self.ours, symlinks=True)
        return self.ours

    def for_oracle(self) -> Path:
        """The tree for the oracle, made once."""
        if not self.plain.is_dir():
            making = self.folder / "plain" / "making"
            shutil.rmtree(making, ignore_errors=True)
            shutil.copytree(self.as_it_is(), making, symlinks=True)
            making.rename(self.plain)
        return self.plain

    def restore(self) -> list[str]:
        """Make the oracle's tree what it was; the paths where it was not. A run that was killed leaves its
        edit behind, and a test what it wrote."""
        wanted, found = self.content(), content_of(self.for_oracle())
        wrong = [path for path in sorted(wanted.keys() | found.keys()) if wanted.get(path) != found.get(path)]
        for path in wrong:
            put(self.plain / path, wanted.get(path))
        for folder in {above for path in wrong for above in Path(path).parents if above.parts}:
            if not (self.clean / folder).exists():
                shutil.rmtree(self.plain / folder, ignore_errors=True)
        return wrong

    def environment(self, pins: Mapping[str, str] | None = None, more: tuple[str, ...] = ()) -> Path:
        """The Python of an environment with the distributions of the clean one, but for `pins` (normalised
        names and versions), the project itself installed for editing, and the requirements `more`, which may
        bring others along."""
        versions = {**self.installed, **(pins or {})}
        wanted = sorted(f"{name}=={version}" for name, version in versions.items())
        key = hashlib.sha256(repr((wanted, more, sys.version)).encode()).hexdigest()[:16]
        venv = self.folder / "environments" / key
        interpreter = venv / "bin" / "python"
        if not (venv / "complete").exists():
            shutil.rmtree(venv, ignore_errors=True)
            must(python("-m", "uv", "venv", "--quiet", "--python", sys.executable, str(venv)), self.folder)
            install = python("-m", "uv", "pip", "install", "--quiet", "--python", str(interpreter))
            must([*install, "--compile-bytecode", "--no-deps", *wanted], self.folder)
            must([*install, "--no-deps", "--no-sources", "-e", str(self.for_oracle())], self.folder)
            if more:
                must([*install, "--compile-bytecode", *more], self.folder)
            (venv / "complete").write_text("\n".join([*wanted, *more]))
        return interpreter

    def pytest(self, pins: Mapping[str, str] | None = None, more: tuple[str, ...] = ()) -> list[str]:
        """The command of pytest in such an environment. Not `python -m pytest`: that looks for modules in
        the working folder before all others, and a file there could stand in for one of pytest's own."""
        interpreter = self.environment(pins, more)
        return [*_UNPRIVILEGED, str(interpreter), str(interpreter.with_name("pytest"))]

    def variables(self, scratch: Path) -> dict[str, str]:
        """The environment of a run in the oracle's tree: with the variables that its settings declare, and a
        home of its own below `scratch`."""
        home, temporary = scratch / "home", scratch / "tmp"
        for folder in (home, temporary):
            folder.mkdir(parents=True, exist_ok=True)
        settings = self.for_oracle() / "fairlead.toml"
        build = tomllib.loads(settings.read_text()).get("build", {}) if settings.exists() else {}
        declared = dict(text.split("=", 1) for text in build.get("env", []))
        return {**ENVIRONMENT, **declared, "HOME": str(home), "TMPDIR": str(temporary)}

    def content(self) -> dict[str, Content]:
        """All files of the tree as it is, by path, but for those that tools made."""
        return dict(self._content)

    @cached_property
    def _content(self) -> dict[str, Content]:
        return content_of(self.as_it_is())

    def historic(self) -> dict[str, Content]:
        """The files that the older release has otherwise, as they were in it; None where it has none."""
        now = self.content()
        found: dict[str, Content] = {}
        for path in sorted(self.older.rglob("*")):
            name = path.relative_to(self.older).as_posix()
            if path.is_file() and not path.is_symlink() and now.get(name) != (old := look(path)):
                found[name] = old
        for name, content in now.items():
            if isinstance(content, File) and not (self.older / name).exists() and "/planted/" not in name:
                found[name] = None
        for made in ("fairlead.toml", ".buckconfig", GENERATED):
            found.pop(made, None)
        return found


def content_of(root: Path) -> dict[str, Content]:
    """All files below a folder, by path, but for those that tools made."""
    found: dict[str, Content] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [n for n in folders if n not in _MADE and not n.endswith(".egg-info")]
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *linked):
            if not name.endswith((".so", ".pyc")) and name not in _MADE:
                path = Path(folder, name)
                found[path.relative_to(root).as_posix()] = look(path)
    return dict(sorted(found.items()))


def distributions(root: Path, lock: str) -> dict[str, str]:
    """The distributions in the environment that Fairlead made for a tree from a lock, {} if it made none."""
    found = {}
    build = tomllib.loads((root / "fairlead.toml").read_text()).get("build", {})
    asked = Toolchain("//:python", build.get("interpreter", ""), lock)
    data = (root / lock).read_bytes() if (root / lock).is_file() else b""
    key = toolchain.record(asked, hashlib.sha256(data).hexdigest()).key
    made = root / "fairlead-out/store/environments" / key
    for path in made.glob("lib/python*/site-packages/*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        found[normalised(name)] = version
    return found


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
