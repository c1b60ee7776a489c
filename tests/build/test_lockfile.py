"""Locks of other tools, as uv, poetry and PEP 751 write them, read as hashed requirements."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker

from fairlead.build import lockfile
from fairlead.build.toolchain import check_lock
from fairlead.errors import UsageError

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def read(path: str, text: str) -> list[str]:
    made = lockfile.requirements(path, text)
    assert len(check_lock(made, path)) == len(made.splitlines())  # what installs it understands it
    return made.splitlines()


def uv(name: str, more: str = "", source: str = 'registry = "r"', version: str = "1.0") -> str:
    return (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ {source} }}\n'
        f'wheels = [{{ url = "u", hash = "{A}" }}, {{ url = "v", hash = "{B}" }}]\n{more}'
    )


ROOT = (
    '[[package]]\nname = "me"\nversion = "1"\nsource = { editable = "." }\n'
    'dependencies = [{ name = "attrs" }, { name = "colorama", marker = "sys_platform == \'win32\'" }]\n'
    '[package.optional-dependencies]\ndocs = [{ name = "sphinx" }]\n'
    '[package.dev-dependencies]\ntests = [{ name = "pytest", extra = ["more"] }]\n'
)


def test_uv_lock_is_followed_from_the_project_and_its_test_groups() -> None:
    text = (
        "version = 1\n"
        + ROOT
        + uv("attrs")
        + uv("sphinx")
        + uv("colorama", 'dependencies = [{ name = "deep" }]\n')
    )
    text += uv("deep") + uv("extra")
    text += uv("pytest", '[package.optional-dependencies]\nmore = [{ name = "extra" }]\n', version="9.2.0")
    assert read("uv.lock", text) == [
        f"attrs==1.0 --hash={A} --hash={B}",
        f"colorama==1.0 ; sys_platform == 'win32' --hash={A} --hash={B}",
        f"deep==1.0 ; sys_platform == 'win32' --hash={A} --hash={B}",
        f"extra==1.0 --hash={A} --hash={B}",
        f"pytest==9.2.0 --hash={A} --hash={B}",
    ]


def test_uv_lock_conditions_add_up() -> None:
    more = 'dependencies = [{ name = "deep", marker = "os_name == \'nt\'" }]\n'
    text = ROOT + uv("attrs", more) + uv("colorama", more) + uv("pytest") + uv("deep")
    line = next(line for line in read("uv.lock", text) if line.startswith("deep"))
    assert line.startswith("deep==1.0 ; os_name == 'nt' --hash")
    text = ROOT + uv("attrs") + uv("colorama", more) + uv("pytest", more.replace("nt", "posix")) + uv("deep")
    line = next(line for line in read("uv.lock", text) if line.startswith("deep"))
    assert line.startswith(
        "deep==1.0 ; ((os_name == 'nt') and (sys_platform == 'win32')) or (os_name == 'posix')"
    )


def test_uv_lock_a_package_needed_always_has_no_condition() -> None:
    text = ROOT + uv("attrs", 'dependencies = [{ name = "colorama" }]\n') + uv("colorama") + uv("pytest")
    assert f"colorama==1.0 --hash={A} --hash={B}" in read("uv.lock", text)


@pytest.mark.parametrize(
    "text",
    [
        ROOT + uv("attrs", source='git = "https://example.org/x"') + uv("colorama") + uv("pytest"),
        ROOT + uv("colorama") + uv("pytest"),
        ROOT + uv("attrs").replace("sha256:", "md5:") + uv("colorama") + uv("pytest"),
        "not toml [",
    ],
)
def test_uv_lock_what_is_not_complete_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        lockfile.requirements("a/uv.lock", text)
    assert caught.value.where == "a/uv.lock" and caught.value.remedy


def test_pylock() -> None:
    text = (
        'lock-version = "1.0"\n[[packages]]\nname = "attrs"\nversion = "25.1"\n'
        "marker = \"os_name == 'posix'\"\n"
        f'[[packages.wheels]]\nname = "x.whl"\nhashes = {{ sha256 = "{"a" * 64}" }}\n'
        '[[packages]]\nname = "me"\n[packages.directory]\npath = "."\n'
    )
    assert read("pylock.toml", text) == [f"attrs==25.1 ; os_name == 'posix' --hash={A}"]


def test_poetry_lock_takes_main_and_the_test_groups() -> None:
    def package(name: str, groups: str, more: str = "") -> str:
        return (
            f'[[package]]\nname = "{name}"\nversion = "2"\noptional = false\n{groups}{more}\n'
            f'files = [{{file = "x-2-py3-none-any.whl", hash = "{A}"}},'
            f' {{file = "x.tar.gz", hash = "{B}"}}]\n'
        )

    text = (
        package("attrs", 'groups = ["main"]\n', "markers = \"os_name == 'posix'\"")
        + package("pytest", 'groups = ["docs", "test"]\n')
        + package("sphinx", 'groups = ["docs"]\n')
    )
    assert read("poetry.lock", text) == [
        f"attrs==2 ; os_name == 'posix' --hash={A} --hash={B}",
        f"pytest==2 --hash={A} --hash={B}",
    ]
    with pytest.raises(UsageError, match="which group"):
        lockfile.requirements("poetry.lock", package("attrs", ""))


def test_pylock_of_groups_and_extras() -> None:
    text = 'lock-version = "1.0"\nextras = ["test", "docs"]\ndefault-groups = ["base"]\n'
    for name, marker, files in (
        ("one", "'dev' in dependency_groups", "wheels"),
        ("two", "'lint' in dependency_groups", "sdist"),
        ("three", "os_name == 'nt' and ('test' in extras or 'docs' in extras)", "wheels"),
        ("four", "'base' in dependency_groups", "wheels"),
    ):
        text += f'[[packages]]\nname = "{name}"\nversion = "1"\nmarker = "{marker}"\n'
        text += f'{files} = [{{ hashes = {{ sha256 = "{A[7:]}" }} }}]\n'
    assert read("pylock.toml", text) == [
        f"four==1 --hash={A}",
        f"one==1 --hash={A}",
        f"three==1 ; os_name == 'nt' --hash={A}",
    ]
    with pytest.raises(UsageError, match="for two"):
        lockfile.requirements("pylock.toml", text.replace("'lint' in", "'test' in"))


_ATOMS = st.sampled_from(
    [
        "'dev' in dependency_groups", "'lint' in dependency_groups", "'test' not in extras",
        "'docs' in extras", "python_version >= '3.8'", "os_name == 'nt'", "'x' in sys_platform",
    ]
)  # fmt: skip
_MARKERS = st.recursive(
    _ATOMS,
    lambda inner: st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(
        lambda t: f"({t[0]}{t[1]}{t[2]})"
    ),
    max_leaves=8,
)


@given(st.lists(_MARKERS, min_size=1, max_size=3), st.sampled_from(["and", "or"]))
def test_what_is_left_of_a_marker_means_the_same(parts: list[str], word: str) -> None:
    marker = f" {word} ".join(parts)
    left = lockfile._under(marker, {"dev", "test"})
    chosen = {"extras": {"test"}, "dependency_groups": {"dev"}}
    expected = Marker(marker).evaluate(chosen, context="lock_file")
    assert (Marker(left).evaluate() if isinstance(left, str) else left) == expected
    assert not isinstance(left, str) or ("extras" not in left and "dependency_groups" not in left)


def test_pdm_lock_takes_default_and_the_test_groups() -> None:
    def package(name: str, groups: str, more: str = "") -> str:
        return f"""
