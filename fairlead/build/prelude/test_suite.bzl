"""test_suite: a name for some tests."""

def _test_suite(_ctx):
    return [DefaultInfo()]

test_suite = rule(
    impl = _test_suite,
    attrs = {
        "labels": attrs.list(attrs.string(), default = [], doc = "words to select targets by"),
        "tests": attrs.list(attrs.label(), doc = "the tests, and other suites"),
    },
    doc = "A name for some tests. It depends on none of them, so they need not be visible to it.",
)
