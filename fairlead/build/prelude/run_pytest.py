"""Run pytest over files of a link tree: run_pytest.py [OPTION...] TREE FILE... -- [ARGUMENT...].

The working folder is the link tree, and so is the first place where modules are looked for, also by the
processes that a test starts; unless the environment has a .pth file that names it (fairlead/build/roots.py):
then modules are found as after an editable installation. `--root FOLDER` names another working folder inside
of it, `--search FOLDER` (any number) the places for modules, `--only NODE` (any number) what to run of the
files if not all, by its node id inside of them. With `--allow-empty` it is no failure if pytest collects
nothing.
Nothing is written into the tree. Settings and conftest.py count if they stand in it;
those of a folder around it are no part of the test's key.

Where XML_OUTPUT_FILE names a file, pytest's own JUnit report is written there; tests do not see that name.
FAIRLEAD_ENTERED is such a name too: functions of the tree that are entered are noted in that file, by the
code in the file of that name with .py behind it (fairlead/build/record/hook.py). FAIRLEAD_BESIDE names a
folder with beside.py (fairlead/build/beside.py), which tells of each case and may measure coverage.

pytest runs in a child that says how it ended. A test that calls os._exit(0) ends the child without a word,
and that is no pass.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

SETTINGS = {  # in pytest's order; a file of another tool's counts if it has such a table
    "pytest.toml": "",
    ".pytest.toml": "",
    "pytest.ini": "",
    ".pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}


def settings(tree: str, files: "list[str]") -> str:
    """The file that pytest would take its settings from, if it looked no further up than the tree."""
    folder = os.path.commonpath([os.path.dirname(os.path.join(tree, file)) for file in files])
    while True:
        for name, table in SETTINGS.items():
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as stream:
                    if not table or any(line.startswith(table) for line in stream):
                        return path
        if folder == tree:
            return os.devnull
        folder = os.path.dirname(folder)


class Report:
    """A plugin that turns on pytest's JUnit report, unless the project has one made or none at all."""

    def __init__(self, path: str) -> None:
        self.path = path

    def pytest_configure(self, config: Any) -> None:
        """Called before the report's own, since the last plugin comes first."""
        if self.path and config.pluginmanager.hasplugin("junitxml") and not config.option.xmlpath:
            config.option.xmlpath = self.path


class Entry:
    """A name in a folder, as os.scandir would tell of it."""

    def __init__(self, path: str) -> None:
        self.path, self.name = path, os.path.basename(path)

    def __fspath__(self) -> str:
        return self.path

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.isdir(self.path) and (follow_symlinks or not self.is_symlink())

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.isfile(self.path) and (follow_symlinks or not self.is_symlink())

    def is_symlink(self) -> bool:
        return os.path.islink(self.path)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(self.path, follow_symlinks=follow_symlinks)

    def inode(self) -> int:
        return os.lstat(self.path).st_ino


class Only:
    """A plugin that keeps pytest from looking at what stands beside the files that it was given: each look
    would be a thing that the test depends on. From pytest 8 on it lists each folder on the way to a file:
    while it collects, it is told that only what leads to the files is there. If the project's own settings
    name more to collect, it lists them."""

    def __init__(self, files: "list[str]") -> None:
        self.files = set(files)
        self.wanted = set(files)
        for file in files:
            while os.path.dirname(file) != file:
                file = os.path.dirname(file)
                self.wanted.add(file)

    def pytest_ignore_collect(self, collection_path: Any) -> "bool | None":
        return None if str(collection_path) in self.wanted else True

    def pytest_collection(self, session: Any) -> "Iterator[None]":
        given = {os.path.abspath(str(argument).split("::")[0]) for argument in session.config.args}
        modules = [sys.modules.get(name) for name in ("_pytest.main", "_pytest.python")]
        before = [(module, module.__dict__["scandir"]) for module in modules if hasattr(module, "scandir")]
        for module, real in before if given <= self.files else ():
            module.scandir = self.instead_of(real)  # type: ignore[union-attr]
        yield
        for module, real in before:
            module.scandir = real  # type: ignore[union-attr]

    def instead_of(self, real: "Callable[..., Any]") -> "Callable[..., Any]":
        def scandir(path: Any, *arguments: Any, **named: Any) -> Any:
            if str(path) not in self.wanted - self.files or len(arguments) > 1 or named.keys() - {"sort_key"}:
                return real(path, *arguments, **named)
            key = arguments[0] if arguments else named.get("sort_key") or (lambda entry: entry.name)
            inside = [Entry(name) for name in self.wanted if os.path.dirname(name) == str(path)]
            return sorted((entry for entry in inside if entry.is_dir() or entry.is_file()), key=key)

        return scandir


