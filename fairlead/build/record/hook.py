"""Notes which functions of the project a Python process enters: runs inside of the test's own interpreter.

    start(log, root)    before any module of the project is imported
    end()               when the tests are done

Each function below `root` is noted when it is first entered, each module when it is run, by one write to an
append-only descriptor: what was entered before a process was killed is there, and forked children go on
writing to the same file. Programs started anew (exec) are not hooked; they open the sources that they import,
which is more opening than was noted here, and so `entered.py` takes those files whole.

Who looks at line numbers or into functions names them; that is noted when the instruction with the name is
reached, for much code has such a name on a way that no run takes (for another Python, say).

It is `sys.monitoring` of Python 3.12 and later, which tells of each code object once and then costs nothing.
Earlier ones note nothing. Rejected for them: `sys.setprofile`, which is called for every call (3.0 times the
CPU of jinja2's tests on 3.11), is not set in threads that `_thread` starts, and says so nowhere.

A callback keeps the interpreter from telling of what runs meanwhile, also of a finalizer or a signal handler
that happens to come then. So it is a few instructions without any point at which the interpreter would look
for those (`_unbroken`), and the rest is done with telling switched on again (`_Telling`).

Records end with a zero byte, fields are parted by tabs, the path is the last:

    hooked <pid> <version>      ended <pid>      lost <pid> <why>
    imported <path>             a module, by a loader that has read the source once for it
    ran <path>                  other code with that file's name
    entered <line> <qualified name> <path>
    lines <qualified name> <path>       code, of the project or not, that looked at line numbers
    looked <qualified name> <path>      code that looked at what is in functions, or at how large files are

Standard library only, and Python 3.8 can read it: it is loaded by its path.
"""

import os
import sys
from _frozen_importlib_external import SourceFileLoader
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any

TOOL = 4
"""Our number in sys.monitoring: debuggers, coverage, profilers, optimizers have their own, Hypothesis 3."""
NAME = "fairlead"
OPTIMIZED = 1  # of co_flags: a function's code, not that of a module or a class
DOCUMENTED = 0x4000000
"""The same from Python 3.14 on: its first constant is its docstring. Before, it is that or nothing."""
HIGHEST = 1000
"""Where our descriptor is: far above those that programs get."""
REWRITING = "_pytest.assertion.rewrite"
TRACERS = ("doctest", "coverage")
"""Modules that may set a trace function: it calls nothing of the project, or puts back what was there."""

LINES = frozenset(
    (
        *("f_lineno", "tb_lineno", "co_firstlineno", "co_lines", "co_positions", "co_linetable", "co_lnotab"),
        *("__firstlineno__", "_get_traces", "_get_object_traceback"),
        *("dump_traceback", "dump_traceback_later"),
    )
)
"""Names by which code looks at line numbers. A warning has them from C."""
INSIDE = frozenset(
    (
        *("co_code", "_co_code_adaptive", "co_consts", "co_names", "co_nlocals", "co_cellvars"),
        *("co_stacksize", "co_exceptiontable", "__static_attributes__"),
    )
)
"""Names by which code looks into functions that nobody enters."""
OF_CLASSES = frozenset(("__firstlineno__", "__static_attributes__"))
"""Names that the body of every class sets in Python 3.13."""
SIZES = frozenset(("st_size", "getsize", "co_varnames"))
"""Names by which the project's code looks at how large a file is, as importing it does too, or at the names
of a function's variables, of which libraries look at the arguments alone."""
RENAMES = frozenset(("co_filename",))
"""What, among the names of arguments, gives code another file's name: then we are not told of it."""
_LOOKS, _LOOKED = LINES | INSIDE | SIZES, INSIDE | SIZES | RENAMES
_GROUPS = (tuple, frozenset)
_BREAKS = str.maketrans(dict.fromkeys(".,:!{}[]()'\"", " "))
LONGEST = 200
"""Characters of a text that is looked through for names, if it may be for attrgetter, str.format or eval."""
WARNING = "WarningMessage.__init__"
KNOWN = (3, 14)
"""The latest Python whose instructions we read as they are."""
SHIFTED = {"LOAD_ATTR": 1, "LOAD_GLOBAL": 1, "LOAD_SUPER_ATTR": 2}
"""By how many bits the number of a name is shifted in an instruction's argument."""

_put = os.write
"""As it was before any test, which may put another in its place: to forbid that one blocks, for one."""
_monitoring: "Any" = getattr(sys, "monitoring", None)
_log, _root, _fd = "", "", -1
_hook: "Any" = None
_reach: "Any" = None
_awaited: "dict[CodeType, dict[int, frozenset[str]]]" = {}
_seen: "set[tuple[str, str, int]]" = set()
_DISABLE: "Any" = _monitoring.DISABLE if _monitoring else None


