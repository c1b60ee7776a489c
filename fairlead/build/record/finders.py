"""Notes which modules a Python process looks for in the folders of the project, and when a folder is listed
for that alone: runs inside of the test's own interpreter, from before the first module of the project.

Python's finder of files (`importlib.machinery.FileFinder`) lists a folder once and then answers from those
names. To the recorder that is a listing, on which any new file in the folder would count. But what was asked
are the names of modules. So each name is noted before the finder looks for it, and each listing that a finder
made; `listings.py` takes such a listing for the names, if nobody else has listed that folder. In the same way
`importlib.metadata` lists every folder of the search path, and looks at the names of distributions alone.

Records end with a zero byte and stand in one file with those of `hook.py`:

    sought <module> <folder>        without the packages that it is in
    filled <folder>                 a finder has listed it, and found something
    described <folder>              it was listed for the distributions in it
    unclear <folder>                a module was looked for whose name cannot stand here

Rejected: making finders that do not list, which would ask for some six names in place of each that is not
there. A process started anew is not told of us, and lists as it always did.

Standard library only, and Python 3.8 can read it: it is loaded by its path (`roots.py`).
"""

import os
import sys
from importlib.machinery import FileFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

HIGHEST = 800
"""Where our descriptor is: far above those that programs get, below those of `hook.py` and `beside.py`."""
ENDINGS = (".py", ".pyc", ".so")
"""What the files of modules end with. A finder that knows others is none of Python's own."""
PLAIN = frozenset("\t\0/")
METADATA = "importlib.metadata"

_put = os.write
"""As it was before any test, which may put another in its place."""
_log, _root, _fd = "", "", -1
_find: "Any" = FileFinder.find_spec
_fill: "Any" = FileFinder._fill_cache  # type: ignore[attr-defined]
_seen: "set[tuple[str, str]]" = set()


def start(log: str, root: str) -> None:
    """Note what finders are asked from now on about the folder `root` and those in it, in the file `log`.
    Both are absolute."""
    global _log, _root
    if _find.__code__.co_filename == find_spec.__code__.co_filename:
        return  # site reads a .pth file twice where a folder is a site's by two names
    _log, _root = log, root.rstrip("/")
    _open()
    FileFinder.find_spec = find_spec  # type: ignore[method-assign]
    FileFinder._fill_cache = _fill_cache  # type: ignore[attr-defined]
    sys.addaudithook(_heard)


def find_spec(self: "Any", fullname: str, target: "Any" = None) -> "Any":
    """Try to find a spec for the specified module; None if there is none."""
    folder = _folder(self.path)
    if folder:
        name = fullname.rpartition(".")[2]
        if (folder, name) not in _seen:
            if PLAIN.isdisjoint(name):
                _write("sought\t" + name + "\t" + folder)
                _seen.add((folder, name))
            else:
                _write("unclear\t" + folder)
    return _find(self, fullname, target)


def _fill_cache(self: "Any") -> "Any":
    done = _fill(self)
    # Of a folder that could not be listed it makes an empty one; then the listing counts, if there was any.
    seen = vars(self)
    if type(self) is FileFinder and seen["_path_cache"] and sys._getframe(1).f_code is _find.__code__:
        folder = _folder(self.path)
        if folder and all(suffix.endswith(ENDINGS) for suffix, _ in seen["_loaders"]):
            _write("filled\t" + folder)
    return done


def _heard(event: str, arguments: "tuple[Any, ...]") -> None:
    if event == "os.listdir" and type(arguments[0]) is str:
        folder = _folder(arguments[0])
        if folder and _for_distributions(sys._getframe(1)):
            _write("described\t" + folder)


_heard.__cantrace__ = True  # type: ignore[attr-defined]  # else nothing is told of what runs meanwhile


def _for_distributions(frame: "FrameType") -> bool:
    """Whether the standard library lists a folder to look for distributions, which end in dist-info or
    egg-info, and whose own folder is no egg."""
    caller = frame.f_back
    module = sys.modules.get(METADATA)
    return (
        frame.f_code.co_name == "children"
        and module is not None
        and frame.f_code is getattr(_children(module), "__code__", None)
        and caller is not None
        and caller.f_globals is frame.f_globals is module.__dict__
        and frame.f_code.co_filename.startswith(os.path.dirname(os.__file__) + "/importlib/")
        and not str(getattr(frame.f_locals.get("self"), "root", "")).lower().endswith(".egg")
    )


def _children(metadata: "Any") -> "Any":
    return getattr(getattr(metadata, "FastPath", None), "children", None)


def _folder(path: "Any") -> str:
    """The path of a folder of the project, "" if it is none, or if it cannot be told without a look."""
    if type(path) is not str or not (path == _root or path.startswith(_root + "/")):
        return ""
    return "" if ".." in path.split("/") else path


def _open() -> None:
    """A bare descriptor, which no test sees as a file left open, and no program started anew gets."""
    global _fd
    import fcntl

    opened = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    highest = min(HIGHEST, os.sysconf("SC_OPEN_MAX") - 72)
    _fd = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, highest)
    os.close(opened)


def _write(text: str) -> None:
    record = text.encode("utf-8", "surrogateescape") + b"\0"
    try:
        _put(_fd, record)
    except OSError as error:
        if error.errno != 9:  # EBADF; another is the program's own, from a signal handler
            raise
        _open()  # somebody closed all descriptors there are
        _put(_fd, record)
