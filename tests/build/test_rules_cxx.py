"""cxx_library, cxx_binary and cxx_test with the system's compiler, and what an edit compiles again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build import depfile
from fairlead.build.plan import Plan
from fairlead.errors import FairleadError, UsageError, WorkFailed
from tests.build.test_rules_mixed import Yard, outcomes

PROJECT = {
    "BUCK": "cxx_binary(name = 'app', srcs = ['main.cpp', ('other.c', ['-DOTHER=5'])], headers = ['own.h'],\n"
    "    preprocessor_flags = ['-DMINE=1'], deps = ['//shapes:shapes'])\n"
    "cxx_test(name = 'test', srcs = ['test.cpp'], deps = ['//shapes:shapes'], args = ['3'],\n"
    "    env = {'WANT': '$(location :want)'}, resources = ['data.txt'])\n"
    "genrule(name = 'want', out = 'w', cmd = 'echo 9 > $OUT')\n",
    "own.h": "#pragma once\n#define OWN 100\n",
    "main.cpp": '#include <cstdio>\n#include "own.h"\n#include "shapes/square.h"\n'
    'extern "C" int other();\n'
    'int main() { std::printf("%d", square(4) + OWN + MINE + other() + UNIT); }\n',
    "other.c": "int other(void) { return OTHER; }\n",
    "test.cpp": '#include "shapes/square.h"\n#include <cstdio>\n#include <cstdlib>\n#include <cstring>\n'
    "int main(int, char **argv) {\n"
    '    int want; std::fscanf(std::fopen(std::getenv("WANT"), "r"), "%d", &want);\n'
    '    char data[9]; std::fscanf(std::fopen("data.txt", "r"), "%8s", data);\n'
    '    return square(std::atoi(argv[1])) == want && !std::strcmp(data, "data") ? 0 : 1;\n}\n',
    "data.txt": "data",
    "shapes/BUCK": "cxx_library(name = 'shapes', srcs = ['square.cpp', 'circle.cpp'],\n"
    "    exported_headers = ['square.h', 'circle.h'], headers = ['deep/secret.h'],\n"
    "    exported_preprocessor_flags = ['-DUNIT=1000'], exported_deps = ['//math:math'],\n"
    "    visibility = ['PUBLIC'])\n",
    "shapes/square.h": '#pragma once\n#include "math/times.h"\nint square(int side);\n',
    "shapes/circle.h": "#pragma once\nint circle(int radius);\n",
    "shapes/square.cpp": '#include "square.h"\nint square(int side) { return times(side, side); }\n',
    "shapes/circle.cpp": '#include "shapes/circle.h"\n#include "deep/secret.h"\n'
    "int circle(int radius) { return PI * radius; }\n",
    "shapes/deep/secret.h": "#define PI 3\n",
    "math/BUCK": "cxx_library(name = 'math', srcs = ['times.c'], exported_headers = [':made'],\n"
    "    exported_linker_flags = ['-lm'], visibility = ['PUBLIC'])\n"
    "genrule(name = 'made', srcs = ['times.h.in'], out = 'times.h', cmd = 'cat $SRCS > $OUT')\n",
    "math/times.h.in": '#pragma once\n#ifdef __cplusplus\nextern "C"\n#endif\nint times(int a, int b);\n',
    "math/times.c": '#include <math.h>\n#include "math/times.h"\n'
    "int times(int a, int b) { return (int) round((double) a * pow(b, 1)); }\n",
}


def compiled(yard: Yard) -> list[str]:
    return sorted(text.split()[-1] for text in yard.ran if "cxx_compile" in text)


def said(yard: Yard) -> str:
    """What //:app prints, built anew where that is needed."""
    return subprocess.run([yard.output("//:app")], capture_output=True, text=True, check=True).stdout


def picking(command: str) -> dict[str, str | bytes]:
    """A project with a rule of its own that has a dep file. The shell command gets the file `list` as $1, and
    writes the output $2 and the dep file $3; a.txt and b.txt are what it may read."""
    return {
        "BUCK": "load(':pick.bzl', 'pick')\npick(name = 'p', list = 'list', files = ['a.txt', 'b.txt'])\n",
        "pick.bzl": "def _pick(ctx):\n"
        "    out = ctx.actions.declare_output('out')\n"
        "    deps = ctx.actions.declare_output('deps')\n"
        "    tag = ctx.actions.artifact_tag()\n"
        f"    ctx.actions.run(['/bin/sh', '-c', '{command}', 'sh', ctx.attrs.list,"
        " out.as_output(), tag.tag_artifacts(deps.as_output()),"
        " cmd_args(hidden = [tag.tag_artifacts(f) for f in ctx.attrs.files])],"
        " category = 'pick', dep_files = {'files': tag})\n"
        "    return [DefaultInfo(default_output = out)]\n"
        "pick = rule(impl = _pick, attrs = {'list': attrs.source(),"
        " 'files': attrs.list(attrs.source())})\n",
        "list": "a.txt\n",
        "a.txt": "A1",
        "b.txt": "B1",
    }


