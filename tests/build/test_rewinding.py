"""What the store has lost is made again: blobs that go between calls, during one, and while a test runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.build.builder import _REWINDS
from fairlead.build.engine import Engine
from fairlead.build.event import Event
from fairlead.build.execute import Executor
from fairlead.build.plan import Plan
from fairlead.build.tree import DiskTree
from fairlead.store import digest
from fairlead.store.blobs import BlobLost
from tests.build.daemons import desk
from tests.build.project import write
from tests.build.test_engine import Yard, action, out, plan, spec


@pytest.fixture(params=["none", "namespace"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Yard:
    made = Yard(tmp_path, request.param)
    made.write("p/a.txt", "hello\n")
    return made


def chain() -> Plan:
    """up makes a.txt upper case, more adds a line to that; a test reads both."""
    up = action("up", "up.txt", f"tr a-z A-Z < p/a.txt > {out('up', 'up.txt')}", sources=("p/a.txt",))
    more = action(
        "more",
        "more.txt",
        f"(cat {out('up', 'up.txt')}; echo end) > {out('more', 'more.txt')}",
        inputs=(out("up", "up.txt"),),
    )
    reads = spec(
        f"grep -q HELLO {out('up', 'up.txt')} && grep -q end {out('more', 'more.txt')} && test -s p/a.txt",
        inputs=(out("up", "up.txt"), out("more", "more.txt")),
        sources=("p/a.txt",),
    )
    return plan(up, more, tests={"reads": reads}, deps={"more": ("//p:up",)})


def losing(yard: Yard, when: Callable[[Event], str | None]) -> Engine:
    """An engine whose store loses the blob that `when` gives for an event."""

    def heard(event: Event) -> None:
        yard.events.append(event)
        lost = when(event)
        if lost is not None:
            yard.store.blobs.path(lost).unlink(missing_ok=True)

    return Engine(
        yard.store, yard.root, DiskTree(yard.root), chain(), sandbox=yard.level, jobs=2, on_event=heard
    )


UP = digest.of_bytes(b"HELLO\n")


def ran(yard: Yard) -> list[str]:
    return [event.label for event in yard.events if event.kind == "action"]


def test_an_input_that_goes_after_it_was_made(yard: Yard) -> None:
    lost: list[str] = []

    def when(event: Event) -> str | None:
        if event.kind == "action" and event.label == "//p:up" and not lost:
            lost.append(UP)
            return UP
        return None

    report = losing(yard, when).build(["//p:more"])
    assert yard.read(out("more", "more.txt")) == "HELLO\nend\n"
    assert ran(yard) == ["//p:up", "//p:up", "//p:more"] and report.ran == 3
    assert any(event.kind == "note" and UP in event.text for event in yard.events)
    assert yard.build(chain(), "//p:more").ran == 0


def test_an_input_that_goes_after_it_was_looked_up(yard: Yard) -> None:
    yard.build(chain(), "//p:up")
    lost: list[str] = []

    def when(event: Event) -> str | None:
        if event.kind == "known" and event.label == "//p:up" and not lost:
            lost.append(UP)
            return UP
        return None

    losing(yard, when).build(["//p:more"])
    assert yard.read(out("more", "more.txt")) == "HELLO\nend\n"
    assert ran(yard) == ["//p:up", "//p:up", "//p:more"]  # the first is of the build before


def test_an_output_that_goes_before_it_is_placed(yard: Yard) -> None:
    lost: list[str] = []

    def when(event: Event) -> str | None:
        if event.kind == "action" and event.label == "//p:more" and not lost:
            lost.append("")
            return digest.of_bytes(b"HELLO\nend\n")
        return None

    losing(yard, when).build(["//p:more"])
    assert yard.read(out("more", "more.txt")) == "HELLO\nend\n"
    assert ran(yard) == ["//p:up", "//p:more", "//p:more"]


def test_what_a_test_reads_goes_before_it_begins(yard: Yard) -> None:
    lost: list[str] = []

    def when(event: Event) -> str | None:
        if event.kind == "begin" and event.action is None and len(lost) < 2:
            lost.append(UP if lost else digest.of_bytes(b"hello\n"))
            return lost[-1]
        return None

    report = losing(yard, when).test(["//p:reads"])
    assert report.passed and len(lost) == 2
    assert ran(yard) == ["//p:up", "//p:more", "//p:up"]
    assert sum(event.kind == "test" for event in yard.events) == 1


def test_a_store_that_loses_everything_is_an_error_and_the_next_build_works(yard: Yard) -> None:
    engine = losing(yard, lambda event: UP if event.kind == "action" else None)
    with pytest.raises(BlobLost) as error:
        engine.build(["//p:more"])
    assert "run it again" in error.value.remedy
    assert ran(yard) == ["//p:up"] * _REWINDS
    yard.build(chain(), "//p:more")
    assert yard.read(out("more", "more.txt")) == "HELLO\nend\n"


def test_a_pass_whose_report_has_gone_is_none(yard: Yard) -> None:
    shell = "echo '<a><testcase name=\"inner\"/></a>' > $XML_OUTPUT_FILE"
    tested = plan(tests={"t": spec(shell)})
    first = yard.test(tested).results[0]
    assert first.cases and yard.test(tested).results[0].reused
    yard.store.blobs.path(first.cases).unlink()
    again = yard.test(tested).results[0]
    assert not again.reused and yard.store.blobs.has(again.cases)


@pytest.mark.parametrize("seed", range(2))
def test_blobs_that_go_at_any_moment(yard: Yard, seed: int) -> None:
    """A thread removes one blob after the other, no more often than one call can bear."""
    chance = random.Random(seed)
    for number in range(4):
        yard.write("p/a.txt", f"hello {number}\n" if number % 2 else "hello\n")
        over = threading.Event()

        def lose(left: int = _REWINDS - 1, over: threading.Event = over) -> None:
            while left and not over.wait(chance.random() * 0.05):
                found = [path for path in yard.store.blobs.root.glob("??/*") if path.is_file()]
                if found:
                    chance.choice(found).unlink(missing_ok=True)
                    left -= 1

        thief = threading.Thread(target=lose)
        thief.start()
        try:
            report = yard.test(chain())
            yard.build(chain(), "//p:more")
        finally:
            over.set()
            thief.join()
        assert report.passed
        wanted = yard.read("p/a.txt").upper() + "end\n"
        assert yard.read(out("more", "more.txt")) == wanted
        assert yard.test(chain()).passed
        yard.build(chain(), "//p:more")
        assert yard.read(out("more", "more.txt")) == wanted


def test_an_action_that_waits_while_its_input_is_edited(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an editor saves while an action runs is not what the action read, and nothing says that it is."""
    real = Executor.run

    def slow(self: Executor, *args: object, **kwargs: object) -> object:
        yard.write("p/a.txt", "edited\n")
        return real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Executor, "run", slow)
    try:
        yard.build(chain(), "//p:up")
        assert yard.read(out("up", "up.txt")) == "HELLO\n"
    except Exception as error:
        assert "was changed while it was being built" in str(error)
    monkeypatch.undo()
    assert yard.build(chain(), "//p:up").ran == 1
    assert yard.read(out("up", "up.txt")) == "EDITED\n"
    yard.write("p/a.txt", "hello\n")
    yard.build(chain(), "//p:up")
    assert yard.read(out("up", "up.txt")) == "HELLO\n"


def test_the_daemon_makes_again_what_was_lost(tmp_path: Path) -> None:
    with desk(tmp_path) as here:
        rule = (
            'genrule(name = "{0}", srcs = ["{1}"], out = "o", cmd = "cat $SRCS > $OUT; echo {0} >> $OUT")\n'
        )
        write(here.root, {"BUCK": rule.format("a", "s") + rule.format("b", ":a"), "s": "1\n"})
        here.build()
        for text in ("2\n", "3\n"):
            write(here.root, {"s": text})
            here.build("//:a")
            made = here.root / "fairlead-out/store/blobs"
            for path in [path for path in made.glob("??/*") if path.read_bytes() == f"{text}a\n".encode()]:
                path.unlink()
            here.build()
            assert (here.root / "fairlead-out/gen/__b__/o").read_text() == f"{text}a\nb\n"