def run(
    tree: str,
    root: str,
    search: "list[str]",
    files: "list[str]",
    only: "list[str]",
    arguments: "list[str]",
    report: str,
    beside: Any,
) -> int:
    del sys.path[0]  # our own folder
    compare_bytes()
    if not set(search) <= set(sys.path):
        os.environ["PYTHONPATH"] = os.pathsep.join(search)
        sys.path[:0] = search
    sys.dont_write_bytecode = True
    try:
        import pytest
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        print("error: there is no pytest in the environment of the python_toolchain")
        print("  what to do: add pytest to the requirements file that its `lock` names")
        return 1

    around = pytest.hookimpl(hookwrapper=True, tryfirst=True)
    Only.pytest_collection = around(Only.pytest_collection)  # type: ignore[method-assign]
    fixed = ["--rootdir", root, "--confcutdir", tree, "-c", settings(tree, files)]
    fixed += ["--import-mode=importlib", "-p", "no:cacheprovider"]
    whole = [os.path.join(tree, file) for file in files]
    tests = [os.path.relpath(os.path.join(tree, file), root) for file in files]
    tests = [f"{test}::{node}" for test in tests for node in only] if only else tests
    plugins = [Report(report), Only(whole)]
    if beside is None:
        return int(pytest.main([*fixed, *arguments, *tests], plugins=plugins))
    beside.begin()
    words = [*fixed, *arguments, *beside.arguments, *tests]
    code = int(pytest.main(words, plugins=[*plugins, *beside.plugins]))
    beside.end()
    return code


def compare_bytes() -> None:
    """All files here have one time. Without this, filecmp takes two of one size for equal unread."""
    import filecmp

    real: Any = filecmp._sig  # type: ignore[attr-defined]
    filecmp._sig = lambda seen: (*real(seen)[:2], object())  # type: ignore[attr-defined]


def load(path: str) -> "dict[str, Any]":
    """What a file of Python defines."""
    with open(path, "rb") as stream:
        code = compile(stream.read(), path, "exec")
    found: dict[str, Any] = {"__name__": "fairlead_" + os.path.basename(path)[:-3]}
    exec(code, found)
    return found


def note_entered(log: str, tree: str) -> "Callable[[], None]":
    """Have it noted which functions are entered; what to call when the tests are done."""
    hook = load(log + ".py")
    hook["start"](log, tree)
    end: Callable[[], None] = hook["end"]
    return end


NOTHING_COLLECTED = 5


def main(words: "list[str]") -> int:
    given: dict[str, list[str]] = {"--root": [], "--search": [], "--only": []}
    allow_empty = False
    while words[0].startswith("--"):
        option = words.pop(0)
        if option == "--allow-empty":
            allow_empty = True
        else:
            given[option].append(words.pop(0))
    tree, rest = os.path.abspath(words[0]), words[1:]
    end = rest.index("--")
    files, arguments = rest[:end], rest[end + 1 :]
    root = os.path.join(tree, *given["--root"])
    search = [os.path.normpath(os.path.join(tree, folder)) for folder in given["--search"]] or [tree]
    named = os.environ.pop("XML_OUTPUT_FILE", "")
    report = os.path.abspath(named) if named else ""
    entered = os.environ.pop("FAIRLEAD_ENTERED", "")
    watched = os.environ.pop("FAIRLEAD_BESIDE", "")
    os.chdir(root)
    hear, say = os.pipe()
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for pytest, which says how it ends
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, on_interrupt)
        os.close(hear)
        own = os.getpid()
        said_all = note_entered(entered, tree) if entered else None
        beside = load(os.path.join(watched, "beside.py"))["Beside"](watched) if watched else None
        code = run(tree, root, search, files, given["--only"], arguments, report, beside)
        if code == NOTHING_COLLECTED and (allow_empty or (beside is not None and beside.is_empty())):
            code = 0
        if os.getpid() == own:  # not what a test forked and let come back
            if said_all:
                said_all()
            os.write(say, b"%d" % code)
        sys.exit(code)
    os.close(say)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.set_blocking(hear, False)  # what a test left running may hold the other end
    try:
        said = os.read(hear, 16)
    except BlockingIOError:
        said = b""
    if ended < 0:
        os.kill(os.getpid(), -ended)
    if ended == 0 and said != b"0":
        print("a test ended the whole process with exit code 0 before pytest was done", file=sys.stderr)
        return 1
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
