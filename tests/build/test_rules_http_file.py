"""http_file, from a real server on this machine: what is fetched, what is not, and what is refused."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.build.plan import Plan
from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed
from tests.build.test_rules_mixed import Yard
from tests.net.web import Answer, Web, serving

SCRIPT = b"#!/bin/sh\necho fetched\n"
DIGEST = hashlib.sha256(SCRIPT).hexdigest()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as web:
        web.answers["/tool"] = Answer(200, SCRIPT)
        yield web


def declared(urls: list[str], digest: str = DIGEST, more: str = "") -> str:
    return (
        f"http_file(name = 'tool', urls = {urls!r}, sha256 = '{digest}', executable = True{more})\n"
        "genrule(name = 'use', out = 'o', cmd = '$(exe :tool) > $OUT')\n"
    )


def test_a_file_is_fetched_once_by_its_digest(tmp_path: Path, web: Web) -> None:
    web.answers["/moved"] = Answer(302, headers={"Location": "/tool"})
    yard = Yard(tmp_path, {"BUCK": declared([f"{web.url}/gone", f"{web.url}/moved"])})
    assert yard.output("//:use").read_text() == "fetched\n"
    assert [asked.path for asked in web.asked] == ["/gone", "/moved", "/tool"]
    program = yard.output("//:tool")
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"fetched\n"
    yard.write({"BUCK": declared([f"{web.url}/elsewhere"], more=", out = 'sub/x.sh'")})
    assert yard.output("//:tool").name == "x.sh"
    assert len(web.asked) == 3  # the same file, whatever it is called and wherever it is said to be


def test_only_allowed_hosts_are_asked_where_a_stranger_names_them(tmp_path: Path, web: Web) -> None:
    yard = Yard(tmp_path, {"BUCK": declared([f"{web.url}/tool"])})
    with pytest.raises(UsageError) as caught:
        yard.build("//:tool", hosts=["files.example.org"])
    assert "127.0.0.1" in caught.value.what and "worker.download_hosts" in caught.value.remedy
    assert web.asked == []
    yard.build("//:tool", hosts=["127.0.0.1"])
    assert len(web.asked) == 1


def test_a_damaged_blob_is_fetched_again(tmp_path: Path, web: Web) -> None:
    yard = Yard(tmp_path, {"BUCK": declared([f"{web.url}/tool"])})
    yard.build("//:tool")
    blob = yard.store.blobs.path(DIGEST)
    blob.chmod(0o644)
    blob.write_bytes(b"")
    assert yard.output("//:use").read_text() == "fetched\n"
    assert len(web.asked) == 2


def test_another_file_is_refused_with_both_digests(tmp_path: Path, web: Web) -> None:
    wrong = "0" * 64
    yard = Yard(tmp_path, {"BUCK": declared([f"{web.url}/tool?token=secret"], wrong)})
    web.answers["/tool?token=secret"] = Answer(200, SCRIPT)
    with pytest.raises(WorkFailed) as caught:
        yard.build("//:use")
    assert wrong in caught.value.what and DIGEST in caught.value.what and "secret" not in caught.value.what
    assert caught.value.where == "//:tool (BUCK:1)" and "sha256" in caught.value.remedy
    assert not yard.store.blobs.has(DIGEST)
    assert not (yard.root / "fairlead-out/gen/__tool__").exists()


def test_an_address_that_does_not_answer_is_named(tmp_path: Path, web: Web) -> None:
    yard = Yard(tmp_path, {"BUCK": declared([f"{web.url}/gone", f"{web.url}/lost"])})
    with pytest.raises(FairleadError) as caught:
        yard.build("//:tool")
    assert f"{web.url}/gone: " in caught.value.what and f"{web.url}/lost: " in caught.value.what
    assert "404" in caught.value.what and caught.value.remedy
    assert caught.value.where == "//:tool (BUCK:1)"


@pytest.mark.parametrize(
    ("urls", "digest", "what"),
    [
        (["file:///etc/passwd"], DIGEST, "is no address of the web"),
        (["ftp://example.org/a"], DIGEST, "is no address of the web"),
        (["https://example.org/a b"], DIGEST, "is no address of the web"),
        ([], DIGEST, "a file is downloaded from somewhere"),
        (["https://example.org/a"], DIGEST.upper(), "is no SHA-256 digest"),
        (["https://example.org/a"], "", "is no SHA-256 digest"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, urls: list[str], digest: str, what: str) -> None:
    yard = Yard(tmp_path, {"BUCK": declared(urls, digest)})
    with pytest.raises(UsageError) as caught:
        yard.plan("//:tool")
    assert what in caught.value.what and "BUCK:1" in caught.value.where and caught.value.remedy


def test_a_plan_reads_no_file_of_the_machine(tmp_path: Path) -> None:
    plan = Yard(tmp_path, {"BUCK": declared(["https://example.org/a"])}).plan("//:tool")
    for field, value in [("urls", ["file:///etc/passwd"]), ("urls", []), ("sha256", "x"), ("kind", "copy")]:
        document = plan.to_json()
        document["actions"][0][field] = value  # type: ignore[index, call-overload, assignment]
        with pytest.raises(FairleadError, match="the evaluated plan is not valid"):
            Plan.from_json(document)


def test_redirects_lead_to_the_web_only(tmp_path: Path, web: Web) -> None:
    web.answers["/tool"] = Answer(302, headers={"Location": "file:///etc/passwd"})
    yard = Yard(tmp_path, {"BUCK": declared([f"{web.url}/tool"])})
    with pytest.raises((UsageError, MachineryError), match="cannot download"):
        yard.build("//:tool")
