"""Manifests: every refusal of the real dotslash is ours too, and says which member is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import UsageError
from fairlead.launch import manifest
from tests.launch.tools import HEADER, Run

HOST = manifest.host()
GOOD: dict[str, Any] = {"size": 1, "hash": "blake3", "digest": "a" * 64, "path": "p", "providers": []}
DROP = object()


def document(**changes: object) -> dict[str, Any]:
    """A manifest whose one entry, for this machine, has these members changed, or left out (DROP)."""
    made = {k: v for k, v in {**GOOD, **changes}.items() if v is not DROP}
    return {"name": "n", "platforms": {HOST: made}}


ACCEPTED: dict[str, str] = {
    "least": json.dumps(document()),
    "no platforms": '{"name":"n","platforms":{}}',
    "unknown keys": json.dumps({**document(more=[1], fairlead=7), "oncall": "x"}),
    "unknown platform": json.dumps({"name": "n", "platforms": {"amiga-68k": GOOD}}),
    "largest size": json.dumps(document(size=2**64 - 1)),
    "size minus zero": json.dumps(document(size=0)).replace('"size": 0', '"size": -0'),
    "every choice": json.dumps(
        document(
            hash="sha256",
            format="tar.zst",
            arg0="underlying-executable",
            readonly=False,
            providers_order="weighted-random",
        )
    ),
    "last of a double key": json.dumps(document()).replace('"size": 1', '"size": "x", "size": 1'),
    "comments and commas": '// a\n{"name":"n",/* b */"platforms":{},}',
    "drive letter": json.dumps(document(path="C:/x")),
    "hidden file": json.dumps(document(path=".x")),
    "senseless providers": json.dumps(document(providers=[1, "x", None, {}])),
}

WRONG_MEMBERS: list[tuple[dict[str, object], str]] = [
    ({"size": DROP}, "size is missing"),
    ({"size": -1}, "size is -1"),
    ({"size": 2**64}, "size is the number 1.8"),
    ({"size": 7.0}, "size is the number 7.0"),
    ({"size": "7"}, "size is a string"),
    ({"size": True}, "size is true"),
    ({"size": None}, "size is null"),
    ({"hash": DROP}, "hash is missing"),
    ({"hash": "md5"}, "hash is `md5`"),
    ({"digest": DROP}, "digest is missing"),
    ({"digest": "A" * 64}, "characters other than"),
    ({"digest": "a" * 63}, "has 63 characters"),
    ({"digest": "A" * 63}, "characters other than"),
    ({"digest": "ä" * 32}, "characters other than"),
    ({"digest": 1}, "digest is the number 1"),
    ({"format": "plain"}, "format is `plain`"),
    ({"format": "tgz"}, "format is `tgz`"),
    ({"format": None}, "format is null"),
    ({"arg0": "x"}, "arg0 is `x`"),
    ({"arg0": None}, "arg0 is null"),
    ({"readonly": "true"}, "readonly is a string"),
    ({"readonly": None}, "readonly is null"),
    ({"providers_order": "x"}, "providers_order is `x`"),
    ({"providers": DROP}, "providers is missing"),
    ({"providers": {}}, "providers is an object"),
    ({"path": DROP}, "path is missing"),
    ({"path": None}, "path is null"),
    ({"path": ""}, "path is empty"),
    ({"path": "a\\b"}, "has a backslash"),
    ({"path": "a\0b"}, "has a NUL"),
    ({"path": "/x"}, "begins at the root"),
    ({"path": "//"}, "begins at the root"),
    ({"path": "./x"}, "begins with the current folder"),
    ({"path": "."}, "begins with the current folder"),
    ({"path": ".."}, "leads to a parent"),
    ({"path": "a/../b"}, "leads to a parent"),
    ({"path": "a/.."}, "leads to a parent"),
    ({"path": "a//b"}, "not normalised"),
    ({"path": "a/"}, "not normalised"),
    ({"path": "a/./b"}, "not normalised"),
]

WRONG_FILES: list[tuple[bytes, str]] = [
    (b"", "does not begin with"),
    (b"#!/bin/sh\n{}", "does not begin with"),
    (b"#!/usr/bin/env dotslash", "does not begin with"),
    (b"#!/usr/bin/env dotslash \n{}", "does not begin with"),
    (b"#!/usr/bin/env dotslash\r{}", "does not begin with"),
    (b"\xef\xbb\xbf#!/usr/bin/env dotslash\n{}", "does not begin with"),
    (b" #!/usr/bin/env dotslash\n{}", "does not begin with"),
    (b"#!/usr/bin/env dotslash\n\xff", "not UTF-8"),
    (b"#!/usr/bin/env dotslash\n", "value is missing"),
    (b"#!/usr/bin/env dotslash\n[]", "an array, not an object"),
    (b'#!/usr/bin/env dotslash\n"x"', "a string, not an object"),
    (b'#!/usr/bin/env dotslash\n{"platforms":{}}', "name is missing"),
    (b'#!/usr/bin/env dotslash\n{"name":null,"platforms":{}}', "name is null"),
    (b'#!/usr/bin/env dotslash\n{"name":"n"}', "platforms is missing"),
    (b'#!/usr/bin/env dotslash\n{"name":"n","platforms":[]}', "platforms is an array"),
    (b'#!/usr/bin/env dotslash\n{"name":"n","platforms":{"x":1}}', "platforms.x is the number 1"),
    (b'#!/usr/bin/env dotslash\n# c\n{"name":"n","platforms":{}}', "value is missing"),
]


def understood(dotslash: Run, path: Path) -> bool:
    """Whether the real dotslash can read the manifest: its complaint, if any, is about something later."""
    done = dotslash(path)
    assert done.code == 1
    return "failed to parse" not in done.err and "failed to read" not in done.err


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str, dotslash: Run, tmp_path: Path) -> None:
    data = (HEADER + ACCEPTED[name]).encode()
    (tmp_path / "m").write_bytes(data)
    assert manifest.parse(data).name == "n"
    assert understood(dotslash, tmp_path / "m")


@pytest.mark.parametrize(("changes", "said"), WRONG_MEMBERS)
def test_wrong_members(changes: dict[str, object], said: str, dotslash: Run, tmp_path: Path) -> None:
    data = (HEADER + json.dumps(document(**changes), ensure_ascii=False)).encode()
    (tmp_path / "m").write_bytes(data)
    assert not understood(dotslash, tmp_path / "m")
    with pytest.raises(UsageError) as caught:
        manifest.parse(data, where="here")
    assert f"platforms.{HOST}." in caught.value.what
    assert said in caught.value.what
    assert caught.value.where == "here"


@pytest.mark.parametrize(("data", "said"), WRONG_FILES)
def test_wrong_files(data: bytes, said: str, dotslash: Run, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(data)
    assert not understood(dotslash, tmp_path / "m")
    with pytest.raises(UsageError) as caught:
        manifest.parse(data, where="here")
    assert said in caught.value.what
    assert "here" in caught.value.where


def test_an_entry_for_another_platform_is_checked_too(dotslash: Run, tmp_path: Path) -> None:
    made = document()
    made["platforms"]["windows-x86_64"] = {**GOOD, "size": "x"}
    data = (HEADER + json.dumps(made)).encode()
    (tmp_path / "m").write_bytes(data)
    assert not understood(dotslash, tmp_path / "m")
    with pytest.raises(UsageError, match=r"platforms\.windows-x86_64\.size"):
        manifest.parse(data)


def test_crlf_header(dotslash: Run, tmp_path: Path) -> None:
    data = b'#!/usr/bin/env dotslash\r\n{"name":"n","platforms":{}}'
    (tmp_path / "m").write_bytes(data)
    assert understood(dotslash, tmp_path / "m")
    assert manifest.parse(data).platforms == {}


@pytest.mark.parametrize(
    "text",
    [
        '["n",{}]',
        '{"name":"n","platforms":{"x":[1,"blake3","%s",null,"p",[],"dotslash-file",true,"sequential"]}}',
        json.dumps(document()).replace('"blake3"', '{"blake3": null}'),
    ],
)
def test_declared_deviation_no_objects_in_disguise(text: str) -> None:
    """Quirks of a deserializer that dotslash lets pass; nobody writes them, and we do not read them."""
    with pytest.raises(UsageError):
        manifest.parse((HEADER + text).encode())


def test_missing_platform_lists_what_there_is() -> None:
    made = {"name": "n", "platforms": {"windows-x86_64": GOOD, "macos-aarch64": GOOD}}
    parsed = manifest.parse((HEADER + json.dumps(made)).encode())
    with pytest.raises(UsageError) as caught:
        parsed.entry("linux-x86_64", where="f")
    assert (
        caught.value.what == "expected platform `linux-x86_64`, but found `macos-aarch64`, `windows-x86_64`"
    )
    with pytest.raises(UsageError, match="found nothing"):
        manifest.parse((HEADER + '{"name":"n","platforms":{}}').encode()).entry("linux-x86_64")


def test_defaults_and_own_key() -> None:
    parsed = manifest.parse((HEADER + json.dumps(document())).encode()).platforms[HOST]
    assert (parsed.arg0, parsed.readonly, parsed.providers_order) == ("dotslash-file", True, "sequential")
    assert (parsed.kind, parsed.unpacked_limit) == ("none", None)
    own = document(fairlead={"unpacked_limit": 5}, format="tar")
    assert manifest.parse((HEADER + json.dumps(own)).encode()).platforms[HOST].unpacked_limit == 5
    with pytest.raises(UsageError, match=r"fairlead\.unpacked_limit is a string"):
        manifest.parse((HEADER + json.dumps(document(fairlead={"unpacked_limit": "5"}))).encode())


def test_unknown_keys_are_kept() -> None:
    made = {**document(), "build": {"a": [1.5, "x"]}}
    assert manifest.parse((HEADER + json.dumps(made)).encode()).document == made


def test_host_is_one_of_the_known(dotslash: Run) -> None:
    assert HOST in manifest.PLATFORMS
    assert HOST in dotslash("--help").err
