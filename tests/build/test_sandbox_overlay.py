"""Private writable copies of a folder: what a program may do in one, and that nothing of it gets out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fairlead.build import sandbox
from fairlead.build.sandbox import MIB, Bind, Command, Completed
from fairlead.errors import MachineryError
from tests.build.ordinary import ordinary_user
from tests.disk import small_disk

ROOT = Path(__file__).parents[2]

CHANGES = """
set -e
echo more >> kept.txt; rm gone.txt; mv moved.txt new-name.txt; chmod 700 script.sh; ./script.sh
rm -r folder; mkdir folder; echo own > folder/own; mkdir -p made/below; echo x > made/below/x
ln -s kept.txt link; ln kept.txt hard; touch -d 2001-01-01 locked.txt; echo y > locked.txt
find . | sort; cat kept.txt folder/own made/below/x locked.txt
"""


class House:
    """A folder of files of the caller's, and a way to run a shell line in an overlay of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "source: a, b"  # characters with a meaning in the options of an overlay
        self.log = root / "log"
        (self.source / "folder/inner").mkdir(parents=True)
        (self.source / "fairlead-out").mkdir()
        for name in ("kept.txt", "gone.txt", "moved.txt", "locked.txt", "folder/inner/deep.txt"):
            (self.source / name).write_text(f"{name}\n")
        (self.source / "locked.txt").chmod(0o600)
        (self.source / "script.sh").write_text("#!/bin/sh\necho run\n")
        (self.source / "script.sh").chmod(0o755)

    def shell(self, line: str, *binds: Bind, **more: object) -> Completed:
        given: dict[str, object] = {
            "argv": ["/bin/sh", "-c", line],
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/view",
            "stdout": self.log,
            "root_binds": [Bind(self.source, "/view", overlay=True), *binds],
            "wall_seconds": 60,
            "level": "namespace",
        }
        return sandbox.run(Command(**(given | more)))  # type: ignore[arg-type]

    @property
    def said(self) -> str:
        return self.log.read_text()

    def state(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Everything that could show a change of the source."""
        found = {}
        for path in [self.source, *self.source.rglob("*")]:
            seen = path.lstat()
            data = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (seen.st_mode, seen.st_uid, seen.st_mtime_ns, data)
        return found


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_program_may_do_all_in_its_copy_and_the_source_stays(house: House) -> None:
    before = house.state()
    done = house.shell(CHANGES)
    assert (done.code, done.not_overlaid) == (0, ()), house.said
    assert house.said.splitlines() == [
        "run",
        *(".", "./fairlead-out", "./folder", "./folder/own", "./hard", "./kept.txt", "./link"),
        *("./locked.txt", "./made", "./made/below", "./made/below/x", "./new-name.txt", "./script.sh"),
        *("kept.txt", "more", "own", "x", "y"),
    ]
    assert house.state() == before


def test_each_run_finds_the_source_as_it_is_now(house: House) -> None:
    house.shell("rm kept.txt; echo left > left")
    (house.source / "since.txt").write_text("new")
    house.shell("ls")
    assert house.said.split() == sorted(os.listdir(house.source))


def test_no_part_of_the_overlay_shows(house: House) -> None:
    """Neither the layers nor the way to the source: only what is at its place."""
    house.shell("ls -A /; grep -c overlay /proc/self/mountinfo; grep -v ' - overlay' /proc/self/mountinfo")
    names, _, mounts = house.said.partition("1\n")
    assert ".overlay" not in names and "view" in names.split()
    assert "source: a" not in mounts.replace("\\040", " ") and "/.overlay" not in mounts


def test_other_binds_may_lie_in_it(house: House) -> None:
    """At places that are there and at places that are not; read-only ones are, and writable ones keep."""
    outputs, inputs = house.root / "outputs", house.root / "inputs"
    outputs.mkdir()
    inputs.mkdir()
    (inputs / "file.txt").write_text("input")
    before = house.state()
    done = house.shell(
        "cat fairlead-out/gen/in/file.txt kept.txt; echo out > fairlead-out/gen/out/made; "
        "echo beside > fairlead-out/gen/beside; echo x 2>&- > fairlead-out/gen/in/no || echo shut",
        Bind(outputs, "/view/fairlead-out/gen/out", writable=True),
        Bind(inputs, "/view/fairlead-out/gen/in"),
        Bind(inputs / "file.txt", "/view/kept.txt"),
    )
    assert (done.code, house.said) == (0, "inputinputshut\n")
    assert (outputs / "made").read_text() == "out\n"
    assert sorted(os.listdir(inputs)) == ["file.txt"]
    assert house.state() == before


def test_a_link_in_it_leads_no_bind_astray(house: House) -> None:
    (house.source / "aside").symlink_to(house.root)
    outputs = house.root / "outputs"
    outputs.mkdir()
    with pytest.raises(MachineryError, match="no folder to be mounted on"):
        house.shell("true", Bind(outputs, "/view/aside/out", writable=True))
    assert sorted(os.listdir(house.root)) == ["log", "outputs", house.source.name]


def test_its_size_is_bounded(house: House) -> None:
    done = house.shell("head -c 16m /dev/zero > big", tmp_bytes=4 * MIB)
    assert done.code != 0 and "No space left" in house.said


def test_two_overlays_and_a_read_only_bind_in_one_run(house: House) -> None:
    done = house.shell(
        "echo a > /view/a; echo b > /again/b; ls /view /again; echo no 2>&- > /shut/c || echo shut",
        Bind(house.source / "folder", "/again", overlay=True),
        Bind(house.source, "/shut"),
    )
    assert done.code == 0 and done.not_overlaid == ()
    assert house.said.endswith("shut\n") and "\nb\ninner\n" in house.said
    assert not (house.source / "a").exists() and not (house.source / "folder/b").exists()


def test_a_source_that_holds_other_mounts_shows_its_own_files(house: House) -> None:
    """Or none, read-only: what matters is that it is said."""
    with small_disk(house.source / "disk", kilobytes=64) as disk:
        (disk / "inside").write_text("x")
        done = house.shell("echo x > new && ls disk")
        assert (done.code, house.said) == (0, "") or done.not_overlaid == ("/view",)
    assert not (house.source / "new").exists()


def test_where_no_overlay_can_be_had_the_bind_is_read_only_and_said_so(house: House) -> None:
    """/proc is no lower layer that a kernel takes, whoever asks."""
    done = house.shell("echo x > /odd/new", Bind(Path("/proc/sys"), "/odd", overlay=True), cwd="/")
    assert done.code != 0 and done.not_overlaid == ("/odd",)


def test_at_level_none_there_is_none(house: House) -> None:
    done = house.shell("exit 4", level="none", cwd=str(house.root))
    assert (done.code, done.not_overlaid) == (4, ("/view",))


def test_files_of_another_user_than_root_are_the_programs_too(house: House) -> None:
    """Where root runs us for somebody's folder."""
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", "65534:65534", str(house.source)], check=True)
    before = house.state()
    done = house.shell(CHANGES)
    assert (done.code, done.not_overlaid) == (0, ()), house.said
    assert house.state() == before


def test_an_ordinary_user_has_overlays_too() -> None:
    user, python = ordinary_user()
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        house = House(folder)
        (folder / "code").mkdir()
        subprocess.run(["cp", "-r", str(ROOT / "fairlead"), str(folder / "code/fairlead")], check=True)
        own = [python, "-c", ORDINARY.format(code=str(folder), source=str(house.source), line=CHANGES)]
        switch: dict[str, object] = {}
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{user}:{user}", str(folder)], check=True)
            switch = {"user": user, "group": user, "extra_groups": []}
        before = house.state()
        done = subprocess.run(own, capture_output=True, text=True, check=False, cwd=folder, **switch)  # type: ignore[call-overload]
        assert done.stdout == "0 ()\n", done.stderr + house.said
        assert house.state() == before
        assert (house.said.split()[0], "locked.txt" in house.said) == ("run", True)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


ORDINARY = """
import sys; sys.path.insert(0, {code!r} + '/code')
from pathlib import Path
from fairlead.build import sandbox
from fairlead.build.sandbox import Bind, Command
done = sandbox.run(Command(["/bin/sh", "-c", {line!r}], {{"PATH": "/usr/bin:/bin"}}, "/view",
    Path({code!r}) / "log", root_binds=[Bind(Path({source!r}), "/view", overlay=True)], level="namespace"))
print(done.code, done.not_overlaid)
"""
