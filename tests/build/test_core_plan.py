"""Plans cross a process border as untrusted data: what comes back is the same plan, or a refusal."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.build.plan import NESTING, Plan
from fairlead.errors import UsageError
from tests.build.project import plan, write


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = write(
        tmp_path_factory.mktemp("project"),
        {
            "BUCK": "python_toolchain(name = 'python', lock = 'lock.txt')\n"
            "python_binary(name = 'app', main = 'main.py')\n"
            "python_test(name = 't', srcs = ['test_t.py'])\n"
            "genrule(name = 'g', srcs = ['main.py'], out = 'o', cmd = 'cp $SRCS $OUT', env = {'A': 'é'})\n"
            "export_file(name = 'e', src = ':g')\n",
            **dict.fromkeys(["main.py", "test_t.py", "lock.txt"], ""),
        },
    )
    return plan(root)


def test_a_plan_reads_back_equal(whole: Plan) -> None:
    assert Plan.decode(whole.encode()) == whole
    assert Plan.decode(whole.encode()).encode() == whole.encode()
    assert Plan.from_json(json.loads(json.dumps(whole.to_json(), indent=2))) == whole


def by_label(document: Any, label: str) -> Any:
    return next(target for target in document["targets"] if target["label"] == label)


def by_category(document: Any, category: str) -> Any:
    return next(action for action in document["actions"] if action["category"] == category)


GEN = "fairlead-out/gen"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


TAMPERED: dict[str, Any] = {
    "another schema": lambda d: d.update(schema="fairlead.plan/2"),
    "no targets": lambda d: d.pop("targets"),
    "targets are a table": lambda d: d.update(targets={}),
    "a target is text": lambda d: d["targets"].append("//:x"),
    "a label that is none": lambda d: by_label(d, "//:t").update(label="t"),
    "a source above the project": lambda d: by_label(d, "//:t")["sources"].append("../secret"),
    "an absolute source": lambda d: by_label(d, "//:t")["sources"].append("/etc/passwd"),
    "a source in .git": lambda d: by_category(d, "genrule")["sources"].append(".git/config"),
    "an output as source": lambda d: by_category(d, "genrule")["sources"].append(f"{GEN}/__g__/o"),
    "an output elsewhere": lambda d: by_category(d, "genrule").update(outputs=["main.py"]),
    "an output above": lambda d: by_category(d, "genrule").update(outputs=[f"{GEN}/../../main.py"]),
    "an output twice": lambda d: d["actions"].append(copy.deepcopy(by_category(d, "genrule"))),
    "an output inside another": lambda d: by_category(d, "python_zip").update(
        outputs=[by_category(d, "genrule")["outputs"][0] + "/in"]
    ),
    "no output": lambda d: by_category(d, "genrule").update(outputs=[]),
    "an unmade input": lambda d: by_category(d, "genrule")["inputs"].append(f"{GEN}/__x__/y"),
    "its own output as input": lambda d: by_category(d, "genrule")["inputs"].append(f"{GEN}/__g__/o"),
    "a later input": lambda d: d["actions"].reverse(),
    "a number in argv": lambda d: by_category(d, "genrule")["argv"].append(3),
    "an empty command": lambda d: by_category(d, "genrule").update(argv=[]),
    "a NUL": lambda d: by_category(d, "genrule")["argv"].append("a\0b"),
    "half a character": lambda d: by_category(d, "genrule")["argv"].append("\ud800"),
    "a variable with =": lambda d: by_category(d, "genrule")["env"].update({"A=B": "c"}),
    "an undeclared toolchain": lambda d: by_category(d, "genrule")["argv"].append("{toolchain://:python}/x"),
    "an unknown toolchain": lambda d: by_category(d, "genrule")["toolchains"].append("//:nope"),
    "a lock elsewhere": lambda d: d["toolchains"][0].update(lock="/tmp/lock"),
    "an unknown kind": lambda d: by_category(d, "genrule").update(kind="eval"),
    "content in a command": lambda d: by_category(d, "genrule").update(content="x"),
    "a write without content": lambda d: by_category(d, "write").update(content=None),
    "a tree that leaves itself": lambda d: by_category(d, "link_tree")["entries"].update({"../x": "main.py"}),
    "a tree over itself": lambda d: by_category(d, "link_tree")["entries"].update({"main.py/x": "main.py"}),
    "a tree of undeclared files": lambda d: by_category(d, "link_tree")["entries"].update(
        {"x": "secret.txt"}
    ),
    "a copy of undeclared files": lambda d: by_category(d, "copy").update(entries={"": "secret.txt"}),
    "a folder that is no output": lambda d: by_category(d, "genrule").update(directories=["x"]),
    "an unknown owner": lambda d: by_category(d, "genrule").update(owner="//:nope"),
    "an unknown dependency": lambda d: by_label(d, "//:t")["deps"].append("//:nope"),
    "a dependency on itself": lambda d: by_label(d, "//:t")["deps"].append("//:t"),
    "a target twice": lambda d: d["targets"].append(by_label(d, "//:t")),
    "an unmade default output": lambda d: by_label(d, "//:t").update(default_outputs=["/etc/passwd"]),
    "an unmade run input": lambda d: by_label(d, "//:app").update(run_inputs=[f"{GEN}/__x__/y"]),
    "an unmade test input": lambda d: by_label(d, "//:t")["test"].update(inputs=[f"{GEN}/__x__/y"]),
    "no time": lambda d: by_label(d, "//:t")["test"].update(timeout=0),
    "time as truth": lambda d: by_label(d, "//:t")["test"].update(timeout=True),
    "a fraction in attributes": lambda d: by_label(d, "//:t")["attrs"].update(x=1.5),
    "a default output above its folder": lambda d: by_label(d, "//:t").update(
        default_outputs=[by_label(d, "//:t")["default_outputs"][0] + "/../../../../../secret"]
    ),
    "a source that the target does not name": lambda d: by_label(d, "//:g").update(sources=[]),
    "a tested source that the target does not name": lambda d: by_label(d, "//:t")["test"].update(
        sources=["main.py"]
    ),
    "a test of what is no dependency": lambda d: by_label(d, "//:t")["test"]["inputs"].append(
        by_label(d, "//:g")["default_outputs"][0]
    ),
    "an action on what is no dependency": lambda d: by_label(d, "//:e").update(deps=[]),
    "a toolchain that is no dependency": lambda d: by_label(d, "//:t").update(deps=[]),
    "a toolchain that the target hides": lambda d: by_label(d, "//:t").update(toolchains=[]),
    "a toolchain that is no target": lambda d: d["toolchains"].append(
        {"label": "//:other", "interpreter": "", "lock": "lock.txt"}
    ),
    "the lock of another toolchain": lambda d: d["toolchains"][0].update(lock="main.py"),
    "attributes nested too deep": lambda d: by_label(d, "//:t")["attrs"].update(x=nested(200)),
    "a path without an end": lambda d: by_category(d, "genrule").update(outputs=[GEN + "/a" * 100_000]),
    "requested but unknown": lambda d: d["requested"].append("//:nope"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_plans_are_refused(whole: Plan, name: str) -> None:
    document = copy.deepcopy(whole.to_json())
    TAMPERED[name](document)
    with pytest.raises(UsageError) as error:
        Plan.from_json(document)
    assert error.value.what.startswith("the evaluated plan is not valid: ")
    assert error.value.remedy


@pytest.mark.parametrize("data", [b"", b"[", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"schema": NaN}'])
def test_what_is_no_plan_at_all(data: bytes) -> None:
    with pytest.raises(UsageError):
        Plan.decode(data)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_field_may_hold_anything(whole: Plan, data: st.DataObject) -> None:
    """Whatever stands in place of one value, the answer is a plan or a refusal, never another error."""
    document: Any = copy.deepcopy(whole.to_json())
    at = document
    while True:
        keys = sorted(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(junk)
        break
    try:
        read = Plan.from_json(document)
    except UsageError:
        return
    assert Plan.decode(read.encode()) == read


def test_plans_of_paths_with_odd_names(tmp_path: Path) -> None:
    root = write(tmp_path, {"BUCK": "filegroup(name = 'x', srcs = glob(['**']))", "with space/é\n.txt": "x"})
    made = plan(root)
    assert made.targets["//:x"].sources == ("BUCK", "with space/é\n.txt")
    assert Plan.decode(made.encode()) == made


def test_nesting_without_an_end(whole: Plan) -> None:
    document: Any = copy.deepcopy(whole.to_json())
    inner: Any = []
    for _ in range(5000):
        inner = [inner]
    by_label(document, "//:t")["attrs"]["x"] = inner
    with pytest.raises(UsageError, match="nested too deep"):
        Plan.from_json(document)


NESTS = """\
def _held(ctx):
    return [DefaultInfo()]

