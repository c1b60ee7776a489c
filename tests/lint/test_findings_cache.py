"""Answers are kept under all they depend on, and under nothing else."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.errors import MachineryError
from fairlead.lint import cache as cache_module
from fairlead.lint import closure, extra
from fairlead.lint.badsource import BadSource
from fairlead.lint.cache import FindingsCache
from fairlead.lint.engine import Report, SourceFile, lint_files
from fairlead.lint.finding import Finding
from fairlead.lint.selection import BUILT_IN, RuleRef
from fairlead.store import Store, explain

RULE = BUILT_IN[0]
BAD = b"x == None\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "store")
    yield store
    store.results.close()


def files(tmp_path: Path, **texts: bytes) -> list[SourceFile]:
    found = []
    for stem, data in texts.items():
        path = tmp_path / f"{stem}.py"
        path.write_bytes(data)
        found.append(SourceFile(path.name, path))
    return found


def lint(sources: list[SourceFile], store: Store) -> Report:
    return lint_files(sources, BUILT_IN, FindingsCache(store))


def test_the_record_names_what_the_answer_depends_on(store: Store) -> None:
    record = FindingsCache(store).record(BAD, RULE)
    assert set(record.parts) == {"file", "rule", "sources", "libcst", "python", "configuration"}
    sources = record.parts["sources"]
    assert isinstance(sources, dict)
    assert {RULE.module, "fairlead.lint.check", "fairlead.lint.rule", "fairlead.lint.source"} <= set(sources)
    assert all(name.partition(".")[0] == "fairlead" for name in sources)


def test_a_second_run_knows_every_file_and_says_the_same(tmp_path: Path, store: Store) -> None:
    sources = files(tmp_path, a=BAD, b=b"y = 1\n", c=b"(\n")
    first, second = lint(sources, store), lint(sources, store)
    assert (first.files, first.known, second.known) == (3, 0, 3)
    assert first.findings == second.findings and len(first.findings) == 1
    assert [str(p) for p in first.problems] == [str(p) for p in second.problems]
    assert isinstance(second.problems[0], BadSource) and second.problems[0].line == 1


def test_a_moved_file_is_known_under_its_new_name(tmp_path: Path, store: Store) -> None:
    lint(files(tmp_path, a=BAD), store)
    report = lint(files(tmp_path, b=BAD), store)
    assert report.known == 1 and report.findings[0].path == "b.py"


def test_an_edited_file_is_asked_again(tmp_path: Path, store: Store) -> None:
    lint(files(tmp_path, a=BAD), store)
    report = lint(files(tmp_path, a=b"\n" + BAD), store)
    assert report.known == 0 and report.findings[0].line == 2


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (f"sources {RULE.module}", "rule"),
        ("sources fairlead.lint.directive", "checker"),
        ("libcst", "libcst"),
    ],
)
def test_whatever_an_answer_depends_on_is_in_its_key(
    store: Store, monkeypatch: pytest.MonkeyPatch, part: str, change: str
) -> None:
    before = FindingsCache(store).record(BAD, RULE)
    real = closure.fairlead_source

    def edited(name: str) -> closure.Source | None:
        source = real(name)
        wanted = {"rule": RULE.module, "checker": "fairlead.lint.directive"}.get(change)
        if source is None or name != wanted:
            return source
        return closure.Source(source.data + b"# edited\n", source.package)

    monkeypatch.setattr(closure, "fairlead_source", edited)
    if change == "libcst":
        monkeypatch.setattr(cache_module, "libcst_version", lambda: "0.0.1")
    after = FindingsCache(store).record(BAD, RULE)
    assert before.key != after.key
    assert [" ".join(d.path) for d in explain(before, after)] == [part]


def test_the_record_of_an_answer_is_kept(tmp_path: Path, store: Store) -> None:
    lint(files(tmp_path, a=BAD), store)
    record = FindingsCache(store).record(BAD, RULE)
    kept = store.get_record(record.key)
    assert kept is not None and explain(kept, record) == []


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"findings": [[1]]}', b'{"findings": 1}', b"\xff"])
def test_a_damaged_answer_is_asked_again(tmp_path: Path, store: Store, damage: bytes) -> None:
    sources = files(tmp_path, a=BAD)
    whole = lint(sources, store)
    key = FindingsCache(store).record(BAD, RULE).key
    store.results.put("lint", key, damage)
    again = lint(sources, store)
    assert again.known == 0 and again.findings == whole.findings
    assert lint(sources, store).known == 1


def test_a_store_that_cannot_be_written_costs_time_and_no_finding(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(namespace: str, key: str, value: bytes) -> None:
        raise MachineryError("the disk is full")

    monkeypatch.setattr(store.results, "put", full)
    cache = FindingsCache(store)
    report = lint_files(files(tmp_path, a=BAD, b=BAD + BAD), BUILT_IN, cache)
    assert len(report.findings) == 3
    assert cache.trouble is not None and "full" in cache.trouble.what


def test_findings_are_in_order_of_path_and_a_missing_file_is_a_problem(tmp_path: Path, store: Store) -> None:
    sources = [*files(tmp_path, b=BAD, a=BAD + BAD), SourceFile("gone.py", tmp_path / "gone.py")]
    report = lint(sources, store)
    assert [(f.path, f.line) for f in report.findings] == [("a.py", 1), ("a.py", 2), ("b.py", 1)]
    assert report.problems[0].what == "cannot read gone.py: No such file or directory"


FAILING = """
import libcst
from fairlead.lint import LintRule
class FailsOnPassRule(LintRule):
    MESSAGE = "a del"
    def visit_Del(self, node: libcst.Del) -> None:
        self.report(node)
    def visit_Pass(self, node: libcst.Pass) -> None:
        raise KeyError("x")
