"""Which bodies a run entered: what is noted by a real interpreter, and what may be concluded from it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Set
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.build import sandbox
from fairlead.build.record import entered
from fairlead.build.record.asked import Asked
from fairlead.build.record.entered import Log, bodies, lines_seen
from fairlead.build.record.entered import named as names_of
from fairlead.build.record.source import Blocks, blocks
from fairlead.build.sandbox import MIB, Bind, Command
from fairlead.build.tree import DiskTree
from tests.build.record.interpreters import PYTHONS, Driver, driver


@pytest.fixture(scope="module", params=PYTHONS or ["none"])
def python(request: pytest.FixtureRequest) -> Iterator[Driver]:
    if not PYTHONS:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no Python 3.12 or later")
    with driver(request.param) as found:
        yield found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def of(source: str) -> Blocks:
    found = blocks(source.encode())
    assert found is not None
    return found


def entered_by(python: Driver, root: Path, opens: int = 1) -> Set[str] | None:
    """The bodies of mod.py that importing it enters."""
    _, _, log = python.run("hook", root, "mod")
    assert Log.read(log).lack == ""
    asked = Asked("seccomp", frozenset({"mod.py"}), again={"mod.py": opens} if opens > 1 else {})
    return bodies(log, asked, DiskTree(root), str(root)).get("mod.py")


EVERYTHING = """
import asyncio, contextlib, functools, os, signal, threading, weakref

def keep(f):
    return f

@keep
@functools.lru_cache(
    maxsize=None)
def decorated():
    return 1

def never():
    return 2

class Outer:
    values = [n for n in range(3)]
    key = staticmethod(lambda: 1)

    class Inner:
        def deep(self):
            def deeper():
                return [lambda: n for n in range(2)][0]()
            return deeper()

    def __init_subclass__(cls):
        cls.made = True

    @property
    def seen(self):
        return self.hidden

    def hidden_never(self):
        return 3

    def __getattr__(self, name):
        return name

    def __del__(self):
        pass

if os.sep == "/":
    def either():
        return 4
else:
    def either():
        return 5

def twice():
    return 6
twice()
def twice():
    return 7

def generator(): yield 1
def unstarted(): yield 2
async def coroutine(): return await later()
async def later(): return 3
async def unawaited(): return 4

@contextlib.contextmanager
def context():
    yield

def local():
    class Local(Outer):
        def method(self):
            return super().seen
    return Local().method()

def in_thread(): pass
def in_child(): pass
def on_signal(*_): pass
def wrong(a, b): pass
def raises(): raise ValueError
def default(x=decorated()): return x

decorated()
Outer.key()
Outer.Inner().deep()
either()
next(generator())
unstarted()
asyncio.run(coroutine())
unawaited().close()
with context():
    pass
local()
thread = threading.Thread(target=in_thread)
thread.start()
thread.join()
if os.fork() == 0:
    in_child()
    os._exit(0)
os.wait()
signal.signal(signal.SIGUSR1, on_signal)
os.kill(os.getpid(), signal.SIGUSR1)
try:
    wrong()
except TypeError:
    pass
try:
    raises()
except ValueError:
    pass