[[package]]
name = "{name}"
version = "2"
requires_python = ">=3.8"
{groups}
{more}
files = [{{file = "{name}-2-py3-none-any.whl", hash = "{A}"}}, {{file = "{name}-2.tar.gz", hash = "{B}"}}]
"""

    text = (
        package("attrs", 'groups = ["default"]', "marker = \"os_name == 'posix'\"")
        + package("pytest", 'groups = ["dev", "docs"]')
        + package("sphinx", 'groups = ["docs"]')
        + package("mine", 'groups = ["dev"]', 'path = "."\neditable = true')
    )
    assert read("pdm.lock", text) == [
        f"attrs==2 ; os_name == 'posix' --hash={A} --hash={B}",
        f"pytest==2 --hash={A} --hash={B}",
    ]
    with pytest.raises(UsageError, match="which group"):
        lockfile.requirements("pdm.lock", package("attrs", ""))
    with pytest.raises(UsageError, match="not from an index"):
        lockfile.requirements(
            "pdm.lock", package("a", 'groups = ["default"]', 'git = "https://example.org/a"')
        )


def test_pipfile_lock_takes_both_kinds() -> None:
    document = {
        "_meta": {"pipfile-spec": 6, "sources": [{"name": "pypi", "url": "https://example.org/simple"}]},
        "default": {
            "attrs": {
                "hashes": [A],
                "index": "pypi",
                "markers": "python_version >= '3.10'",
                "version": "==2",
            },
            "mine": {"editable": True, "path": "."},
        },
        "develop": {"pytest": {"hashes": [B, A], "version": "==2"}},
    }
    assert read("Pipfile.lock", json.dumps(document)) == [
        f"attrs==2 ; python_version >= '3.10' --hash={A}",
        f"pytest==2 --hash={A} --hash={B}",
    ]
    document["develop"] = {"pytest": {"git": "https://example.org/pytest", "ref": "main"}}
    with pytest.raises(UsageError, match="not from an index"):
        lockfile.requirements("Pipfile.lock", json.dumps(document))
    with pytest.raises(UsageError, match="not valid JSON"):
        lockfile.requirements("Pipfile.lock", "{")


def test_poetry_lock_through_a_mirror() -> None:
    """Where the index is the project's own every package has a source, and is known by name and hash."""
    text = f"""
[[package]]
name = "attrs"
version = "2"
groups = ["main"]
files = [{{file = "attrs-2-py3-none-any.whl", hash = "{A}"}}]
[package.source]
type = "legacy"
url = "https://example.org/simple"
reference = "mirror"
"""
    assert read("poetry.lock", text) == [f"attrs==2 --hash={A}"]
    with pytest.raises(UsageError, match="not from an index"):
        lockfile.requirements("poetry.lock", text.replace('"legacy"', '"git"'))