held = rule(impl = _held, attrs = {"value": attrs.any()})

def nest(depth, table):
    value = 1
    for _ in range(depth):
        value = {"a": value} if table else [value]
    return value
"""


@pytest.mark.parametrize("table", [False, True])
def test_the_deepest_attribute_is_the_same_where_it_is_declared_and_where_a_plan_is_read(
    tmp_path: Path, table: bool
) -> None:
    def declare(depth: int) -> Path:
        buck = f"load('//:nest.bzl', 'held', 'nest')\nheld(name = 'x', value = nest({depth}, {table}))\n"
        return write(tmp_path, {"nest.bzl": NESTS, "BUCK": buck})

    made = plan(declare(NESTING))
    assert Plan.decode(made.encode()) == made
    for depth in (NESTING + 1, 300, 20_000):
        with pytest.raises(UsageError, match=f"'value' of //:x.* deeper than {NESTING} lists") as error:
            plan(declare(depth))
        assert "BUCK:2" in error.value.where and error.value.remedy
    document: Any = copy.deepcopy(made.to_json())
    attrs = by_label(document, "//:x")["attrs"]
    attrs["value"] = {"a": attrs["value"]} if table else [attrs["value"]]
    with pytest.raises(UsageError, match="nested too deep"):
        Plan.from_json(document)
