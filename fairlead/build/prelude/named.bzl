"""Sources given as a list (each under its own path) or as a dict (new path -> source)."""

NAMED_SOURCES = (
    attrs.list(attrs.source(allow_directory = True)),
    attrs.dict(attrs.string(), attrs.source(allow_directory = True)),
)

def named_sources(srcs, folder):
    """A dict of path -> artifact, each path below `folder`."""
    pairs = srcs.items() if type(srcs) == "dict" else [(src.short_path, src) for src in srcs]
    prefix = folder + "/" if folder else ""
    made = {}
    for path, src in pairs:
        if prefix + path in made and made[prefix + path] != src:
            fail("two sources stand at {}: {} and {}".format(prefix + path, made[prefix + path], src))
        made[prefix + path] = src
    return made
