"""Graphs, edits and levels by chance: what runs is exactly what has a key that never ran, says a slow model.

The model knows nothing of digests or caches. It computes the bytes of every output anew, and calls the key of
a target everything that its command can see: itself, and the names, bytes and modes of what it reads. Several
outputs, folders, globs, outputs that hide an edit, rules that come and go: each can cut a rebuild short or
begin one.

`FAIRLEAD_STORM` is the number of stories that are tried of each kind; a few without it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fairlead.build.engine import Engine
from fairlead.build.evaluate import evaluate
from fairlead.build.event import Event
from fairlead.build.key import Platform, target_records
from fairlead.build.sandbox import Requested
from fairlead.build.tree import DiskTree, GitTree, Tree
from fairlead.git import Repo
from fairlead.store import Store
from tests.build.daemons import desk
from tests.build.project import commit, write

OFTEN = int(os.environ.get("FAIRLEAD_STORM", "0"))
SOURCES, TARGETS = 4, 6

pytestmark = pytest.mark.timeout(300 + 60 * OFTEN)

COMMANDS = {
    "join": "cat $SRCS /dev/null > $OUT",
    "upper": "cat $SRCS /dev/null | tr a-z A-Z > $OUT",
    "count": "cat $SRCS /dev/null | wc -c | tr -d ' ' > $OUT",
    "modes": 'for f in $SRCS; do test -x "$f" && echo x || echo -; done > $OUT',
    "folder": "cat $SRCS /dev/null > $OUT/all; mkdir $OUT/empty; ln -s all $OUT/link",
    "two": "cat $SRCS /dev/null > $OUT_first; cat $SRCS /dev/null | head -c 1 > $OUT_second",
}


TWO = "outs = {'first': ['1'], 'second': ['2']}, default_outs = ['first', 'second']"


@dataclass(frozen=True)
class Rule:
    """A genrule: what it does with which sources and outputs; `sees` are all files below g as well."""

    how: str
    srcs: tuple[int, ...]
    deps: tuple[int, ...]
    sees: bool = False


@dataclass(frozen=True)
class State:
    """A project: sources by number (text, whether executable), files below g, rules by number."""

    sources: tuple[tuple[str, bool], ...]
    globbed: tuple[tuple[str, str], ...]
    rules: tuple[tuple[int, Rule], ...]

    def files(self) -> dict[str, str]:
        found: dict[str, str] = {f"s{n}{'*' if x else ''}": text for n, (text, x) in enumerate(self.sources)}
        found |= {f"g/{name}": text for name, text in self.globbed}
        return {**found, "BUCK": "".join(self._rule(n, rule) for n, rule in self.rules)}

    def _rule(self, number: int, rule: Rule) -> str:
        parts = [f"'s{n}'" for n in rule.srcs]
        for dep in rule.deps:
            parts.append(f"':t{dep}[second]'" if dict(self.rules)[dep].how == "two" else f"':t{dep}'")
        srcs = f"[{', '.join(parts)}]" + (" + glob(['g/**'])" if rule.sees else "")
        out = TWO if rule.how == "two" else "out = 'o'"
        kind = ", directory = True" if rule.how == "folder" else ""
        command = COMMANDS[rule.how]
        return f"genrule(name = 't{number}', srcs = {srcs}, {out}{kind}, cmd = {json.dumps(command)})\n"

    # -- the model

    def keys(self) -> dict[str, tuple[object, ...]]:
        """Target -> all that its command can see."""
        return {name: key for name, (key, _) in self._walked().items()}

    def outputs(self) -> dict[str, str]:
        """Output -> its text; a link's is where it leads."""
        found: dict[str, str] = {}
        for name, (_, made) in self._walked().items():
            found |= {f"__{name}__/{path}": text for path, text in made.items()}
        return found

    def _walked(self) -> dict[str, tuple[tuple[object, ...], dict[str, str]]]:
        found: dict[str, tuple[tuple[object, ...], dict[str, str]]] = {}
        for number, rule in self.rules:
            read: list[tuple[str, object, bool]] = []
            for n in rule.srcs:
                text, executable = self.sources[n]
                read.append((f"s{n}", text, executable))
            for dep in rule.deps:
                made, how = found[f"t{dep}"][1], dict(self.rules)[dep].how
                if how == "folder":
                    read.append((f"t{dep}", tuple(sorted(made.items())), False))
                else:
                    read.append((f"t{dep}", made["second/2" if how == "two" else "o"], False))
            read += [(f"g/{name}", text, False) for name, text in self.globbed] if rule.sees else []
            # A folder is read by nobody: `cat` of it would fail
            texts = [str(what) for _, what, _ in read if isinstance(what, str)]
            found[f"t{number}"] = ((number, rule.how, *read), _made(rule.how, texts, read))
        return found


