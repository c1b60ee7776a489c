"""python_library, python_binary and python_test.

A library is a set of files with the paths at which they stand on Python's search path. Binaries and tests
gather the files of all libraries below them in one folder, a link tree.
"""

load(":named.bzl", "NAMED_SOURCES", "named_sources")
load(":python_toolchain.bzl", "PythonToolchainInfo", "toolchain_attr")

_MAKE_ZIP = prelude_text("make_zip.py")
_RUN_PYTEST = prelude_text("run_pytest.py")

PythonLibraryInfo = provider(fields = {
    # path on the search path -> artifact, of this library alone
    "files": dict,
    # label -> files, of this library and all below it
    "closure": dict,
})

def _folder(ctx):
    """The folder on the search path in which a target's own files stand."""
    base = ctx.attrs.base_module
    return ctx.label.package if base == None else base.replace(".", "/")

def _gather(ctx, srcs):
    """The PythonLibraryInfo of a target with the sources `srcs`."""
    files = named_sources(srcs, _folder(ctx))
    for path, src in named_sources(ctx.attrs.resources, _folder(ctx)).items():
        if path in files and files[path] != src:
            fail("a source and a resource stand at {}".format(path))
        files[path] = src
    closure = {}
    for dep in ctx.attrs.deps:
        closure.update(dep[PythonLibraryInfo].closure)
    closure[str(ctx.label)] = files
    return PythonLibraryInfo(files = files, closure = closure)

def _merged(info):
    """All files of a closure in one dict; two targets may not put different files at one path."""
    made = {}
    owner = {}
    for label, files in info.closure.items():
        for path, src in files.items():
            if path in made and made[path] != src:
                fail("{} and {} both put a file at {}".format(owner[path], label, path))
            made[path] = src
            owner[path] = label
    return made

_LIBRARY_ATTRS = {
    "base_module": attrs.option(
        attrs.string(),
        default = None,
        doc = "the module that the sources stand below, such as a.b; \"\" is the top; by default the package's path",
    ),
    "deps": attrs.list(attrs.dep(providers = [PythonLibraryInfo]), default = [], doc = "libraries"),
    "labels": attrs.list(attrs.string(), default = [], doc = "words to select targets by"),
    "resources": attrs.one_of(
        *NAMED_SOURCES,
        default = [],
        doc = "files that are no modules, or a dict of paths and files"
    ),
}

_SRCS = {
    "srcs": attrs.one_of(*NAMED_SOURCES, default = [], doc = "modules, or a dict of paths and modules"),
}

def _python_library(ctx):
    info = _gather(ctx, ctx.attrs.srcs)
    return [DefaultInfo(default_output = ctx.actions.copied_dir("lib", info.files)), info]

python_library = rule(
    impl = _python_library,
    attrs = _LIBRARY_ATTRS | _SRCS,
    doc = "Python modules and resources. Built by itself, it is a folder with its own files.",
)

def _python_metadata(ctx):
    a = ctx.attrs
    folder = "{}/{}-{}.dist-info".format(a.folder, a.distribution.replace("-", "_"), a.version).lstrip("/")
    groups = []
    for group, names in a.entry_points.items():
        lines = ["{} = {}".format(name, value) for name, value in names.items()]
        groups.append("\n".join(["[{}]".format(group)] + lines) + "\n")
    texts = {
        "METADATA": "Metadata-Version: 2.1\nName: {}\nVersion: {}\n".format(a.distribution, a.version),
        "entry_points.txt": "\n".join(groups),
    }
    files = {}
    for name, text in texts.items():
        files["{}/{}".format(folder, name)] = ctx.actions.write(name, text)
    info = PythonLibraryInfo(files = files, closure = {str(ctx.label): files})
    return [DefaultInfo(default_output = ctx.actions.copied_dir("metadata", files)), info]

python_metadata = rule(
    impl = _python_metadata,
    attrs = {
        "distribution": attrs.string(doc = "the name of the distribution"),
        "entry_points": attrs.dict(
            attrs.string(),
            attrs.dict(attrs.string(), attrs.string()),
            default = {},
            doc = "entry points: group, name, module:function",
        ),
        "folder": attrs.string(default = "", doc = "the folder on the search path; the top by default"),
        "version": attrs.string(doc = "its version"),
    },
    doc = "What importlib.metadata says of a distribution, for tests that ask for their own.",
)

def _main_program(ctx, main):
    """The text of __main__.py, which starts the program."""
    a = ctx.attrs
    if a.main_function != None:
        module, _, function = a.main_function.rpartition(".")
        if not module:
            fail("main_function is module.function, not {}".format(repr(a.main_function)))
        return "import sys\nfrom {} import {} as main\nsys.exit(main())\n".format(module, function)
    if a.main_module != None:
        module = a.main_module
    else:
        module = ".".join([part for part in _folder(ctx).split("/") if part] + [main.short_path.removesuffix(".py").replace("/", ".")])
    return "import runpy\nrunpy.run_module({}, run_name = \"__main__\", alter_sys = True)\n".format(repr(module))

