"""Tests for inputs that few projects have: a file that only a child process reads, or C code, or sqlite3; a
globbed folder, a mode, a link, the text and the line of a function, a variable of the environment.

They are put below the project's test folder before anything is run, one file for each input, and are part of
the project for both sides.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from selection.edit import Content, Edit, File, Link

_HEAD = "from pathlib import Path\n\nHERE = Path(__file__).parent / 'planted_data'\n\n\n"
_TESTS = {
    "child": (
        "import subprocess\nimport sys\n",
        "def test_child():\n"
        "    code = 'import sys; print(open(sys.argv[1]).read().strip())'\n"
        "    done = subprocess.run(\n"
        "        [sys.executable, '-c', code, str(HERE / 'child.txt')], capture_output=True, text=True\n"
        "    )\n"
        "    assert done.stdout == 'one\\n', done.stderr\n",
    ),
    "cat": (
        "import subprocess\n",
        "def test_cat():\n"
        "    done = subprocess.run(['cat', str(HERE / 'cat.txt')], capture_output=True)\n"
        "    assert done.stdout == b'one\\n'\n",
    ),
    "c_code": (
        "import ctypes\n",
        "def test_c_code():\n"
        "    libc = ctypes.CDLL(None)\n"
        "    libc.fopen.restype = ctypes.c_void_p\n"
        "    stream = libc.fopen(str(HERE / 'c.txt').encode(), b'r')\n"
        "    buffer = ctypes.create_string_buffer(64)\n"
        "    libc.fgets(buffer, 64, ctypes.c_void_p(stream))\n"
        "    libc.fclose(ctypes.c_void_p(stream))\n"
        "    assert buffer.value == b'one\\n'\n",
    ),
    "sqlite": (
        "import contextlib\nimport sqlite3\n",
        "def test_sqlite():\n"
        "    uri = f'file:{HERE / \"rows.sqlite\"}?mode=ro'\n"
        "    with contextlib.closing(sqlite3.connect(uri, uri=True)) as base:\n"
        "        assert base.execute('select name from rows').fetchall() == [('one',)]\n",
    ),
    "data": ("", "def test_data():\n    assert (HERE / 'data.txt').read_text() == 'one\\n'\n"),
    "optional": (
        "",
        "def test_optional():\n    assert not (HERE / 'optional.txt').exists()\n",
    ),
    "glob": (
        "",
        "def test_glob():\n"
        "    assert sorted(path.name for path in (HERE / 'folder').glob('*.txt')) == ['a.txt', 'b.txt']\n",
    ),
    "mode": (
        "import os\n",
        "def test_mode():\n    assert not (os.stat(HERE / 'mode.sh').st_mode & 0o100)\n",
    ),
    "link": (
        "",
        "def test_link():\n    assert (HERE / 'link.txt').read_text() == 'one\\n'\n",
    ),
    "source": (
        "import inspect\nimport traceback\n\nimport planted_module\n",
        "def test_docstring():\n"
        "    assert 'What it was' in inspect.getsource(planted_module.shown)\n\n\n"
        "def test_line():\n"
        "    assert planted_module.shown.__code__.co_firstlineno == 4\n\n\n"
        "def test_printed_line(capsys):\n"
        "    try:\n"
        "        planted_module.broken()\n"
        "    except ValueError as error:\n"
        "        print(traceback.extract_tb(error.__traceback__)[-1].lineno)\n"
        "    assert capsys.readouterr().out == '10\\n'\n",
    ),
    "variable": (
        "import os\n",
        "def test_variable():\n    assert os.environ.get('PLANTED_VARIABLE', 'none') == 'none'\n",
    ),
}
_MODULE = '"""A module whose text is looked at."""\n\n\ndef shown():\n    """What it was."""\n    return 1\n'
_MODULE += "\n\ndef broken():\n    raise ValueError\n"


def _rows(name: str) -> bytes:
    """A database with one row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.sqlite"
        base = sqlite3.connect(path)
        base.execute("create table rows (name text)")
        base.execute("insert into rows values (?)", (name,))
        base.commit()
        base.close()
        return path.read_bytes()


def files(folder: str) -> dict[str, Content]:
    """What is planted below a test folder."""
    made: dict[str, Content] = {}
    for name, (imports, body) in _TESTS.items():
        text = f"{imports}{_HEAD}{body}"
        made[f"{folder}/planted/test_planted_{name}.py"] = File(text.encode())
    data = f"{folder}/planted/planted_data"
    made[f"{folder}/planted/planted_module.py"] = File(_MODULE.encode())
    for name in ("child", "cat", "c", "data", "target"):
        made[f"{data}/{name}.txt"] = File(b"one\n")
    made[f"{data}/other.txt"] = File(b"other\n")
    made[f"{data}/link.txt"] = Link("target.txt")
    made[f"{data}/mode.sh"] = File(b"echo\n")
    made[f"{data}/folder/a.txt"] = made[f"{data}/folder/b.txt"] = File(b"\n")
    made[f"{data}/rows.sqlite"] = File(_rows("one"))
    return made


def edits(folder: str) -> list[Edit]:
    """One edit for each planted input. Each makes exactly one planted test fail, but for the line above,
    which two look at, and the last: a variable that nobody declared reaches no test."""
    data = f"{folder}/planted/planted_data"
    module = f"{folder}/planted/planted_module.py"

    def one(kind: str, title: str, path: str, content: Content) -> Edit:
        return Edit(kind, f"planted: {title}", {path: content})

    return [
        one("file of a child", "a file that a Python child reads", f"{data}/child.txt", File(b"two\n")),
        one("file of a child", "a file that cat reads", f"{data}/cat.txt", File(b"two\n")),
        one("file of C code", "a file that C code reads", f"{data}/c.txt", File(b"two\n")),
        one("file of sqlite3", "a database", f"{data}/rows.sqlite", File(_rows("two"))),
        one("delete data", "a data file is gone", f"{data}/data.txt", None),
        one("add data", "a file that was asked for in vain", f"{data}/optional.txt", File(b"")),
        one("add to glob", "a file more in a globbed folder", f"{data}/folder/c.txt", File(b"\n")),
        one("mode", "a file becomes executable", f"{data}/mode.sh", File(b"echo\n", True)),
        one("link", "a link leads elsewhere", f"{data}/link.txt", Link("other.txt")),
        one("link", "a link becomes a file", f"{data}/link.txt", File(b"two\n")),
        one("link target", "what a link leads to", f"{data}/target.txt", File(b"two\n")),
        one("docstring", "under getsource", module, File(_MODULE.replace("it was", "it is").encode())),
        one("line above", "a line that a test looks at", module, File(("\n" + _MODULE).encode())),
        Edit("variable", "planted: a variable nobody declared", {}, {"PLANTED_VARIABLE": "two"}),
    ]
