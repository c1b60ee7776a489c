"""Releases without a wheel: built in the sandbox, kept apart, and put into the environment like any other."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fairlead.build import index, sandbox, sdist, toolchain
from fairlead.build.plan import Toolchain
from fairlead.build.sandbox import Bind, Command
from fairlead.build.stage import Environment
from fairlead.errors import MachineryError, UsageError
from fairlead.store import Store
from tests.build.wheels import Wheelhouse

CHAIN = Toolchain("//:python", "", "requirements.txt")
BACKEND = """
import os, pathlib, zipfile

def get_requires_for_build_wheel(settings):
    return [line for line in pathlib.Path("more.txt").read_text().split()]

def build_wheel(folder, settings):
    name, version = pathlib.Path("release.txt").read_text().split()
    files = {"source_only.py": pathlib.Path("source_only.py").read_text()}
    files["probed.py"] = pathlib.Path("probe.py").read_text() and run_probe()
    info = f"{name}-{version}.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, file), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)
    return file

def run_probe():
    found = {}
    exec(pathlib.Path("probe.py").read_text(), found)
    return f"SEEN = {found.get('seen')!r}\\n"
"""
PYPROJECT = '[build-system]\nrequires = ["planted-backend"]\nbuild-backend = "planted_backend"\n'


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheelhouse:
    made = Wheelhouse(tmp_path / "wheels", monkeypatch)
    made.add("planted_backend", {"planted_backend.py": BACKEND})
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def archive(folder: Path, files: Mapping[str, str] | None = None, name: str = "source_only-1.0") -> str:
    """Put a source archive into a folder; its line for a lock."""
    members = {
        "pyproject.toml": PYPROJECT,
        "release.txt": "source_only 1.0",
        "more.txt": "",
        "probe.py": "seen = None",
        "source_only.py": "WORD = 'built'",
        **(files or {}),
    }
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, text in members.items():
            described = tarfile.TarInfo(f"{name}/{member}")
            described.size = len(text.encode())
            tar.addfile(described, io.BytesIO(text.encode()))
    return f"source-only==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def say(environment: Environment, code: str, log: Path) -> str:
    """What code prints in the environment, where tests run it."""
    binds = [*environment.binds, Bind(environment.folder, environment.inside)]
    argv = [f"{environment.inside}/bin/python", "-c", code]
    sandbox.run(Command(argv, {"PATH": "/usr/bin:/bin"}, "/", log, root_binds=binds, level="namespace"))
    return log.read_text().strip()


def test_what_has_no_wheel_is_built_once_and_installed_as_if_it_had_one(
    house: Wheelhouse, store: Store, tmp_path: Path
) -> None:
    lock = archive(house.folder) + house.add("greeting", {"greeting.py": "WORD = 'wheel'"})
    said: list[str] = []
    made = toolchain.environment(CHAIN, lock.encode(), store, on_install=said.append)
    assert said == [
        "//:python: installing 2 packages",
        "//:python: building source-only==1.0, which has no wheel",
    ]
    code = "import source_only, greeting; print(source_only.WORD, greeting.WORD)"
    assert say(made, code, tmp_path / "log") == "built wheel"
    site = next(made.folder.glob("lib/python*/site-packages"))
    assert not list(site.glob("*/direct_url.json")), "the place where it was built is no part of it"
    assert not (site / "planted_backend.py").exists()

    (house.folder / "source_only-1.0.tar.gz").unlink()  # it is in the store, whatever else a lock holds
    again = toolchain.environment(CHAIN, f"# more\n{lock}".encode(), store)
    assert again.key != made.key
    assert say(again, code, tmp_path / "log") == "built wheel"


def test_its_build_sees_its_archive_and_what_it_declares_and_has_no_network(
    house: Wheelhouse, store: Store, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        probe = f"""
import importlib.util, os, socket
seen = []
try:
    socket.create_connection(("127.0.0.1", {port}), 5).close()
    seen.append("the network")
