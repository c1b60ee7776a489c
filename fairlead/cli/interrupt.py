"""Ctrl-C at any moment is one line and exit code 130, never a traceback.

Python makes an exception of it, which may come anywhere. Before there is anything to end, `leave` ends the
process at once; from `begin` on it is the exception, so that children are ended and files put right on the
way out; after `end` nothing more is heard, for all that is left is to go. An exception that comes where
Python can only drop it (a finaliser, a callback) is raised once more; one that comes as another (an import in
C makes a SyntaxError of it, Python 3.11 wraps what `__set_name__` raises) is known by `seen`.

Only what comes before our first line, in the interpreter's own start (some 10 ms), is Python's to answer.

`_signal` and `_thread` are built in: `signal` would cost every call its enumerations.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub knows it
import _thread
import os
import sys
import time

CODE = 130
_state = {"seen": False, "told": False}


def leave(*_: object) -> None:
    """The handler before anything is done."""
    try:
        os.write(2, b"interrupted\n")
    except OSError:
        pass
    os._exit(CODE)


def watch() -> None:
    """Be ready for it, unless whoever started us wants it to be ignored."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, leave)


def begin() -> None:
    """From here on it is a KeyboardInterrupt."""
    if _signal.getsignal(_signal.SIGINT) is leave:
        _signal.signal(_signal.SIGINT, _raise)
        sys.unraisablehook = _dropped


def end() -> None:
    """From here on nothing is to be interrupted."""
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)


def seen() -> bool:
    """Whether it has come."""
    return _state["seen"]


def tell() -> int:
    """Say so, once; the exit code."""
    if not _state["told"]:
        _state["told"] = _signal.getsignal(_signal.SIGINT) in (_raise, _signal.SIG_IGN)
        print("interrupted", file=sys.stderr)
    return CODE


def _raise(*_: object) -> None:
    _state["seen"] = True
    raise KeyboardInterrupt


def _again() -> None:
    time.sleep(0.01)
    _thread.interrupt_main()


def _dropped(what: sys.UnraisableHookArgs) -> None:
    if what.exc_type is KeyboardInterrupt:
        _thread.start_new_thread(_again, ())  # here it would be dropped again
    else:
        sys.__unraisablehook__(what)
