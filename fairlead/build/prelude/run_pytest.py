"""Run pytest over files of a link tree: run_pytest.py TREE FILE... -- [ARGUMENT...].

The working folder is the link tree, and so is the first place where modules are looked for, also by the
processes that a test starts. Nothing is written into it.
"""

import os
import sys


def main(tree: str, rest: "list[str]") -> int:
    end = rest.index("--")
    files, arguments = rest[:end], rest[end + 1 :]
    tree = os.path.abspath(tree)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = tree
    sys.path[0] = tree
    sys.dont_write_bytecode = True
    import pytest

    fixed = ["--rootdir", tree, "--import-mode=importlib", "-p", "no:cacheprovider"]
    return int(pytest.main([*fixed, *arguments, *files]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