"""


def test_functions_of_all_kinds_are_noted_and_no_others(python: Driver, root: Path) -> None:
    (root / "mod.py").write_text(EVERYTHING)
    expected = {
        *("keep", "decorated", "Outer.Inner.deep", "Outer.__init_subclass__", "Outer.seen", "either"),
        *("Outer.__getattr__", "Outer.__del__", "twice", "generator", "coroutine", "later", "context"),
        *("local", "in_thread", "in_child", "on_signal", "raises"),
    }
    assert entered_by(python, root) == {f"{name}#0" for name in expected}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            "def f():\n    global g\n    def g(): pass\nf()\ng()\n", id="a function with another's name"
        ),
        pytest.param("exec(compile('def f(): pass\\nf()', __file__, 'exec'))\n", id="code from elsewhere"),
        pytest.param(
            "import importlib.util as u\ns = u.spec_from_file_location('again', __file__)\n"
            "if __name__ == 'mod':\n    exec(s.loader.get_code('again'))\n",
            id="code that somebody asked the loader for",
        ),
        pytest.param("def f(): pass\nf.__code__ = f.__code__.replace(co_firstlineno=9)\nf()\n", id="moved"),
        pytest.param("def f(): pass\nf.__code__ = f.__code__.replace(co_name='\\t\\0')\nf()\n", id="renamed"),
    ],
)
def test_what_cannot_be_told_makes_the_file_whole(python: Driver, root: Path, source: str) -> None:
    (root / "mod.py").write_text(source)
    if "\\0" in source:
        source = source.replace("co_name", "co_qualname")
        (root / "mod.py").write_text(source)
        _, _, log = python.run("hook", root, "mod")
        asked = Asked("seccomp", frozenset({"mod.py"}))
        assert bodies(log, asked, DiskTree(root), str(root)) == {}
        return
    assert entered_by(python, root) is None


def test_a_file_that_was_opened_once_more_is_whole(python: Driver, root: Path) -> None:
    (root / "mod.py").write_text("def f(): pass\n")
    assert entered_by(python, root) == frozenset()
    assert entered_by(python, root, opens=2) is None


NAMES_OF_CACHES = {
    "own": "m.x.cpython-312",
    "optimized": "m.x.cpython-312.opt-1",
    "pytest": "m.x.cpython-312-pytest-9.0.2",
    "other": "m.cpython-312",
}


def test_a_file_whose_bytecode_was_read_is_whole(root: Path) -> None:
    log = f"hooked\t1\t3.12\0imported\t{root}/a/m.x.py\0ended\t1\0".encode()
    (root / "a").mkdir()
    (root / "a" / "m.x.py").write_text("def f(): pass\n")

    def known(**opened: int) -> bool:
        again = {f"a/__pycache__/{NAMES_OF_CACHES[short]}.pyc": times for short, times in opened.items()}
        asked = Asked("seccomp", frozenset({"a/m.x.py", *again}), again=again)
        return "a/m.x.py" in bodies(log, asked, DiskTree(root), str(root))

    assert known(own=1)
    assert known(pytest=1)
    assert known(other=2)
    assert not known(own=2)
    assert not known(own=1, optimized=1)


def test_a_module_that_is_imported_twice_was_opened_twice(python: Driver, root: Path) -> None:
    (root / "mod.py").write_text(
        "import importlib, sys\ndef f(): pass\nif not hasattr(sys, 'x'):\n"
        "    sys.x = 1\n    importlib.reload(sys.modules['mod'])\n    f()\n"
    )
    assert entered_by(python, root, opens=2) == {"f#0"}
    assert entered_by(python, root, opens=1) is None


@pytest.mark.parametrize(
    "lose",
    [
        "import sys; sys.settrace(None)",
        "import sys; sys.setprofile(None)",
        "import sys; sys.monitoring.free_tool_id(4)",
        "import sys; sys.monitoring.set_events(4, 0)",
        "import sys; sys.monitoring.register_callback(4, 1, None)",
        "import sys; sys.monitoring.register_callback(4, sys.monitoring.events.INSTRUCTION, None)",
        "import sys; sys.monitoring.use_tool_id(3, 'x'); sys.monitoring.register_callback(3, 1, f)",
        "import sys; sys.dont_write_bytecode = False; import other; other.f()",
        "import sys; sys.addaudithook(f)",
    ],
)
def test_a_process_that_loses_its_hook_says_so(python: Driver, root: Path, lose: str) -> None:
    (root / "other.py").write_text("def f(): pass\n")
    (root / "mod.py").write_text(f"def f(*_): pass\n{lose}\n")
    _, _, log = python.run("hook", root, "mod")
    assert Log.read(log).lack


def test_a_program_that_puts_another_function_in_the_place_of_write_is_noted_still(
    python: Driver, root: Path
) -> None:
    """As libraries do that forbid to block in an event loop."""
    (root / "mod.py").write_text(
        "import os\ndef forbidden(*_): raise RuntimeError('no')\n"
        "before, os.write = os.write, forbidden\n"
        "def late(): return 1\nassert late() == 1\nos.write = before\n"
    )
    assert entered_by(python, root) == {"late#0"}


def test_a_program_that_closes_all_descriptors_is_noted_still(python: Driver, root: Path) -> None:
    (root / "mod.py").write_text(
        "import os\ndef f(): pass\ndef close():\n    os.closerange(3, 4096)\n    f()\n    os._exit(0)\n"
        "if os.fork() == 0: close()\nos.wait()\n"
    )
    assert entered_by(python, root) == {"f#0", "close#0"}


MANY = "; ".join(f"x or x.a{n}" for n in range(400))
"""Names enough that an instruction with another one has a long argument."""


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("def f(): pass\nf()\n", False),
        ("def f(): raise ValueError\ntry: f()\nexcept ValueError: pass\n", False),
        ("def never(frame): return frame.f_lineno\n", False),
        ("import sys\ndef f(): return sys._getframe().f_lineno\nf()\n", True),
        ("import sys\ndef f(): return getattr(sys._getframe(), 'f_lineno')\nf()\n", True),
        ("import logging\nlogging.getLogger().info('not shown')\n", False),
        ("import logging\nlogging.basicConfig(filename='/dev/null')\nlogging.warning('w')\n", True),
        ("import warnings\nwith warnings.catch_warnings(record=True):\n    warnings.warn('w')\n", True),
        (
            "import traceback\ntry: 1 / 0\nexcept Exception as e: traceback.extract_tb(e.__traceback__)\n",
            True,
        ),
        ("import typing\n@typing.overload\ndef f(): pass\n", False),
        ("import inspect, ast\ndef f(): pass\ninspect.getsourcelines(f)\n", False),
        ("def f(): pass\nx = f.__code__.co_firstlineno\n", True),
        ("def f():\n    'Not a look at x.f_lineno.'\nf()\n", False),
        ("def f(g): return '{0.__code__.co_firstlineno}'.format(g)\nf(f)\n", True),
        ("import operator\ndef f(): pass\noperator.attrgetter('__code__.co_firstlineno')(f)\n", True),
        (
            "def f(code):\n    for n in ('co_firstlineno', 'co_name'): getattr(code, n)\nf(f.__code__)\n",
            True,
        ),
        ("def f(x):\n    match x:\n        case type(co_firstlineno=1): pass\nf(1)\n", True),
        ("class C: pass\ndef f(): return vars(C)\nf()\n", False),
        ("class C: pass\ndef f(): return vars(C).get('__firstlineno__')\nf()\n", True),
        ("def f(x): return x.f_lineno if x else 0\nf(None)\n", False),
        (f"def f(x):\n    {MANY}\n    return x or x.f_lineno\nf(1)\n", False),
        (f"def f(x):\n    {MANY}\n    return x.f_lineno\nf(__import__('sys')._getframe())\n", True),
        ("def f(x, y):\n    for _ in x: y.tb_lineno\nf((), 0)\n", False),
        ("def f(x, y):\n    for _ in x: y and y.tb_lineno\nfor n in range(9): f('ab', 0)\n", False),
        ("import tracemalloc\ntracemalloc.start()\ntracemalloc.take_snapshot()\n", True),
        ("import faulthandler\nfaulthandler.dump_traceback(open('/dev/null', 'w'))\n", True),
    ],
)
def test_it_is_told_whether_somebody_looked_at_line_numbers(
    python: Driver, root: Path, source: str, seen: bool
) -> None:
    (root / "mod.py").write_text(source)
    said, _, log = python.run("hook", root, "mod")
    assert said == ""
    assert lines_seen(log) == seen, Log.read(log)
    assert lines_seen(log[:-1])


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        ("never.__name__, never.__code__.co_argcount", False),
        ("never.__code__.co_varnames", True),
        ("__import__('operator').attrgetter('__code__.co_consts')(never)", True),
        ("'{0.__code__.co_names}'.format(never)", True),
        ("eval('never.__code__.co_' + 'names')", True),
        ("'a co_names', 'never and. such'", False),
        ("__import__('marshal').dumps(never.__code__)", True),
        ("__import__('marshal').dumps('text')", False),
        ("'print' in never.__code__.co_names", True),
        ("getattr(never.__code__, 'co_consts')", True),
        ("[getattr(never.__code__, name) for name in ('co_name', 'co_stacksize')]", True),
        ("list(__import__('dis').get_instructions(never))", True),
        ("__import__('inspect').getclosurevars(never)", True),
        ("__import__('inspect').signature(never)", False),
        ("exec(never.__code__.replace(co_filename='elsewhere'))", True),
        ("__import__('os').stat(__file__).st_size", True),
        ("__import__('os').path.getsize(__file__)", True),
        ("__import__('os').path.exists(__file__)", False),
        ("never and 1 or never.__code__.co_code", False),
        ("never and never.__code__.co_code", True),
        ("0 and ('co_code', ('co_consts',))", False),
        ("never and (('co_consts', never),)", True),
        ("[n for n in () if n.co_code]", False),
        ("[n for n in (never.__code__,) if n.co_code]", True),
        ("__import__('sys').monitoring.restart_events() or never and 1 or never.co_code", False),
    ],
)
def test_sources_count_whole_if_somebody_looks_into_functions_or_at_sizes(
    python: Driver, root: Path, words: str, whole: bool
) -> None:
    (root / "mod.py").write_text(f"def never(): pass\ndef f(): return {words}\nf()\n")
    assert entered_by(python, root) == (None if whole else {"f#0"})


@pytest.mark.parametrize("name", ["co_code", "f_lineno"])
def test_a_look_is_noted_on_whichever_way_the_code_goes(python: Driver, root: Path, name: str) -> None:
    """Ways by chance through a function: it has looked if and only if the way comes to the name."""
    source = (
        "import random\nclass Thing:\n    def __getattr__(self, name):\n        looked.append(name)\n"
        "def f(thing, way):\n    if way() < 0.2: thing.NAME\n    while way() < 0.5:\n        try:\n"
        "            if way() < 0.3: raise KeyError\n            [n.NAME for n in (thing,) if way() < 0.1]\n"
        "        except KeyError:\n            way() < 0.8 or getattr(thing, 'NAME')\n"
        "        finally:\n            way() < 0.9 or (lambda: thing.NAME)()\n"
        "    yield way() > 0.9 and thing.NAME\n"
        "looked = []\nlist(f(Thing(), random.Random(SEED).random))\nprint(*looked)\n"
    )
    said = set()
    for seed in range(30):
        (root / "mod.py").write_text(source.replace("NAME", name).replace("SEED", str(seed)))
        printed, _, log = python.run("hook", root, "mod")
        found = Log.read(log)
        assert found.lack == ""
        ours = [
            row
            for row in (*found.lines, *((None, path) for path in found.looked))
            if row[1].startswith(str(root))
        ]
        assert bool(ours) == bool(printed.strip()), (seed, printed, ours)
        said.add(bool(ours))
    assert said == {True, False}


def test_what_a_killed_process_entered_is_there(python: Driver, root: Path) -> None:
    (root / "mod.py").write_text(
        "import os, signal\ndef f():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if os.fork() == 0: f()\nos.wait()\n"
    )
    assert entered_by(python, root) == {"f#0"}


def test_finalizers_and_handlers_that_come_while_we_are_told_are_seen(python: Driver, root: Path) -> None:
    """What runs while a callback runs is told to nobody: no collection and no signal may fall into ours.

    Each function is entered once. A collection is due when it gets its arguments, a signal some time."""
    count = 300
    functions = [f"def f{n}(*a): pass\ndef g{n}(): seen.add({n})\n" for n in range(count)]
    (root / "mod.py").write_text(
        "import gc, signal, time\nseen = set()\n"
        "class Circle:\n    def __init__(self, n):\n        self.me, self.n = self, n\n"
        "    def __del__(self):\n        globals()[f'g{self.n}']()\n"
        "def on_signal(*_):\n    globals()[f'g{next(numbers)}']()\n"
        f"numbers = iter(range({count}, {2 * count}))\n"
        + "".join(functions)
        + "".join(f"def g{n}(): seen.add({n})\n" for n in range(count, 2 * count))
        + f"def main():\n    made = [globals()[f'f{{n}}'] for n in range({count})]\n    a = (0,) * 30\n"
        "    for n, f in enumerate(made):\n        Circle(n)\n        f(*a)\n"
        "signal.signal(signal.SIGALRM, on_signal)\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)\n"
        "gc.freeze()\ngc.set_threshold(1)\nmain()\nsignal.setitimer(signal.ITIMER_REAL, 0)\ngc.collect()\n"
        "print(*sorted(seen))\n"
    )
    said, _, log = python.run("hook", root, "mod")
    asked = Asked("seccomp", frozenset({"mod.py"}))
    found = bodies(log, asked, DiskTree(root), str(root))["mod.py"]
    assert set(range(count)) <= set(map(int, said.split()))
    assert {f"g{n}#0" for n in map(int, said.split())} <= found


PROGRAM = """
import inspect, linecache, os, subprocess, sys
with open("out/entered.py") as stream:
    code = stream.read()
