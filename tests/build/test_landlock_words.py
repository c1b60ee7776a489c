"""A test that needs loopback fails at level landlock, and the failure says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.test_build_verbs import Clone

SERVER = """#!/bin/sh
exec python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0))
socket.create_connection(s.getsockname())'
"""


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path / "clone")
    made.write("lib/check.sh", SERVER)
    return made


def test_a_test_that_needs_loopback_is_told_that_there_is_none(clone: Clone) -> None:
    said = "at level landlock there is no network, no loopback either"
    out, _ = clone.run("test", "//lib:has_one", "--sandbox", "landlock", code=1)
    assert f"failed with exit code 1; it says Permission denied: {said}" in out
    clone.write("lib/check.sh", "#!/bin/sh\nexit 1\n")
    assert said not in clone.run("test", "//lib:has_one", "--sandbox", "landlock", code=1)[0]
    clone.write("lib/check.sh", SERVER)
    assert "1 of 1 passed" in clone.run("test", "//lib:has_one", "--sandbox", "none")[0]
