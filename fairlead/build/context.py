"""`ctx`: what a rule's implementation holds while it runs, and the actions that it registers."""

from __future__ import annotations

import json as python_json
import re
from collections.abc import Mapping
from typing import Any

from fairlead.build.artifact import (
    Artifact,
    ArtifactTag,
    BuildArtifact,
    CommandLine,
    Found,
    OutputArtifact,
    SourceArtifact,
    ToolchainFile,
    check_path,
    check_toolchains,
    command,
    flat,
    output_path,
    paths,
    render,
    render_all,
)
from fairlead.build.dialect.fault import DialectError
from fairlead.build.dialect.functions import jsonable
from fairlead.build.dialect.values import List, Native, Struct, check_text, text_of, type_name
from fairlead.build.label import Label
from fairlead.build.plan import PATH, Action, ActionKind, Toolchain, toolchains_named
from fairlead.store.digest import is_digest

_ADDRESS = re.compile(r"https?://[^\s\\\0]+", re.IGNORECASE)
_CATEGORY = re.compile(r"[a-z][a-z0-9_]*")


class Context(Native):
    """ctx: `attrs`, `label` and `actions`."""

    TYPE = "AnalysisContext"

    def __init__(self, label: Label, attrs: Struct, actions: Actions) -> None:
        self.label = label
        self.attrs = attrs
        self.actions = actions


class Environment(Native):
    """A Python environment: `.file("bin/python")` names a file in it for a command."""

    TYPE = "Environment"

    def __init__(self, label: str) -> None:
        self._label = label

    def file(self, path: str) -> ToolchainFile:
        return ToolchainFile(self._label, check_path(path))