"""


def test_a_rule_that_fails_is_a_problem_and_the_others_still_answer(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_rule.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    rules = (RuleRef("FailsOnPassRule", "failing_rule"), RULE)
    sources = files(tmp_path, a=BAD + b"pass\n", b=b"del x\n")
    for known in (0, 1):  # a failure is no answer, so it is not kept
        report = lint_files(sources, rules, FindingsCache(store))
        assert [(f.path, f.rule) for f in report.findings] == [("a.py", RULE.name), ("b.py", "FailsOnPass")]
        assert [p.what for p in report.problems] == ["the rule FailsOnPassRule failed: KeyError: 'x'"]
        assert (report.known, report.problems[0].exit) == (known, 3)


def test_a_known_answer_needs_neither_libcst_nor_a_rule(tmp_path: Path, store: Store) -> None:
    lint(files(tmp_path, a=BAD, b=b"(", c=b""), store)
    program = (
        "import sys; from pathlib import Path\n"
        "from fairlead.lint.engine import SourceFile, lint_files\n"
        "from fairlead.lint.cache import FindingsCache\n"
        "from fairlead.lint.selection import BUILT_IN\n"
        "from fairlead.store import Store\n"
        f"cache = FindingsCache(Store.open(Path({str(store.root)!r})))\n"
        f"files = [SourceFile(p.name, p) for p in Path({str(tmp_path)!r}).glob('*.py')]\n"
        "report = lint_files(files, BUILT_IN, cache)\n"
        "print(report.files, report.known, len(report.findings), len(report.problems))\n"
        "print([m for m in sys.modules if m.split('.')[0] == 'libcst'"
        " or m.startswith('fairlead.lint.rule')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "3 3 1 1\n[]\n"


def test_without_libcst_the_error_is_the_command_that_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    extra.libcst_version.cache_clear()
    with pytest.raises(MachineryError) as caught:
        lint_files([], BUILT_IN, None)
    assert caught.value.remedy == "pip install 'fairlead[lint]'"
    monkeypatch.undo()
    assert extra.libcst_version() == importlib.metadata.version("libcst")


def test_a_finding_survives_the_store_unchanged(tmp_path: Path, store: Store) -> None:
    cache = FindingsCache(store)
    record = cache.record(BAD, RULE)
    found = [Finding("a.py", 1, 2, 3, 4, RULE.name, "é 'x' \u2028", False)]
    cache.put(record, found)
    assert cache.get(record, "a.py") == found
