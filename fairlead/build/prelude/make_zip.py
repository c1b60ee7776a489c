"""Pack a folder into one executable zip: make_zip.py FOLDER OUTPUT COMMAND.

The bytes depend on the files' names, contents and x bits alone: entries are sorted, times are fixed, and
nothing is compressed, since compressors differ between builds of Python.
"""

import os
import sys
import zipfile


def files(folder: str) -> "list[str]":
    found = []
    for root, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(root, name), folder) for name in names]
    return sorted(name.replace(os.sep, "/") for name in found)


def main(folder: str, output: str, command: str) -> None:
    os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    with open(output, "wb") as out:
        out.write(f"#!{command}\n".encode())
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name in files(folder):
                path = os.path.join(folder, name)
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.create_system = 3
                mode = 0o755 if os.stat(path).st_mode & 0o100 else 0o644
                entry.external_attr = (0o100000 | mode) << 16
                with open(path, "rb") as file:
                    archive.writestr(entry, file.read())
    os.chmod(output, 0o755)


main(*sys.argv[1:])