class Actions(Native):
    """ctx.actions: declares outputs and registers what makes them. Every output is made exactly once."""

    TYPE = "AnalysisActions"

    def __init__(self, label: Label, folder: str) -> None:
        self._label = label
        self._folder = folder
        self._declared: dict[str, BuildArtifact] = {}
        self._made: dict[BuildArtifact, Action] = {}
        self._actions: list[Action] = []
        self._names: set[tuple[str, str]] = set()
        self._toolchain: Toolchain | None = None

    # Outputs --------------------------------------------------------------------------------------------

    def declare_output(self, prefix: str, filename: str | None = None, *, dir: bool = False) -> BuildArtifact:
        """An output of this target at `prefix` or `prefix/filename`; `dir` says that it is a folder."""
        short = check_path(prefix if filename is None else f"{prefix}/{filename}")
        for other in self._declared:
            if f"{other}/".startswith(f"{short}/") or f"{short}/".startswith(f"{other}/"):
                raise DialectError(
                    f"the output {short!r} is declared beside {other!r}",
                    remedy="give each output its own path",
                )
        made = BuildArtifact(
            output_path(self._folder, self._label.name, short), short, self._label.raw_target(), dir, None
        )
        self._declared[short] = made
        return made

    def _output(self, output: Any, *, dir: bool = False) -> BuildArtifact:
        if isinstance(output, str):
            return self.declare_output(output, dir=dir)
        if isinstance(output, OutputArtifact):
            output = output._artifact
        if not isinstance(output, BuildArtifact) or self._declared.get(output.short_path) is not output:
            raise DialectError(
                f"{text_of(output, quoted=True)} is no output of this target",
                remedy="use ctx.actions.declare_output()",
            )
        if output._is_folder != dir:
            raise DialectError(
                f"the output {output.short_path!r} is a {'folder' if output._is_folder else 'file'}",
                remedy=f"declare it with dir = {dir}",
            )
        return output

    def _register(
        self,
        kind: ActionKind,
        category: str,
        identifier: str,
        outputs: list[BuildArtifact],
        found: Found,
        **parts: Any,
    ) -> None:
        label = self._label.raw_target()
        for output in outputs:
            if output in self._made or (output.owner is not label and output.owner != label):
                raise DialectError(
                    f"the output {output.short_path!r} is made twice",
                    remedy="an output is made by one action",
                )
        if (category, identifier) in self._names:
            raise DialectError(
                f"two actions of {self._label} are called {category} {identifier}".rstrip(),
                remedy="give each its own identifier",
            )
        self._names.add((category, identifier))
        action = Action(
            owner=str(self._label),
            category=category,
            identifier=identifier,
            kind=kind,
            outputs=paths(outputs),
            sources=tuple(sorted(found.sources)),
            inputs=tuple(sorted(paths(artifact for artifact in found.inputs if artifact not in outputs))),
            directories=tuple(sorted({output._path for output in outputs if output._is_folder})),
            toolchains=tuple(sorted(found.toolchains)),
            **parts,
        )
        self._actions.append(action)
        for output in outputs:
            self._made[output] = action

    # Actions --------------------------------------------------------------------------------------------

    def artifact_tag(self) -> ArtifactTag:
        """A mark for artifacts, which `run` takes in `dep_files`."""
        return ArtifactTag()

    def run(
        self,
        arguments: Any,
        *,
        category: str,
        identifier: str | None = None,
        env: Any = None,
        dep_files: Any = None,
    ) -> None:
        """Run a command. It makes what it names with .as_output(), and reads what else it names, or hides."""
        if not isinstance(category, str) or not _CATEGORY.fullmatch(category):
            raise DialectError(
                f"{category!r} is no category", remedy="use lower-case words, such as compile_all"
            )
        if identifier is not None and not isinstance(identifier, str):
            raise DialectError(f"{text_of(identifier, quoted=True)} is no identifier", remedy="give a text")
        found = Found()
        argv = command(arguments, found)
        if not argv:
            raise DialectError("the command is empty")
        table = environment(env, found)
        outputs = list(found.outputs)
        if not outputs:
            raise DialectError("the command makes nothing", remedy="name an output with .as_output()")
        parts = _dep_file(dep_files, found)
        self._register("run", category, identifier or "", outputs, found, argv=argv, env=table, **parts)

    def download_file(
        self, output: Any, url: Any, *, sha256: str, is_executable: bool = False
    ) -> BuildArtifact:
        """The file at `url`, a text or a list of texts where it is as well, if it has that digest."""
        made = self._output(output)
        urls = (url,) if isinstance(url, str) else tuple(url)
        if not urls:
            raise DialectError("a file is downloaded from somewhere", remedy="give at least one address")
        for one in urls:
            if not isinstance(one, str) or not _ADDRESS.fullmatch(one) or len(one) > PATH:
                raise DialectError(
                    f"{text_of(one, quoted=True)} is no address of the web",
                    remedy="such as https://example.org/a/file.txt",
                )
        if not isinstance(sha256, str) or not is_digest(sha256):
            raise DialectError(
                f"{text_of(sha256, quoted=True)} is no SHA-256 digest",
                remedy="give 64 digits from 0 to 9 and a to f, as sha256sum prints them",
            )
        self._register(
            "download",
            "download",
            made.short_path,
            [made],
            Found(),
            executable=is_executable,
            urls=urls,
            sha256=sha256,
        )
        return made

    def write(self, output: Any, content: Any, *, is_executable: bool = False) -> BuildArtifact:
        """Write a text; lists and command lines become lines. What it mentions is not made or read by it."""
        made = self._output(output)
        text = content if isinstance(content, str) else "\n".join(self._lines(content))
        check_text(text, allow_nul=True)
        if toolchains_named(text):
            raise DialectError(
                "a written file cannot name a toolchain's file: its place is not known yet",
                remedy="pass it as an argument of the command that reads the file",
            )
        self._register(
            "write", "write", made.short_path, [made], Found(), content=text, executable=is_executable
        )
        return made

    @staticmethod
    def _lines(content: Any) -> list[str]:
        return [word for item in flat(content) for word in render(item, Found())]

    def write_json(self, output: Any, content: Any, *, pretty: bool = False) -> BuildArtifact:
        """Write a value as JSON; artifacts and labels stand for their paths and names."""
        plain = jsonable(_named(content))
        return self.write(output, python_json.dumps(plain, indent=2 if pretty else None, ensure_ascii=False))

    def copy_file(self, dest: Any, src: Any) -> BuildArtifact:
        """Copy a file, its x bit included."""
        if isinstance(src, SourceArtifact) and src._files is not None:
            raise DialectError(f"{src._path} is a folder", remedy="use ctx.actions.copied_dir()")
        return self._copy(self._output(dest), src)

    def copy_dir(self, dest: Any, src: Any) -> BuildArtifact:
        """Copy a folder."""
        made = self._output(dest, dir=True)
        if isinstance(src, SourceArtifact):
            return self._tree(made, {"": src})
        return self._copy(made, src)

    def _copy(self, made: BuildArtifact, src: Any) -> BuildArtifact:
        found = Found()
        entries = {"": found.artifact(_artifact(src))}
        self._register("copy", "copy", made.short_path, [made], found, entries=entries)
        return made

    def copied_dir(self, output: Any, srcs: Any) -> BuildArtifact:
        """A folder with the artifacts of the dict `srcs` (path in the folder -> artifact)."""
        made = self._output(output, dir=True)
        if not isinstance(srcs, dict):
            raise DialectError(f"this takes a dict of paths and artifacts, not a {type_name(srcs)}")
        return self._tree(made, {check_path(path): _artifact(src) for path, src in dict.items(srcs)})

    symlinked_dir = copied_dir
    """The same: an engine may link or copy, and no action can tell."""

    def _tree(self, made: BuildArtifact, srcs: dict[str, Artifact]) -> BuildArtifact:
        found = Found()
        entries: dict[str, str] = {}
        for path, src in srcs.items():
            where = found.artifact(src)
            if isinstance(src, SourceArtifact) and src._files is not None:
                for file in src._files:
                    entries["/".join(p for p in (path, file.removeprefix(where + "/")) if p)] = file
            else:
                entries[path] = where
        for path in entries:
            parent = path
            while parent := parent.rpartition("/")[0]:
                if parent in entries:
                    raise DialectError(
                        f"{path!r} would lie inside {parent!r}, which is {entries[parent]}",
                        remedy="give each entry its own path",
                    )
        entries = dict(sorted(entries.items()))
        self._register("link_tree", "link_tree", made.short_path, [made], found, entries=entries)
        return made

    def locked_environment(self, *, interpreter: str, lock: Any) -> Environment:
        """The Python environment that this target stands for: once a target."""
        if self._toolchain is not None:
            raise DialectError("a target has one environment", remedy="make another target")
        if not isinstance(lock, SourceArtifact) or lock._files is not None:
            raise DialectError("the lock is a file of the repository", remedy="name it with attrs.source()")
        if not isinstance(interpreter, str):
            raise DialectError(
                f"{text_of(interpreter, quoted=True)} is no interpreter", remedy="name a command"
            )
        label = str(self._label.raw_target())
        self._toolchain = Toolchain(label, interpreter, lock._path)
        return Environment(label)

    # The end --------------------------------------------------------------------------------------------

    def _finish(self) -> list[Action]:
        """The actions, each after those whose outputs it reads."""
        for short, output in self._declared.items():
            if output not in self._made:
                raise DialectError(
                    f"the output {short!r} of {self._label} is declared, but no action makes it",
                    remedy="bind it with .as_output() in a command, or do not declare it",
                )
        by_path = {path: action for action in self._actions for path in action.outputs}
        ordered: dict[int, Action] = {}
        for action in self._actions:
            self._order(action, (action.outputs[0],), by_path, set(), ordered)
        return list(ordered.values())

    def _order(
        self,
        action: Action,
        chain: tuple[str, ...],
        by_path: Mapping[str, Action],
        above: set[int],
        ordered: dict[int, Action],
    ) -> None:
        """Put an action after those that it waits for; `above` wait for it, by `chain`."""
        if id(action) in ordered:
            return
        if id(action) in above:
            raise DialectError(f"the actions of {self._label} wait for each other: {' -> '.join(chain)}")
        above.add(id(action))
        for path in action.inputs:
            if path in by_path:
                self._order(by_path[path], (*chain, path), by_path, above, ordered)
        ordered[id(action)] = action


