"""cxx_library, cxx_binary and cxx_test: C and C++ by the system's compiler.

Each source is compiled by itself. It is given the headers of its target and the exported ones of the
libraries that its target depends on, each target's in a folder of their own; the dep file that the compiler
writes says which it read, so an edit of a header compiles again what includes it, and nothing else. It says
nothing of what the assembler takes in (.include, .incbin), so assembly is compiled again at any edit of
its headers, and so is everything at an edit of one that is no header by its name.
"""

load(":named.bzl", "NAMED_SOURCES", "named_sources")

_CC = read_config("cxx", "cc", "cc")
_CXX = read_config("cxx", "cxx", "c++")
_ARCHIVER = read_config("cxx", "archiver", "ar")

_ASSEMBLY = [".s", ".S"]
_C_EXTENSIONS = [".c"] + _ASSEMBLY
_CXX_EXTENSIONS = [".cc", ".cpp", ".cxx", ".c++", ".C"]

_HEADERS = ["h", "hh", "hpp", "hxx", "h++", "H", "inc", "inl", "ipp", "ixx", "tcc", "tpp", "txx", "def"]

CxxInfo = provider(fields = {
    # label -> struct(headers, flags, told) for what compiles against the library: its own, and those it exports
    "exported": dict,
    # label -> struct(archive, flags, is_cxx) of this library and all below it, each after those it needs
    "linked": dict,
})

def _merged(infos, field):
    made = {}
    for info in infos:
        made.update(getattr(info, field))
    return made

def _headers(ctx, name, headers):
    """The folder with some headers, the headers themselves, and whether a dep file tells which were read."""
    space = ctx.attrs.header_namespace
    files = named_sources(headers, ctx.label.package if space == None else space)
    told = not [path for path in files if path.rpartition(".")[2] not in _HEADERS and "." in path.split("/")[-1]]
    return (ctx.actions.copied_dir(name, files) if files else None), files.values(), told

def _source(item):
    return (item[0], item[1]) if type(item) == "tuple" else (item, [])

def _compiler(src):
    if src.extension in _C_EXTENSIONS:
        return _CC
    if src.extension in _CXX_EXTENSIONS:
        return _CXX
    fail("{} is no source of C or C++: its name ends with none of {}; headers belong in headers".format(
        src.short_path,
        " ".join(_C_EXTENSIONS + _CXX_EXTENSIONS),
    ))

def _compile(ctx, exported_headers = []):
    """Compile all sources. A struct of the objects, whether one is C++, and the folder of exported headers."""
    a = ctx.attrs
    private, own, own_told = _headers(ctx, "private-headers", a.headers)
    public, more, more_told = _headers(ctx, "headers", exported_headers)
    below = _merged([dep[CxxInfo] for dep in a.deps + getattr(a, "exported_deps", [])], "exported")
    folders = [folder for folder in [private, public] if folder != None]
    folders += [part.headers for part in reversed(below.values()) if part.headers != None]
    told = own_told and more_told and not [part for part in below.values() if not part.told]
    flags = [part.flags for part in below.values()] + getattr(a, "exported_preprocessor_flags", []) + a.preprocessor_flags

    objects = []
    has_cxx = False
    for item in a.srcs:
        src, extra = _source(item)
        compiler = _compiler(src)
        has_cxx = has_cxx or compiler == _CXX
        object = ctx.actions.declare_output("objects/{}.o".format(src.short_path))
        deps = ctx.actions.declare_output("objects/{}.d".format(src.short_path))
        includes = cmd_args([cmd_args("-I", folder, delimiter = "") for folder in folders], hidden = own + more)
        tag = ctx.actions.artifact_tag() if told and src.extension not in _ASSEMBLY else None
        ctx.actions.run(
            [
                compiler,
                flags,
                tag.tag_artifacts(includes) if tag else includes,
                a.compiler_flags,
                extra,
                "-MD",
                "-MF",
                tag.tag_artifacts(deps.as_output()) if tag else deps.as_output(),
                "-c",
                src,
                "-o",
                object.as_output(),
            ],
            category = "cxx_compile",
            identifier = src.short_path,
            dep_files = {"headers": tag} if tag else {},
        )
        objects.append(object)
    return struct(objects = objects, has_cxx = has_cxx, headers = public, told = more_told)