def start(log: str, root: str) -> None:
    """Note from now on what is entered below the folder `root`, in the file `log`. Both are absolute."""
    global _log, _root, _hook, _reach
    if not _monitoring:
        return
    _log, _root = log, root.rstrip("/") + "/"
    _open()
    try:
        _monitoring.use_tool_id(TOOL, NAME)
    except ValueError:
        _lost("another tool has our number")
        return
    _hook = _unbroken(_started)
    start_event = _monitoring.events.PY_START
    _reach = _unbroken(_reached)
    _monitoring.register_callback(TOOL, start_event, _hook)
    _monitoring.register_callback(TOOL, _monitoring.events.INSTRUCTION, _reach)
    _monitoring.set_events(TOOL, start_event)
    sys.addaudithook(_heard)
    _write(f"hooked\t{os.getpid()}\t{sys.version_info[0]}.{sys.version_info[1]}")


def end() -> None:
    """Say that this was all, unless something was lost."""
    if not _hook:
        return
    start_event = _monitoring.events.PY_START
    if _monitoring.get_tool(TOOL) != NAME or not _monitoring.get_events(TOOL) & start_event:
        _lost("our tool was switched off")
    elif _replaced(start_event, _hook) or _replaced(_monitoring.events.INSTRUCTION, _reach):
        _lost("our callback was replaced")
    _write(f"ended\t{os.getpid()}")


def _replaced(event: int, function: "Any") -> bool:
    return _monitoring.register_callback(TOOL, event, function) is not function


# ---------------------------------------------------------------- what the interpreter calls


def _started(code: "CodeType", offset: int) -> "Any":
    if code is not _NOTE:
        _TELLING @ (code,)  # not a call: after one the interpreter looks for signals
    return _DISABLE


def _note(code: "CodeType") -> None:
    path = code.co_filename
    if path == _OWN:
        return
    name = code.co_qualname
    own = path.startswith(_root)
    names = _looks(code, own or path[:1] == "<")
    if name == WARNING:
        _write(f"lines\t{name}\t{path}")
    if names:
        _await(code, names)
    if not own:
        return
    if code.co_flags & OPTIMIZED:
        place = path, name, code.co_firstlineno
        if place not in _seen:
            _write(f"entered\t{place[2]}\t{place[1]}\t{path}")
            _seen.add(place)
    elif code.co_name == "<module>":
        how = "imported" if _imported(code, sys._getframe(2)) else "ran"
        _write(f"{how}\t{path}")


def _looks(code: "CodeType", own: bool) -> "frozenset[str]":
    """The names in a code object that say at what it looks. Some stand in tuples: of a loop, of a pattern, of
    arguments. What a library's module or class has there are names of its own arguments and exports."""
    function = code.co_flags & OPTIMIZED
    found = _LOOKS.intersection(code.co_names)
    if not function:
        found -= OF_CLASSES
    found |= _LOOKS.intersection(code.co_consts)
    documented = code.co_flags & DOCUMENTED or sys.version_info < (3, 14)
    for const in code.co_consts[1 if function and documented and code.co_name[:1] != "<" else 0 :]:
        if type(const) is str and "." in const:
            found |= _LOOKS.intersection(_named(const))
    if not function and not own:
        return found & LINES
    todo = [const for const in code.co_consts if type(const) in _GROUPS]
    while todo:
        consts = todo.pop()
        found |= _LOOKS.intersection(consts) | RENAMES.intersection(consts)
        todo += [const for const in consts if type(const) in _GROUPS]
    return found


def _await(code: "CodeType", names: "frozenset[str]") -> None:
    """Have it noted when code that is about to run comes to one of the instructions with these names: a way
    through it that is not taken looks at nothing. Where it cannot be told which instructions, it is now."""
    places = _places(code, names)
    if frozenset().union(*places.values()) != names:
        _say(code, names)
        return
    _awaited[code] = places
    _monitoring.set_local_events(TOOL, code, _monitoring.events.INSTRUCTION)


def _places(code: "CodeType", names: "frozenset[str]") -> "dict[int, frozenset[str]]":
    """The offsets of the instructions that name an attribute, or load a constant, which is or holds `names`.
    One with a long argument has two: its own, and that of what comes before it to make the argument long."""
    from opcode import EXTENDED_ARG, hasconst, hasname, opname

    found: dict[int, frozenset[str]] = {}
    if sys.version_info[:2] > KNOWN:
        return found
    text, start, above = code.co_code, 0, 0
    for offset in range(0, len(text), 2):
        operation, argument = text[offset], text[offset + 1] | above
        if operation == EXTENDED_ARG:
            above = argument << 8
            continue
        if operation in hasname:
            held = {code.co_names[argument >> SHIFTED.get(opname[operation], 0)]}
        else:
            held = _held(code.co_consts[argument]) if operation in hasconst else set()
        for place in (start, offset) if held & names else ():
            found[place] = names & held
        start, above = offset + 2, 0
    return found


def _held(const: "Any") -> "set[Any]":
    """A constant, or those that are in it."""
    found, todo = set(), [const]
    while todo:
        const = todo.pop()
        if type(const) in _GROUPS:
            todo += const
        elif type(const) is str:
            found.add(const)
            found.update(_named(const))
    return found


def _named(text: str) -> "list[str]":
    """The names in what may be a way to an attribute, a format or an expression."""
    return text.translate(_BREAKS).split() if len(text) < LONGEST and "\n" not in text else []


