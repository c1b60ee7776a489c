"""Projects on disk to plans, and what a person is told when a project is wrong."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.build.buckconfig import BuckConfig
from fairlead.build.evaluate import evaluate
from fairlead.build.plan import Plan
from fairlead.build.tree import DiskTree
from fairlead.errors import FairleadError, UsageError
from tests.build.project import plan, write

DEFS = """
Info = provider(fields = ["words"])

def _impl(ctx):
    words = [ctx.attrs.word] + [word for dep in ctx.attrs.deps for word in dep[Info].words]
    out = ctx.actions.write("out.txt", words)
    return [DefaultInfo(default_output = out), Info(words = words)]

word = rule(
    impl = _impl,
    attrs = {
        "word": attrs.string(),
        "deps": attrs.list(attrs.dep(providers = [Info]), default = []),
        "size": attrs.option(attrs.int(), default = None),
        "kind": attrs.enum(["plain", "loud"], default = "plain"),
    },
)
"""


def refused(root: Path, *patterns: str) -> UsageError:
    with pytest.raises(UsageError) as error:
        plan(root, *patterns)
    return error.value


def test_own_rules_providers_and_dependencies(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "defs.bzl": DEFS,
            "BUCK": 'load("//:defs.bzl", "word")\nword(name = "a", word = "A", deps = ["//b:b"])',
            "b/BUCK": 'load("//:defs.bzl", w = "word")\nw(name = "b", word = "B", visibility = ["//:"])',
        },
    )
    made = plan(tmp_path, "//:a")
    assert list(made.targets) == ["//b:b", "//:a"]
    assert [action.content for action in made.actions] == ["B", "A\nB"]
    assert made.targets["//:a"].default_outputs == ("fairlead-out/gen/__a__/out.txt",)
    assert made.targets["//b:b"].default_outputs == ("fairlead-out/gen/b/__b__/out.txt",)
    assert made.targets["//:a"].rule_bzl == ("defs.bzl",)
    assert made.targets["//:a"].attrs["deps"] == ["//b:b"]
    assert made.targets["//:a"].place == "BUCK:2"
    assert made.requested == ("//:a",)


@pytest.mark.parametrize(
    ("patterns", "labels"),
    [
        (["//..."], ["//:x", "//a/b:x", "//a/b:y", "//a:x", "//c:c"]),
        (["//a/..."], ["//a/b:x", "//a/b:y", "//a:x"]),
        (["//a:"], ["//a:x"]),
        (["//a/b:y", "//c"], ["//a/b:y", "//c:c"]),
        ([":x"], ["//:x"]),
        (["root//a:x", "@root//a:x", "a:x"], ["//a:x"]),
        (["..."], ["//:x", "//a/b:x", "//a/b:y", "//a:x", "//c:c"]),
        (["a/..."], ["//a/b:x", "//a/b:y", "//a:x"]),
    ],
)
def test_patterns(tmp_path: Path, patterns: list[str], labels: list[str]) -> None:
    one = 'filegroup(name = "x")'
    write(
        tmp_path,
        {
            "BUCK": one,
            "a/BUCK": one,
            "a/b/BUCK": one + '\nfilegroup(name = "y")',
            "c/BUCK": 'filegroup(name = "c")',
            "fairlead-out/gen/BUCK": one,
            "a/__pycache__/BUCK": one,
        },
    )
    assert sorted(plan(tmp_path, *patterns).requested) == labels


@pytest.mark.parametrize(
    ("pattern", "says", "remedy"),
    [
        ("//lib:nme", "unknown target //lib:nme", "did you mean //lib:name?"),
        ("//lib:zzzz", "unknown target //lib:zzzz", "lib/BUCK has :name"),
        ("//lab:name", "no package //lab", "did you mean //lib:?"),
        ("//lab/...", "no package is at or below //lab/...", "did you mean //lib/...?"),
        ("other//lib:name", "unknown cell 'other'", "[cells]"),
        ("//lib:a b", "no label", "//package:name"),
        ("//../x:y", "no label", "without . .."),
        ("//lib:name[sub]", "no label", "build //lib:name"),
        ("namely", "no package //namely", "add the file namely/BUCK, or write //:namely"),
        ("lab/zzzz", "no package //lab/zzzz", "or write //lab:zzzz for a target of //lab"),
        ("/lib/BUCK", "'/lib/BUCK' is no label", ":name for a target of this folder"),
        ("./lib", "'./lib' is no label", "write //package:name"),
    ],
)
def test_unknown_targets(tmp_path: Path, pattern: str, says: str, remedy: str) -> None:
    write(tmp_path, {"lib/BUCK": 'filegroup(name = "name")'})
    error = refused(tmp_path, pattern)
    assert says in error.what
    assert remedy in error.remedy


BROKEN: list[tuple[str, dict[str, str | bytes], str, str, str]] = [
    ("syntax", {"BUCK": "filegroup(name = 'x'\n"}, "syntax error", "BUCK:1:10", "correct"),
    (
        "rule",
        {"BUCK": "\nfilegrup(name = 'x')"},
        "unknown name 'filegrup'",
        "BUCK:2:1",
        "did you mean filegroup",
    ),
    (
        "attribute",
        {"BUCK": "filegroup(name = 'x', scrs = [])"},
        "no attribute 'scrs' (target //:x)",
        "BUCK:1:1",
        "did you mean srcs?",
    ),
    (
        "type",
        {"BUCK": "filegroup(name = 'x', srcs = [3])"},
        "attribute 'srcs' of //:x: item 0: 3",
        "BUCK:1:1",
        "file",
    ),
    ("no name", {"BUCK": "filegroup(srcs = [])"}, "needs a name", "BUCK:1:1", 'add name = "..."'),
    ("needed", {"BUCK": "genrule(name = 'x', out = 'o')"}, "needs the attribute 'cmd'", "BUCK:1:1", "text"),
    (
        "twice",
        {"BUCK": "filegroup(name = 'x')\nfilegroup(name = 'x')"},
        "//:x is declared twice (first at BUCK:1)",
        "BUCK:2:1",
        "rename",
    ),
    ("bad name", {"BUCK": "filegroup(name = 'a b')"}, "cannot be a target's name", "BUCK:1:1", "letters"),
    (
        "missing source",
        {"BUCK": "filegroup(name = 'x', srcs = ['fiel.txt'])", "file.txt": ""},
        "source file fiel.txt does not exist",
        "BUCK:1:1",
        "did you mean file.txt?",
    ),
    (
        "source of sub-package",
        {"BUCK": "filegroup(name = 'x', srcs = ['a/f'])", "a/BUCK": "", "a/f": ""},
        "belongs to another package, //a",
        "BUCK:1:1",
        "//a:f",
    ),
    (
        "source outside",
        {"p/BUCK": "filegroup(name = 'x', srcs = ['../f'])", "f": ""},
        "no path inside",
        "p/BUCK:1:1",
        "",
    ),
    (
        "unknown dep",
        {"BUCK": "\nsh_test(name = 'x', test = 'a', deps = [':yy'])\nfilegroup(name = 'y')", "a": ""},
        "unknown target //:yy (a dependency of //:x)",
        "BUCK:2",
        "did you mean //:y?",
    ),
    (
        "no package",
        {"BUCK": "sh_test(name = 'x', test = 'a', deps = ['//q:y'])", "a": ""},
        "no package //q",
        "BUCK:1",
        "add the file q/BUCK",
    ),
    (
        "visibility",
        {
            "BUCK": "sh_test(name = 'x', test = 'a', deps = ['//q:y'])",
            "a*": "",
            "q/BUCK": "filegroup(name = 'y')",
        },
        "//q:y is not visible to //:x",
        "BUCK:1",
        'add visibility = ["//:"] to //q:y at q/BUCK:1',
    ),
    (
        "bad visibility",
        {"BUCK": "filegroup(name = 'x', visibility = ['PUBLC'])"},
        "no pattern",
        "BUCK:1:1",
        "PUBLIC",
    ),
    (
        "within view",
        {
            "BUCK": "sh_test(name='x', test='a', deps=['//q:y'], within_view=['//r/...'])",
            "a*": "",
            "q/BUCK": "filegroup(name = 'y', visibility = ['PUBLIC'])",
        },
        "not within view",
        "BUCK:1",
        "within_view",
    ),
    (
        "dependency cycle",
        {
            "BUCK": "[sh_test(name = n, test = 't', deps = [d]) for n, d in "
            "[('a', ':b'), ('b', ':c'), ('c', ':b')]]",
            "t*": "",
        },
        "circle: //:b -> //:c -> //:b",
        "BUCK:1",
        "remove one",
    ),
    (
        "load cycle",
        {
            "BUCK": "load(':a.bzl', 'a')",
            "a.bzl": "load(':b.bzl', 'b')\na = b",
            "b.bzl": "\nload(':a.bzl', 'a')",
        },
        "circle: a.bzl -> b.bzl -> a.bzl",
        "b.bzl:2:1, loaded from a.bzl:1:1, loaded from BUCK:1:1",
        "file of its own",
    ),
    (
        "load nothing",
        {"BUCK": "load('//:dfs.bzl', 'a')", "defs.bzl": ""},
        "dfs.bzl does not exist",
        "BUCK:1:1",
        "did you mean defs.bzl?",
    ),
    (
        "load name",
        {"BUCK": "load('//:defs.bzl', 'nmae')", "defs.bzl": "name = 1"},
        "defs.bzl has no 'nmae'",
        "BUCK:1:1",
        "did you mean name?",
    ),
    (
        "load reexport",
        {"BUCK": "load(':b.bzl', 'a')", "b.bzl": "load(':a.bzl', 'a')", "a.bzl": "a = 1"},
        "b.bzl has no 'a'",
        "BUCK:1:1",
        "it has nothing",
    ),
    (
        "load text",
        {"BUCK": "load(':defs.txt', 'a')", "defs.txt": ""},
        "reads .bzl files",
        "BUCK:1:1",
        "rename",
    ),
    (
        "error below",
        {"BUCK": "load(':a.bzl', 'f')\nf()", "a.bzl": "def f():\n    fail('bad', 1)"},
        "bad 1",
        "a.bzl:2:5, called from BUCK:2:1",
        "",
    ),
    (
        "rule at load",
        {"BUCK": "load(':a.bzl', 'a')", "a.bzl": "native.filegroup(name = 'x')\na = 1"},
        "only while a BUCK file",
        "a.bzl:1:1, loaded from BUCK:1:1",
        "BUCK file",
    ),
    ("glob pattern", {"BUCK": "x = glob(['../*'])"}, "matches nothing", "BUCK:1:5", ""),
    (
        "macro",
        {"BUCK": "genrule(name = 'x', out = 'o', cmd = 'echo $(date)')"},
        "macro $(date)",
        "BUCK:1:1",
        "\\\\$(",
    ),
    (
        "two outs",
        {"BUCK": "genrule(name = 'x', cmd = '')"},
        "//:x (genrule): genrule takes out or outs",
        "for BUCK:1",
        "",
    ),
    (
        "not executable",
        {"BUCK": "sh_test(name = 'x', test = 'a')", "a": ""},
        "not executable",
        "BUCK:1",
        "chmod +x a",
    ),
    (
        "select",
        {"BUCK": "filegroup(name = 'x', srcs = select({}))"},
        "unknown name 'select'",
        "BUCK:1:30",
        "not supported yet",
    ),
    (
        "glob of a text",
        {"BUCK": "filegroup(name = 'x', srcs = glob('*.py'))"},
        "glob() takes a list",
        "BUCK:1:30",
        'write glob(["*.py"])',
    ),
    ("unknown name", {"BUCK": "x = zzzz"}, "unknown name 'zzzz'", "BUCK:1:5", "assign it before"),
    ("rule in BUCK", {"BUCK": "x = rule(impl = len, attrs = {})"}, "unknown name 'rule'", "BUCK:1:5", ""),
    (
        "buckconfig",
        {".buckconfig": "[a]\nnonsense", "BUCK": ""},
        "is no setting: nonsense",
        ".buckconfig:2",
        "key = value, or [section]",
    ),
    ("not UTF-8", {"BUCK": b"\n# \xff"}, "not UTF-8", "BUCK:2", "UTF-8"),
]


@pytest.mark.parametrize(
    ("files", "says", "place", "remedy"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_broken_projects(
    tmp_path: Path, files: dict[str, str | bytes], says: str, place: str, remedy: str
) -> None:
    error = refused(write(tmp_path, files), "//...")
    assert says in error.what
    assert place in error.where
    assert remedy in error.remedy
    assert error.exit == 2


RULES: list[tuple[str, str, str]] = [
    ("nothing returned", "    pass", "returned a value of type NoneType"),
    ("not a provider", "    return [1]", "list with a value of type int"),
    ("twice", "    return [RunInfo(args = 'a'), RunInfo(args = 'b')]", "RunInfo twice"),
    (
        "unmade output",
        "    ctx.actions.declare_output('a')\n    return []",
        "declared, but no action makes it",
    ),
    (
        "made twice",
        "    o = ctx.actions.write('a', '')\n    ctx.actions.write(o, '')\n    return []",
        "made twice",
    ),
    (
        "declared twice",
        "    ctx.actions.write('a', '')\n    ctx.actions.write('a', '')\n    return []",
        "beside 'a'",
    ),
    (
        "inside another",
        "    ctx.actions.write('a', '')\n    ctx.actions.write('a/b', '')\n    return []",
        "beside 'a'",
    ),
    ("outside", "    ctx.actions.write('../a', '')\n    return []", "no path inside a folder"),
    ("nothing made", "    ctx.actions.run(['true'], category = 'c')\n    return []", "makes nothing"),
    (
        "number in command",
        "    ctx.actions.run([1], category = 'c')\n    return []",
        "type int cannot stand in a command",
    ),
    ("category", "    ctx.actions.run(['a'], category = 'C C')\n    return []", "is no category"),
    (
        "same action",
        "    [ctx.actions.run(['a', ctx.actions.declare_output(n).as_output()], category = 'c')"
        " for n in ['a', 'b']]\n    return []",
        "two actions",
    ),
    (
        "own input",
        "    a, b = ctx.actions.declare_output('a'), ctx.actions.declare_output('b')\n"
        "    ctx.actions.run(['x', a, b.as_output()], category = 'c')\n"
        "    ctx.actions.run(['x', b, a.as_output()], category = 'd')\n    return []",
        "wait for each other",
    ),
    ("unknown field", "    return [DefaultInfo(outputs = [])]", "no field 'outputs'"),
    ("unknown attribute", "    ctx.attrs.nope\n    return []", "no field 'nope'"),
    ("private field", "    ctx.actions._actions\n    return []", "no field '_actions'"),
    ("read_config", "    read_config('a', 'b')\n    return []", "while files load"),
    ("glob", "    glob(['*'])\n    return []", "only while a BUCK file"),
    (
        "half a character",
        "    ctx.actions.write('a', '\\ud800')\n    return []",
        "half a character",
    ),
    ("a NUL", "    return [RunInfo(args = ['a\\x00'])]", "holds a NUL"),
    (
        "labels of tests",
        "    return [ExternalRunnerTestInfo(type = 'x', command = ['a'], labels = [1])]",
        "list of texts",
    ),
    (
        "unknown argument",
        "    ctx.actions.write('a', '', mode = 1)\n    return []",
        "write() got an unexpected keyword",
    ),
]


@pytest.mark.parametrize(("body", "says"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_broken_rules_name_rule_and_target(tmp_path: Path, body: str, says: str) -> None:
    write(
        tmp_path,
        {
            "r.bzl": f"def _impl(ctx):\n{body}\nr = rule(impl = _impl, attrs = {{}})",
            "BUCK": "load(':r.bzl', 'r')\n\nr(name = 'x')",
        },
    )
    error = refused(tmp_path, "//...")
    assert says in error.what
    assert "//:x" in error.what
    assert "BUCK:3" in error.where


@pytest.mark.parametrize(
    "change",
    ["dep[RunInfo].args.add('x')", "dep[Info].words.append('x')", "dep[DefaultInfo].default_outputs.clear()"],
)
def test_what_a_target_provides_cannot_be_changed_by_others(tmp_path: Path, change: str) -> None:
    write(
        tmp_path,
        {
            "r.bzl": "Info = provider(fields = ['words'])\n"
            "def _impl(ctx):\n"
            "    words = ['a']\n"
            "    for dep in ctx.attrs.deps:\n"
            f"        {change}\n"
            "    return [Info(words = words), RunInfo(args = cmd_args('run'))]\n"
            "r = rule(impl = _impl, attrs = {'deps': attrs.list(attrs.dep(), default = [])})",
            "BUCK": "load(':r.bzl', 'r')\nr(name = 'a')\nr(name = 'b', deps = [':a'])",
        },
    )
    assert "frozen" in refused(tmp_path).what


def test_globs_stop_at_sub_packages_and_hidden_names(tmp_path: Path) -> None:
    names = [
        "a.py",
        "b.txt",
        ".h.py",
        "d/c.py",
        "d/.e/f.py",
        "sub/g.py",
        "d/__pycache__/c.py",
        "d/e/f.py",
        "out/h.py",
    ]
    write(
        tmp_path,
        dict.fromkeys(names, "")
        | {
            "sub/BUCK": "",
            ".buckconfig": "[project]\nignore = out, nowhere",
            "BUCK": "print(glob(['**/*.py'], exclude = ['d/e/*']))\n"
            "print(glob(['.*.py', '?.txt', '[ab].py', 'd/[!x].py']))"
            "\nprint(glob(['**']))",
        },
    )
    shown: list[str] = []
    evaluate(DiskTree(tmp_path), ["//..."], on_print=shown.append)
    assert shown == [
        '["a.py", "d/c.py"]',
        '[".h.py", "a.py", "b.txt", "d/c.py"]',
        '["BUCK", "a.py", "b.txt", "d/c.py", "d/e/f.py"]',
    ]


def test_cells_configuration_and_macros(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".buckconfig": "[cells]\nmain = .\ntools = third/tools\n[cell_aliases]\nt = tools\n"
            "[buildfile]\nname = BUILD\n"
            "[my]\nsize = 3\ndouble = $(config my.size)$(config my.size)\n<?file:absent>\n<file:more>",
            "more": "[my]\ncolour = red",
            "BUILD": 'load("@t//:m.bzl", "make")\nmake("a", ["t//:x", "tools//:x", "main//:b"])\n'
            'filegroup(name = "b")',
            "third/tools/BUILD": 'filegroup(name = "x", visibility = ["main//..."])',
            "third/tools/m.bzl": "def make(name, deps):\n"
            "    native.sh_test(name = name, test = 't', deps = deps, labels = [\n"
            "        read_config('my', 'double'),\n        read_config('my', 'colour'),\n"
            "        read_config('my', 'none', 'no'),\n"
            "        package_name() + '.',\n    ])",
            "t*": "",
        },
    )
    made = plan(tmp_path, "//...")
    assert made.requested == ("//:a", "//:b")
    target = made.targets["//:a"]
    assert target.deps == ("//:b", "tools//:x")
    assert target.attrs["labels"] == ["33", "red", "no", "."]
    assert target.place == "BUILD:2"
    assert made.targets["tools//:x"].default_outputs == ("fairlead-out/gen/third/tools/__x__/x",)
    assert plan(tmp_path, "tools//...").requested == ("tools//:x",)


def test_rules_see_config_that_they_declare_and_others_do_not(tmp_path: Path) -> None:
    rule = "r = rule(impl = lambda ctx: [DefaultInfo()], attrs = {})\n"
    write(
        tmp_path,
        {
            "a.bzl": "load(':b.bzl', 'b')\n" + rule,
            "b.bzl": "b = read_config('x', 'y', 'z')",
            "c.bzl": rule + "def late():\n    return read_config('late', 'k', '1')",
            "d.bzl": "load(':c.bzl', 'late')\n" + rule + "at_load = late()",
            "BUCK": "load(':a.bzl', ra = 'r')\nload(':c.bzl', 'late', rc = 'r')\nload(':d.bzl', rd = 'r')\n"
            "ra(name = 'a')\nrc(name = 'c' + late())\nrd(name = 'd')",
        },
    )
    made = evaluate(DiskTree(tmp_path), ["//..."], BuckConfig({"x": {"y": "1"}}))
    assert made.targets["//:a"].config == {"x.y": "1"}
    assert made.targets["//:c1"].config == {}
    assert made.targets["//:d"].config == {"late.k": ""}


def test_sub_targets_and_projections(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "r.bzl": "def _impl(ctx):\n"
            "    d = ctx.actions.declare_output('d', dir = True)\n"
            "    ctx.actions.run(['make', d.as_output()], category = 'make')\n"
            "    f = d.project('in/f.txt')\n"
            "    sub = {'f': [DefaultInfo(default_output = f), RunInfo(args = [f, 'x'])]}\n"
            "    return [DefaultInfo(default_output = d, sub_targets = sub)]\n"
            "r = rule(impl = _impl, attrs = {})",
            "BUCK": "load(':r.bzl', 'r')\nr(name = 'x')\n"
            "genrule(name = 'g', out = 'o', srcs = [':x[f]'], "
            "cmd = '$(exe :x[f]) $(location :x) \\\\$(true) > $OUT')",
        },
    )
    made = plan(tmp_path)
    action = made.actions[-1]
    inside = "fairlead-out/gen/__x__/d/in/f.txt"
    assert action.argv[-1].endswith(f"{inside} x fairlead-out/gen/__x__/d $(true) > $OUT")
    assert action.inputs == ("fairlead-out/gen/__g__/__srcs__", "fairlead-out/gen/__x__/d")
    assert action.env == {
        "OUT": "fairlead-out/gen/__g__/o",
        "SRCDIR": "fairlead-out/gen/__g__/__srcs__",
        "SRCS": inside,
    }
    (tmp_path / "BUCK").write_text(
        "load(':r.bzl', 'r')\nr(name = 'x')\nfilegroup(name = 'g', srcs = [':x[g]'])"
    )
    error = refused(tmp_path)
    assert "no sub-target 'g'" in error.what


def test_long_chains_of_dependencies(tmp_path: Path) -> None:
    lines = [
        f"sh_test(name = 't{n}', test = 't', deps = [{f':t{n - 1}'!r}])" if n else "filegroup(name = 't0')"
        for n in range(3000)
    ]
    write(tmp_path, {"BUCK": "\n".join(lines), "t*": ""})
    assert len(plan(tmp_path, "//:t2999").targets) == 3000


def test_the_plan_has_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    write(
        tmp_path / "p",
        {f"m{n}.py": "" for n in range(20)}
        | {
            "lock": "",
            "BUCK": "python_toolchain(name = 'python', lock = 'lock')\n"
            "[python_library(name = 'l%d' % n, srcs = ['m%d.py' % n], deps = [':l%d' % m for m in range(n)])"
            " for n in range(20)]\n"
            "python_binary(name = 'b', main = 'm0.py', deps = [':l%d' % n for n in range(1, 20)])",
        },
    )
    script = (
        "import sys; from pathlib import Path; from fairlead.build.tree import DiskTree;"
        "from fairlead.build.evaluate import evaluate;"
        "sys.stdout.buffer.write(evaluate(DiskTree(Path(sys.argv[1])), ['//...']).encode())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "p")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(seen) == 1
    assert len(Plan.decode(seen.pop()).targets) == 22


def test_overrides_of_configuration(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".buckconfig": "[a]\nb = 1",
            ".buckconfig.local": "[a]\nb = 2\nc = 3",
            ".buckconfig.d/x": "[a]\nd = 4",
        },
    )
    config = BuckConfig.load(DiskTree(tmp_path), ["a.c=5"])
    assert [config.get("a", key) for key in "bcde"] == ["2", "5", "4", None]
    for bad in ("a", "a=b", "=b"):
        with pytest.raises(UsageError, match="no setting"):
            BuckConfig.load(DiskTree(tmp_path), [bad])


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({".buckconfig": "[a]\nb = $(config a.c)\nc = $(config a.b)"}, "circle"),
        ({".buckconfig": "<file:.buckconfig>"}, "circle"),
        ({".buckconfig": "<file:a>\n" * 40, "a": "<file:b>\n" * 40, "b": ""}, "more than 1000 files"),
        (
            {
                ".buckconfig": "[a]\nx0 = 1234567890\n"
                + "".join(f"x{n} = " + f"$(config a.x{n - 1})" * 2 + "\n" for n in range(1, 40))
            },
            "too long",
        ),
        ({".buckconfig": "<file:none>"}, "none does not exist"),
        ({".buckconfig": "a = 1"}, "before any section"),
        ({".buckconfig": "<file:../x>"}, "leaves the project"),
        ({".buckconfig": "[cells]\na = ../b"}, "leaves the project"),
        ({".buckconfig": "[cell_aliases]\na = b"}, "unknown cell b"),
    ],
)
def test_broken_configuration(tmp_path: Path, files: dict[str, str], says: str) -> None:
    write(tmp_path, {"BUCK": "", **files})
    with pytest.raises(FairleadError) as error:
        plan(tmp_path)
    assert says in error.value.what
    assert ".buckconfig" in error.value.where


@pytest.mark.parametrize(
    "files",
    [
        {
            "a/BUCK": "genrule(name = 'b', out = 'c__/x', cmd = '')\n"
            "genrule(name = 'b__/c', out = 'x', cmd = '')",
        },
        {
            "a/BUCK": "genrule(name = 'b', out = '__t__', cmd = '')",
            "a/__b__/BUCK": "genrule(name = 't', out = 'x', cmd = '')",
        },
    ],
)
def test_two_targets_never_make_one_file(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"//a.* and //a.* both make fairlead-out/gen/a/__b__/") as error:
        plan(write(tmp_path, dict(files)))
    assert error.value.where.startswith("a/") and "rename" in error.value.remedy


def test_names_that_no_disk_takes_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("'x' * 256", "'é' * 128", "'x/' * 1100 + 'y'")):
        text = f"filegroup(name = 'a', srcs = {{{name}: 'f'}})"
        with pytest.raises(UsageError, match="longer than a path may be"):
            plan(write(tmp_path / str(number), {"BUCK": text, "f": ""}))


@pytest.mark.parametrize(
    "attribute", ["cmd = '{toolchain://:x}/y'", "cmd = '', env = {'A': '{toolchain://:x}'}"]
)
def test_a_text_that_looks_like_a_toolchain_is_refused(tmp_path: Path, attribute: str) -> None:
    with pytest.raises(UsageError, match="toolchain //:x, which is not among what is used"):
        plan(write(tmp_path, {"BUCK": f"genrule(name = 'a', out = 'o', {attribute})"}))


def test_no_value_shows_where_it_is_in_memory(tmp_path: Path) -> None:
    text = """
