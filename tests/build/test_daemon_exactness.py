"""With the daemon and without it the same actions run and the same outputs stand, whatever was edited."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.build.daemons import Desk, alive, desk, wait_for
from tests.build.project import commit, git, write

Edit = Callable[[Path], None]

BUCK = """
genrule(name = "a", out = "a.out", srcs = ["s0", "s1"], cmd = "cat $SRCS > $OUT")
genrule(name = "b", out = "b.out", srcs = ["s1", "s2", ":a"], cmd = "cat $SRCS | tr a-c A-C > $OUT")
genrule(name = "c", out = "c.out", srcs = glob(["g/**/*.txt"]), cmd = "cat $SRCS /dev/null > $OUT")
genrule(name = "d", out = "d.out", srcs = [":b", ":c", "p/x"], cmd = "cat $SRCS | sort > $OUT")
genrule(name = "e", out = "e.out", srcs = [":a"], cmd = "wc -c < $SRCS | tr 1-9 x > $OUT")
genrule(name = "f", out = "f.out", srcs = [":e"], cmd = "cat $SRCS $SRCS > $OUT")
"""
FILES = {
    "BUCK": BUCK,
    "s0": "a\n",
    "s1": "b\n",
    "s2": "c\n",
    "p/x": "x\n",
    "g/1.txt": "1\n",
    "g/in/2.txt": "2\n",
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as found:
        write(found.root, FILES)
        yield found


def _edits(chance: random.Random) -> Edit:
    """One thing that a person, an editor or git may do to a project."""
    source, text = chance.choice(["s0", "s1", "s2", "p/x", "g/1.txt"]), chance.choice("abcd") + "\n"
    name = chance.choice("abcdef")
    output = f"fairlead-out/gen/__{name}__/{name}.out"

    def save(root: Path) -> None:
        (root / source).parent.mkdir(exist_ok=True)
        (root / source).unlink(missing_ok=True) if (root / source).is_symlink() else None
        (root / source).write_text(text)

    def save_by_rename(root: Path) -> None:
        (root / source).parent.mkdir(exist_ok=True)
        (root / f"{source}~").write_text(text)
        os.replace(root / f"{source}~", root / source)

    def save_with_old_times(root: Path) -> None:
        if (root / source).exists():
            seen = (root / source).stat()
            (root / source).write_text(text)
            os.utime(root / source, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    def make_executable(root: Path) -> None:
        if (root / source).exists():
            (root / source).chmod(0o755 if chance.random() < 0.5 else 0o644)

    def remove(root: Path) -> None:
        (root / source).unlink(missing_ok=True)

    def link(root: Path) -> None:
        (root / "s2").unlink(missing_ok=True)
        (root / "s2").symlink_to("p/x")

    def new_file(root: Path) -> None:
        write(root, {f"g/in/deep/{text.strip()}.txt": text})

    def move_folder(root: Path) -> None:
        if (root / "g/in").exists() and not (root / "g/out").exists():
            (root / "g/in").rename(root / "g/out")
        elif (root / "g/out").exists() and not (root / "g/in").exists():
            (root / "g/out").rename(root / "g/in")

    def away_and_back(root: Path) -> None:
        if (root / "g").exists():
            (root / "g").rename(root / "elsewhere")
            (root / "elsewhere").rename(root / "g")

    def other_rule(root: Path) -> None:
        with (root / "BUCK").open("a") as file:
            file.write(f"# {text}")

    def other_command(root: Path) -> None:
        found = (root / "BUCK").read_text()
        swap = ("sort >", "sort -r >")
        (root / "BUCK").write_text(found.replace(*(swap if swap[0] in found else swap[::-1])))

    def new_package(root: Path) -> None:
        if (root / "q").exists():
            shutil.rmtree(root / "q")
        else:
            write(
                root, {"q/BUCK": 'genrule(name = "q", srcs = ["y"], out = "o", cmd = "cat $SRCS > $OUT")\n'}
            )
            write(root, {"q/y": text})

    def package_in_glob(root: Path) -> None:
        if (root / "g/in/BUCK").exists():
            (root / "g/in/BUCK").unlink()
        elif (root / "g/in").exists():
            write(root, {"g/in/BUCK": ""})

    def nested_repository(root: Path) -> None:
        if (root / "g/in/.git").exists():
            shutil.rmtree(root / "g/in/.git")
        elif (root / "g/in").exists():
            (root / "g/in/.git").mkdir()

    def spoil_output(root: Path) -> None:
        if (root / output).exists():
            (root / output).write_text("spoilt")

    def remove_output(root: Path) -> None:
        (root / output).unlink(missing_ok=True)

    def remove_outputs(root: Path) -> None:
        shutil.rmtree(root / "fairlead-out/gen", ignore_errors=True)

    def move_output(root: Path) -> None:
        if (root / output).exists():
            (root / output).parent.rename(root / "fairlead-out/moved")
            shutil.rmtree(root / "fairlead-out/moved")

    def restore(root: Path) -> None:
        shutil.rmtree(root / "g", ignore_errors=True)
        (root / "s2").unlink(missing_ok=True)
        write(root, FILES)

    def nothing(root: Path) -> None:
        pass

    choices: list[Edit] = [
        save, save, save, save_by_rename, save_with_old_times, make_executable, remove, link, new_file,
        move_folder, away_and_back, other_rule, other_command, new_package, package_in_glob,
        nested_repository, spoil_output, remove_output, remove_outputs, move_output, restore, restore,
        nothing,
    ]  # fmt: skip
    return chance.choice(choices)


def _alone(here: Desk, root: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fairlead", "build", "--json", "//..."],
        cwd=root,
        env=here.env,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def _outputs(root: Path) -> dict[str, bytes]:
    gen = root / "fairlead-out/gen"
    return {str(path.relative_to(gen)): path.read_bytes() for path in gen.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seed", range(2))
def test_the_same_actions_run_and_the_same_outputs_stand(here: Desk, seed: int) -> None:
    chance = random.Random(seed)
    twin = write(here.root.parent / "twin", {".buckconfig": "", **FILES})
    story: list[str] = []
    for _ in range(10):
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            edit, state = _edits(chance), chance.getstate()
            story.append(edit.__name__)
            for root in (here.root, twin):
                chance.setstate(state)
                edit(root)
        if chance.random() < 0.1 and here.status()["running"] is not False:
            here.kill()
            story.append("KILL")
        by_daemon = here.run("build", "--json", "//...", code=None)
        code, out, err = _alone(here, twin)
        assert by_daemon.returncode == code, (story, by_daemon.stderr, err)
        if code:
            where = str(here.root), str(twin)
            assert by_daemon.stderr.replace(where[0], "") == err.replace(where[1], ""), story
            continue
        found, wanted = json.loads(by_daemon.stdout), json.loads(out)
        found.pop("seconds"), wanted.pop("seconds")
        assert found == wanted, story
        assert _outputs(here.root) == _outputs(twin), story


def test_a_checkout_of_a_thousand_files(here: Desk) -> None:
    names = [f"g/{n // 50}/{n}.txt" for n in range(1000)]
    write(here.root, {".gitignore": "fairlead-out\n", **dict.fromkeys(names, "main\n")})
    commit(here.root)
    assert here.build()["actions"]["ran"] == 12
    git(here.root, "checkout", "-q", "-b", "other")
    write(here.root, dict.fromkeys(names, "other\n"))
    git(here.root, "commit", "-q", "-a", "-m", "other")
    assert here.build()["actions"]["ran"] == 4
    for branch, text in (("main", "main\n"), ("other", "other\n"), ("main", "main\n")):
        git(here.root, "checkout", "-q", branch)
        assert here.build()["actions"] == {"ran": 0, "known": 12}
        assert (here.root / "fairlead-out/gen/__c__/c.out").read_text().count(text) == 1000


def test_more_events_than_the_queue_holds(here: Desk) -> None:
    here.build()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    pid = here.pid()
    os.kill(pid, signal.SIGSTOP)  # it cannot empty the queue meanwhile
    for n in range(limit // 2 + 500):
        (here.root / f"g/noise{n % 2}").touch()
        (here.root / f"g/noise{n % 2}").unlink()
    write(here.root, {"s0": "late\n", "g/9.txt": "new\n"})
    (here.root / "fairlead-out/gen/__f__/f.out").write_text("spoilt")
    os.kill(pid, signal.SIGCONT)
    assert here.build()["actions"]["ran"] > 0
    assert "late" in (here.root / "fairlead-out/gen/__a__/a.out").read_text()
    assert "new" in (here.root / "fairlead-out/gen/__c__/c.out").read_text()
    assert "spoilt" not in (here.root / "fairlead-out/gen/__f__/f.out").read_text()
    assert here.pid() == pid


def test_an_edit_while_it_builds_is_seen_by_the_next_build(here: Desk) -> None:
    flag = here.root.parent / "flag"
    slow = 'genrule(name = "slow", srcs = ["s0"], out = "o", cmd = "touch {}; sleep 1; cat $SRCS > $OUT")\n'
    write(here.root, {"BUCK": slow.replace("{}", str(flag)) + BUCK})
    with here.start("build", "//:slow") as process:
        wait_for(flag.exists)
        write(here.root, {"s0": "edited meanwhile\n"})
        process.communicate(timeout=60)
    place = here.root / "fairlead-out/gen/__slow__/o"
    assert place.read_text() == "a\n"
    assert here.build("//:slow")["actions"]["ran"] == 2
    assert place.read_text() == "edited meanwhile\n"
    write(here.root, {"s0": "a\n"})
    assert here.build("//:slow")["actions"]["ran"] == 0
    assert place.read_text() == "a\n"


def test_only_what_an_edit_can_reach_is_looked_at(here: Desk) -> None:
    here.build()
    write(here.root, {"s2": "C\n"})
    here.run("build", "//...")
    rows = json.loads(here.run("log", "show", "--json").stdout)["events"]
    looked_at = {row["label"] for row in rows if row["event"] in ("action", "known")}
    assert looked_at == {"//:b", "//:d"}
    write(here.root, {"s0": "b\n"})  # e counts bytes: what reads e is not touched
    here.run("build", "//...")
    rows = json.loads(here.run("log", "show", "--json").stdout)["events"]
    assert "//:f" not in {row["label"] for row in rows if row["event"] == "action"}


def test_a_blob_that_has_gone_is_made_again(here: Desk) -> None:
    here.build()
    shutil.rmtree(here.root / "fairlead-out/store/blobs")
    write(here.root, {"s2": "C\n"})
    assert here.build()["actions"]["ran"] > 0
    assert _outputs(here.root)["__b__/b.out"] == b"B\nC\nA\nB\n"


def test_the_whole_folder_of_outputs_is_removed(here: Desk) -> None:
    here.build()
    shutil.rmtree(here.root / "fairlead-out")
    assert here.build()["actions"] == {"ran": 12, "known": 0}
    assert (here.root / "fairlead-out/.gitignore").read_text() == "*\n"
    assert here.build()["actions"] == {"ran": 0, "known": 12}


def test_another_process_that_uses_the_store_is_heeded(here: Desk) -> None:
    here.build()
    write(here.root, {"s0": "c\n"})
    assert _alone(here, here.root)[0] == 0
    assert here.build()["actions"]["ran"] == 0
    assert "Nothing has changed since the last time" in here.run("why", "//:a").stdout
    assert (here.root / "fairlead-out/gen/__a__/a.out").read_text() == "c\nb\n"


def test_killed_at_any_moment_nothing_is_wrong_and_nothing_done_is_lost(here: Desk) -> None:
    chance = random.Random(5)
    here.build()
    for _ in range(6):
        write(here.root, {name: chance.choice("abcd") + "\n" for name in ("s0", "s1", "s2")})
        pid = here.pid()
        with here.start("build", "--json", "//...") as process:
            time.sleep(chance.random() * 0.25)
            os.kill(pid, signal.SIGKILL)
            process.communicate(timeout=60)
        assert process.returncode in (0, 3)  # 3: it was killed while it printed
        here.build()
        assert here.build()["actions"] == {"ran": 0, "known": 12}
        s0, s1, s2 = ((here.root / name).read_text() for name in ("s0", "s1", "s2"))
        outputs = _outputs(here.root)
        assert outputs["__a__/a.out"].decode() == s0 + s1
        wanted = (s1 + s2 + s0 + s1).translate(str.maketrans("abc", "ABC"))
        assert outputs["__b__/b.out"].decode() == wanted


@pytest.mark.parametrize(
    "point",
    [
        "build.action.before-record",
        "build.action.after-record",
        "build.output.before-swap:2",
        "build.daemon.before-code",
    ],
)
def test_a_power_cut_at_a_named_point(here: Desk, point: str) -> None:
    here.build("//:a")
    pid = here.pid()
    write(here.root, {"s1": "c\n"})
    here.env["FAIRLEAD_CRASH_AT"] = point
    here.run("build", "//...", code=None)
    wait_for(lambda: not alive(pid))
    del here.env["FAIRLEAD_CRASH_AT"]
    here.build()
    assert here.build()["actions"]["ran"] == 0
    assert (here.root / "fairlead-out/gen/__b__/b.out").read_text() == "C\nC\nA\nC\n"


def test_a_file_that_was_a_folder_meanwhile(here: Desk) -> None:
    place = here.root / "g/1.txt"
    here.build()
    place.unlink()
    write(place.parent, {"1.txt/x": ""})
    shutil.rmtree(place)
    place.write_text("straight away\n")
    here.build()
    assert b"straight away\n" in _outputs(here.root)["__c__/c.out"]
    place.unlink()
    write(place.parent, {"1.txt/x.txt": "in it\n"})
    here.build()
    assert _outputs(here.root)["__c__/c.out"] == b"in it\n2\n"
    shutil.rmtree(place)
    place.write_text("again\n")
    here.build()
    assert _outputs(here.root)["__c__/c.out"] == b"again\n2\n"


def test_outputs_moved_away_while_the_store_is_elsewhere(here: Desk) -> None:
    here.env["FAIRLEAD_STORE_DIR"] = str(here.root.parent / "store")
    here.build()
    wanted = _outputs(here.root)
    for _ in range(2):
        time.sleep(0.5)  # between commands it begins to hear of the outputs
        here.build()
    (here.root / "fairlead-out").rename(here.root.parent / "old")
    (here.root / "fairlead-out").mkdir()
    here.build()
    assert _outputs(here.root) == wanted


def test_another_compiler_within_a_second(here: Desk) -> None:
    compiler = here.root.parent / "compiler"

    def change(word: str) -> None:
        part = compiler.with_name("part")
        part.write_text(f'#!/bin/sh\nexec /usr/bin/cc -DWORD={word} "$@"\n')
        part.chmod(0o755)
        part.rename(compiler)

    settings = f"[cxx]\ncc = {compiler}\n"
    rule = 'cxx_library(name = "a", srcs = ["m.c"])\n'
    write(here.root, {".buckconfig": settings, "m.c": "int WORD;\n", "BUCK": rule})
    change("one")
    here.build()
    change("two")  # that build ended less than a second ago
    assert here.build()["actions"]["ran"] > 0


def test_another_folder_is_mounted_on_one_of_the_project(here: Desk) -> None:
    other = write(here.root.parent / "other", {"1.txt": "mounted\n"})
    here.build()
    done = subprocess.run(["mount", "--bind", str(other), str(here.root / "g")], capture_output=True)
    if done.returncode:  # only root may; under CI that is a fault of the machine
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("nothing can be mounted here")
    try:
        here.build()
        assert _outputs(here.root)["__c__/c.out"] == b"mounted\n"
        write(here.root, {"g/1.txt": "edited\n"})
        here.build()
        assert _outputs(here.root)["__c__/c.out"] == b"edited\n"
    finally:
        subprocess.run(["umount", str(here.root / "g")], check=True)
    here.build()
    assert _outputs(here.root)["__c__/c.out"] == b"1\n2\n"
