"""Environments from locks: what gets in, what does not, what runs while it is installed (nothing)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build import sandbox, toolchain
from fairlead.build.plan import Toolchain
from fairlead.build.sandbox import Bind, Command
from fairlead.build.stage import Environment
from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.store import Store
from tests.build.wheels import Wheelhouse
from tests.disk import small_disk

CHAIN = Toolchain("//:python", "", "requirements.txt")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheelhouse:
    return Wheelhouse(tmp_path / "wheels", monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture(params=["uv", "pip"])
def installer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both installers make the same environment."""
    if request.param == "pip":
        monkeypatch.setattr(toolchain, "_uv", lambda: None)
    else:
        assert toolchain._uv() is not None, "uv is a development requirement"
    return str(request.param)


def python(environment: Environment, code: str, log: Path) -> tuple[int, str]:
    """Run code with the environment's python where tests run it: in a sandbox, at its fixed place."""
    binds = [*environment.binds, Bind(environment.folder, environment.inside)]
    argv = [f"{environment.inside}/bin/python", "-c", code]
    command = Command(argv, {"PATH": "/usr/bin:/bin"}, "/", log, root_binds=binds, level="namespace")
    return sandbox.run(command).code, log.read_text()


def test_an_environment_holds_what_its_lock_names_and_nothing_else(
    house: Wheelhouse, store: Store, installer: str, tmp_path: Path
) -> None:
    lock = house.add("greeting", {"greeting.py": "WORD = 'hello'"})
    made = toolchain.environment(CHAIN, lock.encode(), store)
    code = """
import importlib.util, sys
import greeting
others = ("pytest", "pip", "uv", "fairlead", "hypothesis")
print(greeting.WORD, [name for name in others if importlib.util.find_spec(name)])
print(greeting.__cached__.endswith(".pyc") and __import__("os").path.exists(greeting.__cached__))
"""
    assert python(made, code, tmp_path / "log") == (0, "hello []\nTrue\n")


def test_it_is_made_once_and_known_by_the_locks_bytes(house: Wheelhouse, store: Store) -> None:
    lock = house.add("greeting", {"greeting.py": ""})
    said: list[str] = []
    first = toolchain.environment(CHAIN, lock.encode(), store, on_install=said.append)
    second = toolchain.environment(CHAIN, lock.encode(), store, on_install=said.append)
    assert first == second and said == ["//:python: installing 1 packages"]
    other = toolchain.environment(CHAIN, b"# another\n" + lock.encode(), store, on_install=said.append)
    assert other.key != first.key and len(said) == 2
    record = store.get_record(first.key)
    assert record is not None and record.parts["version"] == toolchain.interpreter("").version


def test_console_scripts_work_wherever_the_environment_is_seen(
    house: Wheelhouse, store: Store, installer: str, tmp_path: Path
) -> None:
    files = {"greeting.py": "import sys\ndef main():\n    print('hello', *sys.argv[1:])\n"}
    lock = house.add("greeting", files, script="greet=greeting:main")
    made = toolchain.environment(CHAIN, lock.encode(), store)
    log = tmp_path / "log"
    binds = [*made.binds, Bind(made.folder, made.inside)]
    for argv, place in (
        ([f"{made.inside}/bin/greet", "you"], "namespace"),
        ([f"{made.folder}/bin/greet", "you"], "none"),
    ):
        level: sandbox.Requested = "namespace" if place == "namespace" else "none"
        command = Command(argv, {"PATH": "/usr/bin:/bin"}, "/", log, root_binds=binds, level=level)
        assert (sandbox.run(command).code, log.read_text()) == (0, "hello you\n")


