"""Facts of files are kept by their bytes: what is kept is what parsing says; only new bytes are parsed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.infer import facts, imports
from fairlead.build.infer.imports import Dynamic, Facts, Import
from fairlead.build.tree import DiskTree
from fairlead.store import Store
from tests.build import project

_TEXTS = st.text(max_size=8)
_TUPLES = st.lists(_TEXTS, max_size=3).map(tuple)
_FACTS = st.builds(
    Facts,
    st.lists(st.builds(Import, _TEXTS, st.integers(0, 9), _TUPLES), max_size=3).map(tuple),
    st.lists(st.builds(Dynamic, st.integers(0, 9999), _TEXTS), max_size=3).map(tuple),
    _TUPLES,
    _TUPLES,
    _TUPLES,
    _TUPLES,
)


@given(_FACTS)
def test_what_is_kept_comes_back(found: Facts) -> None:
    assert facts._decode(facts._encode(found)) == found


def test_what_is_damaged_is_made_again() -> None:
    whole = facts._encode(Facts((Import("a"),)))
    assert [facts._decode(data) for data in (b"", whole[:-4], b"\xff" + whole)] == [None] * 3


def test_only_new_bytes_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project.write(
        tmp_path / "p", {"a.py": "import b\n", "b.py": "import os\n", "same.py": "import b\n"}
    )
    results = Store.open(tmp_path / "store").results
    parsed: list[bytes] = []
    real = imports.read

    def read(source: bytes) -> Facts:
        parsed.append(source)
        return real(source)

    monkeypatch.setattr(imports, "read", read)
    names = ["a.py", "b.py", "same.py"]
    first = facts.read(DiskTree(root), names, results)
    assert first == {name: real((root / name).read_bytes()) for name in names}
    assert parsed == [b"import b\n", b"import os\n"]
    assert facts.read(DiskTree(root), names, results) == first and len(parsed) == 2
    (root / "b.py").write_text("import sys\n")
    changed = facts.read(DiskTree(root), names, results)
    assert parsed[2:] == [b"import sys\n"] and changed["b.py"].imports == (Import("sys"),)
    assert facts.read(DiskTree(root), names) == changed
