"""Build a wheel: build_wheel.py JSON, by a Python that has what the build declares (PEP 517, PEP 518).

The one argument is an object: `source`, the folder of the project; `backend`, the name of the build backend,
such as "setuptools.build_meta:__legacy__"; `path`, folders of the project where the backend may be; `out`,
the folder for the wheel, or "" if only more requirements are asked for; `answer`, the file for the answer:
{"requires": [...], "wheel": file name}.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any


def main(asked: "dict[str, Any]") -> int:
    del sys.path[0]  # our own folder
    os.chdir(asked["source"])
    sys.path[:0] = [os.path.join(asked["source"], folder) for folder in asked["path"]]
    module, _, inner = asked["backend"].partition(":")
    backend: Any = import_module(module)
    for name in inner.split(".") if inner else ():
        backend = getattr(backend, name)
    answer = {"requires": [], "wheel": ""}
    if asked["out"]:
        answer["wheel"] = backend.build_wheel(asked["out"], {})
    elif hasattr(backend, "get_requires_for_build_wheel"):
        answer["requires"] = list(backend.get_requires_for_build_wheel({}))
    with open(asked["answer"], "w", encoding="utf-8") as stream:
        json.dump(answer, stream)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