def test_nothing_of_a_package_runs_while_it_is_installed(
    house: Wheelhouse, store: Store, installer: str, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    ran = f"import pathlib; pathlib.Path({str(marker)!r}).touch()"
    lock = house.add("evil", {"evil.pth": ran + "\n", "evil.py": ran, "sitecustomize.py": ran})
    toolchain.environment(CHAIN, lock.encode(), store)
    assert not marker.exists()


def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(
    house: Wheelhouse, store: Store, installer: str
) -> None:
    lock = (
        house.add("greeting", {"greeting.py": ""}).replace("--hash=sha256:", "--hash=sha256:00")[:-3] + "\n"
    )
    with pytest.raises(UsageError, match="cannot install the environment of //:python") as caught:
        toolchain.environment(CHAIN, lock.encode(), store)
    assert "requirements.txt" in caught.value.where and "hash" in caught.value.what.lower()
    assert [path for path in (store.root / "environments").iterdir() if path.is_dir()] == []


def test_a_package_without_a_wheel_is_refused(house: Wheelhouse, store: Store, installer: str) -> None:
    """A source distribution would run its own code to be built."""
    source = house.folder / "greeting-1.0.tar.gz"
    source.write_bytes(b"not even opened")
    lock = f"greeting==1.0 --hash=sha256:{'0' * 64}\n"
    with pytest.raises(UsageError, match="greeting"):
        toolchain.environment(CHAIN, lock.encode(), store)


def test_a_network_that_fails_is_not_the_locks_fault(
    house: Wheelhouse, store: Store, installer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker tries again, instead of calling the change broken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    for name in ("UV", "PIP"):
        monkeypatch.delenv(f"{name}_NO_INDEX")
        monkeypatch.delenv(f"{name}_FIND_LINKS")
        monkeypatch.setenv(f"{name}_INDEX_URL", f"http://127.0.0.1:{closed}/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_RETRIES", "1")
    lock = f"greeting==1.0 --hash=sha256:{'0' * 64}\n"
    with pytest.raises(MachineryError, match="greeting") as caught:
        toolchain.environment(CHAIN, lock.encode(), store)
    assert "network" in caught.value.remedy


@pytest.mark.parametrize(
    "line",
    [
        "greeting",
        "greeting==1.0",
        "greeting>=1.0 --hash=sha256:00",
        "-r other.txt",
        "-e .",
        "./local.whl",
        "--index-url https://example.org/simple",
        "--find-links /tmp",
        "greeting @ https://example.org/greeting.whl --hash=sha256:00",
        "greeting==1.0 --hash=sha256:00 --config-settings=x=y",
        "greeting==1.0 ; python_version < '4' @ https://example.org --hash=sha256:00",
        "https://example.org/greeting.whl --hash=sha256:00",
        "greeting==1.0 --hash=md5:00",
        "greeting==1.0 ; python_version < '4' --index-url=https://example.org --hash=sha256:00",
        "greeting==${HOME} --hash=sha256:00",
        "greeting==1.0 ; extra == '${HOME}' --hash=sha256:00",
    ],
)
def test_a_lock_holds_pinned_names_with_hashes_only(line: str, store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        toolchain.environment(CHAIN, f"# a comment\n\n{line}\n".encode(), store)
    assert caught.value.where == "requirements.txt:3"


@given(st.text(alphabet="-=:@/;.ab1 #\\\n'", max_size=60))
def test_whatever_a_lock_says_no_option_and_no_address_gets_through(text: str) -> None:
    try:
        found = toolchain.check_lock(text, "lock")
    except UsageError:
        return
    for line in found:
        assert not line.startswith("-") and "@" not in line
        assert all(word.startswith("--hash=sha") for word in line.split() if word.startswith("-"))


def test_markers_extras_and_several_hashes_are_read() -> None:
    text = r"""
a-b[c,d]==1.0 ; python_version < '3.12' \
    --hash=sha256:0a \
    --hash=sha512:0b  # why
c==2 --hash=sha256:ff
"""
    assert toolchain.check_lock(text, "lock") == [
        "a-b[c,d]==1.0 ; python_version < '3.12' --hash=sha256:0a --hash=sha512:0b",
        "c==2 --hash=sha256:ff",
    ]


def test_an_empty_lock_is_an_environment_without_packages(store: Store, tmp_path: Path) -> None:
    made = toolchain.environment(CHAIN, b"", store)
    assert python(made, "import sys; print(sys.prefix)", tmp_path / "log") == (0, f"{made.inside}\n")


def test_an_interpreter_by_its_command(
    house: Wheelhouse, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = house.add("greeting", {"greeting.py": ""})
    ours = toolchain.interpreter("")
    monkeypatch.setenv("PATH", os.path.dirname(ours.path), prepend=os.pathsep)
    toolchain.interpreter.cache_clear()
    named = Toolchain("//:python", f"python{ours.minor}", "requirements.txt")
    made = toolchain.environment(named, lock.encode(), store)
    assert made.key != toolchain.environment(CHAIN, lock.encode(), store).key
    code = "import greeting, platform; print(platform.python_version())"
    assert python(made, code, tmp_path / "log") == (0, toolchain.interpreter("").version + "\n")


def test_an_interpreter_that_is_not_there(store: Store) -> None:
    with pytest.raises(UsageError, match=r"there is no interpreter python3\.99"):
        toolchain.environment(Toolchain("//:p", "python3.99", "l"), b"", store)


@pytest.mark.parametrize("request_", ["./python3", "/tmp/python3", "tools/python3", "true", "python3 -c x"])
def test_an_interpreter_is_named_not_pointed_at(store: Store, request_: str) -> None:
    """It is started outside of a sandbox: a submitted change must not choose the file."""
    with pytest.raises(UsageError, match="is not the name of an interpreter"):
        toolchain.environment(Toolchain("//:p", request_, "l"), b"", store)


def test_an_interpreter_that_does_not_answer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python3.98").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="does not answer"):
        toolchain.environment(Toolchain("//:p", "python3.98", "l"), b"", store)


def test_two_at_once_install_once(house: Wheelhouse, store: Store) -> None:
    lock = house.add("greeting", {"greeting.py": ""})
    said: list[str] = []
    threads = [
        threading.Thread(
            target=toolchain.environment,
            args=(CHAIN, lock.encode(), store),
            kwargs={"on_install": said.append},
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1


def test_killed_before_it_is_complete_it_is_made_again(house: Wheelhouse, tmp_path: Path) -> None:
    lock = house.add("greeting", {"greeting.py": "WORD = 'hello'"})
    code = f"""
from pathlib import Path
from fairlead.build import toolchain
from fairlead.build.plan import Toolchain
from fairlead.store import Store
store = Store.open(Path({str(tmp_path / "s")!r}))
made = toolchain.environment(Toolchain("//:python", "", "l"), {lock.encode()!r}, store)
print(made.folder)
"""
    env = {**os.environ, "FAIRLEAD_CRASH_AT": toolchain.BEFORE_COMPLETE}
    killed = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert killed.returncode == -9
    (half,) = [path for path in (tmp_path / "s/environments").iterdir() if path.is_dir()]
    (half / "lib").rename(half / "broken")
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == str(half)
    assert not (half / "broken").exists()
    assert (
        subprocess.check_output([half / "bin/python", "-c", "import greeting; print(greeting.WORD)"])
        == b"hello\n"
    )


def test_a_full_disk_leaves_nothing_half_made(house: Wheelhouse, tmp_path: Path, installer: str) -> None:
    lock = house.add("greeting", {"greeting.py": "x = 1\n" * 100_000})
    with small_disk(tmp_path / "disk", kilobytes=400) as disk:
        with pytest.raises(FairleadError) as caught:
            toolchain.environment(CHAIN, lock.encode(), Store.open(disk))
        assert caught.value.exit == 3 and "space" in caught.value.remedy, caught.value
        assert [path for path in (disk / "environments").iterdir() if path.is_dir()] == []


def test_the_record_is_plain_data() -> None:
    record = toolchain.record(CHAIN, "0" * 64)
    assert json.dumps(record.parts, sort_keys=True)
    assert set(record.parts) == {"interpreter", "version", "lock", "platform"}
