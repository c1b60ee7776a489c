"""The command line: finds the verb, runs it, and turns every error into words and an exit code."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # that of `typing` would cost its import before Ctrl-C is ours to answer
if TYPE_CHECKING:
    from fairlead.errors import FairleadError


def console(*, daemon: bool = True) -> None:
    """The `fairlead` console script: what a daemon can do goes to that, if there may be one, the rest is done
    here."""
    from fairlead.cli import interrupt  # first, and nothing is imported above: see there

    interrupt.watch()
    code: int | None = None
    try:
        _have_streams()
        argv = sys.argv[1:]
        interrupt.begin()
        if daemon and argv and argv[0] in ("build", "test", "targets", "affected", "query", "why"):
            code = _by_daemon(argv)
        code = main(argv) if code is None else code
        interrupt.end()
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) or interrupt.seen()):
            raise
        interrupt.end()
        code = interrupt.tell()
    sys.exit(code)


def _have_streams() -> None:
    """Open what the caller has closed (`>&-`): nothing of ours may take its number."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        while (number := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(number)
        sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - ours until the end
        sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _by_daemon(argv: list[str]) -> int | None:
    """The exit code of a command that a daemon has done; None if it is still to be done."""
    from fairlead.build.daemon import client

    if not client.wanted(argv, os.environ):
        return None
    code = client.call(argv)
    if code is None and client.wanted(argv, os.environ) and _begin():
        code = client.call(argv)
    return code


def _begin() -> bool:
    """Start the daemon of the project that we stand in, if it wants one; whether it listens. What is wrong
    with the project is for the command itself to say."""
    from fairlead.build.daemon import start
    from fairlead.errors import FairleadError

    try:
        here = os.getcwd()
        if sys.platform != "linux" or not os.path.isfile(__file__) or not start.settled(here, os.environ):
            from fairlead.cli import daemon, project

            if not daemon.wanted(project.Project.find()):
                return False
        return start.start(here)
    except (FairleadError, OSError):
        return False


def main(argv: list[str]) -> int:
    """Run one command, and write out what it has printed; its exit code (see `fairlead.errors`)."""
    _have_streams()
    try:
        code = _run(argv)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _print_no_more()
        return code
    except OSError as error:
        _print_no_more()
        print(f"error: cannot write what is to be printed: {error.strerror}", file=sys.stderr)
        return 3


def _print_no_more() -> None:
    """Nobody takes what we print."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        if len(argv) > 1 and argv[0] == "help":
            return _run([argv[1], "--help"])
        print(_help(everything="--all" in argv))
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        from fairlead import __version__

        print(f"fairlead {__version__}")
        return 0
    from fairlead.cli import interrupt
    from fairlead.errors import FairleadError

    # What follows `run X` belongs to the program that is run.
    as_json = "--json" in (argv[:2] if argv[0] == "run" else argv)
    if not as_json and any(name.startswith("FAIRLEAD_") for name in os.environ):
        _tell_unheeded()
    try:
        return _dispatch(argv)
    except FairleadError as error:
        if interrupt.seen():  # as a program that was ended, or a module that could not be imported
            return interrupt.tell()
        _report(error, as_json)
        return error.exit
    except KeyboardInterrupt:
        return interrupt.tell()
    except BrokenPipeError:
        _print_no_more()
        return 1
    except Exception as error:
        if interrupt.seen():
            return interrupt.tell()
        import errno
        import traceback

        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if full and getattr(error, "filename", None) is None:
            raise  # it was a stream

        traceback.print_exc()
        print(
            "This is a bug in fairlead: please report it with the lines above and the command.",
            file=sys.stderr,
        )
        return 3


def _dispatch(argv: list[str]) -> int:
    from fairlead.cli import verbs
    from fairlead.errors import USAGE, FairleadError, did_you_mean

    verb = verbs.find(argv[0])
    if verb is None:
        flag = argv[0].startswith("-")
        raise FairleadError(
            f"there is no {'option' if flag else 'verb'} {argv[0]}",
            where="fairlead " + " ".join(argv),
            remedy=did_you_mean(argv[0], (v.name for v in verbs.VERBS))
            or "`fairlead --help` lists the verbs",
            exit=USAGE,
        )
    import importlib

    from fairlead.cli.parser import Parser

    module = importlib.import_module(verb.module)
    parser = Parser(prog=f"fairlead {verb.name}", description=getattr(module, "__doc__", None))
    parser.add_argument("--json", action="store_true", help="print one JSON document, and errors as JSON")
    module.configure(parser)
    # `run` splits its words itself: argparse would take a program's -- and options for ours.
    args = module.parse(parser, argv[1:]) if hasattr(module, "parse") else parser.parse_args(argv[1:])
    code = module.run(args)
    assert isinstance(code, int)
    return code


def _tell_unheeded() -> None:
    """Name the variables that somebody meant as settings and misspelt."""
    from fairlead import config
    from fairlead.cli import terminal

    for name, near in config.unheeded():
        terminal.note(f"{name} is no setting and is not heeded" + (f"; {near}" if near else ""))


def _report(error: FairleadError, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(error.to_json()), file=sys.stderr)
        return
    from fairlead.cli import terminal

    terminal.error(error)


def _help(*, everything: bool) -> str:
    from fairlead.cli import verbs

    lines = [
        "fairlead: never test the same thing twice; never land what was not tested",
        "",
        "  fairlead VERB --help     what a verb does and takes",
        "  fairlead --version",
        "",
    ]
    for verb in verbs.VERBS:
        if verb.first or everything:
            lines.append(f"  {verb.name:<11} {verb.summary}")
    if not everything:
        rest = ", ".join(verb.name for verb in verbs.VERBS if not verb.first)
        lines += ["", f"More: {rest}", "  fairlead --help --all    all verbs, a line each"]
    return "\n".join(lines)
