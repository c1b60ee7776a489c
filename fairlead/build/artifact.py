"""Artifacts (files that exist or will), command lines made of them, and what rendering one finds.

A command line is rendered when an action is registered: into plain strings, and the sets of sources, inputs,
outputs and toolchains that it names. So an action can only read what its command mentions, or hides.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fairlead.build.dialect.fault import DialectError
from fairlead.build.dialect.values import List, Native, Struct, check_text, text_of, type_name
from fairlead.build.label import Label
from fairlead.build.plan import GEN, PATH, toolchain_file, toolchains_named


class Artifact(Native):
    """A file or folder: of the repository, or an output of an action."""

    TYPE = "Artifact"

    def __init__(self, path: str, short_path: str) -> None:
        self._path = path
        self.short_path = short_path

    @property
    def basename(self) -> str:
        return self._path.rpartition("/")[2]

    @property
    def extension(self) -> str:
        name, dot, extension = self.basename.rpartition(".")
        return f".{extension}" if dot and name else ""

    def __str__(self) -> str:
        return f"<{'source' if isinstance(self, SourceArtifact) else 'build artifact'} {self._path}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._path == self._path

    def __hash__(self) -> int:
        return hash(self._path)


class SourceArtifact(Artifact):
    """A file of the repository, or a folder with the `_files` below it."""

    is_source = True
    owner = None

    def __init__(self, path: str, short_path: str, files: tuple[str, ...] | None = None) -> None:
        super().__init__(path, short_path)
        self._files = files

    def as_output(self) -> OutputArtifact:
        raise DialectError(f"{self._path} is a source, no action can make it", remedy="declare an output")


class BuildArtifact(Artifact):
    """An output. `_base` is what an action declares: this artifact, or the folder that it lies in."""

    is_source = False

    def __init__(
        self, path: str, short_path: str, owner: Label, is_folder: bool, base: BuildArtifact | None
    ) -> None:
        super().__init__(path, short_path)
        self.owner = owner
        self._is_folder = is_folder
        self._base = base or self

    def as_output(self) -> OutputArtifact:
        """This artifact as what an action makes."""
        return OutputArtifact(self)

    def project(self, path: str) -> BuildArtifact:
        """The artifact at `path` inside this folder."""
        check_path(path)
        if not self._base._is_folder:
            raise DialectError(f"{self.short_path} is no folder", remedy="declare it with dir = True")
        return BuildArtifact(
            f"{self._path}/{path}", f"{self.short_path}/{path}", self.owner, is_folder=False, base=self._base
        )


class OutputArtifact(Native):
    """An artifact where an action makes it."""

    TYPE = "OutputArtifact"

    def __init__(self, artifact: BuildArtifact) -> None:
        self._artifact = artifact

    def as_input(self) -> BuildArtifact:
        return self._artifact

    def __str__(self) -> str:
        return f"<output {self._artifact._path}>"


class ToolchainFile(Native):
    """A file inside a toolchain's environment: only the engine knows where that is."""

    TYPE = "ToolchainFile"

    def __init__(self, label: str, path: str) -> None:
        self._label = label
        self._path = path

    def __str__(self) -> str:
        return toolchain_file(self._label, self._path)


def output_path(folder: str, name: str, short_path: str) -> str:
    """Where the output `short_path` of the target `name` in the package `folder` lies."""
    return f"{GEN}/{folder}/__{name}__/{short_path}" if folder else f"{GEN}/__{name}__/{short_path}"


def check_path(path: object) -> str:
    """`path` if it is a relative path that stays where it is put."""
    if not isinstance(path, str) or any(part in ("", ".", "..") for part in path.split("/")):
        raise DialectError(
            f"{text_of(path, quoted=True)} is no path inside a folder", remedy="such as a/b.txt"
        )
    if len(path) > PATH or any(len(os.fsencode(part)) > 255 for part in check_text(path).split("/")):
        raise DialectError(
            f"{path[:60]!r}... is longer than a path may be", remedy="255 bytes a name, 2048 in all"
        )
    return path


@dataclass
class Found:
    """What the rendering of a command met, in order and without repetition."""

    sources: dict[str, None] = field(default_factory=dict)
    inputs: dict[BuildArtifact, None] = field(default_factory=dict)
    outputs: dict[BuildArtifact, None] = field(default_factory=dict)
    toolchains: dict[str, None] = field(default_factory=dict)
    tagged: dict[ArtifactTag, Found] = field(default_factory=dict)

    def add(self, other: Found) -> None:
        """Meet all that `other` met."""
        self.sources.update(other.sources)
        self.inputs.update(other.inputs)
        self.outputs.update(other.outputs)
        self.toolchains.update(other.toolchains)
        for tag, found in other.tagged.items():
            self.tagged.setdefault(tag, Found()).add(found)

    def source(self, artifact: SourceArtifact) -> None:
        self.sources.update(dict.fromkeys([artifact._path] if artifact._files is None else artifact._files))

    def artifact(self, artifact: Artifact) -> str:
        """Note that `artifact` is read; its path."""
        if isinstance(artifact, SourceArtifact):
            self.source(artifact)
        elif isinstance(artifact, BuildArtifact):
            self.inputs[artifact._base] = None
        return artifact._path