hook = {"__name__": "fairlead_hook"}
exec(compile(code, "hook", "exec"), hook)
here = os.getcwd()
hook["start"](here + "/out/entered", here)
sys.path.insert(0, here + "/lib")
import plain, looked, shown, in_child
plain.used()
inspect.getsource(looked.f)
linecache.getline(shown.__file__, 1)
subprocess.run([sys.executable, "-I", "-S", "-B", "lib/in_child.py"], check=True)
hook["end"]()
"""


def levels() -> list[sandbox.Requested]:
    return ["none"] if sandbox.refusal() else ["namespace", "none"]


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("version", PYTHONS)
def test_of_a_recorded_run_only_what_was_just_imported_is_taken_apart(
    version: str, level: sandbox.Requested
) -> None:
    with tempfile.TemporaryDirectory(prefix="fairlead-entered-") as name:
        folder = Path(name).resolve()  # outside of pytest's own, which other users may not enter
        folder.chmod(0o755)
        project = folder / "p"
        for path in ("lib", "out"):
            (project / path).mkdir(parents=True)
        (project / "program.py").write_text(PROGRAM)
        for module in ("plain", "looked", "shown", "in_child"):
            source = "def used(): pass\ndef unused(): pass\ndef f(): pass\n"
            (project / "lib" / f"{module}.py").write_text(source)
        python = os.path.realpath(PYTHONS[version])
        entered.place(project / "out" / "entered")
        seen = "/project" if level == "namespace" else str(project)
        prefix = Path(python).parents[1]
        command = Command(
            [python, "-I", "-S", "-B", "program.py"],
            {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            seen,
            folder / "log",
            root_binds=[
                Bind(project, seen),
                Bind(project / "out", f"{seen}/out", True),
                Bind(prefix, str(prefix)),
            ],
            wall_seconds=120,
            memory_bytes=4096 * MIB,
            level=level,
            record=True,
        )
        done = sandbox.run(command)
        assert done.code == 0, (folder / "log").read_text()
        assert done.asked is not None
        log = entered.noted(project / "out" / "entered")
        asked = done.asked.below(seen)
        assert asked.opens("lib/plain.py") == 1
        assert bodies(log, asked, DiskTree(project), seen) == {"lib/plain.py": {"used#0"}}


@pytest.mark.parametrize("version", PYTHONS)
def test_pytest_imports_what_it_rewrites(version: str, root: Path) -> None:
    tree = root / "tree"
    tree.mkdir()
    packages = Path(pytest.__file__).parents[1]  # no part of pytest is compiled: another Python can use it
    (tree / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef one(): return 1\n")
    (tree / "lib.py").write_text("def f(): return 1\ndef g(): return 2\n")
    (tree / "test_t.py").write_text(
        "import lib, os\ndef test_f(one):\n    assert lib.f() == one\n"
        "    assert 'FAIRLEAD_ENTERED' not in os.environ\ndef unused(): pass\n"
    )
    log = root / "entered"
    entered.place(log)
    runner = Path(str(resources.files("fairlead.build"))) / "prelude" / "run_pytest.py"
    done = subprocess.run(
        [PYTHONS[version], "-B", str(runner), str(tree), "test_t.py", "--", "-W", "error"],
        env={"PYTHONPATH": str(packages), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", entered.VARIABLE: str(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    opened = frozenset({"conftest.py", "lib.py", "test_t.py"})
    found = bodies(entered.noted(log), Asked("seccomp", opened), DiskTree(tree), str(tree))
    assert found == {"conftest.py": {"one#0"}, "lib.py": {"f#0"}, "test_t.py": {"test_f#0"}}


@pytest.mark.parametrize(
    ("log", "lack"),
    [
        (b"", "no process was hooked"),
        (b"hooked\t1\t3.12\0", "the tests ended without a word"),
        (b"hooked\t1\t3.12\0ended\t1\0entered\t1\tf", "the account was cut off"),
        (b"hooked\t1\t3.12\0lost\t1\twhy\0ended\t1\0", "why"),
        (b"hooked\t1\t3.12\0ended\t1\0lost\t2\twhy\0", "why"),
        (b"hooked\t1\t3.12\0\xff\xfe\0ended\t1\0", "'\\udcff\\udcfe' is no record"),
        (b"hooked\t1\t3.12\0ended\t1\0", ""),
    ],
)
def test_a_log_that_is_no_whole_account_says_why(log: bytes, lack: str) -> None:
    assert Log.read(log).lack == lack


def test_nothing_is_concluded_from_a_run_that_was_not_heard(root: Path) -> None:
    (root / "m.py").write_text("def f(): pass\n")
    log = f"hooked\t1\t3.12\0imported\t{root}/m.py\0ended\t1\0".encode()
    heard = Asked("seccomp", frozenset({"m.py"}))
    assert bodies(log, heard, DiskTree(root), str(root)) == {"m.py": frozenset()}
    for asked in (Asked.unheard("no"), Asked("seccomp", heard.opened, lack="a hole"), Asked("seccomp")):
        assert bodies(log, asked, DiskTree(root), str(root)) == {}
    assert bodies(log, heard, DiskTree(root), f"{root}/elsewhere") == {}


@given(st.binary(max_size=300))
def test_no_log_breaks_the_reader(data: bytes) -> None:
    Log.read(data)


def test_what_is_nested_needs_what_it_stands_in() -> None:
    parts = of("def f():\n    def g(): pass\n    g()\nx = lambda: 1\nclass C:\n    def __del__(self): pass\n")
    found: Set[str] | None = names_of(parts, [("f", 1), ("f.<locals>.g", 2), ("<lambda>", 4)])
    assert found == {"f#0", "C.__del__#0"}
    assert names_of(parts, [("f.<locals>.g", 2)]) is None
    annotated: Set[str] | None = names_of(parts, [("f.__annotate__", 1), ("__annotate__", 1)])
    assert annotated == {"C.__del__#0"}
    assert names_of(parts, [("f", 2)]) is None


# ---------------------------------------------------------------- programs made by chance

_STATEMENTS = (
    "out.append({n})",
    "out.append([x + {n} for x in range(2)])",
    "out.append((lambda x: x + {n})(1))",
    "call({other}, {n})",
    "out.append([call({other}, x) for x in ({n}, 2)])",
    "@wrap({n})\ndef inner(x={n}):\n    return call({other}, x)\nout.append(inner())",
    "class Local(Base):\n    value = {n}\n    def run(self):\n        return super().run() + {n}\n"
    "out.append(Local().run())",
    "def made():\n    yield {n}\n    call({other}, {n})\nout.append(next(made()))",
    "try:\n    raise KeyError({n})\nexcept KeyError as error:\n    call({other}, 1)",
    "if {n} % 2:\n    call({other}, {n})\nelse:\n    out.append({n})",
    "async def later():\n    return {n}\ntry:\n    later().send(None)\n"
    "except StopIteration as stop:\n    out.append(stop.value)",
)
_HEADS = (
    "def {name}(x={n}):",
    "@wrap({n})\ndef {name}(x=1):",
    "async def {name}(x={n}):",
    "def {name}(x=1): # {n}",
)
_START = """out = []
depth = [0]
def wrap(n):
    def inner(f):
        out.append(n)
        return f
    return inner
