"""Wheel and sdist build, and the wheel works alone in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from fairlead import __version__

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    clone = tmp_path_factory.mktemp("source") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out)],
        cwd=clone, check=True, capture_output=True,
    )  # fmt: skip
    return out


def test_the_wheel_holds_code_rules_and_pages_and_nothing_else(dist: Path) -> None:
    wheel = next(dist.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith(("fairlead/", f"fairlead-{__version__}.dist-info/")) for name in names)
    assert "fairlead/native/main.c" in names  # no wheel needs a compiler, and where one is it is used
    for needed in ("fairlead/build/prelude/", "fairlead/serve/templates/", "fairlead/serve/static/"):
        assert any(name.startswith(needed) for name in names), needed


def test_the_sdist_can_be_tested(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"scripts/test", "tests/test_packaging.py", "requirements.lock", "LICENSE", "BUCK"} <= names


def test_the_wheel_installs_into_an_empty_environment_and_works(dist: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    wheel = next(dist.glob("*.whl"))

    def fairlead(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tmp_path / "env" / "bin" / "fairlead", *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )

    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    assert fairlead("--version").stdout == f"fairlead {__version__}\n"
    assert fairlead("--help").returncode == 0
    missing = fairlead("serve", "--data", str(tmp_path / "data"))
    assert missing.returncode == 3 and "pip install 'fairlead[serve]'" in missing.stderr, missing.stderr
    (tmp_path / "a.py").write_text("x = None\nprint(x == None)\n")
    missing = fairlead("lint", "a.py")
    assert missing.returncode == 3 and "pip install 'fairlead[lint]'" in missing.stderr, missing.stderr


def test_the_wheel_with_its_extras_does_its_work(dist: Path, tmp_path: Path) -> None:
    """Its declared requirements are enough: a finding, and a server that answers."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    wheel = next(dist.glob("*.whl"))
    pins = tmp_path / "pins.txt"
    lines = [
        line.split(" ")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    ]
    pins.write_text("\n".join(lines))
    install = ["install", "--quiet", "--python", str(python), "--constraints", str(pins), f"{wheel}[all]"]
    subprocess.run([sys.executable, "-m", "uv", "pip", *install], check=True, capture_output=True)
    fairlead = tmp_path / "env" / "bin" / "fairlead"
    (tmp_path / "a.py").write_text("x = None\nprint(x == None)\n")
    done = subprocess.run(
        [fairlead, "lint", "a.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "a.py:2" in done.stdout, done.stderr
    address = tmp_path / "url"
    server = subprocess.Popen(
        [fairlead, "serve", "--data", tmp_path / "data", "--port", "0", "--no-worker", "--url-file", address],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not address.exists():
            assert server.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        with urllib.request.urlopen(address.read_text().strip() + "/sign-in", timeout=30) as page:
            assert b"Sign in" in page.read()
    finally:
        server.terminate()
        assert server.wait(30) == 0