def _reached(code: "CodeType", offset: int) -> "Any":
    _SAYING @ (code, offset)
    return _DISABLE


def _came(code: "CodeType", offset: int) -> None:
    names = _awaited[code].get(offset)
    if names:
        _say(code, names)


def _say(code: "CodeType", names: "frozenset[str]") -> None:
    path, name = code.co_filename, code.co_qualname
    if not LINES.isdisjoint(names):
        _write(f"lines\t{name}\t{path}")
    if not names.isdisjoint(_LOOKED if path.startswith(_root) else _LOOKED - SIZES):
        _write(f"looked\t{name}\t{path}")


def _unbroken(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """The function without the look for signals, finalizers and other threads with which each begins."""
    from opcode import opmap

    code = function.__code__
    made = bytearray(code.co_code)
    if made[:2] == bytes([opmap["RESUME"], 0]):
        made[1] = 2  # as after `yield from`, where there is none
        function.__code__ = code.replace(co_code=bytes(made))
    return function


def _imported(code: "CodeType", frame: "FrameType") -> bool:
    """Whether a module's code was read from its source just now, once, by a loader that we know."""
    caller = frame.f_back
    if caller is None:
        return False
    if caller.f_code.co_name == "exec_module" and caller.f_globals.get("__name__") == REWRITING:
        # It has a `source_stat`, or later `source_hash`, if it compiled the source and found no bytecode.
        seen = caller.f_locals
        compiled = any(name.startswith("source_") for name in seen)
        return compiled and str(seen.get("fn")) == code.co_filename
    loading = caller.f_back
    if loading is None or loading.f_code is not SourceFileLoader.exec_module.__code__:
        return False
    if not sys.dont_write_bytecode:
        _lost("bytecode is written")  # then a module may be run without a look at its source
    loader = loading.f_locals["self"]
    return type(loader) is SourceFileLoader and loader.path == code.co_filename


def _heard(event: str, arguments: "tuple[Any, ...]") -> None:
    if event in _WATCHED:
        _WATCHED[event](arguments, sys._getframe(1))


_heard.__cantrace__ = True  # type: ignore[attr-defined]  # else nothing is told of what runs meanwhile


def _tracer_set(arguments: "tuple[Any, ...]", caller: "FrameType") -> None:
    tool = str(caller.f_globals.get("__name__")).split(".")[0] in TRACERS
    if not tool or caller.f_code.co_filename.startswith(_root):
        _lost("a trace function or profiler was set")


def _callback_set(arguments: "tuple[Any, ...]", caller: "FrameType") -> None:
    """What a callback calls is told to nobody. Those of tools call nothing of the project."""
    function = arguments[0] if arguments else None
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if function in (_hook, _reach, None) or type(function) is type(len):
        return
    if code is None or code.co_filename.startswith(_root):
        _lost("a callback was set")


def _hook_added(arguments: "tuple[Any, ...]", caller: "FrameType") -> None:
    """What such a hook calls is told to nobody."""
    _lost("an audit hook was added")


def _marshalled(arguments: "tuple[Any, ...]", caller: "FrameType") -> None:
    """Of code it gives all that is in it."""
    if type(arguments[0]) not in (str, bytes, int, float):
        _write(f"looked\tmarshal\t{caller.f_code.co_filename}")


def _interpreter_made(arguments: "tuple[Any, ...]", caller: "FrameType") -> None:
    _lost("another interpreter was made")


_WATCHED: "dict[str, Callable[[tuple[Any, ...], FrameType], None]]" = {
    "sys.settrace": _tracer_set,
    "sys.setprofile": _tracer_set,
    "sys.monitoring.register_callback": _callback_set,
    "sys.addaudithook": _hook_added,
    "marshal.dumps": _marshalled,
    "cpython.PyInterpreterState_New": _interpreter_made,
}


# ---------------------------------------------------------------- the file


def _open() -> None:
    """A bare descriptor, which no test sees as a file left open, and no program started anew gets."""
    global _fd
    import fcntl

    opened = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    highest = min(HIGHEST, os.sysconf("SC_OPEN_MAX") - 24)
    _fd = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, highest)
    os.close(opened)


def _lost(why: str) -> None:
    _write(f"lost\t{os.getpid()}\t{why}")


def _write(text: str) -> None:
    record = text.encode("utf-8", "surrogateescape") + b"\0"
    try:
        _put(_fd, record)
    except OSError as error:
        if error.errno != 9:  # EBADF; another is the program's own, from a signal handler
            raise
        _open()  # somebody closed all descriptors there are
        _put(_fd, record)


class _Telling:
    """Calls `_note` by an operator, while the interpreter tells of what runs."""

    __matmul__ = staticmethod(partial(sys.call_tracing, _note))


class _Saying:
    """The same for `_came`."""

    __matmul__ = staticmethod(partial(sys.call_tracing, _came))


_TELLING: "Any" = _Telling()
_SAYING: "Any" = _Saying()
_NOTE = _note.__code__
_OWN = _NOTE.co_filename