def _made(how: str, texts: list[str], read: list[tuple[str, object, bool]]) -> dict[str, str]:
    text = "".join(texts)
    match how:
        case "join":
            return {"o": text}
        case "upper":
            return {"o": text.upper()}
        case "count":
            return {"o": f"{len(text)}\n"}
        case "modes":
            return {"o": "".join("x\n" if x else "-\n" for _, _, x in read)}
        case "folder":
            return {"o/all": text, "o/link": "-> all"}
    return {"first/1": text, "second/2": text[:1]}


@dataclass
class Story:
    """A first state, and what becomes of it."""

    states: list[State] = field(default_factory=list)


@st.composite
def stories(draw: st.DrawFn, steps: int = 5) -> Story:
    """Edits as they come: of texts, modes and rules, of several at once, and back to any state before."""
    texts = st.sampled_from(["a", "b", "ab", "A", ""])
    drawn = [(draw(texts), draw(st.booleans())) for _ in range(SOURCES)]
    state = State(tuple(drawn), (("1", draw(texts)),), ())
    for number in range(draw(st.integers(2, TARGETS))):
        state = replace(state, rules=(*state.rules, (number, draw(_rules(state, number)))))
    story = Story([state])
    for _ in range(steps):
        if draw(st.integers(0, 3)) == 0:
            state = draw(st.sampled_from(story.states))
        else:
            for _ in range(draw(st.integers(1, 2))):
                state = draw(_edited(state))
        story.states.append(state)
    return story


def _rules(state: State, number: int) -> st.SearchStrategy[Rule]:
    readable = [n for n, rule in state.rules if n < number and rule.how != "folder"]
    deps = st.lists(st.sampled_from(readable), unique=True, max_size=2) if readable else st.just([])
    srcs = st.lists(st.integers(0, SOURCES - 1), unique=True, max_size=2)
    how = st.sampled_from(sorted(COMMANDS))
    return st.builds(
        lambda h, s, d, g: Rule(h, tuple(sorted(s)), tuple(sorted(d)), g), how, srcs, deps, st.booleans()
    )


@st.composite
def _edited(draw: st.DrawFn, state: State) -> State:
    def text() -> State:
        sources = [*state.sources]
        at = draw(st.integers(0, SOURCES - 1))
        sources[at] = (draw(st.sampled_from(["a", "b", "ab", "A", ""])), sources[at][1])
        return replace(state, sources=tuple(sources))

    def mode() -> State:
        sources = [*state.sources]
        at = draw(st.integers(0, SOURCES - 1))
        sources[at] = (sources[at][0], not sources[at][1])
        return replace(state, sources=tuple(sources))

    def globbed() -> State:
        found = dict(state.globbed)
        name = draw(st.sampled_from(["1", "2", "in/3"]))
        if name in found and draw(st.booleans()):
            del found[name]
        else:
            found[name] = draw(st.sampled_from(["a", "b"]))
        return replace(state, globbed=tuple(sorted(found.items())))

    def rule() -> State:
        number, old = draw(st.sampled_from(state.rules))
        new = draw(_rules(state, number))
        if any(number in other.deps for _, other in state.rules) and new.how == "folder":
            new = replace(new, how=old.how)
        return replace(state, rules=tuple((n, new if n == number else r) for n, r in state.rules))

    def removed() -> State:
        free = [n for n, _ in state.rules if not any(n in rule.deps for _, rule in state.rules)]
        gone = draw(st.sampled_from(free))
        kept = tuple((n, rule) for n, rule in state.rules if n != gone)
        return replace(state, rules=kept) if kept else state

    def added() -> State:
        number = max((n for n, _ in state.rules), default=-1) + 1
        return replace(state, rules=(*state.rules, (number, draw(_rules(state, number)))))

    return draw(st.sampled_from([text, text, mode, globbed, rule, removed, added]))()


