"""genrule: files made by a shell command."""

load(":named.bzl", "NAMED_SOURCES", "named_sources")

def _genrule(ctx):
    a = ctx.attrs
    if (a.out == None) == (a.outs == None):
        fail("genrule takes out or outs, one of them")
    actions = ctx.actions
    env = dict(a.env)
    srcs = named_sources(a.srcs, "")
    if srcs:
        env["SRCDIR"] = actions.copied_dir("__srcs__", srcs)
        env["SRCS"] = cmd_args(srcs.values(), delimiter = " ")

    if a.out != None:
        out = actions.declare_output(a.out, dir = a.directory)
        named = {}
        default = [out]
        env["OUT"] = out.as_output()
    else:
        named = {name: [actions.declare_output(name, path) for path in paths] for name, paths in a.outs.items()}
        default = [artifact for name in a.default_outs for artifact in named[name]]
        for name, artifacts in named.items():
            env["OUT_" + name] = cmd_args([artifact.as_output() for artifact in artifacts], delimiter = " ")

    # The folders that outputs lie in are there: to make them once more would start two programs for each genrule.
    before = ['mkdir -p "$OUT"'] if a.directory else []
    actions.run(
        cmd_args("/bin/sh", "-e", "-c", cmd_args(before, a.cmd, delimiter = "\n")),
        category = "genrule",
        env = env,
    )
    providers = [DefaultInfo(
        default_outputs = default,
        sub_targets = {name: [DefaultInfo(default_outputs = artifacts)] for name, artifacts in named.items()},
    )]
    if a.executable:
        if len(default) != 1:
            fail("an executable genrule has one output")
        providers.append(RunInfo(args = [default[0]]))
    return providers

genrule = rule(
    impl = _genrule,
    attrs = {
        "cmd": attrs.arg(doc = "the command, for /bin/sh -e; it runs in the project's root"),
        "default_outs": attrs.list(attrs.string(), default = [], doc = "the names in outs that are built by default"),
        "directory": attrs.bool(default = False, doc = "whether out is a folder"),
        "env": attrs.dict(attrs.string(), attrs.arg(), default = {}, doc = "variables of the command"),
        "executable": attrs.bool(default = False, doc = "whether the output can be run"),
        "labels": attrs.list(attrs.string(), default = [], doc = "words to select targets by"),
        "out": attrs.option(attrs.string(), default = None, doc = "the one output; $OUT is its path"),
        "outs": attrs.option(
            attrs.dict(attrs.string(), attrs.list(attrs.string())),
            default = None,
            doc = "several outputs by name; $OUT_<name> are their paths, //label[name] names them",
        ),
        "srcs": attrs.one_of(
            *NAMED_SOURCES,
            default = [],
            doc = "sources: $SRCS are their paths, $SRCDIR is a folder with them"
        ),
    },
    doc = "Files made by a shell command.",
)
