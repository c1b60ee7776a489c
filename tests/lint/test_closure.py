"""The sources that an answer depends on, found by reading."""

from __future__ import annotations

from fairlead.lint.closure import Source, closure, fairlead_source, imports
from fairlead.store import digest

MODULES = {
    "a": (b"", True),
    "a.rule": (b"from . import shape\nfrom a.b import c\nimport os\n", False),
    "a.shape": (b"def f():\n    import a.late\n", False),
    "a.late": (b"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .typed import T\n", False),
    "a.typed": (b"import a.rule\n", False),
    "a.b": (b"", True),
    "a.b.c": (b"from ..up import *\nfrom .. import other as o\n", False),
    "a.up": (b"", False),
    "a.other": (b"", False),
    "a.unused": (b"", False),
}


def read(name: str) -> Source | None:
    return Source(*MODULES[name]) if name in MODULES else None


def test_every_kind_of_import_is_followed_and_nothing_else() -> None:
    found = closure(["a.rule"], read)
    assert list(found) == sorted(MODULES.keys() - {"a.unused"})
    assert found["a.rule"] == digest.of_bytes(MODULES["a.rule"][0])


def test_relative_imports_in_a_package_are_meant_from_the_package() -> None:
    assert imports("a.b", Source(b"from . import c\nfrom .. import d", True)) == ["a.b", "a.b.c", "a", "a.d"]
    assert imports("a.b", Source(b"from . import c", False)) == ["a", "a.c"]


def test_a_memory_spares_the_reading_of_syntax() -> None:
    asked: list[str] = []

    def remembered(name: str, source: Source) -> list[str]:
        asked.append(name)
        return ["a.up"] if name == "a.rule" else []

    assert list(closure(["a.rule"], read, remembered)) == ["a", "a.rule", "a.up"]
    assert sorted(asked) == ["a", "a.rule", "a.up"]


def test_this_package_is_read_without_being_imported() -> None:
    source = fairlead_source("fairlead.lint.rules.compare_singleton_primitives_by_is")
    assert source is not None and b"LintRule" in source.data and not source.package
    package = fairlead_source("fairlead.lint")
    assert package is not None and package.package
    assert fairlead_source("fairlead.lint.rule.LintRule") is None
    assert fairlead_source("libcst") is None and fairlead_source("fairleads.lint") is None
