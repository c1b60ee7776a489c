"""Wheels made on the spot, and locks that name them: toolchain tests need no network."""

from __future__ import annotations

import hashlib
import importlib.metadata
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

PYTEST = """
import importlib.util, pathlib, sys, traceback

def hookimpl(**_):
    return lambda function: function

def main(args, plugins=()):
    tree = pathlib.Path(args[args.index("--rootdir") + 1])
    failed = 0
    for number, path in enumerate(sorted(tree.rglob("test_*.py"))):
        spec = importlib.util.spec_from_file_location(f"case{number}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, test in list(vars(module).items()):
            if name.startswith("test_"):
                try:
                    test()
                    print(name, "ok")
                except Exception:
                    traceback.print_exc()
                    failed += 1
    return 1 if failed else 0
"""
"""Enough of pytest to run test functions: what python_test asks for, without a registry."""


class Wheelhouse:
    """A folder of wheels that uv and pip are told to take everything from."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        for tool in ("UV", "PIP"):
            monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
            monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
        monkeypatch.setenv("UV_CACHE_DIR", str(folder / "cache"))
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")

    def add(self, name: str, files: Mapping[str, str], *, version: str = "1.0", script: str = "") -> str:
        """Make a wheel; its line for a lock. `script` is a console script, name=module:function."""
        info = f"{name}-{version}.dist-info"
        members = {
            **files,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        if script:
            members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script.replace('=', ' = ')}\n"
        rows = "".join(f"{path},,\n" for path in [*members, f"{info}/RECORD"])
        path = self.folder / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for member, text in {**members, f"{info}/RECORD": rows}.items():
                wheel.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), text)
        return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def real_pytest(house: Wheelhouse, *more: str) -> str:
    """Put the pytest that runs these tests into the house, with what it needs and `more` that is installed
    here; a lock of all these."""
    lines = []
    for name in ("pytest", "pluggy", "iniconfig", "packaging", "pygments", *more):
        installed = importlib.metadata.distribution(name)
        files = [(path, path.locate()) for path in installed.files or () if ".." not in path.parts]
        keep = ("METADATA", "entry_points.txt", "WHEEL")
        members = {
            str(path): Path(at).read_bytes()
            for path, at in files
            if path.suffix in (".py", ".typed", ".html", ".js", ".css", ".png", ".svg") or path.name in keep
        }
        info = next(path.parts[0] for path, _ in files if path.name == "METADATA")
        rows = "".join(f"{path},,\n" for path in [*members, f"{info}/RECORD"])
        wheel = house.folder / f"{name.replace('-', '_')}-{installed.version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as made:
            for member, data in {**members, f"{info}/RECORD": rows.encode()}.items():
                made.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), data)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={installed.version} --hash=sha256:{digest}\n")
    return "".join(lines)
