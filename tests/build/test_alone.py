"""Tests that end otherwise alone: what is named, what makes them pass, and the setting that joins files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.alone import Difference, differences
from fairlead.build.infer.targets import Test
from tests.build.test_build_verbs import Clone
from tests.build.test_init_proof import clone, house, proven

__all__ = ["clone", "house", "proven"]


def of(name: str, *also: str) -> Test:
    return Test(name, 0, name, (), (), False, "", (), "prepend", also)


_OUTCOMES = st.sampled_from(["passed", "failed", "error", "skipped"])


@given(st.dictionaries(st.sampled_from(["t/a.py::x", "t/a.py::y", "t/b.py::x"]), _OUTCOMES))
def test_equal_runs_do_not_differ(outcomes: dict[str, str]) -> None:
    tests = [of("t/a.py"), of("t/b.py")]
    each = [{node: how for node, how in outcomes.items() if node.startswith(test.path)} for test in tests]
    assert differences(tests, outcomes, each) == []


def test_what_differs_is_named_with_both_outcomes() -> None:
    tests = [of("p/t/a.py"), of("p/t/b.py", "p/t/c.py")]
    whole = {"t/a.py::x": "passed", "t/b.py::x": "failed", "t/c.py::x": "passed", "t/b.py::y": "skipped"}
    each = [{"t/a.py::x": "failed"}, {"t/b.py::x": "passed", "t/c.py::x": "passed", "t/b.py::z": "passed"}]
    found = differences(tests, whole, each)
    assert found == [
        Difference("p/t/a.py", "t/a.py::x", "passed", "failed"),
        Difference("p/t/b.py", "t/b.py::x", "failed", "passed"),
        Difference("p/t/b.py", "t/b.py::y", "skipped", "not run"),
        Difference("p/t/b.py", "t/b.py::z", "not run", "passed"),
    ]
    assert [difference.matters for difference in found] == [True, True, True, True]
    assert not Difference("a", "a::x", "skipped", "passed").matters


def test_init_names_them_and_a_setting_joins_them(proven: Clone) -> None:
    proven.write("src/hello/state.py", "READY = []\n")
    proven.write("tests/test_b_first.py", "import hello.state\ndef test(): hello.state.READY.append(1)\n")
    proven.write("tests/test_c_other.py", "def test(): pass\n")
    proven.write("tests/test_d_needs.py", "import hello.state\ndef test(): assert hello.state.READY\n")
    proven.write("tests/test_a_before.py", "import hello.state\ndef test(): assert not hello.state.READY\n")
    out, err = proven.run("init", "--check")
    line = 'join = ["tests/test_d_needs.py tests/test_b_first.py"]'
    assert "test_d_needs.py::test: failed alone, passed together" in out and line in out
    assert "looking for what tests/test_d_needs.py needs" in err
    assert out.count("alone and together") == 2  # the finding, and what is to be settled
    proven.run("test", "//...", code=1)
    proven.write("fairlead.toml", f"[build]\ninfer = true\n{line}\n")
    out, _ = proven.run("init", "--check")
    assert "all tests end alike" in out and "4 targets: 4 known; 6 tests" in out
    out, _ = proven.run("test", "//...")
    assert "pass    //:tests/test_b_first" in out and "4 of 4 passed" in out
    assert "no test ran" in proven.run("test", "tests/test_d_needs.py")[0]
