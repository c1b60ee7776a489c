"""python_toolchain: the interpreter and the locked packages that Python targets run with."""

PythonToolchainInfo = provider(fields = {"python": typing.Any})

def _python_toolchain(ctx):
    environment = ctx.actions.locked_environment(interpreter = ctx.attrs.interpreter, lock = ctx.attrs.lock)
    return [DefaultInfo(), PythonToolchainInfo(python = environment.file("bin/python"))]

python_toolchain = rule(
    impl = _python_toolchain,
    attrs = {
        "interpreter": attrs.string(
            default = "",
            doc = "the command that makes the environment, such as python3.12; by default the Python that runs Fairlead",
        ),
        "lock": attrs.source(doc = "a requirements file with the hash of every package"),
    },
    doc = "A Python environment made from a hash-locked requirements file.",
    is_toolchain_rule = True,
)

# A label in the root cell. Projects with another place for their toolchain say so once, in .buckconfig.
DEFAULT_TOOLCHAIN = read_config("python", "toolchain", "root//:python")

def toolchain_attr():
    return attrs.toolchain_dep(
        providers = [PythonToolchainInfo],
        default = DEFAULT_TOOLCHAIN,
        doc = "the python_toolchain; by default [python] toolchain of .buckconfig, else root//:python",
    )
