"""Keys name what of the machine results depend on: the Python of a toolchain, and the compiler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.build import machine, toolchain
from tests.build.project import keys, write
from tests.build.test_rules_mixed import Yard

PROJECT = {
    "BUCK": "cxx_library(name = 'lib', srcs = ['a.c'], visibility = ['PUBLIC'])\n"
    "cxx_test(name = 't', srcs = ['t.c'], deps = [':lib'])\n"
    "genrule(name = 'alone', out = 'x', cmd = 'touch $OUT')\n"
    "sh_test(name = 's', test = 's.sh', resources = [':alone'])\n",
    "a.c": "int a(void) { return 0; }\n",
    "t.c": "int a(void); int main(void) { return a(); }\n",
    "s.sh*": "#!/bin/sh\n",
}


def forget() -> None:
    """As another process would begin, or this one a little later."""
    machine._known.clear()
    machine._version.cache_clear()
    toolchain.interpreter.cache_clear()


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    forget()
    yield
    forget()


def fake(folder: Path, name: str, text: str) -> Path:
    """A program that prints a text, whatever it is asked."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def keys_with(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    forget()
    monkeypatch.setattr(machine, "_folders", lambda: [str(folder)])
    return keys(root)


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [label for label in one if one[label] != other[label]]


def test_two_compilers_give_two_keys_and_only_where_they_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, bin_ = write(tmp_path / "p", PROJECT), tmp_path / "bin"
    fake(bin_, "cc", "echo cc 12.1")
    fake(bin_, "ar", "exit 0")
    first = keys_with(bin_, root, monkeypatch)
    assert keys_with(bin_, root, monkeypatch) == first
    fake(bin_, "cc", "echo cc 13.2")
    second = keys_with(bin_, root, monkeypatch)
    assert differing(first, second) == ["//:lib", "//:t"]
    fake(bin_, "ar", "exit 0; # another")
    assert differing(second, keys_with(bin_, root, monkeypatch)) == ["//:lib", "//:t"]
    (bin_ / "cc").unlink()
    assert differing(second, keys_with(bin_, root, monkeypatch)) == ["//:lib", "//:t"]


def test_the_same_driver_with_another_compiler_behind_it_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, bin_ = write(tmp_path / "p", PROJECT), tmp_path / "bin"
    fake(bin_, "cc", f"cat {tmp_path}/version")
    (tmp_path / "version").write_text("12.2.0-14\n")
    first = keys_with(bin_, root, monkeypatch)
    (tmp_path / "version").write_text("12.2.0-15\n")
    assert differing(first, keys_with(bin_, root, monkeypatch)) == ["//:lib", "//:t"]


def test_nothing_is_run_that_is_no_compiler_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submitted change says what the compiler is called."""
    ran = tmp_path / "ran"
    elsewhere = fake(tmp_path / "change", "cc", f"touch {ran}")
    fake(tmp_path / "bin", "reboot", f"touch {ran}")
    monkeypatch.setattr(machine, "_folders", lambda: [str(tmp_path / "bin")])
    for name in (str(elsewhere), "reboot"):
        path, content, said = machine.program(name)
        assert path and content and not said and not ran.exists()
    for name in ("change/cc", "./cc", "{toolchain://:python}/bin/cc", "absent"):
        assert machine.program(name) == ("", "", "")
    fake(tmp_path / "bin", "x86_64-linux-gnu-g++-12", f"touch {ran}")
    assert machine.program("x86_64-linux-gnu-g++-12")[2] and ran.exists()


def test_another_compiler_compiles_again(tmp_path: Path) -> None:
    compiler = fake(tmp_path / "bin", "cc", 'exec /usr/bin/cc "$@"')
    files = {**PROJECT, ".buckconfig": f"[cxx]\n  cc = {compiler}\n"}
    yard = Yard(tmp_path / "p", files, sandbox="none")
    yard.build("//:t")
    assert len(yard.ran) >= 4
    yard.build("//:t")
    assert yard.ran == []
    fake(tmp_path / "bin", "cc", 'exec /usr/bin/cc -O1 "$@"')
    forget()
    yard.build("//:t")
    assert len([text for text in yard.ran if "cxx_compile" in text]) == 2


def test_workers_of_two_pythons_share_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(
        tmp_path / "p",
        {
            "BUCK": "python_toolchain(name = 'named', interpreter = 'python3', lock = 'lock.txt')\n"
            "python_toolchain(name = 'ours', lock = 'lock.txt')\n"
            "python_test(name = 'n', srcs = ['test_n.py'], toolchain = ':named')\n"
            "python_test(name = 'o', srcs = ['test_n.py'], toolchain = ':ours')\n",
            "lock.txt": "",
            "test_n.py": "",
        },
    )
    found = []
    for version in ("3.12.1", "3.12.4", "3.13.0"):
        answer = f'["/x/python", "{version}", "/x", "cpython"]'
        fake(tmp_path / version, "python3", f"echo '{answer}'")
        monkeypatch.setenv("PATH", f"{tmp_path / version}:/usr/bin:/bin")
        forget()
        found.append(keys(root))
    assert found[0] == found[1], "the last digit is the same Python to a server; what is kept here heeds it"
    assert differing(found[1], found[2]) == ["//:named", "//:n"]
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    forget()
    assert differing(found[2], keys(root)) == ["//:named", "//:n"]
