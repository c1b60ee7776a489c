"""Plans made by hand, run by the real engine in real sandboxes: what runs, what does not, and what is
refused."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from fairlead.build import toolchain
from fairlead.build.builder import BuildReport
from fairlead.build.engine import Engine, TestReport
from fairlead.build.event import Event
from fairlead.build.plan import Action, Plan, Target, TestSpec, Toolchain
from fairlead.build.sandbox import Requested
from fairlead.build.stage import PROJECT
from fairlead.build.tree import DiskTree
from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed
from fairlead.store import Store, digest
from tests.disk import small_disk

GEN = "fairlead-out/gen"


def out(name: str, file: str, package: str = "p") -> str:
    return f"{GEN}/{package}/__{name}__/{file}"


def action(name: str, file: str, shell: str, **more: object) -> Action:
    """A "run" action of //p:name that makes one file with a line of shell."""
    given: dict[str, object] = {
        "owner": f"//p:{name}",
        "category": "genrule",
        "identifier": name,
        "kind": "run",
        "outputs": (out(name, file),),
        "argv": ("/bin/sh", "-c", shell),
    }
    return Action(**(given | more))  # type: ignore[arg-type]


def target(name: str, outputs: tuple[str, ...] = (), **more: object) -> Target:
    given: dict[str, object] = {
        "label": f"//p:{name}",
        "rule": "genrule",
        "rule_bzl": (),
        "attrs": {"name": name},
        "default_outputs": outputs,
        "place": "p/BUCK:1",
    }
    return Target(**(given | more))  # type: ignore[arg-type]


def plan(
    *actions: Action, tests: Mapping[str, TestSpec] | None = None, deps: Mapping[str, tuple[str, ...]] = {}
) -> Plan:
    """A plan with one target for each owner of an action and each test."""
    targets: dict[str, Target] = {}
    for step in actions:
        name = step.owner.removeprefix("//p:")
        sources = tuple(sorted({path for a in actions if a.owner == step.owner for path in a.sources}))
        outputs = tuple(path for a in actions if a.owner == step.owner for path in a.outputs)
        attrs = {"name": name, "argv": list(step.argv), "content": step.content}
        targets[step.owner] = target(name, outputs, sources=sources, attrs=attrs, deps=deps.get(name, ()))
    for name, spec in (tests or {}).items():
        targets[f"//p:{name}"] = target(
            name,
            rule="sh_test",
            test=spec,
            sources=spec.sources,
            deps=deps.get(name, ()),
            attrs={"argv": list(spec.argv)},
        )
    return Plan(targets, actions, {}, tuple(sorted(targets)))


def spec(shell: str, **more: object) -> TestSpec:
    given: dict[str, object] = {
        "argv": ("/bin/sh", "-c", shell),
        "env": {},
        "sources": (),
        "inputs": (),
        "toolchains": (),
        "timeout": 60,
    }
    return TestSpec(**(given | more))  # type: ignore[arg-type]


class Yard:
    """A project folder and a store; each call has an engine of its own, as each command has."""

    def __init__(self, folder: Path, level: Requested) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        self.store_folder = folder / "store"
        self.store = Store.open(self.store_folder)
        self.level = level
        self.events: list[Event] = []

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def engine(self, plan: Plan, level: Requested | None = None) -> Engine:
        return Engine(
            self.store,
            self.root,
            DiskTree(self.root),
            plan,
            sandbox=level or self.level,
            jobs=2,
            on_event=self.events.append,
        )

    def build(self, plan: Plan, *labels: str) -> BuildReport:
        return self.engine(plan).build(labels or list(plan.requested))

    def test(self, plan: Plan, *, reuse: bool = True, sandbox: Requested | None = None) -> TestReport:
        return self.engine(plan, sandbox).test(plan.requested, reuse)

    def log(self, report: TestReport, number: int = 0) -> str:
        return self.store.blobs.get(report.results[number].log).decode()


