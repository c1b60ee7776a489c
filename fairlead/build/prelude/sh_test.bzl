"""sh_test: a script that passes if it ends with exit code 0."""

load(":named.bzl", "NAMED_SOURCES", "named_sources")

def _sh_test(ctx):
    a = ctx.attrs
    test = a.test
    if type(test) == "Dependency":
        test = test[RunInfo] if RunInfo in test else test[DefaultInfo].default_outputs
    hidden = named_sources(a.resources, "").values()
    for dep in a.deps:
        hidden = hidden + dep[DefaultInfo].default_outputs + dep[DefaultInfo].other_outputs
    return [
        DefaultInfo(),
        ExternalRunnerTestInfo(
            type = "sh",
            command = [test, cmd_args(a.args, hidden = hidden)],
            env = a.env,
            labels = a.labels,
            timeout_seconds = a.timeout,
        ),
    ]

sh_test = rule(
    impl = _sh_test,
    attrs = {
        "args": attrs.list(attrs.arg(), default = [], doc = "arguments of the script"),
        "deps": attrs.list(attrs.dep(), default = [], doc = "targets whose outputs the script may read"),
        "env": attrs.dict(attrs.string(), attrs.arg(), default = {}, doc = "variables that the script sees"),
        "labels": attrs.list(attrs.string(), default = [], doc = "words to select targets by"),
        "resources": attrs.one_of(*NAMED_SOURCES, default = [], doc = "files that the script may read"),
        "test": attrs.one_of(attrs.dep(), attrs.source(), doc = "an executable file of the package"),
        "timeout": attrs.int(default = 600, doc = "seconds until the test is stopped"),
    },
    doc = "A script that passes if it ends with exit code 0. It runs in the project's root and sees what it names.",
)