def test_a_program_of_libraries(tmp_path: Path) -> None:
    yard = Yard(tmp_path, PROJECT)
    assert said(yard) == "1122"
    assert outcomes(yard.test("//...")) == {"//:test": "pass"}
    yard.write({"data.txt": "other"})
    assert outcomes(yard.test("//...")) == {"//:test": "fail"}
    assert yard.plan("//:app").targets["//:app"].run == ("fairlead-out/gen/__app__/app",)
    assert yard.output("//shapes:shapes").name == "libshapes.a"


def test_an_edit_compiles_what_includes_it_and_nothing_else(tmp_path: Path) -> None:
    yard = Yard(tmp_path, PROJECT)
    yard.build()
    assert compiled(yard) == ["circle.cpp", "main.cpp", "other.c", "square.cpp", "test.cpp", "times.c"]
    before = dict(PROJECT)

    def edit(path: str, text: str) -> list[str]:
        yard.write({path: text})
        yard.build()
        return compiled(yard)

    assert edit("shapes/circle.h", before["shapes/circle.h"] + "int more();\n") == ["circle.cpp"]
    assert edit("shapes/deep/secret.h", "#define PI 4\n") == ["circle.cpp"]
    assert edit("own.h", "#pragma once\n#define OWN 200\n") == ["main.cpp"]
    includers = ["main.cpp", "square.cpp", "test.cpp"]
    assert edit("shapes/square.h", before["shapes/square.h"] + "int again();\n") == includers
    made = before["math/times.h.in"] + "// more\n"
    assert edit("math/times.h.in", made) == [*includers, "times.c"]
    assert edit("other.c", before["other.c"] + "\n") == ["other.c"]
    assert said(yard) == "1222"

    yard.write(before)  # all as it was, and then a mixture of states that were never built together
    yard.build()
    assert yard.ran == []
    yard.write({"shapes/circle.h": before["shapes/circle.h"] + "int more();\n", "other.c": before["other.c"]})
    yard.write({"shapes/deep/secret.h": before["shapes/deep/secret.h"]})
    yard.build()
    assert compiled(yard) == []


def test_a_new_header_that_hides_another_is_found(tmp_path: Path) -> None:
    yard = Yard(
        tmp_path,
        {
            "BUCK": "cxx_binary(name = 'app', srcs = ['main.c'], headers = glob(['*.h']), deps = [':lib'],\n"
            "    header_namespace = '')\n"
            "cxx_library(name = 'lib', exported_headers = {'number.h': 'lib/number.h'},"
            " header_namespace = '')\n",
            "lib/number.h": "#define NUMBER 1\n",
            "main.c": '#include <stdio.h>\n#include "number.h"\nint main(void) { printf("%d", NUMBER); }\n',
        },
    )
    assert said(yard) == "1"
    yard.write({"number.h": "#define NUMBER 2\n"})
    assert said(yard) == "2"


def test_headers_are_seen_by_whom_they_are_meant_for(tmp_path: Path) -> None:
    yard = Yard(tmp_path, PROJECT)
    yard.write({"main.cpp": '#include "shapes/deep/secret.h"\nint main() {}\n'})
    with pytest.raises(WorkFailed, match=r"shapes/deep/secret\.h: No such file") as caught:
        yard.build("//:app")
    assert "BUCK:1" in caught.value.where and caught.value.remedy.startswith("to repeat it: ")
    yard.write({"main.cpp": '#include "math/times.h"\nint main() {}\n'})  # through exported_deps
    yard.build("//:app")
    text = PROJECT["shapes/BUCK"].replace("exported_deps", "deps")
    square = '#include "math/times.h"\nint square(int a) { return times(a, a); }\n'
    yard.write(
        {"shapes/BUCK": text, "shapes/square.h": "int square(int side);\n", "shapes/square.cpp": square}
    )
    with pytest.raises(WorkFailed, match=r"math/times\.h: No such file"):
        yard.build("//:app")


