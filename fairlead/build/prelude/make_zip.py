"""Pack a folder into one executable zip: make_zip.py FOLDER OUTPUT COMMAND.

The bytes depend on the files' names, contents and x bits alone: entries are sorted, times are fixed, and
nothing is compressed, since compressors differ between builds of Python.
"""

import os
import sys
import zipfile


def names(folder: str) -> "list[str]":
    """All files and folders below `folder`, sorted; folders end with a slash. Without entries of their own,
    folders that have no __init__.py could not be imported from."""
    found = []
    for root, folders, files in os.walk(folder):
        below = os.path.relpath(root, folder).replace(os.sep, "/")
        prefix = "" if below == "." else below + "/"
        found += [prefix + name for name in files] + [prefix + name + "/" for name in folders]
    return sorted(found)


def main(folder: str, output: str, command: str) -> None:
    os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    with open(output, "wb") as out:
        out.write(f"#!{command}\n".encode())
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name in names(folder):
                path = os.path.join(folder, name)
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.create_system = 3  # Unix, whose modes these are
                if name.endswith("/"):
                    entry.external_attr = 0o40755 << 16 | 0x10
                    archive.writestr(entry, b"")
                    continue
                mode = 0o755 if os.stat(path).st_mode & 0o100 else 0o644
                entry.external_attr = (0o100000 | mode) << 16
                with open(path, "rb") as file:
                    archive.writestr(entry, file.read())
    os.chmod(output, 0o755)


main(*sys.argv[1:])