def _python_binary(ctx):
    a = ctx.attrs
    given = [name for name, value in [("main", a.main), ("main_module", a.main_module), ("main_function", a.main_function)] if value != None]
    if len(given) != 1:
        fail("python_binary takes one of main, main_module and main_function, not {}".format(len(given)))
    info = _gather(ctx, [a.main] if a.main != None else [])
    files = dict(_merged(info))
    if "__main__.py" in files:
        fail("a library puts a file at __main__.py, where the program starts")
    files["__main__.py"] = ctx.actions.write("__main__.py", _main_program(ctx, a.main))
    tree = ctx.actions.copied_dir("link-tree", files)
    out = ctx.actions.declare_output(a.out or ctx.label.name)
    python = a.toolchain[PythonToolchainInfo].python
    ctx.actions.run(
        [python, "-I", ctx.actions.write("make_zip.py", _MAKE_ZIP), tree, out.as_output(), a.shebang],
        category = "python_zip",
    )
    return [
        DefaultInfo(default_output = out, sub_targets = {"link-tree": [DefaultInfo(default_output = tree)]}),
        RunInfo(args = [python, out]),
        info,
    ]

python_binary = rule(
    impl = _python_binary,
    attrs = _LIBRARY_ATTRS | {
        "main": attrs.option(attrs.source(), default = None, doc = "the file that is run"),
        "main_function": attrs.option(attrs.string(), default = None, doc = "the function that is called, such as a.b.main"),
        "main_module": attrs.option(attrs.string(), default = None, doc = "the module (or package with __main__) that is run"),
        "out": attrs.option(attrs.string(), default = None, doc = "the name of the output; the target's by default"),
        "shebang": attrs.string(default = "/usr/bin/env python3", doc = "the command in the first line of the output"),
        "toolchain": toolchain_attr(),
    },
    doc = "One executable file: a zip of the program and its libraries, started by the interpreter in its first line.",
)

def _python_test(ctx):
    a = ctx.attrs
    info = _gather(ctx, a.srcs)
    runner = ctx.actions.write("run_pytest.py", _RUN_PYTEST)
    files = named_sources(a.srcs, _folder(ctx))
    tests = a.test_files or [path for path in files if _is_test(path)]
    if not tests:
        fail("none of the sources is a test: their names begin with test_ or end with _test.py")
    for path in a.test_files:
        if path not in files:
            fail("the test {} is not one of the sources".format(path))
    options = ["--root", a.root] if a.root else []
    for folder in a.search:
        options += ["--search", folder]
    if a.recorded:
        tree = "."
        options.append(_in_place(ctx, info))
    else:
        tree = ctx.actions.copied_dir("link-tree", _merged(info))
    if a.allow_empty:
        options.append("--allow-empty")
    env = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"} | a.env
    return [
        DefaultInfo(default_output = None if a.recorded else tree),
        info,
        ExternalRunnerTestInfo(
            type = "pytest",
            command = [a.toolchain[PythonToolchainInfo].python, runner] + options + [tree] + tests + ["--"] + a.args,
            env = env,
            labels = a.labels,
            timeout_seconds = a.timeout,
            recorded = a.recorded,
            shards = a.shards,
        ),
    ]

def _in_place(ctx, info):
    """The options of a test that runs among the sources themselves: what is made is searched beside them."""
    hidden = []
    made = {}
    for path, src in _merged(info).items():
        if src.is_source:
            if not path.endswith(src.short_path):
                fail("a recorded test imports {} from where it is, not as {}".format(src.short_path, path))
            hidden.append(src)
        else:
            made[path] = src
    if not made:
        return cmd_args(hidden = hidden)
    return cmd_args("--search", ctx.actions.copied_dir("made", made), hidden = hidden)

def _is_test(path):
    name = path.rpartition("/")[2]
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))

python_test = rule(
    impl = _python_test,
    attrs = _LIBRARY_ATTRS | _SRCS | {
        "allow_empty": attrs.bool(default = False, doc = "whether a run in which nothing is collected passes"),
        "args": attrs.list(attrs.arg(), default = [], doc = "further arguments of pytest"),
        "env": attrs.dict(attrs.string(), attrs.arg(), default = {}, doc = "variables that the test sees"),
        "recorded": attrs.bool(
            default = False,
            doc = "whether it runs among the sources, in the whole project, and what it asked for decides when it runs again",
        ),
        "root": attrs.string(default = "", doc = "the folder of the link tree in which pytest runs; its top by default"),
        "search": attrs.list(attrs.string(), default = [], doc = "folders of the link tree for imports; its top by default"),
        "shards": attrs.int(default = 0, doc = "in how many parts it runs at once; by default as long as it takes decides"),
        "test_files": attrs.list(attrs.string(), default = [], doc = "the paths in the link tree that are tests; by default those whose names say so"),
        "timeout": attrs.int(default = 600, doc = "seconds until the test is stopped"),
        "toolchain": toolchain_attr(),
    },
    doc = "Tests run by pytest, which the toolchain's lock must hold. The test sees its link tree and the toolchain's environment, nothing else.",
)
