"""http_file: a file from the web, by its digest."""

def _http_file(ctx):
    a = ctx.attrs
    out = ctx.actions.declare_output(a.out or ctx.label.name)
    ctx.actions.download_file(out, a.urls, sha256 = a.sha256, is_executable = a.executable)
    return [DefaultInfo(default_output = out)] + ([RunInfo(args = [out])] if a.executable else [])

http_file = rule(
    impl = _http_file,
    attrs = {
        "executable": attrs.bool(default = False, doc = "whether the file can be run"),
        "out": attrs.option(attrs.string(), default = None, doc = "the name of the output; the target's by default"),
        "sha256": attrs.string(doc = "the SHA-256 digest of the file"),
        "urls": attrs.list(attrs.string(), doc = "where the file is; tried in this order"),
    },
    doc = "A file from the web. It is fetched once, and only if it has the digest.",
)