except OSError:
    pass
seen += [path for path in [{str(tmp_path)!r}] if os.path.exists(path)]
seen += [name for name in ("pytest", "more_of_it") if importlib.util.find_spec(name)]
open("written", "w").close()
"""
        house.add("more_of_it", {"more_of_it.py": ""})
        lock = archive(house.folder, {"probe.py": probe, "more.txt": "more-of-it"})
        made = toolchain.environment(CHAIN, lock.encode(), store)
    assert say(made, "import probed; print(probed.SEEN)", tmp_path / "log") == "['more_of_it']"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"probe.py": "raise SystemExit('no compiler of that kind')"}, "no compiler of that kind"),
        ({"release.txt": "another 1.0"}, "which is another release"),
        ({"release.txt": "source_only 1.1"}, "which is another release"),
        ({"pyproject.toml": PYPROJECT.replace('"planted-backend"', '"x @ file:///tmp/x"')}, "x @ file:"),
        ({"more.txt": "--index-url=file:///tmp"}, "--index-url"),
        ({"pyproject.toml": "build-system"}, "pyproject.toml cannot be read"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_no_environment(
    house: Wheelhouse, store: Store, files: dict[str, str], words: str
) -> None:
    lock = archive(house.folder, files)
    with pytest.raises(UsageError) as refused:
        toolchain.environment(CHAIN, lock.encode(), store)
    assert words in refused.value.what and "source-only" in refused.value.where + refused.value.what
    assert not [
        p for p in (store.root / "environments").glob("*/lib") if not (p.parent / ".complete").exists()
    ]


def test_a_build_cannot_have_us_read_what_it_may_not(house: Wheelhouse, store: Store, tmp_path: Path) -> None:
    """By a link in the place of what is read when it has ended."""
    (tmp_path / "secret").write_text('{"wheel": "", "requires": ["a secret"]}')
    probe = f"""
import glob, os
for name in glob.glob("/fairlead-build/work-*"):
    for kind in ("answer", "log"):
        if not os.path.lexists(os.path.join(name, kind)):
            os.symlink({str(tmp_path / "secret")!r}, os.path.join(name, kind))
