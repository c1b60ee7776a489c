"""sh_library and sh_binary: scripts that use other scripts and files.

A binary is a small script beside a folder. The folder holds the program's files; the script finds it from
its own place and starts the main one, so it runs from any folder, built or in an action's sandbox.
"""

load(":named.bzl", "NAMED_SOURCES", "named_sources")

ShLibraryInfo = provider(fields = {
    # label -> files of that library (path below BUCK_PROJECT_ROOT -> artifact), of this one and all below it
    "closure": dict,
})

_DEPS = attrs.list(attrs.dep(providers = [ShLibraryInfo]), default = [], doc = "libraries")
_LABELS = attrs.list(attrs.string(), default = [], doc = "words to select targets by")

def _closure(deps):
    made = {}
    for dep in deps:
        made.update(dep[ShLibraryInfo].closure)
    return made

def _sh_library(ctx):
    below = _closure(ctx.attrs.deps)
    own = named_sources(ctx.attrs.srcs, ctx.label.package)
    return [
        DefaultInfo(
            default_outputs = own.values(),
            other_outputs = [src for files in below.values() for src in files.values()],
        ),
        ShLibraryInfo(closure = below | {str(ctx.label): own}),
    ]

sh_library = rule(
    impl = _sh_library,
    attrs = {
        "deps": _DEPS,
        "labels": _LABELS,
        "srcs": attrs.one_of(*NAMED_SOURCES, default = [], doc = "scripts and other files, or a dict of paths and files"),
    },
    doc = "Scripts and files for other scripts.",
)

_START = """#!/bin/sh
# Made by Fairlead: starts a script with the files that it uses.
here=$(dirname "$(realpath "$0")") || exit 126
BUCK_PROJECT_ROOT="$here"/{folder}
BUCK_DEFAULT_RUNTIME_RESOURCES=$BUCK_PROJECT_ROOT
export BUCK_PROJECT_ROOT BUCK_DEFAULT_RUNTIME_RESOURCES
main="$BUCK_PROJECT_ROOT"/{main}
if [ ! -x "$main" ]; then
    echo "error: $main, the main script of "{label}", is not executable" >&2
    echo "  what to do: chmod +x the source, and build again" >&2
    exit 126
fi
exec "$main" "$@"
"""

def _quoted(word):
    return "'" + word.replace("'", "'\\''") + "'"

def _sh_binary(ctx):
    a = ctx.attrs
    files = {}
    owner = {}

    def put(label, more):
        for path, src in more.items():
            if path in files and files[path] != src:
                fail("{} and {} both put a file at {}".format(owner[path], label, path))
            files[path] = src
            owner[path] = label

    for label, more in _closure(a.deps).items():
        put(label, more)
    put(str(ctx.label), named_sources(a.resources, ""))
    put(str(ctx.label), {a.main.short_path: a.main})

    folder = ctx.actions.copied_dir("resources", files)
    name = ctx.label.name if ctx.label.name.endswith(".sh") else ctx.label.name + ".sh"
    text = _START.format(folder = "resources", label = _quoted(str(ctx.label)), main = _quoted(a.main.short_path))
    script = ctx.actions.write(name, text, is_executable = True)
    return [
        DefaultInfo(default_output = script, other_outputs = [folder]),
        RunInfo(args = cmd_args(script, hidden = [folder])),
    ]

sh_binary = rule(
    impl = _sh_binary,
    attrs = {
        "deps": _DEPS,
        "labels": _LABELS,
        "main": attrs.source(doc = "the script that is run; it must be executable"),
        "resources": attrs.one_of(*NAMED_SOURCES, default = [], doc = "files that it uses, or a dict of paths and files"),
    },
    doc = "A script with the files that it uses.",
)