@pytest.fixture(params=["namespace", "none"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Yard:
    """Everything here holds at both levels, except what the tests on hostile actions say."""
    return Yard(tmp_path, request.param)


@pytest.fixture
def walled(tmp_path: Path) -> Yard:
    return Yard(tmp_path, "namespace")


def chain() -> Plan:
    """a.txt -> upper case -> with a line appended."""
    first = action("up", "up.txt", f"tr a-z A-Z < p/a.txt > {out('up', 'up.txt')}", sources=("p/a.txt",))
    second = action(
        "more",
        "more.txt",
        f"cat {out('up', 'up.txt')} > {out('more', 'more.txt')}; echo end >> {out('more', 'more.txt')}",
        inputs=(out("up", "up.txt"),),
    )
    return plan(first, second, deps={"more": ("//p:up",)})


def test_a_build_makes_its_outputs_and_the_second_runs_nothing(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    first = yard.build(chain())
    assert (first.ran, first.cached) == (2, 0)
    assert first.outputs == {"//p:more": (out("more", "more.txt"),), "//p:up": (out("up", "up.txt"),)}
    assert yard.read(out("more", "more.txt")) == "HELLO\nend\n"
    before = (yard.root / out("more", "more.txt")).stat()
    second = yard.build(chain())
    assert (second.ran, second.cached) == (0, 2)
    assert (yard.root / out("more", "more.txt")).stat() == before


def test_an_edit_reruns_what_it_reaches_and_going_back_reruns_nothing(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    yard.build(chain())
    yard.write("p/a.txt", "other\n")
    assert yard.build(chain()).ran == 2
    assert yard.read(out("more", "more.txt")) == "OTHER\nend\n"
    yard.write("p/a.txt", "hello\n")
    assert (yard.build(chain()).ran, yard.read(out("more", "more.txt"))) == (0, "HELLO\nend\n")


def test_an_edit_that_changes_no_output_stops_there(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    yard.build(chain())
    yard.write("p/a.txt", "HELLO\n")
    report = yard.build(chain())
    assert (report.ran, report.cached) == (1, 1)


def test_a_mode_change_is_a_change(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    yard.build(chain())
    (yard.root / "p/a.txt").chmod(0o755)
    assert yard.build(chain()).ran == 1


def test_only_what_is_asked_for_is_built(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    assert yard.build(chain(), "//p:up").ran == 1
    assert not (yard.root / out("more", "more.txt")).exists()


def test_an_output_that_was_edited_or_removed_is_put_back_without_running(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    yard.build(chain())
    path = yard.root / out("up", "up.txt")
    path.write_text("tampered")
    (yard.root / out("more", "more.txt")).unlink()
    assert yard.build(chain()).ran == 0
    assert (path.read_text(), yard.read(out("more", "more.txt"))) == ("HELLO\n", "HELLO\nend\n")


@pytest.mark.parametrize("damage", ["removed", "cut short", "all gone"])
def test_a_blob_that_went_missing_is_made_again(yard: Yard, damage: str) -> None:
    yard.write("p/a.txt", "hello\n")
    yard.build(chain())
    for path in [p for p in yard.store.blobs.root.rglob("*") if p.is_file()]:
        if damage == "all gone" or path.read_bytes() == b"HELLO\n":
            path.unlink()
            if damage == "cut short":
                path.write_bytes(b"")
    (yard.root / out("up", "up.txt")).unlink()
    (yard.root / out("more", "more.txt")).unlink()
    assert yard.build(chain()).ran >= 1
    assert yard.read(out("more", "more.txt")) == "HELLO\nend\n"


def test_an_action_sees_what_it_declares_and_nothing_else(yard: Yard) -> None:
    yard.write("p/a.txt", "declared\n")
    yard.write("p/b.txt", "undeclared\n")
    seen = action(
        "see", "seen", f"x=$(find . -type f); (echo $x; env) > {out('see', 'seen')}", sources=("p/a.txt",)
    )
    os.environ["FAIRLEAD_TEST_SECRET"] = "s3cret"
    try:
        yard.build(plan(seen))
    finally:
        del os.environ["FAIRLEAD_TEST_SECRET"]
    text = yard.read(out("see", "seen"))
    assert text.splitlines()[0] == "./p/a.txt"
    assert "b.txt" not in text and "s3cret" not in text


def test_write_copy_and_link_tree_make_files_without_running_a_program(yard: Yard) -> None:
    yard.write("p/a.txt", "a\n")
    yard.write("p/tool", "#!/bin/sh\n")
    (yard.root / "p/tool").chmod(0o755)
    steps = (
        action("w", "w.sh", "", kind="write", argv=(), content="#!/bin/sh\necho hi\n", executable=True),
        action("c", "c", "", kind="copy", argv=(), entries={"": "p/tool"}, sources=("p/tool",)),
        action(
            "t",
            "tree",
            "",
            kind="link_tree",
            argv=(),
            sources=("p/a.txt",),
            inputs=(out("w", "w.sh"), out("c", "c")),
            entries={"x/a": "p/a.txt", "w": out("w", "w.sh"), "c": out("c", "c")},
            directories=(out("t", "tree"),),
        ),
        action(
            "u",
            "tree2",
            "",
            kind="link_tree",
            argv=(),
            inputs=(out("t", "tree"),),
            entries={"deep/er": out("t", "tree"), "one": out("t", "tree/x/a")},
            directories=(out("u", "tree2"),),
        ),
    )
    assert yard.build(plan(*steps)).ran == 4
    assert subprocess.check_output([yard.root / out("w", "w.sh")]) == b"hi\n"
    tree = yard.root / out("u", "tree2")
    found = {str(p.relative_to(tree)): oct(p.stat().st_mode & 0o111) for p in tree.rglob("*") if p.is_file()}
    assert found == {"deep/er/x/a": "0o0", "deep/er/w": "0o111", "deep/er/c": "0o111", "one": "0o0"}
    assert yard.build(plan(*steps)).ran == 0


def test_a_folder_output_keeps_links_modes_and_empty_folders(yard: Yard) -> None:
    line = f"cd {out('d', '')} && mkdir -p tree/sub tree/void && echo x > tree/sub/f"
    line += " && chmod 755 tree/sub/f && ln -s sub/f tree/l"
    yard.build(plan(action("d", "tree", line, directories=(out("d", "tree"),))))
    tree = yard.root / out("d", "tree")
    assert os.readlink(tree / "l") == "sub/f" and (tree / "l").read_text() == "x\n"
    assert (tree / "void").is_dir() and os.access(tree / "sub/f", os.X_OK)


def test_several_outputs_in_several_folders(yard: Yard) -> None:
    one, two = out("s", "a/one"), out("s", "two")
    step = action("s", "", f"echo 1 > {one}; echo 2 > {two}", outputs=(one, two))
    yard.build(plan(step))
    assert (yard.read(one), yard.read(two)) == ("1\n", "2\n")


# -- failures


def test_a_failing_action_names_label_action_last_lines_and_a_command_that_repeats_it(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    good = action("up", "up.txt", f"tr a-z A-Z < p/a.txt > {out('up', 'up.txt')}", sources=("p/a.txt",))
    bad = action(
        "bad",
        "x",
        f'cat {out("up", "up.txt")}; echo "it\'s $WHO" >&2; exit 3',
        inputs=(out("up", "up.txt"),),
        env={"WHO": "broken"},
    )
    with pytest.raises(WorkFailed) as caught:
        yard.build(plan(good, bad))
    error = caught.value
    assert error.what.splitlines() == ["genrule bad failed with exit code 3", "  | HELLO", "  | it's broken"]
    assert error.where == "//p:bad (p/BUCK:1)"
    command = error.remedy.removeprefix("to repeat it: ")
    again = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout, again.stderr) == (3, "HELLO\n", "it's broken\n")


def test_a_failure_is_not_remembered(yard: Yard) -> None:
    step = action("f", "x", f"test -e /dev/null/no; echo made > {out('f', 'x')}; exit 1")
    for _ in range(2):
        with pytest.raises(WorkFailed, match="exit code 1"):
            yard.build(plan(step))
    assert list(yard.store.results.items("action")) == []
    assert not (yard.root / out("f", "x")).exists()


def test_an_output_that_was_not_made_is_a_failure_and_not_remembered(yard: Yard) -> None:
    step = action("m", "x", "true")
    with pytest.raises(WorkFailed, match="did not make") as caught:
        yard.build(plan(step))
    assert "//p:m" in caught.value.where
    assert list(yard.store.results.items("action")) == []


def test_a_folder_for_a_file_and_a_file_for_a_folder_are_refused(yard: Yard) -> None:
    with pytest.raises(WorkFailed, match="declared as a file, but the action made a folder"):
        yard.build(plan(action("m", "x", f"mkdir {out('m', 'x')}")))
    with pytest.raises(WorkFailed, match="declared as a folder, but the action made a file"):
        yard.build(plan(action("m", "x", f"touch {out('m', 'x')}", directories=(out("m", "x"),))))


def test_an_unknown_label_names_the_nearest(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    with pytest.raises(UsageError, match="there is no target //p:moer") as caught:
        yard.build(chain(), "//p:moer")
    assert "//p:more" in caught.value.remedy


def test_a_source_saved_while_it_is_built_stops_the_build(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    engine = yard.engine(chain())
    engine.sources.prepare(["p/a.txt"])
    yard.write("p/a.txt", "saved meanwhile\n")
    with pytest.raises(WorkFailed, match="was changed while"):
        engine.build(["//p:up"])
    assert list(yard.store.results.items("action")) == []
    assert yard.build(chain()).ran == 2 and yard.read(out("up", "up.txt")) == "SAVED MEANWHILE\n"


def test_a_source_whose_blob_was_damaged_is_stored_again(yard: Yard) -> None:
    yard.write("p/a.txt", "bad\n")
    made = plan(tests={"t": spec("! grep -q bad p/a.txt", sources=("p/a.txt",))})
    assert not yard.test(made).passed
    blob = yard.store.blobs.path(digest.of_bytes(b"bad\n"))
    blob.unlink()
    blob.write_bytes(b"")
    assert not yard.test(made).passed


def test_an_output_whose_blob_was_written_to_is_made_again(yard: Yard) -> None:
    """Also one of the same size, with the time that it had."""
    yard.write("p/a.txt", "hello\n")
    yard.build(chain())
    blob = yard.store.blobs.path(digest.of_bytes(b"HELLO\n"))
    blob.chmod(0o644)
    blob.write_bytes(b"WRONG\n")
    shutil.rmtree(yard.root / "fairlead-out")
    assert yard.build(chain()).ran >= 1 and yard.read(out("up", "up.txt")) == "HELLO\n"
    os.utime(yard.store.blobs.path(digest.of_bytes(b"HELLO\n")))  # touched, and whole
    assert yard.build(chain()).ran == 0


def test_an_input_can_be_written_at_no_level(yard: Yard) -> None:
    yard.write("p/a.txt", "hello\n")
    made = plan(tests={"t": spec("ls -l p/a.txt | grep -q '^-r--r--r--'", sources=("p/a.txt",))})
    levels: tuple[Requested, ...] = ("namespace", "none")
    for level in levels:
        assert yard.engine(made, level).test(["//p:t"], reuse=False).passed


def locked(version: str, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan with a test that uses a toolchain whose interpreter has that version."""
    found = toolchain.interpreter("")
    monkeypatch.setattr(toolchain, "interpreter", lambda _: replace(found, version=version))
    made = plan(tests={"t": spec("true", toolchains=("//p:python",))}, deps={"t": ("//p:python",)})
    chain = target("python", sources=("p/lock.txt",))
    tested = replace(made.targets["//p:t"], toolchains=("//p:python",))
    chains = {"//p:python": Toolchain("//p:python", "", "p/lock.txt")}
    return replace(made, targets={"//p:python": chain, "//p:t": tested}, toolchains=chains)


def test_a_pass_of_another_interpreter_does_not_count(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.write("p/lock.txt", "")
    now = toolchain.interpreter("").version
    assert not yard.test(locked(now, monkeypatch)).results[0].reused
    assert yard.test(locked(now, monkeypatch)).results[0].reused
    assert not yard.test(locked(now + "0", monkeypatch)).results[0].reused


def test_a_pass_over_what_another_interpreter_made_does_not_count(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.write("p/lock.txt", "")

    def made(version: str) -> Plan:
        found = locked(version, monkeypatch)
        tested = found.targets["//p:t"]
        assert tested.test is not None
        below = replace(target("below", deps=("//p:python",)), toolchains=("//p:python",))
        above = replace(tested, deps=("//p:below",), toolchains=(), test=replace(tested.test, toolchains=()))
        targets = {"//p:python": found.targets["//p:python"], "//p:below": below, "//p:t": above}
        return replace(found, targets=targets)

    now = toolchain.interpreter("").version
    assert not yard.test(made(now)).results[0].reused
    assert yard.test(made(now)).results[0].reused
    assert not yard.test(made(now + "0")).results[0].reused


def test_a_lock_saved_after_the_key_was_computed_gives_no_verdict(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.write("p/lock.txt", "")
    engine = yard.engine(locked(toolchain.interpreter("").version, monkeypatch))
    keys = engine.target_keys()
    monkeypatch.setattr(engine, "target_keys", lambda: keys)
    yard.write("p/lock.txt", "# saved meanwhile\n")
    assert engine.test(["//p:t"]).results[0].outcome == "error"
    assert list(yard.store.results.items("verdict")) == []


# -- hostile actions


def test_an_action_that_writes_its_input_gains_nothing(yard: Yard) -> None:
    """Refused by the mount in a namespace, noticed afterwards without one; the store's blob stays as it
    was."""
    yard.write("p/a.txt", "hello\n")
    line = f"chmod 666 p/a.txt 2>/dev/null; echo poison > p/a.txt; cp p/a.txt {out('w', 'x')}"
    step = action("w", "x", line, sources=("p/a.txt",))
    if yard.level == "namespace":
        yard.build(plan(step))
        assert yard.read(out("w", "x")) == "hello\n"
    else:
        with pytest.raises(WorkFailed, match="changed its own input"):
            yard.build(plan(step))
        assert list(yard.store.results.items("action")) == []
    assert yard.read("p/a.txt") == "hello\n"
    assert all(
        path.read_bytes() != b"poison\n" for path in yard.store.blobs.root.rglob("*") if path.is_file()
    ) or (yard.level == "none")
    assert yard.build(plan(action("up", "y", f"cp p/a.txt {out('up', 'y')}", sources=("p/a.txt",)))).ran == 1
    assert yard.read(out("up", "y")) == "hello\n"


def test_an_input_beside_an_output_is_a_copy(walled: Yard) -> None:
    """Two actions of one target share a folder, which the second may write to."""
    first = action("s", "a", f"echo first > {out('s', 'a')}")
    second = action(
        "s",
        "b",
        "; ".join([f"rm -f {out('s', 'a')}", f"echo poison > {out('s', 'a')}", f"echo b > {out('s', 'b')}"]),
        inputs=(out("s", "a"),),
    )
    with pytest.raises(WorkFailed, match="changed its own input"):
        walled.build(plan(first, second))
    assert walled.build(plan(first)).ran == 0
    assert walled.read(out("s", "a")) == "first\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ln -s /etc/passwd {x}", "made a symbolic link"),
        ("ln -s ../../../../../secret {x}", "made a symbolic link"),
        ("mkfifo {x}", "made a special file"),
        ("rmdir {d}; ln -s /tmp {d}", "exit code 1|symbolic link"),
    ],
)
def test_an_output_is_never_followed_out(walled: Yard, line: str, says: str) -> None:
    (walled.root / "secret").write_text("s3cret")
    step = action("h", "x", "set -e; " + line.format(x=out("h", "x"), d=out("h", "").rstrip("/")))
    with pytest.raises(WorkFailed, match=says):
        walled.build(plan(step))


@pytest.mark.parametrize("link", ["/etc", "../..", "sub/../../x", f"{PROJECT}/p", "sub/up/../../x"])
def test_a_link_that_leaves_its_folder_is_refused(walled: Yard, link: str) -> None:
    line = f"mkdir -p {out('h', 'd')}/sub; ln -s .. {out('h', 'd')}/sub/up; ln -s {link} {out('h', 'd')}/l"
    with pytest.raises(WorkFailed, match="symbolic link that leaves it"):
        walled.build(plan(action("h", "d", line, directories=(out("h", "d"),))))


def test_a_part_of_a_folder_has_no_link_that_leaves_the_part(walled: Yard) -> None:
    whole, part = out("h", "d"), out("c", "part")
    line = f"mkdir -p {whole}/a/b; ln -s ../../x {whole}/a/b/l"
    first = action("h", "d", line, directories=(whole,))
    copy = action(
        "c", "part", "", kind="copy", argv=(), entries={"": f"{whole}/a/b"}, inputs=(whole,),
        directories=(part,),
    )  # fmt: skip
    with pytest.raises(WorkFailed, match="symbolic link that leaves it: l -> "):
        walled.build(plan(first, copy, deps={"c": ("//p:h",)}))


DEEP = "i=0; while [ $i -lt {count} ]; do mkdir -m {mode} {name}; cd {name}; i=$((i+1)); done; "


@pytest.mark.parametrize("end", ["", "exit 1"])
@pytest.mark.parametrize("line", [
    DEEP.format(count=1500, name="d", mode=755),
    DEEP.format(count=60, name="d" * 200, mode=755),
    DEEP.format(count=60, name="d" * 200, mode=700) + "chmod 0 ../*; ",
])  # fmt: skip
def test_folders_without_an_end_are_refused_and_leave_nothing(yard: Yard, line: str, end: str) -> None:
    top = out("h", "d")
    with pytest.raises(WorkFailed, match="exit code 1" if end else "nested too deep"):
        yard.build(plan(action("h", "d", f"mkdir {top}; cd {top}; {line}{end}", directories=(top,))))
    assert not (yard.store_folder / "scratch").exists()
    assert yard.build(plan(action("b", "x", f"echo > {out('b', 'x')}"))).ran == 1


def test_a_name_that_no_file_can_have(yard: Yard) -> None:
    with pytest.raises(WorkFailed, match="did not make"):
        yard.build(plan(action("h", "x" * 300, "true")))


@pytest.mark.parametrize("path", ["x" * 300 + "/y", "/".join(["x" * 200] * 25)])
def test_paths_that_no_disk_takes_are_the_projects_fault(yard: Yard, path: str) -> None:
    """A worker tries again what is the machine's fault."""
    yard.write("p/a.txt", "a")
    tree = out("t", "tree")
    entries = action(
        "t", "tree", "", kind="link_tree", argv=(), entries={path: "p/a.txt"}, sources=("p/a.txt",),
        directories=(tree,),
    )  # fmt: skip
    for step in (action("h", path, "true"), entries):
        with pytest.raises(WorkFailed, match="too long"):
            yard.build(plan(step))


def test_programs_see_the_same_modes_under_every_umask(yard: Yard) -> None:
    yard.write("p/d/a.txt", "a")
    seen = set()
    for number, mask in enumerate((0o002, 0o022, 0o077)):
        before = os.umask(mask)
        try:
            made = out("h", f"x{number}")
            line = f"find . -type d -not -path '*fairlead*' -printf '%p %m\\n' > {made}"
            yard.build(plan(action("h", f"x{number}", line, sources=("p/d/a.txt",))))
        finally:
            os.umask(before)
        seen.add(yard.read(made))
    assert seen == {". 755\n./p 755\n./p/d 755\n"}


def test_a_signal_to_the_first_process_says_nothing_of_this_machine(walled: Yard) -> None:
    line = f"kill -INT 1; kill -TERM 1; sleep 0.2; echo on > {out('h', 'x')}"
    walled.build(plan(action("h", "x", line)))
    assert walled.read(out("h", "x")) == "on\n"


def test_outputs_called_like_temporary_files_stay(yard: Yard) -> None:
    steps = [
        action("h", name, "", kind="write", argv=(), content=name, outputs=(out("h", name),))
        for name in (".tmp-a", "b", "c", "d", "e")
    ]
    yard.build(plan(*steps))
    assert all((yard.root / step.outputs[0]).is_file() for step in steps)


def test_set_user_id_and_odd_modes_do_not_leave_the_sandbox(walled: Yard) -> None:
    line = f"cd {out('h', '')}; mkdir -p d/shut; cp /bin/true d/s; chmod 4755 d/s; chmod 0 d/shut"
    walled.build(plan(action("h", "d", line, directories=(out("h", "d"),))))
    made = walled.root / out("h", "d")
    assert stat.S_IMODE((made / "s").stat().st_mode) == 0o755
    assert (made / "shut").is_dir()


def test_outputs_do_not_land_outside_through_a_link_in_the_project(walled: Yard, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (walled.root / "fairlead-out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="outside the project"):
        walled.build(plan(action("a", "x", f"echo > {out('a', 'x')}")))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_action_reads_neither_the_store_nor_the_project(walled: Yard) -> None:
    walled.write("secret", "s3cret")
    places = f"{walled.root}/secret {walled.store_folder}/results.sqlite"
    line = f"(cat {places}; ls {walled.root}) > {out('a', 'x')}; true"
    walled.build(plan(action("a", "x", line)))
    assert walled.read(out("a", "x")) == ""


# -- tests


def suite(text: str = "ok") -> Plan:
    made = action("up", "up.txt", f"tr a-z A-Z < p/a.txt > {out('up', 'up.txt')}", sources=("p/a.txt",))
    check = spec(
        f"cat {out('up', 'up.txt')}; grep -q {text.upper()} {out('up', 'up.txt')}",
        inputs=(out("up", "up.txt"),),
    )
    other = spec("grep -q b p/b.txt", sources=("p/b.txt",))
    return plan(made, tests={"check": check, "other": other}, deps={"check": ("//p:up",)})


def test_a_pass_is_not_tested_again_and_nothing_is_built_for_it(yard: Yard) -> None:
    yard.write("p/a.txt", "ok\n")
    yard.write("p/b.txt", "b\n")
    first = yard.test(suite())
    assert [(r.label, r.outcome, r.reused) for r in first.results] == [
        ("//p:check", "pass", False),
        ("//p:other", "pass", False),
    ]
    assert (first.ran, yard.log(first)) == (1, "OK\n")
    second = yard.test(suite())
    assert [r.reused for r in second.results] == [True, True]
    assert (second.ran, second.cached) == (0, 0)
    assert [r.key for r in second.results] == [r.key for r in first.results]
    assert {r.enforced for r in second.results} == {yard.level}


def test_an_edit_runs_exactly_the_tests_that_it_can_affect(yard: Yard) -> None:
    yard.write("p/a.txt", "ok\n")
    yard.write("p/b.txt", "b\n")
    first = yard.test(suite())
    yard.write("p/b.txt", "bb\n")
    second = yard.test(suite())
    assert [(r.label, r.reused) for r in second.results] == [("//p:check", True), ("//p:other", False)]
    assert second.results[0].key == first.results[0].key and second.results[1].key != first.results[1].key


def test_a_failure_is_shown_and_runs_again(yard: Yard) -> None:
    yard.write("p/a.txt", "wrong\n")
    yard.write("p/b.txt", "b\n")
    for _ in range(2):
        report = yard.test(suite())
        assert (report.results[0].outcome, report.results[0].reused) == ("fail", False)
        assert (yard.log(report), report.results[0].detail, report.passed) == (
            "WRONG\n",
            "failed with exit code 1",
            False,
        )


def test_no_test_cache_runs_what_has_passed(yard: Yard) -> None:
    yard.write("p/a.txt", "ok\n")
    yard.write("p/b.txt", "b\n")
    yard.test(suite())
    assert [r.reused for r in yard.test(suite(), reuse=False).results] == [False, False]


@pytest.mark.parametrize("outcome, counts", [("fail", False), ("timeout", False), ("error", True)])
def test_a_pass_ends_where_the_same_key_fails(
    yard: Yard, outcome: Literal["fail", "timeout", "error"], counts: bool
) -> None:
    """Such a test depends on something that is in no key."""
    made = plan(tests={"flaky": spec("true")})
    result = yard.test(made).results[0]
    assert yard.test(made).results[0].reused
    yard.engine(made).verdicts.put(replace(result, outcome=outcome))
    assert yard.test(made).results[0].reused is counts


def test_a_test_that_takes_too_long_is_ended(yard: Yard) -> None:
    report = yard.test(plan(tests={"slow": spec("echo begun; sleep 300", timeout=1)}))
    assert (report.results[0].outcome, yard.log(report)) == ("timeout", "begun\n")


def test_a_test_whose_inputs_fail_to_build_is_an_error_and_others_still_run(yard: Yard) -> None:
    yard.write("p/b.txt", "b\n")
    bad = action("bad", "x", "echo no >&2; exit 1")
    needs = spec("true", inputs=(out("bad", "x"),))
    report = yard.test(
        plan(bad, tests={"needs": needs, "other": spec("grep b p/b.txt", sources=("p/b.txt",))})
    )
    assert [r.outcome for r in report.results] == ["error", "pass"]
    assert "genrule bad failed with exit code 1" in yard.log(report)


def test_a_test_whose_program_is_not_there_is_an_error(yard: Yard) -> None:
    report = yard.test(plan(tests={"t": spec("", argv=("/nowhere/tool",))}))
    assert report.results[0].outcome == "error"
    assert "/nowhere/tool" in yard.log(report)


def test_a_pass_without_walls_does_not_count_where_walls_are_asked_for(walled: Yard) -> None:
    one = plan(tests={"t": spec("true")})
    assert walled.test(one, sandbox="none").results[0].enforced == "none"
    again = walled.test(one, sandbox="namespace").results[0]
    assert (again.reused, again.enforced) == (False, "namespace")
    assert walled.test(one, sandbox="none").results[0].reused


def test_a_pass_counts_at_its_own_level_and_weaker_ones(walled: Yard) -> None:
    one = plan(tests={"t": spec("true")})
    assert walled.test(one, sandbox="none").results[0].enforced == "none"
    first = walled.test(one, sandbox="landlock").results[0]
    assert (first.reused, first.enforced) == (False, "landlock")
    assert walled.test(one, sandbox="landlock").results[0].reused
    assert walled.test(one, sandbox="auto").results[0].reused
    assert not walled.test(one, sandbox="namespace").results[0].reused
    assert walled.test(one, sandbox="landlock").results[0].enforced == "namespace"


def test_by_landlock_an_action_and_a_test_have_what_they_declare(tmp_path: Path) -> None:
    yard = Yard(tmp_path, "landlock")
    for name in ("a", "other"):
        yard.write(f"p/{name}.txt", "hello\n")
    assert yard.build(chain()).ran == 2
    assert yard.read(out("more", "more.txt")) == "HELLO\nend\n"
    line = f"cat p/a.txt && ! cat {yard.root}/p/other.txt && ! echo x > p/a.txt && echo x > $TMPDIR/x"
    report = yard.test(plan(tests={"t": spec(line, sources=("p/a.txt",))}))
    assert [(r.outcome, r.enforced) for r in report.results] == [("pass", "landlock")], yard.log(report)
    assert "other.txt: Permission denied" in yard.log(report)


def test_a_test_cannot_write_its_project_its_verdict_or_the_cache(walled: Yard) -> None:
    places = ["p/a.txt", "new", f"{walled.store_folder}/results.sqlite", f"{walled.root}/new", "/new"]
    line = "; ".join(f"echo x > {place} && exit 9" for place in places)
    walled.write("p/a.txt", "ok\n")
    report = walled.test(plan(tests={"t": spec(f"({line}; exit 0) 2>/dev/null", sources=("p/a.txt",))}))
    assert report.results[0].outcome == "pass"
    assert not (walled.root / "new").exists() and walled.read("p/a.txt") == "ok\n"


def test_a_huge_log_is_kept_in_part(walled: Yard) -> None:
    line = "echo first; head -c 9000000 /dev/zero | tr '\\0' x; echo; echo last; exit 1"
    text = walled.log(walled.test(plan(tests={"t": spec(line)})))
    assert text.startswith("first\n") and text.endswith("last\n") and "bytes of this log left out" in text
    assert len(text) < 5_000_000


# -- a full disk


def test_a_full_disk_is_a_clear_error_and_the_next_build_works(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=1024) as disk:
        yard = Yard(disk, "namespace")
        yard.write("p/a.txt", "hello\n")
        yard.build(chain(), "//p:up")
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(4096))
            except OSError:
                pass
        before = {path: path.read_bytes() for path in yard.store.blobs.root.rglob("*") if path.is_file()}
        with pytest.raises(FairleadError) as caught:
            yard.build(chain())
        assert "No space left" in caught.value.what or "full" in caught.value.what
        assert "space" in caught.value.remedy
        after = {path for path in yard.store.blobs.root.rglob("*") if path.is_file()}
        assert all(path.read_bytes() == data for path, data in before.items())
        assert not [path for path in after | set(yard.root.rglob("*")) if path.name.startswith(".tmp")]
        assert not (yard.root / out("more", "more.txt")).exists()
        filler.unlink()
        report = yard.build(chain())
        assert yard.read(out("more", "more.txt")) == "HELLO\nend\n"
        assert report.cached == 1


def test_an_action_that_fills_the_disk_fails_and_says_why(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=1024) as disk:
        yard = Yard(disk, "namespace")
        step = action("big", "x", f"head -c 9000000 /dev/zero > {out('big', 'x')}")
        with pytest.raises(FairleadError) as caught:
            yard.build(plan(step))
        assert "No space left" in str(caught.value)
        assert list(yard.store.results.items("action")) == []
        small = action("big", "x", f"echo small > {out('big', 'x')}")
        assert yard.build(plan(small)).ran == 1 and yard.read(out("big", "x")) == "small\n"


def test_an_action_that_fills_the_disk_with_small_files_is_ended(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=65536) as disk:
        yard = Yard(disk, "namespace")
        line = (
            f"i=0; while :; do i=$((i+1)); head -c 100000 /dev/zero > {out('big', '')}/$i || sleep 0.1; done"
        )
        with pytest.raises(MachineryError, match="the disk ran full while the program ran"):
            yard.build(plan(action("big", "x", line)))
        assert os.statvfs(disk).f_bavail * 4096 > 60_000_000
        assert list(yard.store.results.items("action")) == []


def test_namespace_level_is_an_error_where_it_cannot_be_had(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairlead.build.sandbox import launcher

    monkeypatch.setattr(launcher, "_namespaces_refused", lambda: "Operation not permitted")
    one = plan(tests={"t": spec("true")})
    with pytest.raises(MachineryError, match="refuses the namespaces"):
        yard.test(one, sandbox="namespace")
    assert yard.test(one, sandbox="auto").results[0].enforced == "landlock"
