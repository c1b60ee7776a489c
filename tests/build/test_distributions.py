"""Which distributions a run used, by the files of its environment that it asked for."""

from __future__ import annotations

from pathlib import Path

from fairlead.build.distributions import Installed
from fairlead.build.record.asked import Asked
from fairlead.build.stage import Environment
from fairlead.store import Store

SITE = "lib/python3.11/site-packages"


def environment(folder: Path) -> Environment:
    """Two distributions; one of them has the module that reads versions off the names of folders."""
    for name, module in (("setuptools-1.0", "pkg_resources"), ("words-2.0", "words")):
        for path in (f"{module}/__init__.py", f"{name}.dist-info/METADATA"):
            at = folder / SITE / path
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text("")
        rows = f"{module}/__init__.py,,\n{name}.dist-info/METADATA,,\n"
        (folder / SITE / f"{name}.dist-info/RECORD").write_text(rows)
    return Environment(folder, "0" * 64)


def opened(*paths: str) -> Asked:
    return Asked("seccomp", opened=frozenset(f"{SITE}/{path}" for path in paths))


def test_who_imports_pkg_resources_depends_on_every_version(tmp_path: Path) -> None:
    found = Installed.of(environment(tmp_path / "environment"), Store.open(tmp_path / "store"))
    assert found.used(opened("words/__init__.py")) == frozenset({"words"})
    assert found.used(opened("pkg_resources/__init__.py")) == frozenset({"setuptools", "words"})


def test_what_was_kept_and_is_lost_is_read_again(tmp_path: Path) -> None:
    store, made = Store.open(tmp_path / "store"), environment(tmp_path / "environment")
    found = Installed.of(made, store)
    ((_, blob),) = list(store.results.items("installed-3"))
    store.blobs.path(blob.decode()).unlink()
    assert Installed.of(made, store) == found