os._exit(0)
"""
    lock = archive(house.folder, {"probe.py": probe})
    with pytest.raises(UsageError, match="its build ended with 0") as refused:
        toolchain.environment(CHAIN, lock.encode(), store)
    assert "a secret" not in refused.value.what


def test_an_archive_without_a_hash_of_the_lock_is_not_built(house: Wheelhouse, store: Store) -> None:
    lock = archive(house.folder, {"probe.py": "raise SystemExit('it ran')"})
    digest = lock.rpartition(":")[2]
    with pytest.raises(UsageError, match="no source archive with a hash of the lock"):
        toolchain.environment(CHAIN, lock.replace(digest, "0" * 64).encode(), store)


def test_the_settings_of_uv_in_a_repository_around_the_store_do_not_count(
    house: Wheelhouse, tmp_path: Path
) -> None:
    """They could say where this machine fetches from."""
    (tmp_path / "uv.toml").write_text("what is no setting")
    lock = house.add("greeting", {"greeting.py": ""})
    made = toolchain.environment(CHAIN, lock.encode(), Store.open(tmp_path / "fairlead-out/store"))
    assert (made.folder / ".complete").exists()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, tuple[str, bytes]]], str]]:
    """Serves pages by path and kind, as the one index that uv knows; gives its address."""
    servers = []

    def start(pages: dict[str, tuple[str, bytes]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = pages.get(self.path, ("", b""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        address = f"http://127.0.0.1:{server.server_port}/simple"
        for name in ("UV_NO_INDEX", "UV_FIND_LINKS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("UV_DEFAULT_INDEX", address)
        return address

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", ["json", "html"])
def test_an_archive_is_found_on_the_page_of_an_index(
    serve: Callable[[dict[str, tuple[str, bytes]]], str], tmp_path: Path, kind: str
) -> None:
    (tmp_path / "made").mkdir()
    line = archive(tmp_path / "made")
    data = (tmp_path / "made/source_only-1.0.tar.gz").read_bytes()
    names = ["source_only-1.0-py2-none-any.whl", "source-only-0.9.tar.gz", "source_only-1.0.tar.gz"]
    pages = {
        "json": ("application/vnd.pypi.simple.v1+json", {"files": [{"url": f"../../f/{n}"} for n in names]}),
        "html": ("text/html", "".join(f'<a href="/f/{n}#sha256=0">{n}</a>' for n in names)),
    }
    said, page = pages[kind]
    body = page if isinstance(page, str) else json.dumps(page)
    serve(
        {
            "/simple/source-only/": (said, body.encode()),
            "/f/source_only-1.0.tar.gz": ("application/gzip", data),
        }
    )
    uv = toolchain._uv()
    assert uv is not None
    release = sdist.Release.of(line.strip())
    found = index.archive(uv, release.name, release.version, release.hashes, tmp_path)
    assert found.read_bytes() == data and found.name == "source_only-1.0.tar.gz"
    with pytest.raises(UsageError, match="no source archive"):
        index.archive(uv, "other", "1.0", release.hashes, tmp_path)


def test_an_index_that_cannot_be_asked_is_not_the_locks_fault(
    serve: Callable[[dict[str, tuple[str, bytes]]], str], tmp_path: Path
) -> None:
    serve({"/simple/broken/": ("application/vnd.pypi.simple.v1+json", b"{")})
    uv = toolchain._uv()
    assert uv is not None
    with pytest.raises(MachineryError, match="not JSON"):
        index.archive(uv, "broken", "1.0", ["sha256:00"], tmp_path)


def test_a_line_of_a_lock_is_read_as_a_release() -> None:
    assert sdist.Release.of("A_b[x,y]==1.0 ; os_name == 'posix' --hash=sha256:aa --hash=sha512:bb") == (
        sdist.Release("A_b", "1.0", frozenset({"sha256:aa", "sha512:bb"}))
    )


def test_setuptools_builds_what_declares_no_backend(tmp_path: Path, store: Store) -> None:
    """A setup.py without a pyproject.toml, built by the setuptools of the interpreter that runs this."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "setup.py").write_text("from setuptools import setup\nsetup(name='old', version='1')\n")
    assert sdist._backend(source).name == "setuptools.build_meta:__legacy__"
    assert sdist._backend(source).requires == ("setuptools>=40.8.0",)


def test_uv_is_asked_for_the_places_and_not_by_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://index.example/simple")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    (tmp_path / "uv.toml").write_text('index-url = "https://elsewhere.example/simple"\n')
    monkeypatch.chdir(tmp_path)
    uv = toolchain._uv()
    assert uv is not None
    assert index.places(uv) == [
        ("--find-links", str(tmp_path)),
        ("--index-url", "https://index.example/simple"),
    ]
    monkeypatch.setenv("UV_NO_INDEX", "1")
    assert [kind for kind, _ in index.places(uv)] == ["--find-links"]


def test_a_source_archive_holds_one_folder(tmp_path: Path) -> None:
    empty = tmp_path / "empty.tar.gz"
    with tarfile.open(empty, "w:gz"):
        pass
    with pytest.raises(UsageError, match="one folder"):
        sdist.unpack(empty, tmp_path / "there")
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"no archive")
    with pytest.raises(UsageError, match="cannot be unpacked"):
        sdist.unpack(broken, tmp_path / "here")


def test_an_archive_cannot_write_outside(tmp_path: Path) -> None:
    path = tmp_path / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        described = tarfile.TarInfo("../outside")
        described.size = 1
        tar.addfile(described, io.BytesIO(b"x"))
    with pytest.raises(UsageError, match="cannot be unpacked"):
        sdist.unpack(path, tmp_path / "inside")
    assert not (tmp_path / "outside").exists()
