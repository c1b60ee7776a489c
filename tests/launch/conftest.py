"""A web server, a cache of its own for each test, and the real `dotslash` as the judge."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.store import atomic
from tests.launch.tools import Run, finished
from tests.net.web import Web, serving


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A cache folder for both programs, emptied afterwards although its files are read-only."""
    monkeypatch.setenv("DOTSLASH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(tmp_path / "state"))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "cache"
    atomic.remove(tmp_path / "cache")


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def oracle() -> str:
    """The path of the real dotslash binary, which its package puts beside the interpreter."""
    beside = Path(sys.executable).parent / "dotslash"
    found = str(beside) if beside.exists() else shutil.which("dotslash")
    assert found, "the development requirements hold the dotslash package: install them"
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert version == "DotSlash 0.5.8\n", "these tests state what that version does"
    return found


@pytest.fixture
def fairlead() -> Run:
    """Run `fairlead run` with arguments, in another process."""

    def run(*args: str | Path, **kwargs: object) -> finished:
        return finished.of([sys.executable, "-m", "fairlead", "run", *map(str, args)], **kwargs)

    return run


@pytest.fixture
def dotslash(oracle: str) -> Run:
    """Run the real dotslash with arguments."""

    def run(*args: str | Path, **kwargs: object) -> finished:
        return finished.of([oracle, *map(str, args)], **kwargs)

    return run
