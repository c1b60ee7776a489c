"""Logins from a netrc file: for the host named, never for every host."""

from __future__ import annotations

from pathlib import Path

from fairlead.net import netrc


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_home_file_and_variable(tmp_path: Path) -> None:
    write(tmp_path / ".netrc", "machine a.test login one password two\n")
    write(tmp_path / "named", "machine a.test login three password four\n")
    home = {"HOME": str(tmp_path)}
    found = netrc.find("a.test", home)
    assert (found.user, found.password) == ("one", "two")
    assert netrc.find("a.test", {**home, "NETRC": str(tmp_path / "named")}).user == "three"
    assert netrc.find("b.test", home).user is None
    assert netrc.find("a.test", {}).user is None


def test_default_entry_is_given_to_nobody(tmp_path: Path) -> None:
    write(tmp_path / ".netrc", "default login one password two\n")
    assert netrc.find("a.test", {"HOME": str(tmp_path)}).user is None


def test_a_broken_file_is_a_remark_not_an_error(tmp_path: Path) -> None:
    write(tmp_path / ".netrc", "machine a.test login one passwort two\n")
    found = netrc.find("a.test", {"HOME": str(tmp_path)})
    assert found.user is None
    assert ".netrc" in found.problem
    assert "two" not in found.problem
