"""Compare `fairlead test` with plain pytest, test by test, on projects taken from a package registry.

For each project: its source archive is unpacked twice. In one copy `fairlead init`, `init --lock` and
`init --write` run, and pytest is asked for its verbose lines, so that outcomes can be told apart; that is the
only change. In the other the lock and the project itself are installed in an environment, as a contributor
would, and `pytest` runs once over everything. Exit code 1 if any outcome differs, or if there was none.

An archive's own build code runs when pip fetches and installs it. Use it where that is acceptable.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

LINE = re.compile(r"^(\S+\.py::.*?) (PASSED|FAILED|SKIPPED|XFAIL|XPASS|ERROR)(?: .*)?$")
HEAD = [sys.executable, "-m"]


def call(words: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command; the caller looks at how it ended."""
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def must(words: list[str], folder: Path) -> str:
    done = call(words, folder)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def outcomes(text: str) -> dict[str, str]:
    """Node id -> outcome from pytest's verbose lines."""
    return {found[1]: found[2] for line in text.splitlines() if (found := LINE.match(line))}


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def ours(root: Path, answers: list[str]) -> tuple[dict[str, str], dict[str, object], str]:
    """The outcomes under `fairlead test`, what `init` said, and the timings."""
    fairlead = [*HEAD, "fairlead"]
    began = time.monotonic()
    must([*fairlead, "init"], root)
    first = time.monotonic() - began
    with (root / "fairlead.toml").open("a") as settings:
        settings.write("".join(f"{line}\n" for line in answers))
    said = json.loads(must([*fairlead, "init", "--json"], root))
    if not any(f["subject"] == "environment" and f["sure"] == "known" for f in said["findings"]):
        said = json.loads(must([*fairlead, "init", "--lock", "--json"], root))
    must([*fairlead, "init", "--write"], root)
    build = root / "BUCK"
    build.write_text(build.read_text().replace('args = ["', 'args = ["-v", "'))
    began = time.monotonic()
    report = json.loads(call([*fairlead, "test", "//...", "--json"], root).stdout)
    cold = time.monotonic() - began
    began = time.monotonic()
    call([*fairlead, "test", "//...", "--json"], root)
    again = time.monotonic() - began
    found: dict[str, str] = {}
    blobs = root / "fairlead-out" / "store" / "blobs"
    for result in report["results"]:
        log = result["log"]
        path = next(p for p in blobs.rglob("*") if p.is_file() and (p.parent.name + p.name).endswith(log))
        text = path.read_text("utf-8", "replace")
        found.update(outcomes(text))
        if result["outcome"] != "pass" and not outcomes(text):
            found[result["label"]] = result["outcome"].upper()
    return found, said, f"init {first:.1f}s, first test {cold:.1f}s, second {again:.1f}s"


def plain(root: Path, lock: str) -> dict[str, str]:
    """The outcomes of one plain run of pytest, the project installed for editing."""
    venv = root.parent / "venv"
    must([*HEAD, "uv", "venv", "--quiet", "--python", sys.executable, str(venv)], root)
    install = [*HEAD, "uv", "pip", "install", "--quiet", "--python", str(venv / "bin/python"), "--no-deps"]
    must([*install, "-r", lock], root)
    must([*install, "-e", "."], root)
    home = root.parent / "home"
    home.mkdir()
    return outcomes(
        call(
            [str(venv / "bin/pytest"), "-v", "-p", "no:cacheprovider"],
            root,
            HOME=str(home),
            TZ="UTC",
            LANG="C.UTF-8",
            PYTHONHASHSEED="0",
        ).stdout
    )


def compare(requirement: str, folder: Path, answers: list[str]) -> bool:
    (folder / "archive").mkdir()
    download = [*HEAD, "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    must([*download, "--dest", "archive", requirement], folder)
    archive = next((folder / "archive").glob("*.tar.gz"))
    one, two = unpack(archive, folder / "ours"), unpack(archive, folder / "plain")
    mine, said, timing = ours(one, answers)
    findings = said["findings"]
    assert isinstance(findings, list)
    lock = next(f["value"] for f in findings if f["subject"] == "environment")
    (two / "requirements.foreign.lock").write_bytes((one / lock).read_bytes())
    theirs = plain(two, "requirements.foreign.lock")
    different = sorted(i for i in mine.keys() | theirs.keys() if mine.get(i) != theirs.get(i))
    print(
        f"{archive.name}: {len(theirs)} tests by pytest, {len(mine)} here, {len(different)} differ ({timing})"
    )
    print(f"  pytest {dict(Counter(theirs.values()))}, here {dict(Counter(mine.values()))}")
    for item in different[:40]:
        print(f"  {item}: pytest {theirs.get(item, 'absent')}, here {mine.get(item, 'absent')}")
    return bool(theirs) and not different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", nargs="+", help="requirements such as click or click==8.1.8")
    parser.add_argument(
        "--answer", action="append", default=[], help="a line below [build], for what init asks"
    )
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which stays")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="foreign-") as scratch:
        base: Path = args.keep or Path(scratch)
        good = True
        for project in args.projects:
            folder = base / re.sub(r"\W+", "-", project)
            folder.mkdir(parents=True)
            good = compare(project, folder, args.answer) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