def put(root: Path, state: State) -> None:
    """Make the project say that, and nothing else."""
    files = state.files()
    names = {name.removesuffix("*") for name in files}
    for path in [*root.glob("s*"), *root.glob("g/**/*")]:
        if path.is_file() and str(path.relative_to(root)) not in names:
            path.unlink()
    write(root, files)


def standing(root: Path) -> dict[str, str]:
    gen = root / "fairlead-out/gen"
    found = {}
    for path in gen.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(gen))] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[str(path.relative_to(gen))] = path.read_text()
    return found


def told(story: Story, root: Path, build: Callable[[], list[str]]) -> None:
    """Build each state, and compare what ran and what stands there with the model."""
    known: set[tuple[object, ...]] = set()
    for number, state in enumerate(story.states):
        put(root, state)
        now = state.keys()
        expected = sorted(name for name, key in now.items() if key not in known)
        assert build() == expected, f"state {number}: {state.files()['BUCK']}"
        wanted = state.outputs()
        assert wanted.items() <= standing(root).items(), f"state {number}"
        known |= set(now.values())
        assert build() == [], f"state {number}, again"


def alone(store: Store, root: Path, level: Requested, jobs: int = 2) -> list[str]:
    """Build everything in this process; the targets whose commands ran, sorted."""
    ran: list[str] = []

    def note(event: Event) -> None:
        if event.kind == "action" and event.text.startswith("genrule"):
            ran.append(event.label.partition(":")[2])

    tree = DiskTree(root, store.results)
    plan = evaluate(tree, ["//..."], store=store)
    Engine(store, root, tree, plan, sandbox=level, jobs=jobs, on_event=note).build(plan.requested)
    return sorted(ran)


def often(few: int) -> settings:
    return settings(
        max_examples=OFTEN or few,
        deadline=None,
        derandomize=not OFTEN,
        phases=[Phase.generate],  # to shrink a story takes longer than to read it
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("level", ["none", "namespace"])
def test_exactly_the_actions_whose_key_never_ran_run(tmp_path: Path, level: Requested) -> None:
    numbers = iter(range(10**9))

    @often(3)
    @given(stories())
    def tell(story: Story) -> None:
        place = tmp_path / str(next(numbers))
        store = Store.open(place / "store")
        write(place / "root", {".buckconfig": ""})
        told(story, place / "root", lambda: alone(store, place / "root", level))
        store.results.close()

    tell()


def test_a_daemon_runs_exactly_these_too(tmp_path: Path) -> None:
    numbers = iter(range(10**9))

    @often(2)
    @given(stories(steps=3))
    def tell(story: Story) -> None:
        place = tmp_path / str(next(numbers))
        place.mkdir()
        with desk(place) as here:

            def build() -> list[str]:
                if not here.build()["actions"]["ran"]:
                    return []
                steps = json.loads(here.run("log", "what-ran", "--json").stdout)["steps"]
                ran = [step["label"] for step in steps if step["what"].startswith("genrule")]
                return sorted(label.partition(":")[2] for label in ran)

            told(story, here.root, build)

    tell()


def test_digests_are_equal_at_one_job_and_at_eight_and_keys_on_disk_and_in_git(tmp_path: Path) -> None:
    numbers = iter(range(10**9))

    @often(2)
    @given(stories(steps=1))
    def tell(story: Story) -> None:
        seen = []
        for jobs in (1, 8):
            place = tmp_path / str(next(numbers))
            store = Store.open(place / "store")
            root = write(place / "root", {".buckconfig": "", ".gitignore": "fairlead-out\n"})
            for state in story.states:
                put(root, state)
                alone(store, root, "none", jobs)
            oid = commit_without_outputs(root)
            trees: list[Tree] = [DiskTree(root, store.results), GitTree(Repo(root), oid)]
            keys = []
            for tree in trees:
                records = target_records(evaluate(tree, ["//..."]), tree, Platform.here())
                keys.append({label: record.key for label, record in records.items()})
            assert keys[0] == keys[1]
            actions = {key: json.loads(row)["outputs"] for key, row in store.results.items("action")}
            modes = {
                str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode)
                for path in (root / "fairlead-out/gen").rglob("*")
            }
            seen.append((keys[0], actions, modes, standing(root)))
            store.results.close()
        assert seen[0] == seen[1]

    tell()


def commit_without_outputs(root: Path) -> str:
    (root / "fairlead-out").rename(root.parent / "out")
    oid = commit(root)
    (root.parent / "out").rename(root / "fairlead-out")
    return oid