def _dep_file(dep_files: Any, found: Found) -> dict[str, Any]:
    """The dep file of a command, and the inputs of which it says whether they were read."""
    if not dep_files:
        return {}
    tags = list(dict.values(dep_files)) if isinstance(dep_files, dict) else []
    if len(tags) != 1 or not isinstance(tags[0], ArtifactTag):
        raise DialectError(
            "dep_files is a dict of one name and one tag", remedy="make it by ctx.actions.artifact_tag()"
        )
    marked = found.tagged.get(tags[0], Found())
    if len(marked.outputs) != 1:
        raise DialectError(
            f"{len(marked.outputs)} outputs of the command have the tag of its dep file",
            remedy="mark the dep file: tag.tag_artifacts(dep_file.as_output())",
        )
    (output,) = marked.outputs
    inputs = paths(artifact for artifact in marked.inputs if artifact not in found.outputs)
    return {"dep_file": output._path, "judged": tuple(sorted((*marked.sources, *inputs)))}


def environment(env: Any, found: Found) -> dict[str, str]:
    """The variables of a command: names -> text, each value rendered and its words joined by spaces."""
    if env is None:
        return {}
    if not isinstance(env, dict):
        raise DialectError(f"env is a dict of names and values, not a value of type {type_name(env)}")
    made: dict[str, str] = {}
    for name, value in dict.items(env):
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise DialectError(f"{text_of(name, quoted=True)} is no name of an environment variable")
        made[name] = " ".join(render_all(value, found))
    check_toolchains(made.values(), found)
    return dict(sorted(made.items()))


def _artifact(value: Any) -> Artifact:
    if isinstance(value, Artifact):
        return value
    raise DialectError(
        f"{text_of(value, quoted=True)} is no artifact", remedy="give a source, or an output of an action"
    )


def _named(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    if isinstance(value, dict):
        return {key: _named(item) for key, item in dict.items(value)}
    if isinstance(value, Struct):
        return Struct({key: _named(item) for key, item in value.__dict__.items()})
    if isinstance(value, Artifact):
        return value._path
    if isinstance(value, OutputArtifact):
        return value._artifact._path
    if isinstance(value, CommandLine):
        return List(value._render(Found()))
    if isinstance(value, (Label, ToolchainFile)):
        return str(value)
    return value