class CommandLine(Native):
    """cmd_args(...): arguments that are text, artifacts, or other command lines."""

    TYPE = "cmd_args"
    _is_frozen = False

    def __init__(
        self,
        *args: Any,
        hidden: Any = (),
        delimiter: str | None = None,
        format: str | None = None,
        prepend: str | None = None,
        quote: str | None = None,
    ) -> None:
        if quote not in (None, "shell"):
            raise DialectError(f"cmd_args() knows no quote {quote!r}", remedy='the only one is "shell"')
        self._items: list[Any] = []
        self._hidden: list[Any] = flat(hidden)
        self._delimiter, self._format, self._prepend, self._quote = delimiter, format, prepend, quote
        self.add(*args)

    def add(self, *args: Any) -> CommandLine:
        """Append arguments; the command line itself is returned."""
        if self._is_frozen:
            raise DialectError("this command line is frozen: another target made it", remedy="use .copy()")
        self._items.extend(flat(args))
        return self

    def _freeze(self) -> None:
        if not self._is_frozen:
            self._is_frozen = True
            for item in (*self._items, *self._hidden):
                if isinstance(item, Native):
                    item._freeze()

    def copy(self) -> CommandLine:
        made = CommandLine(
            hidden=self._hidden,
            delimiter=self._delimiter,
            format=self._format,
            prepend=self._prepend,
            quote=self._quote,
        )
        made._items = list(self._items)
        return made

    @property
    def inputs(self) -> List:
        """The artifacts that it reads."""
        found = Found()
        self._render(found)
        return List(found.inputs)

    @property
    def outputs(self) -> List:
        found = Found()
        self._render(found)
        return List(artifact.as_output() for artifact in found.outputs)

    def _render(self, found: Found) -> list[str]:
        for item in self._hidden:
            render(item, found)
        words = [word for item in self._items for word in render(item, found)]
        if self._format is not None:
            words = [self._format.replace("{}", word) for word in words]
        if self._quote is not None:
            words = [shlex.quote(word) for word in words]
        if self._prepend is not None:
            words = [part for word in words for part in (self._prepend, word)]
        if self._delimiter is not None:
            words = [self._delimiter.join(words)]
        return words

    def __str__(self) -> str:
        return " ".join(self._render(Found()))


class ArtifactTag(Native):
    """ctx.actions.artifact_tag(): marks inputs, and the dep file that says which of them a command read."""

    TYPE = "ArtifactTag"

    def tag_artifacts(self, value: Any) -> CommandLine:
        """`value` as a command line, all artifacts in it marked."""
        return Tagged(self, value)


class Tagged(CommandLine):
    """A command line whose artifacts are marked."""

    def __init__(self, tag: ArtifactTag, value: Any) -> None:
        super().__init__(value)
        self._tag = tag

    def copy(self) -> CommandLine:
        return Tagged(self._tag, super().copy())

    def _render(self, found: Found) -> list[str]:
        inner = Found()
        words = super()._render(inner)
        found.add(inner)
        found.tagged.setdefault(self._tag, Found()).add(inner)
        return words


_SEQUENCES = (list, tuple)
_WORDS = (Artifact, OutputArtifact, CommandLine, ToolchainFile, Label)
"""What stands for words of a command. As a constant: to write it as A | B makes a new type at each call."""


def flat(items: Any) -> list[Any]:
    """The arguments in nested lists and tuples; anything that cannot stand in a command is refused."""
    found: list[Any] = []
    _flatten(items, found)
    return found


def _flatten(items: Any, found: list[Any]) -> None:
    if isinstance(items, str):
        found.append(check_text(items))
    elif isinstance(items, _SEQUENCES):
        for item in items:
            _flatten(item, found)
    elif isinstance(items, _WORDS) or _run(items):
        found.append(items)
    else:
        raise DialectError(
            f"a value of type {type_name(items)} cannot stand in a command",
            remedy="use text, artifacts, cmd_args() and lists of them; str() for numbers",
        )


def _run(value: Any) -> Any:
    """The command line in a RunInfo."""
    is_run = isinstance(value, Struct) and type_name(value) == "RunInfo"
    return value.__dict__.get("args") if is_run else None


def render(item: Any, found: Found) -> list[str]:
    """The words that an argument stands for; what it reads, makes and uses goes to `found`."""
    if type(item) is str:
        return [item]
    if isinstance(item, Artifact):
        return [found.artifact(item)]
    if isinstance(item, OutputArtifact):
        found.outputs[item._artifact._base] = None
        return [item._artifact._path]
    if isinstance(item, CommandLine):
        return item._render(found)
    if isinstance(item, ToolchainFile):
        found.toolchains[item._label] = None
        return [str(item)]
    inner = _run(item)
    return inner._render(found) if isinstance(inner, CommandLine) else [str(item)]


def render_all(items: Any, found: Found) -> tuple[str, ...]:
    """Render nested arguments to the words of a command."""
    return tuple([word for item in flat(items) for word in render(item, found)])


def command(items: Any, found: Found) -> tuple[str, ...]:
    """`render_all` of a command line: a program at the project's root is not looked for in PATH."""
    words = render_all(items, found)
    check_toolchains(words, found)
    if words and "/" not in words[0] and words[0] in found.sources:
        return (f"./{words[0]}", *words[1:])
    return words


def check_toolchains(words: Iterable[str], found: Found) -> None:
    """Raise for a text that only looks like a toolchain's file: nobody knows which one is meant."""
    for word in words:
        for name in toolchains_named(word):
            if name not in found.toolchains:
                raise DialectError(
                    f"{word[:80]!r} names a file of the toolchain {name}, which is not among what is used",
                    remedy="take the file from the toolchain's provider",
                )


def paths(artifacts: Iterable[BuildArtifact]) -> tuple[str, ...]:
    return tuple([artifact._path for artifact in artifacts])
