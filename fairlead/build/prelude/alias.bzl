"""alias: another name for a target."""

def _alias(ctx):
    return ctx.attrs.actual.providers

alias = rule(
    impl = _alias,
    attrs = {
        "actual": attrs.dep(doc = "the target that is meant"),
    },
    doc = "Another name for a target: what depends on, builds, runs or tests the alias means that target.",
)