def _cxx_library(ctx):
    a = ctx.attrs
    made = _compile(ctx, a.exported_headers)
    archive = None
    if made.objects:
        archive = ctx.actions.declare_output("lib{}.a".format(ctx.label.name.replace("/", "_")))
        ctx.actions.run([_ARCHIVER, "rcsD", archive.as_output(), made.objects], category = "cxx_archive")
    label = str(ctx.label)
    exported = _merged([dep[CxxInfo] for dep in a.exported_deps], "exported")
    exported[label] = struct(headers = made.headers, flags = a.exported_preprocessor_flags, told = made.told)
    linked = _merged([dep[CxxInfo] for dep in a.deps + a.exported_deps], "linked")
    linked[label] = struct(archive = archive, flags = a.exported_linker_flags, has_cxx = made.has_cxx)
    subs = {"headers": [DefaultInfo(default_output = made.headers)]} if made.headers != None else {}
    return [
        DefaultInfo(default_outputs = [archive] if archive != None else [], sub_targets = subs),
        CxxInfo(exported = exported, linked = linked),
    ]

def _link(ctx):
    """Compile and link a program."""
    a = ctx.attrs
    made = _compile(ctx)
    below = reversed(_merged([dep[CxxInfo] for dep in a.deps], "linked").values())
    if not made.objects and not [part for part in below if part.archive != None]:
        fail("{} has nothing to link: it needs srcs, or deps that have some".format(ctx.label))
    has_cxx = made.has_cxx or bool([part for part in below if part.has_cxx])
    out = ctx.actions.declare_output(ctx.label.name)
    ctx.actions.run(
        [
            _CXX if has_cxx else _CC,
            "-o",
            out.as_output(),
            made.objects,
            a.linker_flags,
            [part.archive for part in below if part.archive != None],
            [part.flags for part in below],
        ],
        category = "cxx_link",
    )
    return out

def _cxx_binary(ctx):
    out = _link(ctx)
    return [DefaultInfo(default_output = out), RunInfo(args = [out])]

def _cxx_test(ctx):
    a = ctx.attrs
    out = _link(ctx)
    return [
        DefaultInfo(default_output = out),
        RunInfo(args = [out]),
        ExternalRunnerTestInfo(
            type = "cxx",
            command = [out, cmd_args(a.args, hidden = named_sources(a.resources, "").values())],
            env = a.env,
            labels = a.labels,
            timeout_seconds = a.timeout,
        ),
    ]

_FLAGS = attrs.list(attrs.arg())

def _flags(doc):
    return attrs.list(attrs.arg(), default = [], doc = doc)

_ATTRS = {
    "compiler_flags": _flags("further arguments of the compiler"),
    "deps": attrs.list(attrs.dep(providers = [CxxInfo]), default = [], doc = "libraries"),
    "header_namespace": attrs.option(
        attrs.string(),
        default = None,
        doc = "the folder in which includes find the headers; the package's path by default, \"\" is the top",
    ),
    "headers": attrs.one_of(*NAMED_SOURCES, default = [], doc = "headers for the target's own sources, or a dict of paths and headers"),
    "labels": attrs.list(attrs.string(), default = [], doc = "words to select targets by"),
    "preprocessor_flags": _flags("flags of the preprocessor, for the target's own sources"),
    "srcs": attrs.list(
        attrs.one_of(attrs.source(), attrs.tuple(attrs.source(), _FLAGS)),
        default = [],
        doc = "sources, or pairs of a source and a list of flags for it alone",
    ),
}

_PROGRAM = _ATTRS | {
    "linker_flags": _flags("further arguments of the link"),
}

cxx_library = rule(
    impl = _cxx_library,
    attrs = _ATTRS | {
        "exported_deps": attrs.list(
            attrs.dep(providers = [CxxInfo]),
            default = [],
            doc = "libraries whose exported headers are also seen by who depends on this one",
        ),
        "exported_headers": attrs.one_of(
            *NAMED_SOURCES,
            default = [],
            doc = "headers for the target's own sources and for who depends on it, or a dict of paths and headers"
        ),
        "exported_linker_flags": _flags("arguments of the link of every program with this library"),
        "exported_preprocessor_flags": _flags("flags of the preprocessor, also for who depends on this library"),
    },
    doc = "Sources compiled to a static archive, with headers for others; without sources, headers alone.",
)

cxx_binary = rule(
    impl = _cxx_binary,
    attrs = _PROGRAM,
    doc = "A program of C or C++.",
)

cxx_test = rule(
    impl = _cxx_test,
    attrs = _PROGRAM | {
        "args": attrs.list(attrs.arg(), default = [], doc = "arguments of the test"),
        "env": attrs.dict(attrs.string(), attrs.arg(), default = {}, doc = "variables that the test sees"),
        "resources": attrs.one_of(*NAMED_SOURCES, default = [], doc = "files that the test may read"),
        "timeout": attrs.int(default = 600, doc = "seconds until the test is stopped"),
    },
    doc = "A program of C or C++ that passes if it ends with exit code 0.",
)