def call(f, *a):
    if depth[0] > 5 or len(out) > 200:
        return 0
    depth[0] += 1
    try:
        made = f(*a)
        if hasattr(made, "send"):
            try:
                made.send(None)
            except StopIteration:
                pass
        return 1
    finally:
        depth[0] -= 1
class Base:
    def run(self):
        return 1
"""
NAMES = ("one", "two", "three", "four", "five")


def indented(text: str, by: int) -> str:
    return "".join(" " * 4 * by + line + "\n" for line in text.split("\n"))


@st.composite
def programs(draw: st.DrawFn) -> str:
    """A module of functions that call each other, some defined twice, under a condition, or in a class; each
    number in it stands there once."""
    numbers = iter(range(1001, 9999))
    text = _START
    defined: list[str] = []
    for _ in range(draw(st.integers(2, 6))):
        where = draw(st.sampled_from(["module", "module", "if", "class", "nested class"]))
        level = {"module": 0, "if": 1, "class": 1, "nested class": 2}[where]
        name = draw(st.sampled_from(NAMES))
        owner = f"C{len(defined)}"
        text += {
            "module": "",
            "if": f"if {next(numbers)} % {draw(st.sampled_from([1, 2]))} == 0:\n",
            "class": f"class {owner}:\n    value = {next(numbers)}\n",
            "nested class": f"class {owner}:\n    class D:\n        value = lambda: {next(numbers)}\n",
        }[where]
        head = draw(st.sampled_from(_HEADS)).format(name=name, n=next(numbers))
        text += indented(head, level).removesuffix("\n") + "\n"
        for statement in draw(st.lists(st.sampled_from(_STATEMENTS), min_size=1, max_size=3)):
            filled = re.sub(r"\{n\}", lambda _: str(next(numbers)), statement)
            target = draw(st.sampled_from(NAMES))
            text += indented(filled.replace("{other}", f"globals().get({target!r}, len)"), level + 1)
        text += "    pass\n" if where == "if" else ""
        path = {"class": f"{owner}.{name}", "nested class": f"{owner}.D.{name}"}.get(where, name)
        defined.append(path)
        if draw(st.booleans()) and where != "if":
            text += f"call({path}, {next(numbers)})\n"
    return text + "print(out)\n"


def spans(source: str) -> dict[int, tuple[int, int]]:
    """First line of each outermost function (with its decorators) -> first and last line of its body."""
    found = {}
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            found[first] = (node.body[0].lineno, node.end_lineno or 0)
        else:
            todo += ast.iter_child_nodes(node)
    return found


def edits(source: str, named: Set[str]) -> tuple[str, int]:
    """The program with another number in every body that was not entered, and how many were changed. Each
    number is tried alone first: what it changes says where it stands."""
    before, edited, count = of(source), source, 0
    for number in re.findall(r"\b\d{4}\b", source):
        after = of(source.replace(number, f"{number}7"))
        changed = {a.name for a, b in zip(before.bodies, after.bodies, strict=True) if a.digest != b.digest}
        in_skeleton = before.skeleton != after.skeleton
        in_remark = f"# {number}" in source
        assert (len(changed) + in_skeleton == 1) != in_remark
        if changed and not changed & named:
            edited = edited.replace(number, f"{number}7")
            count += 1
    return edited, count


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=programs())
def test_programs_made_by_chance(python: Driver, source: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        (root / "mod.py").write_text(source)
        found = entered_by(python, root)
        assert found is not None
        printed, lines, _ = python.run("trace", root, "mod")
        known = {body.line: body.name for body in of(source).bodies}
        for start, (first, last) in spans(source).items():
            ran = any(first <= line <= last for line in lines)
            assert ran == (known[start] in found), (known[start], lines)
        edited, _ = edits(source, found)
        (root / "mod.py").write_text(edited)
        assert python.run("plain", root, "mod")[0] == printed
