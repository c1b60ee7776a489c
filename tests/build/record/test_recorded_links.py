"""A recorded test runs again if a symbolic link on the way to what it asked comes, goes or is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse, real_pytest

PYPROJECT = '[project]\nname = "thing"\nversion = "1"\n[tool.fairlead.build]\ninfer = true\n'
CASES: dict[str, tuple[str, str, str | None]] = {
    "list": ("assert 'y' not in os.listdir('data/link')", "link", "new"),
    "cwd": ("os.chdir('data/link/sub')\n    assert 'old' in os.getcwd()", "link", "same"),
    "is_link_read": ("assert open('data/file').read() and not os.path.islink('data/file')", "file", "twin"),
    "nowhere_new": ("assert not os.path.lexists('data/made')", "made", "no-such-thing"),
    "outside_below": ("assert os.path.isdir('data/outside/lib')", "outside", "/no-such-folder"),
    "up": ("assert open('data/up/../name').read() == 'old'", "up", "new/sub"),
    "up_nothing": ("assert not os.path.exists('data/made/../file')", "made", "old"),
}
"""What a test says, and the link below data that then leads elsewhere, each in a folder of its own."""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    real_pytest(house)
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    files = {
        "pyproject.toml": PYPROJECT,
        "requirements/tests.txt": "pytest\n",
        ".gitignore": "fairlead-out\n",
    }
    for path, text in files.items():
        made.write(path, text)
    for name, (words, _, _) in CASES.items():
        text = f"import os\ndef test():\n    {words}\n".replace("'data/", f"'{name}/")
        made.write(f"tests/test_{name}.py", text)
        for path in ("old/x", "old/name", "old/sub/x", "same/x", "same/name", "same/sub/x", "file", "twin"):
            made.write(f"{name}/{path}", "old")
        for path in ("new/y", "new/x", "new/name", "new/sub/y"):
            made.write(f"{name}/{path}", "new")
    made.run("init", "--lock")  # before there is a link to look through
    for name in CASES:
        for link, target in (("link", "old"), ("up", "old/sub"), ("outside", "/usr")):
            (made.root / name / link).symlink_to(target)
    made.commit("a project")
    return made


def relink(at: Path, target: str | None) -> None:
    if at.is_dir() and not at.is_symlink():
        at.rename(at.with_name("away"))
    at.unlink(missing_ok=True)
    if target is not None:
        at.symlink_to(target)


def outcomes(clone: Clone, code: int) -> dict[str, str]:
    results = clone.json("test", "//...", code=code)["results"]
    assert isinstance(results, list)
    return {
        row["label"].partition("test_")[2]: "known" if row["reused"] else str(row["outcome"])
        for row in results
    }


def test_no_pass_outlives_a_link(clone: Clone) -> None:
    assert outcomes(clone, 0) == dict.fromkeys(CASES, "pass")
    clone.write("list/old/sub/unrelated", "x")
    assert set(outcomes(clone, 0).values()) == {"known"}
    for name, (_, link, target) in CASES.items():
        relink(clone.root / name / link, target)
    assert outcomes(clone, 1) == dict.fromkeys(CASES, "fail")
    out, _ = clone.run("why", "//:tests/test_cwd")
    assert "cwd/link is a symbolic link to same" in out
    clone.commit("other links")
    listed = clone.json("affected", "HEAD~1..HEAD")["targets"]
    assert isinstance(listed, list) and len(listed) == len(CASES)


def test_what_is_below_dots_counts_where_it_is(clone: Clone) -> None:
    assert outcomes(clone, 0)["up"] == "pass"
    (clone.root / "up/old/name").write_text("another")
    found = outcomes(clone, 1)
    assert found.pop("up") == "fail" and set(found.values()) == {"known"}