@pytest.mark.parametrize(
    ("build", "what"),
    [
        ("cxx_library(name = 'l', srcs = ['own.h'])", "own.h is no source of C or C++"),
        ("cxx_binary(name = 'l')", "//:l has nothing to link"),
        ("cxx_library(name = 'l', srcs = [('other.c',)])", "is a value of type tuple"),
        ("cxx_binary(name = 'l', deps = [':g'])\nfilegroup(name = 'g')", "needs a dependency with"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, build: str, what: str) -> None:
    yard = Yard(tmp_path, PROJECT)
    yard.write({"BUCK": build})
    with pytest.raises(UsageError) as caught:
        yard.plan("//:l")
    assert what in caught.value.what and "BUCK:1" in caught.value.where


def test_compilers_are_named_in_the_settings(tmp_path: Path) -> None:
    yard = Yard(tmp_path, PROJECT)
    yard.write({".buckconfig": "[cxx]\ncc = my-cc\n"})
    plan = yard.plan("//:app")
    assert {action.argv[0] for action in plan.actions if action.category == "cxx_compile"} == {"my-cc", "c++"}
    assert plan.targets["//:app"].config["cxx.cc"] == "my-cc"


def test_a_plan_with_a_wrong_dep_file_is_refused(tmp_path: Path) -> None:
    plan = Yard(tmp_path, PROJECT).plan("//:app")
    step = next(number for number, action in enumerate(plan.actions) if action.dep_file)
    for field, value in [("dep_file", "fairlead-out/gen/x"), ("judged", ["data.txt"]), ("judged", ["/etc"])]:
        document = plan.to_json()
        document["actions"][step][field] = value  # type: ignore[index, call-overload, assignment]
        with pytest.raises(FairleadError, match="the evaluated plan is not valid"):
            Plan.from_json(document)


def test_dep_files_of_a_rule_of_ones_own(tmp_path: Path) -> None:
    yard = Yard(tmp_path, picking("cat $(cat $1) > $2; cat $1 > $3"))
    assert yard.output("//:p").read_text() == "A1"
    yard.write({"b.txt": "B2"})
    assert (yard.output("//:p").read_text(), yard.ran) == ("A1", [])
    yard.write({"a.txt": "A2"})
    assert yard.output("//:p").read_text() == "A2"
    yard.write({"list": "b.txt\n"})
    assert yard.output("//:p").read_text() == "B2"
    yard.write({"pick.bzl": yard.root.joinpath("pick.bzl").read_text().replace("{'files': tag}", "{'x': 1}")})
    with pytest.raises(UsageError, match="dep_files is a dict of one name and one tag"):
        yard.plan()


@pytest.mark.parametrize("name", ["$PWD/a.txt", "./a.txt"])
def test_a_dep_file_may_name_what_was_read_by_its_whole_path(tmp_path: Path, name: str) -> None:
    yard = Yard(tmp_path, picking(f"cat a.txt > $2; echo out: {name} > $3"))
    assert yard.output("//:p").read_text() == "A1"
    yard.write({"b.txt": "B2"})
    assert (yard.output("//:p").read_text(), yard.ran) == ("A1", [])
    yard.write({"a.txt": "A2"})
    assert yard.output("//:p").read_text() == "A2"


def test_what_an_assembler_includes_is_no_secret(tmp_path: Path) -> None:
    """Its `.include` and `.incbin` are in no dep file of the preprocessor."""
    yard = Yard(
        tmp_path,
        {
            "BUCK": "cxx_binary(name = 'app', srcs = ['main.c', 'data.S'], header_namespace = '',\n"
            "    headers = ['size.inc', 'data.bin'])\n",
            "main.c": "#include <stdio.h>\nextern const char data[];\n"
            "int main() { return puts(data) < 0; }\n",
            "data.S": '.include "size.inc"\n.data\n.globl data\ndata: .incbin "data.bin", 0, SIZE\n.byte 0\n',
            "size.inc": ".set SIZE, 2\n",
            "data.bin": "ABCD",
        },
    )

    assert said(yard) == "AB\n"
    yard.write({"data.bin": "EFGH"})
    assert said(yard) == "EF\n"
    yard.write({"size.inc": ".set SIZE, 3\n"})
    assert said(yard) == "EFG\n"


def test_what_code_takes_in_while_it_is_assembled_is_no_secret(tmp_path: Path) -> None:
    yard = Yard(
        tmp_path,
        {
            "BUCK": "cxx_binary(name = 'app', srcs = ['main.c'], deps = [':lib'])\n"
            "cxx_library(name = 'lib', header_namespace = '', exported_headers = ['data.bin'])\n",
            "main.c": "#include <stdio.h>\nextern const char data[];\n"
            '__asm__(".data\\n.globl data\\ndata: .incbin \\"data.bin\\"\\n.byte 0\\n.text");\n'
            "int main() { return puts(data) < 0; }\n",
            "data.bin": "AB",
        },
    )

    assert said(yard) == "AB\n"
    yard.write({"data.bin": "EF"})
    assert said(yard) == "EF\n"


@given(
    st.lists(st.text("ab./-_#$ \\", min_size=1).filter(lambda name: name[-1] not in "\\ " and name[0] != " "))
)
def test_rules_of_make_are_read(names: list[str]) -> None:
    def written(name: str) -> str:
        for plain in ("\\", " ", "#"):
            name = name.replace(plain, "\\" + plain)
        return name.replace("$", "$$")

    text = "out/main.o: main.c \\\n " + " \\\n ".join(map(written, names)) + "\n"
    assert depfile.parse(text) == ["main.c", *names]


def test_lists_of_paths_are_read() -> None:
    assert depfile.parse("a/b.h\nc d.h\n") == ["a/b.h", "c d.h"]
    assert depfile.parse("") == []
    assert depfile.parse("x.o:\n") == []