P = provider(fields = ["x"])
def f():
    pass
def _impl(ctx):
    values = [
        f, P, P(x = f), ctx, ctx.actions, ctx.attrs, ctx.label, ctx.actions.write, json, attrs, typing.Any,
        native, partial(f, 1), cmd_args(), rule, attrs.string(), set(["a"]), {"a": 1}.items(), range(2), len,
    ]
    texts = [str(value) + repr(value) for value in values]
    return [DefaultInfo(default_output = ctx.actions.write("o", texts))]
r = rule(impl = _impl, attrs = {})
"""
    made = plan(write(tmp_path, {"r.bzl": text, "BUCK": "load(':r.bzl', 'r')\nr(name = 'a')"}))
    assert " at 0x" not in (made.actions[0].content or "")


def test_in_a_large_project_a_package_that_was_meant_is_looked_for_beside_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.build.evaluate._PACKAGES", 3)
    files = {f"lib/part{number}/core/BUCK": "" for number in range(9)}
    write(tmp_path, {"BUCK": "", "docs/x.md": "", **files})
    for asked, meant in (
        ("//lib/prt7/core:x", "//lib/part7/core:"),
        ("//lib/part7/cor:x", "//lib/part7/core:"),
        ("//lab/part7/core:x", "//lib/part7/core:"),
    ):
        with pytest.raises(UsageError) as error:
            plan(tmp_path, asked)
        assert meant in error.value.remedy
    with pytest.raises(UsageError) as error:
        plan(tmp_path, "//lib/part7/cor/...")
    assert "//lib/part7/core/..." in error.value.remedy


def test_the_collector_of_circles_is_as_it_was_afterwards(tmp_path: Path) -> None:
    write(tmp_path, {"BUCK": "filegroup(name = 'x')\n", "wrong/BUCK": "fail('no')\n"})
    plan(tmp_path, "//:x")
    assert gc.isenabled()
    with pytest.raises(UsageError):
        plan(tmp_path)
    assert gc.isenabled()
    gc.disable()
    try:
        plan(tmp_path, "//:x")
        assert not gc.isenabled()
    finally:
        gc.enable()
