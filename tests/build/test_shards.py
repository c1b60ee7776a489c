"""Tests that take long run in parts: each case once, one verdict, and the order in which tests start."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build import beside, shards
from fairlead.build.record.asked import Asked
from fairlead.build.shards import Last
from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse, real_pytest

names = st.builds(
    lambda name, case: f"t.py::{name}" + (f"[{case}]" if case else ""),
    st.sampled_from(["a", "b", "C::c", "C::d", "e"]),
    st.sampled_from(["", "1", "2", "x[y]", "é"]),
)
times = st.dictionaries(names, st.floats(0, 100))


@given(times, st.sets(names), st.integers(2, 6))
def test_each_case_is_in_one_share_also_one_that_is_new(
    seconds: dict[str, float], new: set[str], of: int
) -> None:
    made = shards.shards(seconds, of)
    told = [beside.Share(json.loads(json.dumps(shard.to_json())), "") for shard in made]
    for name in {*seconds, *new}:
        assert [share.number for share in told if share._share(name) == share.number] == [
            shards.chosen(name, of, made[0].table)
        ]


@given(times, st.integers(2, 6))
def test_shares_take_about_equal_time(seconds: dict[str, float], of: int) -> None:
    filled = [0.0] * of
    table = shards.shards(seconds, of)[0].table
    for name, took in seconds.items():
        filled[shards.chosen(name, of, table)] += took
    longest = max([0.0, *seconds.values()], default=0.0)
    assert max(filled) <= 2 * max(longest, sum(seconds.values()) / of) + 0.1


def test_what_is_split() -> None:
    assert shards.split({"a": 100.0, "b": 1.0}, jobs=4, limit=60) == {"a": 4}
    assert shards.split({"a": 20.0, "b": 1.0}, jobs=2, limit=60) == {"a": 2}
    assert shards.split({"a": 9.0}, jobs=2, limit=60) == {}
    assert shards.split({"a": 100.0}, jobs=1, limit=60) == {}
    assert shards.split({"a": 100.0}, jobs=2, limit=0) == {}
    assert shards.split(dict.fromkeys("abcdef", 30.0), jobs=2, limit=60) == {}


def test_failed_first_then_edited_then_the_longest() -> None:
    lasts = {
        "quick": Last("pass", 1, {}),
        "slow": Last("pass", 9, {}),
        "bad": Last("fail", 1, {}),
        "edited": Last("pass", 1, {}),
    }
    found = shards.order([*lasts, "new"], lasts.get, {"edited"})
    assert found == ["bad", "edited", "new", "slow", "quick"]


def test_what_several_asked_is_asked_of_all() -> None:
    one = Asked("seccomp", opened=frozenset({"a", "b"}), calls=3, again={"b": 2})
    two = Asked("seccomp", opened=frozenset({"b"}), listed=frozenset({"c"}), calls=1)
    both = shards.union([one, two])
    assert (set(both.opened), set(both.listed), both.calls) == ({"a", "b"}, {"c"}, 4)
    assert [both.opens(path) for path in "abc"] == [1, 3, 0]
    assert shards.union([one, Asked.unheard("no")]).lack == "no"


INFERRED = {
    "requirements/tests.txt": "pytest\n",
    "pyproject.toml": '[project]\nname = "thing"\nversion = "1"\n'
    "[tool.fairlead.build]\ninfer = true\nshard_seconds = 1\n",
    ".gitignore": "fairlead-out\n__pycache__\n",
    "thing.py": "def one():\n    return 1\n\n\ndef two():\n    return 2\n",
    "tests/test_long.py": "import os, time, pytest\nimport thing\n\n"
    "@pytest.mark.parametrize('n', range(3))\ndef test_many(n):\n    time.sleep(0.4)\n"
    "    assert thing.one()\n\n"
    "def test_last():\n    time.sleep(0.4)\n    assert thing.two()\n",
}
LABEL = "//:tests/test_long"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    real_pytest(house)
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    for path, text in INFERRED.items():
        made.write(path, text)
    made.run("init", "--lock")
    made.commit("a project")
    return made


def ran(clone: Clone, *more: str, code: int = 0) -> tuple[int, list[str]]:
    """How many processes ran the test, and its cases as they were told."""
    told = clone.root.parent
    to = ["--events", f"{told}/events.jsonl", "--junit", f"{told}/report.xml"]
    clone.run("test", *to, "--jobs", "2", *more, code=code)
    rows = [json.loads(line) for line in (told / "events.jsonl").read_text().splitlines()]
    begun = sum(row["event"] == "begin" and row["text"] == "test" for row in rows)
    return begun, sorted(str(row["case"]).split("::")[1] for row in rows if row["event"] == "case")


def reported(clone: Clone) -> list[str]:
    root = ElementTree.parse(clone.root.parent / "report.xml").getroot()
    return sorted(str(case.get("name")) for case in root.iter("testcase"))


def test_a_long_file_runs_in_parts_and_gives_one_verdict(clone: Clone) -> None:
    every = ["test_last", "test_many[0]", "test_many[1]", "test_many[2]"]
    assert ran(clone) == (1, every)
    clone.write("thing.py", INFERRED["thing.py"].replace("return 1", "return 11"))
    assert ran(clone) == (2, every)
    assert reported(clone) == every
    out, _ = clone.run("test")
    assert "1 of 1 passed, no test ran" in out
    # what each part asked counts for the whole: a body that only the other part entered
    for old, new in (("return 2", "return 22"), ("return 1", "return 12")):
        clone.write("thing.py", clone.read("thing.py").replace(old, new))
        assert ran(clone)[0] == 2
    # a new case is in one of the parts
    clone.write("tests/test_long.py", INFERRED["tests/test_long.py"] + "\ndef test_new(): pass\n")
    assert ran(clone) == (2, sorted([*every, "test_new"]))
    # a case that fails: the whole file says so
    clone.write("thing.py", clone.read("thing.py").replace("return 22", "return 0"))
    begun, cases = ran(clone, "--record", "none", code=1)
    assert begun == 3 and set(cases) == {*every, "test_new"}
    assert reported(clone) == sorted([*every, "test_new"])


def test_ids_that_differ_from_process_to_process_leave_nothing_out(clone: Clone) -> None:
    unstable = (
        "import os, time, pytest\n\n"
        "@pytest.mark.parametrize('n', range(4), ids=lambda n: f'{n}-{os.getpid()}-{time.time()}')\n"
        "def test_many(n):\n    time.sleep(0.4)\n"
    )
    clone.write("tests/test_long.py", unstable)
    assert ran(clone)[0] == 1
    clone.write("tests/test_long.py", unstable + "# edited\n")
    begun, _ = ran(clone)
    assert begun == 3 and len(reported(clone)) == 4


def test_cases_that_need_each_other_are_not_torn_apart_again(clone: Clone) -> None:
    needs = "import time\nseen = []\n\n" + "".join(
        f"def test_{n}():\n    time.sleep(0.6)\n    seen.append({n})\n"
        f"    assert seen == {list(range(n + 1))}\n\n"
        for n in range(3)
    )
    clone.write("tests/test_long.py", needs)
    assert ran(clone)[0] == 1
    clone.write("tests/test_long.py", needs + "# edited\n")
    assert ran(clone)[0] == 3
    clone.write("tests/test_long.py", needs + "# edited again\n")
    assert ran(clone)[0] == 1


DECLARED = """
python_toolchain(name = "python", lock = "lock.txt")
python_test(name = "test", srcs = ["test_it.py"], shards = {shards})
"""


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    made = Clone(tmp_path / "clone")
    made.write("lock.txt", real_pytest(house))
    made.write("BUCK", DECLARED.format(shards=3))
    made.write("test_it.py", "".join(f"def test_{n}(): assert {n} < 9\n" for n in range(8)))
    return made


def test_a_declared_number_of_parts(declared: Clone) -> None:
    every = [f"test_{n}" for n in range(8)]
    assert ran(declared, "//:test") == (3, every)
    assert reported(declared) == every
    assert "no test ran" in declared.run("test", "//:test")[0]
    declared.write("test_it.py", declared.read("test_it.py") + "def test_9(): assert 9 < 9\n")
    begun, cases = ran(declared, "//:test", "--record", "none", code=1)
    assert begun == 4 and set(cases) == {*every, "test_9"}  # the parts, and the whole that decides
    declared.write("BUCK", DECLARED.format(shards=1))
    assert ran(declared, "//:test", "--record", "none", code=1)[0] == 1


@pytest.mark.parametrize(("shards", "words"), [("-1", "-1 is no number of parts"), ("101", "give 0 to 100")])
def test_numbers_of_parts_that_are_none(declared: Clone, shards: str, words: str) -> None:
    declared.write("BUCK", DECLARED.format(shards=shards))
    _, err = declared.run("test", "//:test", code=2)
    assert words in err
