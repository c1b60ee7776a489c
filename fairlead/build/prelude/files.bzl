"""export_file and filegroup: sources that others may use."""

load(":named.bzl", "NAMED_SOURCES", "named_sources")

def _export_file_impl(ctx):
    src = ctx.attrs.src
    out = ctx.actions.declare_output(ctx.attrs.out or src.short_path)
    return [DefaultInfo(default_output = ctx.actions.copy_file(out, src))]

_export_file = rule(
    impl = _export_file_impl,
    attrs = {
        "out": attrs.option(attrs.string(), default = None, doc = "the name of the output; that of src by default"),
        "src": attrs.source(doc = "the file"),
    },
    doc = "Makes one file of the package usable by other packages.",
)

def export_file(name, src = None, **kwargs):
    _export_file(name = name, src = name if src == None else src, **kwargs)

def _filegroup(ctx):
    files = named_sources(ctx.attrs.srcs, "")
    return [DefaultInfo(default_output = ctx.actions.copied_dir(ctx.label.name, files))]

filegroup = rule(
    impl = _filegroup,
    attrs = {
        "srcs": attrs.one_of(*NAMED_SOURCES, default = [], doc = "the files, or a dict of new paths and files"),
    },
    doc = "A folder with some files of the package, under their paths in it.",
)
